/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ALQ without labels (methods A5.2, A5.4; Qu et al. 2020, their code): per group, binary bases by structured
 * sketching, the sign of what is left and then all scales again; after that alternating steps
 *
 *	each code nearest to its weight;  alpha = (B^T H B + 1e-6)^-1 B^T H w
 *
 * H the diagonal of the loss' second derivative, for which the energy of the inputs stands; its gradient at
 * trained weights is taken as zero. Bases by falling scale, so that prefixes of them are models too.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/method.h"

#define ROUNDS 20
#define RIDGE 1e-6

struct group {
	const float *weights, *importance;
	uint8_t *codes;
	uint32_t n, planes;
	double alpha[BITS_PLANES_MAX];
};

static double sign_of(const struct group *g, uint32_t t, uint32_t plane)
{
	return g->codes[t] >> (g->planes - 1 - plane) & 1 ? 1 : -1;
}

/* Gauss on a small symmetric system; the ridge keeps bases that say the same apart. */
static void solve(double m[BITS_PLANES_MAX][BITS_PLANES_MAX + 1], uint32_t n, double *x)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t r = i + 1; r < n; r++) {
			double factor = m[i][i] > 0 ? m[r][i] / m[i][i] : 0;

			for (uint32_t j = i; j <= n; j++)
				m[r][j] -= factor * m[i][j];
		}
	for (uint32_t i = n; i-- > 0;) {
		double rest = m[i][n];

		for (uint32_t j = i + 1; j < n; j++)
			rest -= m[i][j] * x[j];
		x[i] = m[i][i] > 0 ? rest / m[i][i] : 0;
	}
}

/* Scales of the first @k bases in the metric. */
static void fit_scales_of(struct group *g, uint32_t k)
{
	double m[BITS_PLANES_MAX][BITS_PLANES_MAX + 1] = {0}, mass = 0;

	for (uint32_t t = 0; t < g->n; t++) {
		double h = g->importance ? (double) g->importance[t] + 1e-12 : 1;

		mass += h;
		for (uint32_t i = 0; i < k; i++) {
			for (uint32_t j = 0; j < k; j++)
				m[i][j] += h * sign_of(g, t, i) * sign_of(g, t, j);
			m[i][k] += h * sign_of(g, t, i) * (double) g->weights[t];
		}
	}
	for (uint32_t i = 0; i < k; i++)
		m[i][i] += RIDGE * mass;
	solve(m, k, g->alpha);
}

static double value_of(const struct group *g, uint32_t code, uint32_t k)
{
	double v = 0;

	for (uint32_t i = 0; i < k; i++)
		v += code >> (g->planes - 1 - i) & 1 ? g->alpha[i] : -g->alpha[i];
	return v;
}

static void sketch(struct group *g)
{
	memset(g->codes, 0, g->n);
	for (uint32_t k = 0; k < g->planes; k++) {
		for (uint32_t t = 0; t < g->n; t++)
			if ((double) g->weights[t] - value_of(g, g->codes[t], k) >= 0)
				g->codes[t] |= (uint8_t) (1u << (g->planes - 1 - k));
		fit_scales_of(g, k + 1);
	}
}

static bool assign(struct group *g)
{
	double value[1 << BITS_PLANES_MAX];
	bool moved = false;

	for (uint32_t c = 0; c < 1u << g->planes; c++)
		value[c] = value_of(g, c, g->planes);
	for (uint32_t t = 0; t < g->n; t++) {
		double smallest = INFINITY;
		uint8_t best = g->codes[t];

		for (uint32_t c = 0; c < 1u << g->planes; c++) {
			double e = fabs((double) g->weights[t] - value[c]);

			if (e < smallest) {
				smallest = e;
				best = (uint8_t) c;
			}
		}
		moved |= best != g->codes[t];
		g->codes[t] = best;
	}
	return moved;
}

/* Positive scales, the largest first. */
static void order(struct group *g)
{
	uint32_t place[BITS_PLANES_MAX];
	double alpha[BITS_PLANES_MAX];

	for (uint32_t i = 0; i < g->planes; i++) {
		uint32_t at = i;

		for (; at > 0 && fabs(g->alpha[place[at - 1]]) < fabs(g->alpha[i]); at--)
			place[at] = place[at - 1];
		place[at] = i;
	}
	for (uint32_t i = 0; i < g->planes; i++)
		alpha[i] = g->alpha[place[i]];
	for (uint32_t t = 0; t < g->n; t++) {
		uint32_t code = 0;

		for (uint32_t i = 0; i < g->planes; i++)
			if ((sign_of(g, t, place[i]) > 0) == (alpha[i] >= 0))
				code |= 1u << (g->planes - 1 - i);
		g->codes[t] = (uint8_t) code;
	}
	for (uint32_t i = 0; i < g->planes; i++)
		g->alpha[i] = fabs(alpha[i]);
}

int quantize_alq(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {0};
	int r = coded_allocate(&c, CODING_SUM, rows, columns, options->group_columns, options->planes, false,
		reterr);

	if (r >= 0)
		r = weights_finite(weights, rows, columns, reterr);
	for (size_t i = 0; r >= 0 && i < (size_t) rows * c.groups; i++) {
		uint32_t begin = (uint32_t) (i % c.groups) * c.group_columns;
		size_t at = i / c.groups * columns + begin;
		struct group g = {.weights = weights + at, .codes = c.codes + at, .planes = c.planes,
			.importance = options->importance ? options->importance + at : NULL,
			.n = MIN_OF(c.group_columns, columns - begin)};

		sketch(&g);
		for (uint32_t round = 0; round < ROUNDS && assign(&g); round++)
			fit_scales_of(&g, g.planes);
		order(&g);
		for (uint32_t k = 0; k < c.planes; k++)
			c.alpha[i * c.planes + k] = (float) g.alpha[k];
	}
	if (r < 0)
		return r;
	*ret = c;
	c = (struct coded){0};
	return 0;
}
