/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One decision about one model.
 *
 *	profile's cap  <  rules of operators, earlier before later  <  hand  <  hold  <  hard limits
 *
 * An earlier rule is never overruled by a later one: rules narrow a range of widths from the
 * top of the file downward, and the widest width left is taken. Then the way there: what a
 * person or a client asks for happens at once, and so do hard limits; anything else waits for
 * the dwell, the grace after resume and the budget of switches, so that no input, however
 * wild, makes a model flap.
 */
#include "service/policy.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static const char *const rule_names[_RULE_MAX] = {
	[RULE_FULL] = "full",
	[RULE_HAND] = "hand",
	[RULE_PROFILE] = "profile",
	[RULE_HOLD] = "hold",
	[RULE_MEMORY] = "memory-limit",
};

static const char *const profile_names[_PROFILE_MAX] = {
	[PROFILE_POWER_SAVER] = "power-saver",
	[PROFILE_BALANCED] = "balanced",
	[PROFILE_PERFORMANCE] = "performance",
};

static const char *const suppressed_names[_SUPPRESSED_MAX] = {
	[SUPPRESSED_DWELL] = "dwell",
	[SUPPRESSED_BUDGET] = "budget",
	[SUPPRESSED_GRACE] = "grace",
};

const char *policy_rule_name(enum policy_rule rule)
{
	return rule_names[rule];
}

const char *suppressed_name(enum suppressed reason)
{
	return suppressed_names[reason];
}

const char *profile_name(enum profile profile)
{
	return profile_names[profile];
}

int profile_parse(const char *name)
{
	for (int i = 0; i < _PROFILE_MAX; i++)
		if (strcmp(profile_names[i], name) == 0)
			return i;
	return -EINVAL;
}

const struct rule *policy_rule(const struct rules *rules, uint32_t number)
{
	for (uint32_t i = 0; rules && i < rules->n_rules; i++)
		if (RULE_OPERATOR + rules->rules[i].number == number)
			return &rules->rules[i];
	return NULL;
}

const char *policy_limited_by(const struct rules *rules, const struct budget *b, enum demand demand)
{
	const struct rule *rule = policy_rule(rules, b->limited_by[demand]);

	return rule ? rule->name : "?";
}

static double within(double bits, double bits_max)
{
	return bits < 1 ? 1 : bits > bits_max ? bits_max : bits;
}

/**
 * struct want - limits as they are gathered
 * @low, @high: widths left; @by: the rule that set @high last, NULL: none; @by_action: what it
 *	asked for
 * @cardless: the first that asked for what only an accuracy card can tell, and there is none
 */
struct want {
	double low, high, rate;
	uint32_t threads, park_after_sec, activation_bits;
	enum policy_device device;
	bool refuse;
	uint32_t limited_by[_DEMAND_MAX];
	const struct rule *by, *cardless;
	const struct action *by_action;
};

double policy_bits_for_loss(const struct policy_model *m, double loss_max)
{
	double best = 0, bits = 0;

	/* Not by fmax(): gcc 12 for arm64 crashes on it here. */
	for (uint32_t i = 0; i < m->n_accuracies; i++)
		if (m->accuracies[i].top1 > best)
			best = m->accuracies[i].top1;
	for (uint32_t i = 0; i < m->n_accuracies; i++)
		/* The card is in float: a loss of exactly 1 % must not miss by its last digit. */
		if (best - m->accuracies[i].top1 <= loss_max + 1e-4 &&
			(bits <= 0 || m->accuracies[i].bits < bits))
			bits = m->accuracies[i].bits;
	return bits;
}

static void narrow(
	struct want *w, double low, double high, const struct rule *rule, const struct action *a)
{
	if (high > 0 && high < w->high) {
		w->high = fmax(high, w->low);
		w->by = rule;
		w->by_action = a;
	}
	if (low > 0 && low > w->low)
		w->low = fmin(low, w->high);
}

/* The first that asks has it. */
static bool takes(struct want *w, enum demand demand, bool asks, const struct rule *rule)
{
	if (!asks || w->limited_by[demand])
		return false;
	w->limited_by[demand] = RULE_OPERATOR + rule->number;
	return true;
}

