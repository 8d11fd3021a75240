/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deep Compression (methods B10) as far as it makes weights: small weights are pruned and the rest is trained
 * on; then the survivors share free levels of their layer, which are trained with the sum of their weights'
 * gradients. Files are not entropy coded: planes are read as they are.
 *
 * Our choices: what lies below PRUNE deviations of its layer goes, at once; sharing begins after SHARED of
 * the run; one level stays zero.
 */
#include <math.h>
#include <string.h>

#include "convert/train/soft.h"

#define PRUNE 0.5
#define SHARED 0.5

/* Until weights share levels, choices say which of them live. */
static int deep_compression_init(struct train_layer *l, struct error *reterr)
{
	int r = soft_init(l, false);
	struct soft *s = l->own;
	size_t n = (size_t) l->rows * l->columns;
	double square = 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		square += (double) l->weight[i] * (double) l->weight[i];
	for (size_t i = 0; i < n; i++) {
		s->choice[i] = (double) fabsf(l->weight[i]) >= PRUNE * sqrt(square / (double) n);
		if (!s->choice[i])
			l->weight[i] = 0;
	}
	l->store->params[l->param].mask = s->choice;
	return 0;
}

static uint32_t nearest(const struct train_layer *l, size_t i)
{
	const struct soft *s = l->own;
	uint32_t best = 0;

	for (uint32_t j = 1; l->weight[i] != 0 && j < s->levels; j++)
		if (fabsf(l->weight[i] - s->level[j]) < fabsf(l->weight[i] - s->level[best]) || best == 0)
			best = j;
	return best;
}

/* Level 0 is zero, the others lie evenly between the extremes: the start that the authors found best. */
static void spread_levels(struct train_layer *l)
{
	struct soft *s = l->own;
	float low = 0, high = 0;

	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++) {
		low = fminf(low, l->weight[i]);
		high = fmaxf(high, l->weight[i]);
	}
	s->level[0] = 0;
	for (uint32_t j = 1; j < s->levels; j++)
		s->level[j] = low + (high - low) * ((float) j - 0.5f) / (float) (s->levels - 1);
}

static void mean_levels(struct train_layer *l)
{
	struct soft *s = l->own;
	double sum[SOFT_LEVELS_MAX] = {};
	uint32_t count[SOFT_LEVELS_MAX] = {};

	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++) {
		uint32_t j = nearest(l, i);

		sum[j] += (double) l->weight[i];
		count[j]++;
	}
	for (uint32_t j = 1; j < s->levels; j++)
		if (count[j])
			s->level[j] = (float) (sum[j] / count[j]);
}

static int deep_compression_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct soft *s = l->own;

	if (!s->hard && m->t >= SHARED) {
		spread_levels(l);
		for (int i = 0; i < 10; i++)
			mean_levels(l);
		soft_harden(l, nearest);
	}
	l->store->params[l->param].frozen = s->hard;
	return 0;
}

static void deep_compression_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct soft *s = l->own;

	if (s->hard)
		soft_hard_weights(l, hat);
	else
		memcpy(hat, l->weight, (size_t) l->rows * l->columns * sizeof *hat);
}

static void deep_compression_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	struct soft *s = l->own;

	if (!s->hard) {
		method_straight(l, grad);
		return;
	}
	soft_hard_gradient(l, grad);
	s->level_grad[0] = 0;
}

const struct train_method train_deep_compression = {
	.name = "deep-compression",
	.help = "pruned, then sharing trained levels of a layer (Deep Compression)",
	.planes_min = 2,
	.planes_max = 4,
	.planes_default = 4,
	.init = deep_compression_init,
	.prepare = deep_compression_prepare,
	.weights = deep_compression_weights,
	.gradient = deep_compression_gradient,
	.codes = soft_codes,
	.done = soft_done,
};
