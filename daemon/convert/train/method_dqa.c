/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DQA, direct quantization (methods B7): there is no latent weight that is rounded; what is trained is which
 * of its layer's levels a weight is, a softmax over logits whose temperature falls until it is one of them,
 * and the levels.
 *
 * A reconstruction from the abstract: logits start as the negative squared distance to k-means levels in
 * units of the mean one, tau grows from 1 to 100, the choice is made after HARD of the run, levels go on.
 */
#include <math.h>

#include "convert/train/soft.h"

#define TAU_END 100.0
#define HARD 0.8

static int dqa_init(struct train_layer *l, struct error *reterr)
{
	size_t n = (size_t) l->rows * l->columns;
	int r = soft_init(l, true);
	struct soft *s = l->own;
	double square = 0;

	for (size_t i = 0; r >= 0 && i < n; i++) {
		float best = INFINITY;

		for (uint32_t j = 0; j < s->levels; j++)
			best = fminf(best, fabsf(l->weight[i] - s->level[j]));
		square += (double) best * (double) best / (double) n;
	}
	for (size_t i = 0; r >= 0 && i < n; i++)
		for (uint32_t j = 0; j < s->levels; j++) {
			float d = l->weight[i] - s->level[j];

			s->logit[i * s->levels + j] = (float) (-(double) (d * d) / (square + 1e-12));
		}
	return r;
}

static uint32_t largest(const struct train_layer *l, size_t i)
{
	const struct soft *s = l->own;
	const float *t = s->logit + i * s->levels;
	uint32_t best = 0;

	for (uint32_t j = 1; j < s->levels; j++)
		if (t[j] > t[best])
			best = j;
	return best;
}

static int dqa_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct soft *s = l->own;

	if (!s->hard && m->t >= HARD)
		soft_harden(l, largest);
	s->sharp = (float) pow(TAU_END, fmin(m->t / HARD, 1));
	l->store->params[l->param].frozen = true;
	return 0;
}

static float mean_level(const struct soft *s, size_t i, float *share)
{
	for (uint32_t j = 0; j < s->levels; j++)
		share[j] = s->sharp * s->logit[i * s->levels + j];
	return soft_mean(s, share);
}

static void dqa_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct soft *s = l->own;
	float r[SOFT_LEVELS_MAX];

	if (s->hard) {
		soft_hard_weights(l, hat);
		return;
	}
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		hat[i] = mean_level(s, i, r);
}

static void dqa_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	struct soft *s = l->own;
	double sum[SOFT_LEVELS_MAX] = {};

	if (s->hard) {
		soft_hard_gradient(l, grad);
		return;
	}
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++) {
		float r[SOFT_LEVELS_MAX], hat = mean_level(s, i, r);

		for (uint32_t j = 0; j < s->levels; j++) {
			sum[j] += (double) (r[j] * grad[i]);
			s->logit_grad[i * s->levels + j] += s->sharp * r[j] * (s->level[j] - hat) * grad[i];
		}
	}
	for (uint32_t j = 0; j < s->levels; j++)
		s->level_grad[j] += (float) sum[j];
}

const struct train_method train_dqa = {
	.name = "dqa",
	.help = "the choice of a level is what is trained (DQA)",
	.planes_min = 1,
	.planes_max = 4,
	.planes_default = 2,
	.init = dqa_init,
	.prepare = dqa_prepare,
	.weights = dqa_weights,
	.gradient = dqa_gradient,
	.codes = soft_codes,
	.done = soft_done,
};
