/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entropy-constrained scalar quantization (methods B9; Choi et al. 2017). The cost of a code is its error, weighed
 * by what is known of the loss' second derivative, and the length that an ideal code would give it:
 *
 *	a_i = argmin over j of h_i (w_i - c_j)^2 - lambda log2 p_j,  c_j the weighted mean and p_j the share of j
 *
 * lambda is searched so that the entropy is one bit below the planes: a file of 4 planes packs to 3 bits a
 * weight and errs less than 3 planes of equally long codes. One table for the matrix with --per-tensor.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/cleanup.h"
#include "convert/quantize/method.h"

#define ROUNDS 12
#define SEARCH 8
#define WINDOW 8 /* codes to each side of the nearest level that a shorter length may win */

/**
 * struct ecsq - @n: levels; @bits: what a code of each costs, INFINITY where nobody uses it
 */
struct ecsq {
	const struct span *s;
	uint32_t n;
	double level[1 << BITS_PLANES_MAX], bits[1 << BITS_PLANES_MAX];
};

static double mass_of(const struct span *s, size_t i)
{
	return s->importance ? (double) s->importance[i] : 1;
}

static uint32_t nearest(const struct ecsq *e, double w)
{
	uint32_t low = 0, high = e->n - 1;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (2 * w < e->level[middle] + e->level[middle + 1])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static uint32_t best_code(const struct ecsq *e, double w, double h, double lambda)
{
	uint32_t at = nearest(e, w), begin = at > WINDOW ? at - WINDOW : 0, best = at;
	uint32_t end = MIN_OF(at + WINDOW + 1, e->n);
	double smallest = INFINITY;

	for (uint32_t j = begin; j < end; j++) {
		double d = w - e->level[j], cost = h * d * d + lambda * e->bits[j];

		if (cost < smallest) {
			smallest = cost;
			best = j;
		}
	}
	return best;
}

/* One round. Return: the entropy of the codes in bits */
static double step(struct ecsq *e, double lambda)
{
	double sum[1 << BITS_PLANES_MAX] = {0}, mass[1 << BITS_PLANES_MAX] = {0}, entropy = 0;
	double last = -INFINITY;
	uint64_t count[1 << BITS_PLANES_MAX] = {0};

	for (size_t i = 0; i < e->s->n; i++) {
		double h = mass_of(e->s, i) + 1e-12;
		uint32_t j = best_code(e, (double) e->s->weights[i], h, lambda);

		e->s->codes[i] = (uint8_t) j;
		sum[j] += h * (double) e->s->weights[i];
		mass[j] += h;
		count[j]++;
	}
	for (uint32_t j = 0; j < e->n; j++) {
		double p = (double) count[j] / (double) e->s->n;

		if (count[j] > 0)
			e->level[j] = sum[j] / mass[j];
		e->level[j] = last = fmax(e->level[j], last); /* ascending, whoever has moved */
		e->bits[j] = count[j] > 0 ? -log2(p) : INFINITY;
		entropy += count[j] > 0 ? -p * log2(p) : 0;
	}
	return entropy;
}

static void start(struct ecsq *e, float low, float high)
{
	for (uint32_t j = 0; j < e->n; j++) {
		e->level[j] = (double) low + ((double) high - (double) low) * (j + 0.5) / e->n;
		e->bits[j] = log2(e->n);
	}
}

static double run(struct ecsq *e, float low, float high, double lambda)
{
	double entropy = 0, last = -1;

	start(e, low, high);
	for (uint32_t round = 0; round < ROUNDS && fabs(entropy - last) > 1e-4; round++) {
		last = entropy;
		entropy = step(e, lambda);
	}
	return entropy;
}

/* Levels that nobody uses take their neighbour's place, so that the table ascends. */
static void store(const struct ecsq *e, float *levels)
{
	double last = -INFINITY;

	for (uint32_t j = 0; j < e->n; j++)
		if (isfinite(e->bits[j])) {
			last = e->level[j];
			break;
		}
	for (uint32_t j = 0; j < e->n; j++) {
		if (isfinite(e->bits[j]))
			last = fmax(last, e->level[j]);
		levels[j] = (float) last;
	}
}

static int choose_levels(float *levels, const struct span *s, uint32_t planes)
{
	_cleanup_free_ struct ecsq *e = calloc(1, sizeof *e);
	double low_lambda = 0, high_lambda = 0, scale = 0, target = planes - 1.0;
	float low = 0, high = 0;

	if (!e)
		return -ENOMEM;
	e->s = s;
	e->n = 1u << planes;
	for (size_t i = 0; i < s->n; i++) {
		low = fminf(low, s->weights[i]);
		high = fmaxf(high, s->weights[i]);
		scale += mass_of(s, i) * (double) s->weights[i] * (double) s->weights[i] / (double) s->n;
	}
	/* Two bits more divide the error by 16: lambda is some part of the variance. */
	if (run(e, low, high, 0) > target)
		high_lambda = scale;
	for (int i = 0; i < SEARCH && high_lambda > 0; i++) {
		double lambda = low_lambda > 0 ? sqrt(low_lambda * high_lambda) : high_lambda / 4;

		if (run(e, low, high, lambda) > target)
			low_lambda = lambda;
		else
			high_lambda = lambda;
	}
	(void) run(e, low, high, high_lambda);
	store(e, levels);
	return 1;
}

int quantize_ecsq(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_levels(ret, weights, rows, columns, options, choose_levels, reterr);
}
