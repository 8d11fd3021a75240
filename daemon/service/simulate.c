/* SPDX-License-Identifier: Apache-2.0 */
#include "service/simulate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static int append(struct simulation *s, const struct simulate_moment *m)
{
	struct simulate_moment *more;

	if ((s->n_moments & (s->n_moments - 1)) == 0) {
		more = reallocarray(s->moments, s->n_moments ? s->n_moments * 2 : 1, sizeof *more);
		if (!more)
			return -ENOMEM;
		s->moments = more;
	}
	s->moments[s->n_moments++] = *m;
	return 0;
}

/* By the card, straight lines between its widths. Return: percent, NAN without a card */
static double accuracy_at(const struct policy_model *m, double bits)
{
	const struct accuracy *low = NULL, *high = NULL;

	for (uint32_t i = 0; i < m->n_accuracies; i++) {
		const struct accuracy *a = &m->accuracies[i];

		if (a->bits <= bits && (!low || a->bits > low->bits))
			low = a;
		if (a->bits >= bits && (!high || a->bits < high->bits))
			high = a;
	}
	low = low ?: high;
	high = high ?: low;
	if (!low)
		return NAN;
	if (high->bits <= low->bits)
		return low->top1;
	return low->top1 + (high->top1 - low->top1) * (bits - low->bits) / (high->bits - low->bits);
}

/* The width of the last moment has lasted until @second. */
static void account(struct simulation *s, const struct policy_model *m, double second)
{
	const struct simulate_moment *last = s->n_moments ? &s->moments[s->n_moments - 1] : NULL;
	double lasted = last ? second - last->second : 0;

	if (!last)
		return;
	s->seconds_at[(int) lround(last->bits * 8)] += lasted;
	s->accuracy += accuracy_at(m, last->bits) * lasted;
}

static int step(struct simulation *s, const struct rules *rules, const struct policy_inputs *in,
	const struct policy_model *m, struct policy_state *state)
{
	struct simulate_moment now = {.second = (double) (in->now_nsec - NSEC_PER_SEC) / 1e9};
	double before = state->budget.bits;
	bool first = !state->decided;

	policy_resolve(rules, in, m, state, state);
	account(s, m, now.second);
	now.bits = state->budget.bits;
	now.wanted_bits = state->wanted.bits;
	now.percent = in->plain[SENSE_BATTERY_PERCENT].known
			      ? in->plain[SENSE_BATTERY_PERCENT].value
			      : NAN;
	now.switched = first || before != now.bits;
	(void) memcpy(now.rule, state->budget.rule_name, sizeof now.rule);
	(void) memcpy(now.text, state->budget.text, sizeof now.text);
	return append(s, &now);
}

static void finish(
	struct simulation *s, const struct policy_model *m, const struct policy_state *state)
{
	double length =
		s->n_moments ? s->moments[s->n_moments - 1].second - s->moments[0].second : 0;

	s->bits_max = m->bits_max;
	s->accuracy = length > 0 ? s->accuracy / length : NAN;
	s->accuracy_full = accuracy_at(m, m->bits_max);
	s->n_switches = state->n_switches;
	(void) memcpy(s->n_suppressed, state->n_suppressed, sizeof s->n_suppressed);
}

int simulate_run(struct simulation *ret, const struct rules *rules, struct trace *trace,
	const struct policy_model *model, struct error *reterr)
{
	struct simulation s = {};
	struct policy_inputs in = {}, next;
	struct policy_state state = {};
	int r;

	while ((r = trace_next(trace, &next, reterr)) > 0) {
		/* What had to wait comes between two lines. */
		while (r > 0 && state.decided && state.wake_nsec > 0 &&
			state.wake_nsec < next.now_nsec) {
			in.now_nsec = state.wake_nsec;
			r = step(&s, rules, &in, model, &state) < 0 ? -ENOMEM : 1;
		}
		in = next;
		if (r > 0)
			r = step(&s, rules, &in, model, &state) < 0 ? -ENOMEM : 1;
		if (r < 0)
			break;
	}
	if (r < 0) {
		simulation_done(&s);
		return r;
	}
	finish(&s, model, &state);
	*ret = s;
	return 0;
}

void simulation_done(struct simulation *s)
{
	free(s->moments);
	s->moments = NULL;
	s->n_moments = 0;
}

static void print_time(FILE *to, double second)
{
	unsigned long t = (unsigned long) second;

	fprintf(to, "%02lu:%02lu:%02lu", t / 3600, t / 60 % 60, t % 60);
}

void simulation_print(const struct simulation *s, FILE *to)
{
	double length = 0;

	fprintf(to, "time      bits   rule                  because\n");
	for (size_t i = 0; i < s->n_moments; i++)
		if (s->moments[i].switched) {
			print_time(to, s->moments[i].second);
			fprintf(to, "  %-5g  %-20s  %s\n", s->moments[i].bits, s->moments[i].rule,
				s->moments[i].text);
		}
	fprintf(to, "\nswitches: %lu; suppressed:", (unsigned long) s->n_switches);
	for (int i = 0; i < _SUPPRESSED_MAX; i++)
		fprintf(to, " %lu by %s%s", (unsigned long) s->n_suppressed[i],
			suppressed_name((enum suppressed) i), i + 1 < _SUPPRESSED_MAX ? "," : "\n");
	for (size_t i = 0; i < ARRAY_SIZE(s->seconds_at); i++)
		length += s->seconds_at[i];
	for (size_t i = 0; i < ARRAY_SIZE(s->seconds_at); i++)
		if (s->seconds_at[i] > 0) {
			fprintf(to, "%5g bits: ", (double) i / 8);
			print_time(to, s->seconds_at[i]);
			fprintf(to, " (%.1f %%)\n", s->seconds_at[i] / length * 100);
		}
	if (isnan(s->accuracy))
		fprintf(to, "accuracy: not known, give a model with --model=NAME=FILE\n");
	else
		fprintf(to,
			"accuracy: %.2f %% on average, by the model's card; %.2f %% at all bits\n",
			s->accuracy, s->accuracy_full);
}
