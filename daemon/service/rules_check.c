/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can a set of rules go back and forth while nothing outside changes?
 *
 * Alone: "until" may be true where "when" is. That is tried out over every input that the rule
 * reads, at each threshold, just below, just above and unknown: between thresholds nothing
 * changes. Through the board: fewer bits draw less power, which a condition may read. What
 * follows at once may never end a rule; what follows slowly (heat) may, behind a band and a
 * dwell.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/policy.h"

#define VARIABLES_MAX 12
#define VALUES_MAX 64
#define TRIES_MAX 100000
#define SLOW_DWELL_SEC 10.0

struct variable {
	enum sense sense;
	const char *of;
	double values[VALUES_MAX];
	const char *texts[VALUES_MAX];
	uint32_t n_values, at; /* at == n_values: unknown */
};

struct trial {
	const struct rules *rules;
	struct variable variables[VARIABLES_MAX];
	uint32_t n_variables;
	struct policy_inputs inputs;
};

static int add_value(struct variable *v, double value, const char *text)
{
	for (uint32_t i = 0; i < v->n_values; i++)
		if (v->values[i] == value && strcmp(v->texts[i], text) == 0)
			return 0;
	if (v->n_values == VALUES_MAX)
		return -E2BIG;
	v->texts[v->n_values] = text;
	v->values[v->n_values++] = value;
	return 0;
}

static int add_values(struct variable *v, const struct cond *c)
{
	double around = 1e-6 * fmax(1, fabs(c->value));
	int q = 0;

	switch (rule_senses[c->sense].kind) {
	case SENSE_KIND_NUMBER:
		for (int i = -1; q == 0 && i <= 1; i++)
			q = add_value(v, c->value + i * around, "");
		break;
	case SENSE_KIND_FLAG:
		for (int i = 0; q == 0 && i <= 1; i++)
			q = add_value(v, i, "");
		break;
	case SENSE_KIND_CHOICE:
		for (int i = 0; q == 0 && rule_senses[c->sense].words[i]; i++)
			q = add_value(v, i, "");
		break;
	case SENSE_KIND_TEXT:
		q = add_value(v, 0, "");
		if (q == 0)
			q = add_value(v, 0, "another");
		if (q == 0)
			q = add_value(v, 0, c->text);
		break;
	case SENSE_KIND_CLOCK:
		for (int i = 0; q == 0 && i < 4; i++)
			q = add_value(v, ((i & 1 ? c->from : c->to) + 1440 - i / 2) % 1440, "");
		break;
	case _SENSE_KIND_MAX:
		break;
	}
	return q;
}

static int collect(struct trial *t, int index)
{
	const struct cond *c = &t->rules->conds[index];
	struct variable *v;
	int q = 0;

	for (int i = c->child; q == 0 && i >= 0; i = t->rules->conds[i].next)
		q = collect(t, i);
	if (c->kind != COND_SENSE)
		return q;
	for (uint32_t i = 0; i < t->n_variables; i++)
		if (t->variables[i].sense == c->sense && strcmp(t->variables[i].of, c->of) == 0)
			return add_values(&t->variables[i], c);
	if (t->n_variables == VARIABLES_MAX)
		return -E2BIG;
	v = &t->variables[t->n_variables++];
	v->sense = c->sense;
	v->of = c->of;
	return add_values(v, c);
}

static struct policy_zone *find_zone(struct policy_inputs *in, const char *type)
{
	for (uint32_t i = 0; i < in->n_zones; i++)
		if (strcmp(in->zones[i].type, type) == 0)
			return &in->zones[i];
	(void) snprintf(in->zones[in->n_zones].type, sizeof in->zones[0].type, "%s", type);
	return &in->zones[in->n_zones++];
}

