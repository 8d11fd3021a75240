/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Soft-to-hard annealing (methods B12), one weight at a time: a weight is the mean of its layer's levels,
 * each by softmax of -sigma (w - level)^2, and sigma grows until the nearest has it all. Weights and levels
 * are trained together.
 *
 * Our choices: sigma in units of the mean squared distance to the nearest level, from START to END with the
 * power of the time; nearest levels after HARD of the run, with levels that go on; no entropy term, as
 * planes are not entropy coded.
 */
#include <math.h>

#include "convert/train/soft.h"

#define START 0.5
#define END 50.0
#define HARD 0.8

static int soft_to_hard_init(struct train_layer *l, struct error *reterr)
{
	return soft_init(l, false);
}

static uint32_t nearest(const struct train_layer *l, size_t i)
{
	const struct soft *s = l->own;
	uint32_t best = 0;

	for (uint32_t j = 1; j < s->levels; j++)
		if (fabsf(l->weight[i] - s->level[j]) < fabsf(l->weight[i] - s->level[best]))
			best = j;
	return best;
}

static int soft_to_hard_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct soft *s = l->own;
	size_t n = (size_t) l->rows * l->columns;
	double square = 0;

	if (!s->hard && m->t >= HARD)
		soft_harden(l, nearest);
	l->store->params[l->param].frozen = s->hard;
	if (s->hard)
		return 0;
	for (size_t i = 0; i < n; i++) {
		double d = (double) (l->weight[i] - s->level[nearest(l, i)]);

		square += d * d;
	}
	s->sharp = (float) (START * pow(END / START, m->t / HARD) / (square / (double) n + 1e-12));
	return 0;
}

static float mean_level(const struct train_layer *l, size_t i, float *phi)
{
	const struct soft *s = l->own;

	for (uint32_t j = 0; j < s->levels; j++) {
		float d = l->weight[i] - s->level[j];

		phi[j] = -s->sharp * d * d;
	}
	return soft_mean(s, phi);
}

static void soft_to_hard_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct soft *s = l->own;
	float phi[SOFT_LEVELS_MAX];

	if (s->hard) {
		soft_hard_weights(l, hat);
		return;
	}
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		hat[i] = mean_level(l, i, phi);
}

/* d hat / d w = 2 sigma var(level); d hat / d level_j = phi_j (1 + 2 sigma (w - level_j)(level_j - hat)) */
static void soft_to_hard_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	struct soft *s = l->own;
	double sum[SOFT_LEVELS_MAX] = {};

	if (s->hard) {
		soft_hard_gradient(l, grad);
		return;
	}
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++) {
		float phi[SOFT_LEVELS_MAX], hat = mean_level(l, i, phi), variance = 0;

		for (uint32_t j = 0; j < s->levels; j++) {
			float away = s->level[j] - hat;

			variance += phi[j] * away * away;
			sum[j] += (double) (grad[i] * phi[j] *
				(1 + 2 * s->sharp * (l->weight[i] - s->level[j]) * away));
		}
		l->weight_grad[i] += 2 * s->sharp * variance * grad[i];
	}
	for (uint32_t j = 0; j < s->levels; j++)
		s->level_grad[j] += (float) sum[j];
}

const struct train_method train_soft_to_hard = {
	.name = "soft-to-hard",
	.help = "free levels of a layer, chosen softly at first (soft-to-hard)",
	.planes_min = 1,
	.planes_max = 4,
	.planes_default = 2,
	.init = soft_to_hard_init,
	.prepare = soft_to_hard_prepare,
	.weights = soft_to_hard_weights,
	.gradient = soft_to_hard_gradient,
	.codes = soft_codes,
	.done = soft_done,
};
