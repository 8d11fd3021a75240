/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INQ, incremental network quantization (methods B16): zero and signed powers of two; half of the largest
 * weights of each layer are set to their level and stay, then half of the rest, and so on, while the others
 * are trained on. Levels are those of the layer as it came.
 *
 * Our choice: the published portions, in equal parts of the first LAST of the run.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/train/cluster.h"

#define LAST 0.85

static const double portions[] = {0.5, 0.75, 0.875, 1};

/* Centres 0, +-2^n1, +-2^(n1 - 1), ... */
static int inq_init(struct train_layer *l, struct error *reterr)
{
	uint32_t n = (1u << (l->planes - 1)) + 1;
	struct cluster *c;
	float most = 0, top;
	int r = cluster_init(l, n);

	if (r < 0)
		return r;
	c = l->own;
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		most = fmaxf(most, fabsf(l->weight[i]));
	top = most > 0 ? floorf(log2f(4 * most / 3)) : 0;
	for (uint32_t i = 1; i < n; i++)
		c->state.centre[i] = (i % 2 ? 1.0f : -1.0f) * exp2f(top - (float) ((i - 1) / 2));
	return 0;
}

/* Between two levels the border is midway; above the largest there is none. */
static void assign_level(struct cluster *c, const float *w, size_t i)
{
	uint32_t best = 0;

	for (uint32_t j = 1; j < c->state.n; j++)
		if (fabsf(w[i] - c->state.centre[j]) < fabsf(w[i] - c->state.centre[best]))
			best = j;
	c->of[i] = (uint8_t) best;
}

static int descending(const void *a, const void *b)
{
	float x = *(const float *) a, y = *(const float *) b;

	return x > y ? -1 : x < y;
}

/* The magnitude that @share of all weights reach. */
static int threshold(const struct train_layer *l, double share, float *ret)
{
	size_t n = (size_t) l->rows * l->columns;
	_cleanup_free_ float *sorted = malloc(n * sizeof *sorted);

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		sorted[i] = fabsf(l->weight[i]);
	qsort(sorted, n, sizeof *sorted, descending);
	*ret = share < 1 ? sorted[MIN_OF((size_t) (share * (double) n), n - 1)] : 0;
	return 0;
}

static int inq_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct cluster *c = l->own;
	uint32_t stage = c->state.stage, n = ARRAY_SIZE(portions);
	float least;
	int r;

	if (stage == n || m->t < LAST * stage / (n - 1))
		return 0;
	r = threshold(l, portions[stage], &least);
	for (size_t i = 0; r >= 0 && i < (size_t) l->rows * l->columns; i++)
		if (c->mask[i] && fabsf(l->weight[i]) >= least) {
			assign_level(c, l->weight, i);
			l->weight[i] = c->state.centre[c->of[i]];
			c->mask[i] = 0;
		}
	c->state.stage = stage + 1;
	return r;
}

const struct train_method train_inq = {
	.name = "inq",
	.help = "powers of two, the largest weights frozen first (INQ)",
	.planes_min = 3,
	.planes_max = 5,
	.planes_default = 5,
	.init = inq_init,
	.prepare = inq_prepare,
	.weights = cluster_weights,
	.codes = cluster_codes,
	.done = cluster_done,
};
