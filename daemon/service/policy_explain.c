/* SPDX-License-Identifier: Apache-2.0 */
#include "service/policy_explain.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/** struct text - is filled from the left and cut at its end */
struct text {
	char *to;
	size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(t->to + t->used, t->size - t->used, format, ap);
	va_end(ap);
	if (n > 0)
		t->used = MIN_OF(t->used + (size_t) n, t->size - 1);
}

static void put_words(struct text *t, const struct cond *c, const char *const *words)
{
	bool first = true;

	for (int i = 0; words[i]; i++) {
		if (!(c->choices >> i & 1))
			continue;
		put(t, "%s%s", first ? "" : " or ", words[i]);
		first = false;
	}
}

/* Of a rule that holds: it lets go only when the value is back by its band. */
static void put_number(struct text *t, const struct cond *c, bool ends)
{
	const struct rule_sense *s = &rule_senses[c->sense];
	double band = ends ? fmax(s->band, s->band_part * fabs(c->value)) : 0;
	double value = c->above ? c->value - band : c->value + band;
	bool above = c->above != ends, equal = c->equal != ends;

	put(t, " is %s %.4g%s%s", above ? equal ? "at least" : "above" : equal ? "at most" : "below",
		value, s->unit_names[0][0] ? " " : "", s->unit_names[0]);
}

static void put_sense(struct text *t, const struct cond *c, bool ends)
{
	const struct rule_sense *s = &rule_senses[c->sense];

	put(t, "%s%s%s", s->name, c->of[0] ? " of " : "", c->of);
	switch (s->kind) {
	case SENSE_KIND_FLAG:
		put(t, " is %s", (c->choices >> 1 & 1) != ends ? "true" : "false");
		break;
	case SENSE_KIND_NUMBER:
		put_number(t, c, ends);
		break;
	case SENSE_KIND_CHOICE:
		put(t, " is %s", ends ? "not " : "");
		put_words(t, c, s->words);
		break;
	case SENSE_KIND_TEXT:
		put(t, " is %s%s", ends ? "not " : "", c->text);
		break;
	case SENSE_KIND_CLOCK:
		put(t, " is %s %02u:%02u to %02u:%02u", ends ? "outside of" : "within", c->from / 60,
			c->from % 60, c->to / 60, c->to % 60);
		break;
	case _SENSE_KIND_MAX:
		break;
	}
}

/* By De Morgan: what ends "a and b" is "not a or not b". */
static void put_cond(struct text *t, const struct rules *rules, int index, bool ends, bool nested)
{
	const struct cond *c = &rules->conds[index];
	bool several = c->kind != COND_NOT && c->child >= 0 && rules->conds[c->child].next >= 0;

	if (c->kind == COND_SENSE) {
		put_sense(t, c, ends);
		return;
	}
	if (several && nested)
		put(t, "(");
	for (int i = c->child; i >= 0; i = rules->conds[i].next) {
		put_cond(t, rules, i, c->kind == COND_NOT ? !ends : ends, nested || several);
		if (rules->conds[i].next >= 0)
			put(t, (c->kind == COND_ANY) != ends ? " or " : " and ");
	}
	if (several && nested)
		put(t, ")");
}

/* @ends: what must come instead for a rule that holds by this to let go, the band included. */
static const char *cond_describe(char *to, size_t size, const struct rules *rules, int index, bool ends)
{
	struct text t = {.to = to, .size = size};

	to[0] = '\0';
	put_cond(&t, rules, index, ends, false);
	return to;
}

__attribute__((format(printf, 2, 3))) static void say(struct explanation *e, const char *format, ...)
{
	va_list ap;

	if (e->n == EXPLAIN_LINES_MAX)
		return;
	va_start(ap, format);
	(void) vsnprintf(e->lines[e->n++], sizeof e->lines[0], format, ap);
	va_end(ap);
}

static void say_end(
	struct explanation *e, const struct rules *rules, const struct policy_state *state)
{
	const struct rule *rule = policy_rule(rules, state->budget.rule);
	char text[200];

	switch (state->budget.rule) {
	case RULE_FULL:
		return;
	case RULE_HAND:
		say(e, "it ends when the width is given back: bitshed bits NAME auto");
		return;
	case RULE_PROFILE:
		say(e, "it ends with another profile: bitshed profile");
		return;
	case RULE_HOLD:
		say(e, "it ends when the client lets go; bitshed status says who");
		return;
	case RULE_MEMORY:
		say(e, "it ends when there is more memory, or less in it");
		return;
	default:
		break;
	}
	if (!rule)
		return;
	if (rule->until >= 0)
		cond_describe(text, sizeof text, rules, rule->until, false);
	else
		cond_describe(text, sizeof text, rules, rule->when, true);
	say(e, "it ends when %s", text);
}

