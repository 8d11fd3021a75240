/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions over inputs, in three values: what is not known is neither true nor false. */
#include <math.h>
#include <string.h>

#include "service/policy.h"

/** enum truth - of a condition: Kleene's three values */
enum truth {
	TRUTH_FALSE,
	TRUTH_UNKNOWN,
	TRUTH_TRUE,
};

/*
 * A threshold that lets go later than it takes hold. @hold: 1 the rule holds already, -1 the
 * same below an odd number of "not", 0 it does not.
 */
static bool compare(const struct cond *c, double v, int hold)
{
	const struct rule_sense *s = &rule_senses[c->sense];
	double band = hold * fmax(s->band, s->band_part * fabs(c->value));

	if (c->above)
		return c->equal ? v >= c->value - band : v > c->value - band;
	return c->equal ? v <= c->value + band : v < c->value + band;
}

static enum truth eval_reading(const struct cond *c, struct reading r, int hold)
{
	if (!r.known || !isfinite(r.value))
		return TRUTH_UNKNOWN;
	return compare(c, r.value, hold) ? TRUTH_TRUE : TRUTH_FALSE;
}

static struct reading zone_reading(const struct policy_zone *z, enum sense sense)
{
	return sense == SENSE_TEMPERATURE	  ? z->temperature
	       : sense == SENSE_TEMPERATURE_TREND ? z->trend
						  : z->trip_distance;
}

static bool is_worse(enum sense sense, double a, double b)
{
	return sense == SENSE_TRIP_DISTANCE ? a < b : a > b;
}

/*
 * One number for all zones of the name, or for all: the worst. Were a condition true as soon as it is for
 * any zone, both "below 5 C" and "above 10 C" would hold on a board with two.
 */
static enum truth eval_zones(const struct cond *c, const struct policy_inputs *in, int hold)
{
	struct reading worst = {};

	for (uint32_t i = 0; i < in->n_zones; i++) {
		struct reading r = zone_reading(&in->zones[i], c->sense);

		if ((c->of[0] && strcmp(c->of, in->zones[i].type) != 0) || !r.known || !isfinite(r.value))
			continue;
		if (!worst.known || is_worse(c->sense, r.value, worst.value))
			worst = r;
	}
	return eval_reading(c, worst, hold);
}

static enum truth eval_telemetry(const struct cond *c, const struct policy_inputs *in, int hold)
{
	for (uint32_t i = 0; i < in->n_telemetry; i++)
		if (strcmp(c->of, in->telemetry[i].key) == 0)
			return eval_reading(c, in->telemetry[i].value, hold);
	return TRUTH_UNKNOWN;
}

static bool holds_text(const struct cond *c, const char *text)
{
	if (strcmp(c->text, "any") == 0)
		return text[0];
	if (strcmp(c->text, "none") == 0)
		return !text[0];
	return strcmp(c->text, text) == 0;
}

static bool in_clock(const struct cond *c, double minutes)
{
	if (c->from < c->to)
		return minutes >= c->from && minutes < c->to;
	return minutes >= c->from || minutes < c->to;
}

static enum truth eval_plain(const struct cond *c, const struct policy_inputs *in, int hold)
{
	struct reading r = in->plain[c->sense];
	bool holds = false;

	if (!r.known || !isfinite(r.value))
		return TRUTH_UNKNOWN;
	switch (rule_senses[c->sense].kind) {
	case SENSE_KIND_NUMBER:
		return eval_reading(c, r, hold);
	case SENSE_KIND_FLAG:
		holds = c->choices >> (r.value != 0) & 1;
		break;
	case SENSE_KIND_CHOICE:
		holds = r.value >= 0 && r.value < 32 && (c->choices >> (uint32_t) r.value & 1);
		break;
	case SENSE_KIND_TEXT:
		holds = holds_text(c, in->degraded);
		break;
	case SENSE_KIND_CLOCK:
		holds = in_clock(c, r.value);
		break;
	case _SENSE_KIND_MAX:
		break;
	}
	return holds ? TRUTH_TRUE : TRUTH_FALSE;
}

static enum truth eval_sense(const struct cond *c, const struct policy_inputs *in, int hold)
{
	if (c->sense < _SENSE_PLAIN_MAX)
		return eval_plain(c, in, hold);
	return c->sense == SENSE_TELEMETRY ? eval_telemetry(c, in, hold) : eval_zones(c, in, hold);
}

static enum truth eval(
	const struct rules *rules, int index, const struct policy_inputs *in, int hold)
{
	const struct cond *c = &rules->conds[index];
	enum truth t = c->kind == COND_ANY ? TRUTH_FALSE : TRUTH_TRUE, child;

	if (c->kind == COND_SENSE)
		return eval_sense(c, in, hold);
	if (c->kind == COND_NOT)
		return TRUTH_TRUE - eval(rules, c->child, in, -hold);
	for (int i = c->child; i >= 0; i = rules->conds[i].next) {
		child = eval(rules, i, in, hold);
		t = c->kind == COND_ANY ? MAX_OF(t, child) : MIN_OF(t, child);
	}
	return t;
}

bool policy_rule_holds(const struct rules *rules, const struct rule *rule,
	const struct policy_inputs *in, bool before)
{
	enum truth t;

	if (rule->until >= 0 && before) {
		t = eval(rules, rule->until, in, 0);
		if (t != TRUTH_UNKNOWN)
			return t == TRUTH_FALSE;
	}
	t = eval(rules, rule->when, in, before && rule->until < 0);
	return t == TRUTH_UNKNOWN ? rule->unknown : t == TRUTH_TRUE;
}
