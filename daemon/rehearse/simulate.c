/* SPDX-License-Identifier: Apache-2.0 */
#include "rehearse/simulate.h"

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
static void account(struct simulation *s, const struct simulate_model *m, double second)
{
	const struct simulate_moment *last = s->n_moments ? &s->moments[s->n_moments - 1] : NULL;
	double lasted = last ? second - last->second : 0;
	long width;

	if (!last)
		return;
	width = lround(fmin(last->bits, 8) * 8);
	s->seconds_at[width] += lasted;
	s->accuracy += accuracy_at(&m->policy, last->bits) * lasted;
	s->joules += m->joules[width] * m->rate * lasted;
}

int simulation_add(struct simulation *s, const struct simulate_model *m,
	const struct simulate_moment *moment)
{
	account(s, m, moment->second);
	return append(s, moment);
}

static int step(struct simulation *s, const struct rules *rules, const struct policy_inputs *in,
	const struct simulate_model *m, struct policy_state *state)
{
	struct simulate_moment now = {.second = (double) (in->now_nsec - NSEC_PER_SEC) / 1e9};
	double before = state->budget.bits;
	bool first = !state->decided;

	policy_resolve(rules, in, &m->policy, state, state);
	now.bits = state->budget.bits;
	now.wanted_bits = state->wanted.bits;
	now.percent = in->plain[SENSE_BATTERY_PERCENT].known
			      ? in->plain[SENSE_BATTERY_PERCENT].value
			      : NAN;
	now.switched = first || before != now.bits;
	(void) memcpy(now.rule, state->budget.rule_name, sizeof now.rule);
	(void) memcpy(now.text, state->budget.text, sizeof now.text);
	return simulation_add(s, m, &now);
}

void simulation_finish(struct simulation *s, const struct simulate_model *m)
{
	double length =
		s->n_moments ? s->moments[s->n_moments - 1].second - s->moments[0].second : 0;
	double joules = m->joules[lround(m->policy.bits_max * 8)];

	s->bits_max = m->policy.bits_max;
	s->accuracy = length > 0 ? s->accuracy / length : NAN;
	s->accuracy_full = accuracy_at(&m->policy, m->policy.bits_max);
	s->joules = joules > 0 ? s->joules : NAN;
	s->joules_full = joules > 0 ? joules * m->rate * length : NAN;
}

int simulate_run(struct simulation *ret, const struct rules *rules, struct trace *trace,
	const struct simulate_model *model, struct error *reterr)
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
	simulation_finish(&s, model);
	s.n_switches = state.n_switches;
	(void) memcpy(s.n_suppressed, state.n_suppressed, sizeof s.n_suppressed);
	*ret = s;
	return 0;
}

void simulation_done(struct simulation *s)
{
	free(s->moments);
	s->moments = NULL;
	s->n_moments = 0;
}
