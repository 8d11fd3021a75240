/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/optimise.h"

#include <math.h>

#define BETA_1 0.9f
#define BETA_2 0.999f
#define EPSILON 1e-8f

float optimise_rate(const struct optimise *o, uint64_t step, uint64_t steps)
{
	double t = steps ? (double) step / (double) steps : 0, rate = o->rate;

	if (t < (double) o->warm)
		return (float) (rate * ((double) step + 1) / ((double) o->warm * (double) steps + 1));
	switch (o->schedule) {
	case SCHEDULE_COSINE:
		return (float) (rate * 0.5 * (1 + cos(M_PI * t)));
	case SCHEDULE_STEP:
		return (float) (rate * (t < 0.5 ? 1 : t < 0.75 ? 0.1 : 0.01));
	case SCHEDULE_FLAT:
	case _SCHEDULE_MAX:
		break;
	}
	return (float) rate;
}

/* What to multiply all gradients with. */
static float clip_factor(const struct optimise *o, const struct train_store *s)
{
	double square = 0;

	if (!(o->clip > 0))
		return 1;
	for (uint32_t i = 0; i < s->n_params; i++)
		for (size_t j = 0; !s->params[i].frozen && j < s->params[i].n; j++)
			square += (double) s->params[i].grad[j] * s->params[i].grad[j];
	return square > (double) o->clip * o->clip ? (float) ((double) o->clip / sqrt(square)) : 1;
}

static void step_sgd(const struct optimise *o, struct train_param *p, float rate, float factor)
{
	float decay = p->decay ? o->decay : 0;

	for (size_t i = 0; i < p->n; i++) {
		if (p->mask && !p->mask[i])
			continue;
		p->first[i] = o->momentum * p->first[i] + factor * p->grad[i] + decay * p->value[i];
		p->value[i] -= rate * p->first[i];
	}
}

/* Weight decay acts on the value, not through the moments. */
static void step_adam(const struct optimise *o, struct train_param *p, uint64_t step, float rate,
	float factor)
{
	double first = 1 - pow((double) BETA_1, (double) step + 1);
	double second = 1 - pow((double) BETA_2, (double) step + 1);
	float a = (float) (rate / first), b = (float) (1 / sqrt(second)), decay = p->decay ? o->decay : 0;

	for (size_t i = 0; i < p->n; i++) {
		float g = factor * p->grad[i], v;

		if (p->mask && !p->mask[i])
			continue;
		p->first[i] = BETA_1 * p->first[i] + (1 - BETA_1) * g;
		p->second[i] = BETA_2 * p->second[i] + (1 - BETA_2) * g * g;
		p->largest[i] = fmaxf(p->largest[i], p->second[i]);
		v = o->optimiser == OPTIMISER_AMSGRAD ? p->largest[i] : p->second[i];
		p->value[i] -= a * p->first[i] / (sqrtf(v) * b + EPSILON) + rate * decay * p->value[i];
	}
}

void optimise_step(const struct optimise *o, struct train_store *s, uint64_t step, float rate)
{
	float factor = clip_factor(o, s);

	for (uint32_t i = 0; i < s->n_params; i++) {
		struct train_param *p = &s->params[i];

		if (p->frozen)
			continue;
		if (o->optimiser == OPTIMISER_SGD)
			step_sgd(o, p, rate * p->rate, factor);
		else
			step_adam(o, p, step, rate * p->rate, factor);
	}
}