static void put_reading(struct policy_inputs *in, const struct variable *v)
{
	bool known = v->at < v->n_values;
	struct reading r = {known ? v->values[v->at] : 0, known};
	/* A blank is in no name: a zone of its own for conditions that name none. */
	struct policy_zone *z =
		rule_senses[v->sense].zone ? find_zone(in, v->of[0] ? v->of : " ") : NULL;

	if (v->sense == SENSE_TEMPERATURE) {
		z->temperature = r;
	} else if (v->sense == SENSE_TEMPERATURE_TREND) {
		z->trend = r;
	} else if (v->sense == SENSE_TRIP_DISTANCE) {
		z->trip_distance = r;
	} else if (v->sense == SENSE_TELEMETRY) {
		struct policy_telemetry *key = &in->telemetry[in->n_telemetry++];

		(void) snprintf(key->key, sizeof key->key, "%s", v->of);
		key->value = r;
	} else {
		in->plain[v->sense] = r;
		if (known && v->sense == SENSE_PERFORMANCE_DEGRADED)
			(void) snprintf(in->degraded, sizeof in->degraded, "%s", v->texts[v->at]);
	}
}

/* Return: false when all have been tried */
static bool next_trial(struct trial *t)
{
	for (uint32_t i = 0; i < t->n_variables; i++) {
		if (++t->variables[i].at <= t->variables[i].n_values)
			return true;
		t->variables[i].at = 0;
	}
	return false;
}

static int check_alone(const struct rules *r, const struct rule *rule, struct error *reterr)
{
	_cleanup_free_ struct trial *t = calloc(1, sizeof *t);
	double tries = 1;

	if (!t)
		return -ENOMEM;
	t->rules = r;
	for (int i = 0; i < 2; i++)
		if (collect(t, i == 0 ? rule->when : rule->until) < 0)
			tries = TRIES_MAX + 1;
	for (uint32_t i = 0; i < t->n_variables; i++)
		tries *= t->variables[i].n_values + 1;
	if (tries > TRIES_MAX)
		return error_set(reterr, -EINVAL,
			"rule '%s': 'when' and 'until' read too much to be checked against each "
			"other",
			rule->name);
	do {
		memset(&t->inputs, 0, sizeof t->inputs);
		for (uint32_t i = 0; i < t->n_variables; i++)
			put_reading(&t->inputs, &t->variables[i]);
		if (policy_rule_holds(r, rule, &t->inputs, false) &&
			!policy_rule_holds(r, rule, &t->inputs, true))
			return error_set(reterr, -EINVAL,
				"rule '%s' can oscillate: 'when' and 'until' can be true at the "
				"same time",
				rule->name);
	} while (next_trial(t));
	return 0;
}

/* Return: a condition that reads an input of this feedback, or NULL */
static const struct cond *find_feedback(const struct rules *r, int index, enum feedback feedback)
{
	const struct cond *c = index >= 0 ? &r->conds[index] : NULL, *found = NULL;

	if (!c || c->kind == COND_SENSE)
		return c && rule_senses[c->sense].feedback == feedback ? c : NULL;
	for (int i = c->child; !found && i >= 0; i = r->conds[i].next)
		found = find_feedback(r, i, feedback);
	return found;
}

/* Up to the first wildcard of either: rather one pair too many than one too few. */
static bool patterns_meet(const char *a, const char *b)
{
	for (;; a++, b++) {
		if (*a == '*' || *b == '*')
			return true;
		if (*a != *b && *a != '?' && *b != '?')
			return false;
		if (!*a || !*b)
			return *a == *b;
	}
}

static bool models_meet(const struct rule *a, const struct rule *b)
{
	for (uint32_t i = 0; i < a->n_actions; i++)
		for (uint32_t j = 0; j < b->n_actions; j++)
			if (patterns_meet(a->actions[i].models, b->actions[j].models))
				return true;
	return false;
}

static bool reads(const struct rules *r, int index, enum sense sense)
{
	const struct cond *c = index >= 0 ? &r->conds[index] : NULL;
	bool found = false;

	if (!c || c->kind == COND_SENSE)
		return c && c->sense == sense;
	for (int i = c->child; !found && i >= 0; i = r->conds[i].next)
		found = reads(r, i, sense);
	return found;
}

