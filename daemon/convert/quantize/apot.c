/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Additive powers of two (methods A4, S7). The planes without the sign are dealt out in pairs, each
 * pair a term that is zero or one of three powers; an odd last plane is a term of zero or one
 * power. The powers go round the pairs, so that no sum is made twice; the odd one's is taken from
 * the middle, where it errs least (a third at 4 planes of what the largest or smallest would). The
 * largest sum becomes the clipping point, searched like that of linear-clipped.
 */
#include <math.h>

#include "convert/quantize/method.h"

/* All sums of what is there and one more power each. */
static uint32_t add_term(float *magnitudes, uint32_t n, const int *exponents, uint32_t n_exponents)
{
	uint32_t sums = n;

	for (uint32_t p = 0; p < n_exponents; p++)
		for (uint32_t i = 0; i < sums; i++)
			magnitudes[n++] = magnitudes[i] + ldexpf(1, -exponents[p]);
	return n;
}

/* 2^(planes - 1) sums, ascending, the largest scaled to 1. */
static void make_magnitudes(float *magnitudes, uint32_t planes)
{
	uint32_t pairs = (planes - 1) / 2, n = 1;
	bool odd = (planes - 1) % 2;
	int lone = (int) (pairs + 1) / 2 + 1;

	magnitudes[0] = 0;
	for (uint32_t j = 0; j < pairs; j++) {
		int exponents[3];

		for (uint32_t p = 0; p < 3; p++) {
			exponents[p] = (int) (j + p * pairs);
			exponents[p] += odd && exponents[p] >= lone;
		}
		n = add_term(magnitudes, n, exponents, 3);
	}
	if (odd)
		n = add_term(magnitudes, n, &lone, 1);
	for (uint32_t i = 1; i < n; i++) {
		float m = magnitudes[i];
		uint32_t at = i;

		for (; at > 0 && magnitudes[at - 1] > m; at--)
			magnitudes[at] = magnitudes[at - 1];
		magnitudes[at] = m;
	}
	for (uint32_t i = 0; i < n; i++)
		magnitudes[i] /= magnitudes[n - 1];
}

static int choose_levels(float *levels, const struct span *s, uint32_t planes)
{
	float magnitudes[1 << (BITS_PLANES_MAX - 1)], largest = span_largest(s), best = largest;
	double smallest = INFINITY;

	make_magnitudes(magnitudes, planes);
	levels_mirror(levels, magnitudes, planes, 1);
	for (int t = 100; t >= 20 && largest > 0; t -= 2) {
		float scale = largest * (float) t / 100;
		double error = levels_error(levels, 1u << planes, scale, s);

		if (error < smallest) {
			smallest = error;
			best = scale;
		}
	}
	levels_mirror(levels, magnitudes, planes, best);
	return 0;
}

int quantize_apot(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_levels(ret, weights, rows, columns, options, choose_levels, reterr);
}