static void add_action(struct want *w, const struct rule *rule, const struct action *a,
	const struct policy_model *m)
{
	double bits = a->loss_max >= 0 ? policy_bits_for_loss(m, a->loss_max) : 0;

	narrow(w, a->bits_min, a->bits_max, rule, a);
	narrow(w, 0, bits, rule, a);
	if (a->loss_max >= 0 && m->n_accuracies == 0)
		w->cardless = w->cardless ?: rule;
	if (takes(w, DEMAND_THREADS, a->threads > 0, rule))
		w->threads = a->threads;
	if (takes(w, DEMAND_RATE, a->rate > 0, rule))
		w->rate = a->rate;
	if (takes(w, DEMAND_PARK, a->park_after_sec > 0, rule))
		w->park_after_sec = a->park_after_sec;
	if (takes(w, DEMAND_ACTIVATION, a->activation_bits > 0, rule))
		w->activation_bits = a->activation_bits;
	if (takes(w, DEMAND_DEVICE, a->device != POLICY_DEVICE_ANY, rule))
		w->device = a->device;
	if (takes(w, DEMAND_REFUSE, a->refuse, rule)) {
		w->refuse = true;
		w->by = w->by ?: rule;
		w->by_action = w->by_action ?: a;
	}
}

static void gather(struct want *ret, const struct rules *rules, uint64_t active,
	const struct policy_model *m, bool hard_only)
{
	*ret = (struct want){.low = 1, .high = m->bits_max};
	for (int hard = 1; hard >= !!hard_only; hard--)
		for (uint32_t i = 0; rules && i < rules->n_rules; i++) {
			const struct rule *rule = &rules->rules[i];

			if (rule->hard != (hard == 1) || !(active >> i & 1))
				continue;
			for (uint32_t j = 0; j < rule->n_actions; j++)
				if (rule_matches(rule->actions[j].models, m->name))
					add_action(ret, rule, &rule->actions[j], m);
		}
}

static void name_builtin(struct budget *b, enum policy_rule rule)
{
	b->rule = rule;
	(void) snprintf(b->rule_name, sizeof b->rule_name, "%s", rule_names[rule]);
}

static void name_rule(struct budget *b, const struct want *w)
{
	const struct action *a = w->by_action;

	b->rule = RULE_OPERATOR + w->by->number;
	(void) snprintf(b->rule_name, sizeof b->rule_name, "%s", w->by->name);
	if (w->limited_by[DEMAND_REFUSE] == b->rule)
		(void) snprintf(
			b->text, sizeof b->text, "the rule \"%s\" refuses requests", w->by->name);
	else if (a->loss_max >= 0 && !(a->bits_max > 0 && a->bits_max <= b->bits))
		(void) snprintf(b->text, sizeof b->text,
			"the rule \"%s\" allows a loss of %g %%: %g bits", w->by->name, a->loss_max,
			b->bits);
	else
		(void) snprintf(b->text, sizeof b->text, "the %srule \"%s\" allows %g bits",
			w->by->hard ? "hard " : "", w->by->name, b->bits);
}

static void want_automatic(struct budget *b, const struct want *w, const struct policy_model *m)
{
	double cap = m->profile_bits > 0 ? within(m->profile_bits, m->bits_max) : 0;

	b->bits = w->high;
	if (cap > 0 && fmax(cap, w->low) < w->high) {
		b->bits = fmax(cap, w->low);
		name_builtin(b, RULE_PROFILE);
		(void) snprintf(b->text, sizeof b->text, "the profile \"%s\" allows %g bits",
			profile_name(m->profile), b->bits);
	} else if (w->by) {
		name_rule(b, w);
	} else {
		name_builtin(b, RULE_FULL);
		if (w->cardless)
			(void) snprintf(b->text, sizeof b->text,
				"the rule \"%s\" allows a loss, but the model has no accuracy card",
				w->cardless->name);
		else
			(void) snprintf(b->text, sizeof b->text,
				"nothing asks for less than all %g bits", b->bits);
	}
}