static int check_fast(const struct rules *r, const struct rule *rule, struct error *reterr)
{
	const struct cond *c = find_feedback(r, rule->when, FEEDBACK_FAST);
	const char *name;

	if (!c || (rule->until >= 0 && !find_feedback(r, rule->until, FEEDBACK_FAST)))
		return 0;
	name = rule_senses[c->sense].name;
	for (uint32_t i = 0; i < r->n_rules; i++) {
		const struct rule *other = &r->rules[i];

		if (other != rule && models_meet(rule, other) &&
			(reads(r, other->when, c->sense) || reads(r, other->until, c->sense)))
			return error_set(reterr, -EINVAL,
				"rules '%s' and '%s' can switch each other: both read %s, which "
				"changes as soon as they act; end them by an 'until' that reads "
				"something else",
				rule->name, other->name, name);
	}
	return error_set(reterr, -EINVAL,
		"rule '%s' can switch itself: it reads %s, which changes as soon as it acts; end "
		"it by an 'until' that reads something else",
		rule->name, name);
}

static int check_slow(const struct rules *r, const struct rule *rule, struct error *reterr)
{
	const struct cond *c = find_feedback(r, rule->when, FEEDBACK_SLOW);

	if (!c || rule_dwell_sec(r, rule) >= SLOW_DWELL_SEC)
		return 0;
	return error_set(reterr, -EINVAL,
		"rule '%s' can switch itself: it reads %s, which its action changes; expected a "
		"dwell of at least %g s",
		rule->name, rule_senses[c->sense].name, SLOW_DWELL_SEC);
}

/* Is there a value at which both hold, seen from opposite sides? */
static const char *opposite(const struct rules *r, int a, int b)
{
	const struct cond *x = &r->conds[a], *y = &r->conds[b];
	const char *found = NULL;

	if (x->kind != COND_SENSE) {
		for (int i = x->child; !found && i >= 0; i = r->conds[i].next)
			found = opposite(r, i, b);
		return found;
	}
	if (y->kind != COND_SENSE) {
		for (int i = y->child; !found && i >= 0; i = r->conds[i].next)
			found = opposite(r, a, i);
		return found;
	}
	if (x->sense != y->sense || strcmp(x->of, y->of) != 0 || x->above == y->above ||
		rule_senses[x->sense].feedback == FEEDBACK_NONE)
		return NULL;
	return (x->above ? x->value <= y->value : y->value <= x->value) ? rule_senses[x->sense].name
									: NULL;
}

static bool bits_clash(const struct rule *raising, const struct rule *lowering)
{
	for (uint32_t i = 0; i < raising->n_actions; i++)
		for (uint32_t j = 0; j < lowering->n_actions; j++) {
			const struct action *up = &raising->actions[i],
					    *down = &lowering->actions[j];

			if (patterns_meet(up->models, down->models) && down->bits_max > 0 &&
				up->bits_min > down->bits_max)
				return true;
		}
	return false;
}

static int check_pair(const struct rules *r, const struct rule *first, const struct rule *second,
	struct error *reterr)
{
	const char *name;

	if (second->hard || !bits_clash(first, second))
		return 0;
	name = opposite(r, first->when, second->when);
	return name ? error_set(reterr, -EINVAL,
			      "rules '%s' and '%s' can switch each other: where both hold, '%s' "
			      "raises what '%s' lowers, and %s follows",
			      first->name, second->name, first->name, second->name, name)
		    : 0;
}

int rules_check(const struct rules *r, struct error *reterr)
{
	int q = 0;

	for (uint32_t i = 0; q == 0 && i < r->n_rules; i++) {
		const struct rule *rule = &r->rules[i];

		q = check_fast(r, rule, reterr);
		if (q == 0)
			q = check_slow(r, rule, reterr);
		if (q == 0 && rule->until >= 0)
			q = check_alone(r, rule, reterr);
		for (uint32_t j = i + 1; q == 0 && j < r->n_rules; j++)
			q = check_pair(r, rule, &r->rules[j], reterr);
	}
	return q;
}
