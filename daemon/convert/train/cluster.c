/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/cluster.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static size_t size_of(const struct train_layer *l)
{
	return (size_t) l->rows * l->columns;
}

int cluster_init(struct train_layer *l, uint32_t n)
{
	struct cluster *c = l->own = calloc(1, sizeof *c);
	float most = 0, m;
	int r;

	if (!c)
		return -ENOMEM;
	c->of = calloc(size_of(l), 1);
	c->mask = malloc(size_of(l));
	if (!c->of || !c->mask)
		return -ENOMEM;
	memset(c->mask, 1, size_of(l));
	for (size_t i = 0; i < size_of(l); i++)
		most = fmaxf(most, fabsf(l->weight[i]));
	m = most > 0 ? exp2f(floorf(log2f(most))) : 1;
	c->state.n = n;
	for (uint32_t i = 1; i < n; i++)
		c->state.centre[i] = (i % 2 ? m : -m) / exp2f((float) ((i - 1) / 2));
	l->store->params[l->param].mask = c->mask;
	r = train_store_block(l->store, &c->state, sizeof c->state);
	if (r >= 0)
		r = train_store_block(l->store, c->of, size_of(l));
	return r < 0 ? r : train_store_block(l->store, c->mask, size_of(l));
}

void cluster_done(struct train_layer *l)
{
	struct cluster *c = l->own;

	if (!c)
		return;
	free(c->of);
	free(c->mask);
	free(c);
}

void cluster_assign(struct train_layer *l)
{
	struct cluster *c = l->own;

	for (size_t i = 0; i < size_of(l); i++) {
		uint32_t best = c->of[i];

		if (!c->mask[i])
			continue;
		for (uint32_t j = 0; j < c->state.n; j++)
			if (fabsf(l->weight[i] - c->state.centre[j]) < fabsf(l->weight[i] - c->state.centre[best]))
				best = j;
		c->of[i] = (uint8_t) best;
	}
}

void cluster_means(struct train_layer *l, uint32_t first, int rounds)
{
	struct cluster *c = l->own;

	for (int k = 0; k < rounds; k++) {
		double sum[CLUSTERS_MAX] = {};
		uint32_t count[CLUSTERS_MAX] = {};

		cluster_assign(l);
		for (size_t i = 0; i < size_of(l); i++) {
			sum[c->of[i]] += (double) l->weight[i];
			count[c->of[i]]++;
		}
		for (uint32_t j = first; j < c->state.n; j++)
			if (count[j])
				c->state.centre[j] = (float) (sum[j] / count[j]);
	}
}

void cluster_freeze(struct train_layer *l, uint32_t first, uint32_t end)
{
	struct cluster *c = l->own;

	for (size_t i = 0; i < size_of(l); i++)
		if (c->mask[i] && c->of[i] >= first && c->of[i] < end) {
			l->weight[i] = c->state.centre[c->of[i]];
			c->mask[i] = 0;
		}
}

void cluster_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	memcpy(hat, l->weight, size_of(l) * sizeof *hat);
}

int cluster_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct cluster *c = l->own;
	uint8_t rank[CLUSTERS_MAX] = {};
	int r = coded_allocate(ret, CODING_LEVEL, l->rows, l->columns, l->columns, l->planes, true, reterr);

	if (r < 0)
		return r;
	for (uint32_t j = 0; j < c->state.n; j++)
		for (uint32_t k = 0; k < c->state.n; k++)
			rank[j] += c->state.centre[k] < c->state.centre[j] ||
				(c->state.centre[k] == c->state.centre[j] && k < j);
	for (uint32_t j = 0; j < c->state.n; j++)
		ret->level[rank[j]] = c->state.centre[j];
	for (uint32_t j = c->state.n; j < 1u << l->planes; j++)
		ret->level[j] = ret->level[c->state.n - 1];
	for (size_t i = 0; i < size_of(l); i++)
		ret->codes[i] = rank[c->of[i]];
	return 0;
}