/* What would hold if nothing had to wait. */
static void find_wanted(struct budget *b, const struct want *w, const struct want *hard,
	const struct policy_model *m)
{
	double hold = m->hold_bits > 0 ? within(m->hold_bits, m->bits_max) : 0;

	*b = (struct budget){.threads = w->threads,
		.rate = w->rate,
		.park_after_sec = w->park_after_sec,
		.activation_bits = w->activation_bits,
		.device = w->device,
		.refuse = w->refuse};
	memcpy(b->limited_by, w->limited_by, sizeof b->limited_by);
	want_automatic(b, w, m);
	if (m->bits_by_hand > 0) {
		b->bits = within(m->bits_by_hand, m->bits_max);
		name_builtin(b, RULE_HAND);
		(void) snprintf(b->text, sizeof b->text, "set to %g bits by hand", b->bits);
	}
	if (hold > b->bits) {
		b->bits = hold;
		name_builtin(b, RULE_HOLD);
		(void) snprintf(b->text, sizeof b->text, "a client holds %g bits", b->bits);
	}
	if (hard->by && hard->high < b->bits) {
		b->bits = hard->high;
		name_rule(b, hard);
	}
	if (m->memory_bits > 0 && within(m->memory_bits, m->bits_max) < b->bits) {
		b->bits = within(m->memory_bits, m->bits_max);
		name_builtin(b, RULE_MEMORY);
		(void) snprintf(b->text, sizeof b->text, "memory is left for %g bits", b->bits);
	}
	b->hold_broken = hold > b->bits;
}

static bool same_limits(const struct budget *a, const struct budget *b)
{
	return a->bits == b->bits && a->threads == b->threads && a->rate == b->rate &&
	       a->park_after_sec == b->park_after_sec &&
	       a->activation_bits == b->activation_bits && a->device == b->device &&
	       a->refuse == b->refuse;
}

static double tighter(struct budget *b, enum demand demand, double now, const struct want *hard, double most)
{
	if (most <= 0 || (now > 0 && now <= most))
		return now;
	b->limited_by[demand] = hard->limited_by[demand];
	return most;
}

/* What holds now, cut to the hard limits: this cannot wait. */
static void clamp_hard(struct budget *b, const struct want *hard)
{
	if (hard->high < b->bits) {
		b->bits = hard->high;
		name_rule(b, hard);
	}
	b->threads = (uint32_t) tighter(b, DEMAND_THREADS, b->threads, hard, hard->threads);
	b->rate = tighter(b, DEMAND_RATE, b->rate, hard, hard->rate);
	b->activation_bits = (uint32_t) tighter(
		b, DEMAND_ACTIVATION, b->activation_bits, hard, hard->activation_bits);
	b->refuse = tighter(b, DEMAND_REFUSE, b->refuse, hard, hard->refuse) > 0;
}

static void do_switch(
	struct policy_state *s, const struct rules *rules, uint64_t now_nsec, bool counted)
{
	s->dwell_sec = rules ? rule_dwell_sec(rules, policy_rule(rules, s->budget.rule)) : 0;
	s->last_nsec = now_nsec;
	if (counted)
		s->switched_nsec[s->n_switches++ % RULE_SWITCHES_MAX] = now_nsec;
}

static uint64_t after(uint64_t nsec, double seconds)
{
	return nsec + (uint64_t) (seconds * (double) NSEC_PER_SEC);
}

/* When a switch may happen by the budget: the one that is @n before now must be an hour old. */
static uint64_t budget_ready_nsec(const struct policy_state *s, uint32_t n)
{
	if (s->n_switches < n)
		return 0;
	return after(s->switched_nsec[(s->n_switches - n) % RULE_SWITCHES_MAX], 3600);
}