static bool same_budget(const struct budget *a, const struct budget *b)
{
	return a->bits == b->bits && a->rule == b->rule;
}

static void say_waiting(struct explanation *e, const struct policy_inputs *in,
	const struct policy_state *state)
{
	if (state->wake_nsec > in->now_nsec && !same_budget(&state->budget, &state->wanted))
		say(e, "%g bits by \"%s\" wait %.0f s: one switch does not follow another at once",
			state->wanted.bits, state->wanted.rule_name,
			ceil((double) (state->wake_nsec - in->now_nsec) / (double) NSEC_PER_SEC));
}

static void say_suppressed(struct explanation *e, const struct policy_state *state)
{
	uint64_t sum = 0;
	char text[160];
	struct text t = {.to = text, .size = sizeof text};

	for (int i = 0; i < _SUPPRESSED_MAX; i++) {
		if (state->n_suppressed[i] > 0)
			put(&t, "%s%llu by %s", sum ? ", " : "",
				(unsigned long long) state->n_suppressed[i], suppressed_name(i));
		sum += state->n_suppressed[i];
	}
	if (sum > 0)
		say(e, "%llu switches so far; withheld: %s", (unsigned long long) state->n_switches,
			text);
}

static void say_limits(
	struct explanation *e, const struct rules *rules, const struct budget *b)
{
	char texts[_DEMAND_MAX][80] = {};

	if (b->refuse)
		(void) snprintf(texts[DEMAND_REFUSE], sizeof texts[0], "requests are refused");
	if (b->rate > 0)
		(void) snprintf(texts[DEMAND_RATE], sizeof texts[0],
			"at most %.3g requests per second", b->rate);
	if (b->threads > 0)
		(void) snprintf(
			texts[DEMAND_THREADS], sizeof texts[0], "at most %u threads", b->threads);
	if (b->park_after_sec > 0)
		(void) snprintf(texts[DEMAND_PARK], sizeof texts[0],
			"parked when nobody asks for %u s", b->park_after_sec);
	if (b->activation_bits > 0)
		(void) snprintf(texts[DEMAND_ACTIVATION], sizeof texts[0],
			"activations of at most %u bits, on a device that can choose",
			b->activation_bits);
	if (b->device != POLICY_DEVICE_ANY)
		(void) snprintf(texts[DEMAND_DEVICE], sizeof texts[0], "on %s, if it is there",
			policy_device_name(b->device));
	for (enum demand i = 0; i < _DEMAND_MAX; i++)
		if (texts[i][0])
			say(e, "%s, by \"%s\"", texts[i], policy_limited_by(rules, b, i));
	if (b->hold_broken)
		say(e, "a client holds more, and a hard limit goes before that");
}

static double lowest_bits(const struct rule *rule, const struct policy_model *model)
{
	double lowest = 0;

	for (uint32_t i = 0; i < rule->n_actions; i++) {
		const struct action *a = &rule->actions[i];
		double bits = a->loss_max >= 0 ? policy_bits_for_loss(model, a->loss_max) : 0;

		if (!rule_matches(a->models, model->name))
			continue;
		if (a->bits_max > 0 && (bits <= 0 || a->bits_max < bits))
			bits = a->bits_max;
		if (bits > 0 && (lowest <= 0 || bits < lowest))
			lowest = bits;
	}
	return lowest;
}

static bool needs_card(const struct rule *rule, const struct policy_model *model)
{
	for (uint32_t i = 0; i < rule->n_actions; i++)
		if (rule->actions[i].loss_max >= 0 && rule_matches(rule->actions[i].models, model->name))
			return model->n_accuracies == 0;
	return false;
}

static void say_others(struct explanation *e, const struct rules *rules,
	const struct policy_model *model, const struct policy_state *state)
{
	char text[160];

	for (uint32_t i = 0; rules && i < rules->n_rules; i++) {
		const struct rule *rule = &rules->rules[i];
		double bits = lowest_bits(rule, model);

		if (bits > 0 && bits < state->budget.bits && !(state->active >> i & 1))
			say(e, "\"%s\" would allow %g bits, when %s", rule->name, bits,
				cond_describe(text, sizeof text, rules, rule->when, false));
		if ((state->active >> i & 1) && needs_card(rule, model))
			say(e, "\"%s\" asks for the file's accuracy card, and it has none: see "
			       "bitshed-model evaluate --store", rule->name);
	}
}

void policy_explain(struct explanation *ret, const struct rules *rules,
	const struct policy_inputs *inputs, const struct policy_model *model,
	const struct policy_state *state)
{
	ret->n = 0;
	if (!state->decided)
		return;
	say_end(ret, rules, state);
	say_waiting(ret, inputs, state);
	say_limits(ret, rules, &state->budget);
	say_suppressed(ret, state);
	say_others(ret, rules, model, state);
}
