/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/soft.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define ROUNDS 20

static size_t size_of(const struct train_layer *l)
{
	return (size_t) l->rows * l->columns;
}

static uint32_t nearest(const struct soft *s, float w)
{
	uint32_t best = 0;

	for (uint32_t j = 1; j < s->levels; j++)
		if (fabsf(w - s->level[j]) < fabsf(w - s->level[best]))
			best = j;
	return best;
}

/* Lloyd's rounds from levels that are spread over two deviations to both sides. */
static void find_levels(struct train_layer *l)
{
	struct soft *s = l->own;
	double square = 0;

	for (size_t i = 0; i < size_of(l); i++)
		square += (double) l->weight[i] * (double) l->weight[i];
	for (uint32_t j = 0; j < s->levels; j++)
		s->level[j] = (float) (sqrt(square / (double) size_of(l)) *
			(4.0 * (j + 0.5) / s->levels - 2));
	for (int k = 0; k < ROUNDS; k++) {
		double sum[SOFT_LEVELS_MAX] = {};
		uint32_t count[SOFT_LEVELS_MAX] = {};

		for (size_t i = 0; i < size_of(l); i++) {
			uint32_t j = nearest(s, l->weight[i]);

			sum[j] += (double) l->weight[i];
			count[j]++;
		}
		for (uint32_t j = 0; j < s->levels; j++)
			if (count[j])
				s->level[j] = (float) (sum[j] / count[j]);
	}
}

int soft_init(struct train_layer *l, bool logits)
{
	struct soft *s = l->own = calloc(1, sizeof *s);
	size_t n;
	int r;

	if (!s)
		return -ENOMEM;
	s->levels = 1u << l->planes;
	n = logits ? size_of(l) * s->levels : 0;
	s->level = calloc(2 * SOFT_LEVELS_MAX, sizeof *s->level);
	s->choice = calloc(size_of(l), 1);
	s->logit = logits ? calloc(2 * n, sizeof *s->logit) : NULL;
	if (!s->level || !s->choice || (logits && !s->logit))
		return -ENOMEM;
	s->level_grad = s->level + SOFT_LEVELS_MAX;
	s->logit_grad = s->logit + n;
	find_levels(l);
	r = train_store_param(l->store, s->level, s->level_grad, s->levels, false, 0.1f);
	if (r >= 0 && logits)
		r = train_store_param(l->store, s->logit, s->logit_grad, n, false, 1);
	if (r >= 0)
		r = train_store_block(l->store, s->choice, size_of(l));
	return r < 0 ? r : train_store_block(l->store, &s->hard, sizeof s->hard);
}

void soft_done(struct train_layer *l)
{
	struct soft *s = l->own;

	if (!s)
		return;
	free(s->level);
	free(s->choice);
	free(s->logit);
	free(s);
}

float soft_mean(const struct soft *s, float *share)
{
	float most = -INFINITY, sum = 0, mean = 0;

	for (uint32_t j = 0; j < s->levels; j++)
		most = fmaxf(most, share[j]);
	for (uint32_t j = 0; j < s->levels; j++) {
		share[j] = expf(share[j] - most);
		sum += share[j];
	}
	for (uint32_t j = 0; j < s->levels; j++) {
		share[j] /= sum;
		mean += share[j] * s->level[j];
	}
	return mean;
}

void soft_harden(struct train_layer *l, uint32_t (*of)(const struct train_layer *l, size_t i))
{
	struct soft *s = l->own;

	for (size_t i = 0; i < size_of(l); i++)
		s->choice[i] = (uint8_t) of(l, i);
	s->hard = true;
}

void soft_hard_weights(const struct train_layer *l, float *hat)
{
	const struct soft *s = l->own;

	for (size_t i = 0; i < size_of(l); i++)
		hat[i] = s->level[s->choice[i]];
}

void soft_hard_gradient(struct train_layer *l, const float *grad)
{
	struct soft *s = l->own;
	double sum[SOFT_LEVELS_MAX] = {};

	for (size_t i = 0; i < size_of(l); i++)
		sum[s->choice[i]] += (double) grad[i];
	for (uint32_t j = 0; j < s->levels; j++)
		s->level_grad[j] += (float) sum[j];
}

int soft_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct soft *s = l->own;
	uint8_t rank[SOFT_LEVELS_MAX] = {};
	int r = coded_allocate(ret, CODING_LEVEL, l->rows, l->columns, l->columns, l->planes, true, reterr);

	if (r < 0)
		return r;
	for (uint32_t j = 0; j < s->levels; j++)
		for (uint32_t k = 0; k < s->levels; k++)
			rank[j] += s->level[k] < s->level[j] || (s->level[k] == s->level[j] && k < j);
	for (uint32_t j = 0; j < s->levels; j++)
		ret->level[rank[j]] = s->level[j];
	for (size_t i = 0; i < size_of(l); i++)
		ret->codes[i] = rank[s->choice[i]];
	return 0;
}