/* Return: when the switch may happen, with the reason that holds it the longest; 0: now */
static uint64_t must_wait(const struct policy_state *s, const struct rules *rules,
	const struct policy_inputs *in, enum suppressed *ret_reason)
{
	/*
	 * One switch of each hour is kept for less: the last one must not leave a model wide on
	 * an empty battery.
	 */
	uint32_t n = rules->switches_per_hour;
	bool less = s->wanted.bits < s->budget.bits;
	uint64_t ready[_SUPPRESSED_MAX] = {}, latest = 0;

	if (s->last_nsec > 0)
		ready[SUPPRESSED_DWELL] = after(s->last_nsec, s->dwell_sec);
	ready[SUPPRESSED_BUDGET] = budget_ready_nsec(s, less || n == 1 ? n : n - 1);
	if (in->resumed_nsec > 0)
		ready[SUPPRESSED_GRACE] = after(in->resumed_nsec, rules->grace_after_resume_sec);
	for (int i = 0; i < _SUPPRESSED_MAX; i++)
		if (ready[i] > in->now_nsec && ready[i] > latest) {
			latest = ready[i];
			*ret_reason = (enum suppressed) i;
		}
	return latest;
}

/* Somebody asked, or everything is new: nobody waits for that. */
static bool is_urgent(
	const struct policy_state *before, const struct rules *rules, const struct policy_model *m)
{
	return !rules || !before->decided || before->serial != rules->serial ||
	       before->bits_max != m->bits_max || before->bits_by_hand != m->bits_by_hand ||
	       before->hold_bits != m->hold_bits ||
	       before->memory_bits != m->memory_bits || before->profile_bits != m->profile_bits ||
	       before->profile != m->profile;
}

static uint64_t find_active(
	const struct rules *rules, const struct policy_inputs *in, uint64_t before)
{
	uint64_t active = 0;

	for (uint32_t i = 0; rules && i < rules->n_rules; i++)
		if (policy_rule_holds(rules, &rules->rules[i], in, before >> i & 1))
			active |= UINT64_C(1) << i;
	return active;
}

static void remember(
	struct policy_state *s, const struct rules *rules, const struct policy_model *m)
{
	s->decided = true;
	s->serial = rules ? rules->serial : 0;
	s->bits_max = m->bits_max;
	s->bits_by_hand = m->bits_by_hand;
	s->hold_bits = m->hold_bits;
	s->memory_bits = m->memory_bits;
	s->profile_bits = m->profile_bits;
	s->profile = m->profile;
}

/* A wish counts once, however often it is looked at while it waits. */
static void settle(struct policy_state *s, const struct rules *rules,
	const struct policy_inputs *in, bool urgent, bool new_wish)
{
	enum suppressed reason = SUPPRESSED_DWELL;
	bool same = same_limits(&s->budget, &s->wanted);

	s->wake_nsec = same || urgent ? 0 : must_wait(s, rules, in, &reason);
	if (s->wake_nsec > 0) {
		s->n_suppressed[reason] += new_wish;
		return;
	}
	s->budget = s->wanted;
	if (!same)
		do_switch(s, rules, in->now_nsec, !urgent);
}

void policy_resolve(const struct rules *rules, const struct policy_inputs *in,
	const struct policy_model *m, const struct policy_state *before, struct policy_state *ret)
{
	bool urgent = is_urgent(before, rules, m), new_wish, first = !before->decided;
	struct policy_state s = *before;
	struct want want, hard;
	struct budget wanted;

	s.active = find_active(
		rules, in, rules && before->serial == rules->serial ? before->active : 0);
	gather(&want, rules, s.active, m, false);
	gather(&hard, rules, s.active, m, true);
	find_wanted(&wanted, &want, &hard, m);
	new_wish = !same_limits(&wanted, &before->wanted);
	s.wanted = wanted;
	if (first) {
		s.budget = wanted;
		s.wake_nsec = 0;
	} else {
		struct budget now = s.budget;

		clamp_hard(&s.budget, &hard);
		s.budget.hold_broken = wanted.hold_broken;
		if (!urgent && !same_limits(&now, &s.budget))
			do_switch(&s, rules, in->now_nsec, true);
		settle(&s, rules, in, urgent, new_wish);
	}
	remember(&s, rules, m);
	*ret = s;
}
