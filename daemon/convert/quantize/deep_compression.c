/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deep Compression without its retraining (methods B10; Han et al. 2016): weights below PRUNE deviations become
 * zero, the others share 2^planes - 1 levels by k-means, started evenly between the smallest and the largest,
 * which keeps the rare large ones. Codes are mostly that of zero, so the file packs well; that is its point
 * (bitshed-model pack). One table per matrix, as the paper has it, with --per-tensor; else one per row.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/method.h"

#define PRUNE 0.5f
#define ROUNDS 40

/* Level of zero is kept apart: @zero is its place. */
static void move_levels(float *levels, uint32_t n, uint32_t zero, const struct span *s, float threshold)
{
	double sum[1 << BITS_PLANES_MAX] = {0};
	uint64_t count[1 << BITS_PLANES_MAX] = {0};

	for (size_t i = 0; i < s->n; i++) {
		uint32_t at = fabsf(s->weights[i]) < threshold ? zero : levels_nearest(levels, n, s->weights[i]);

		sum[at] += (double) s->weights[i];
		count[at]++;
	}
	for (uint32_t i = 0; i < n; i++)
		if (i != zero && count[i] > 0)
			levels[i] = (float) (sum[i] / (double) count[i]);
}

/* Negative levels below zero's place, as many as their share of the range. */
static uint32_t start_levels(float *levels, uint32_t n, const struct span *s, float threshold)
{
	float low = 0, high = 0;
	uint32_t negative;

	for (size_t i = 0; i < s->n; i++) {
		low = fminf(low, s->weights[i]);
		high = fmaxf(high, s->weights[i]);
	}
	negative = high > low ? (uint32_t) lroundf((float) (n - 1) * (-low / (high - low))) : 0;
	low = fminf(low, -threshold); /* levels ascend, where one side is pruned altogether, too */
	high = fmaxf(high, threshold);
	for (uint32_t i = 0; i < negative; i++)
		levels[i] = low + (-threshold - low) * (float) i / (float) negative;
	levels[negative] = 0;
	for (uint32_t i = negative + 1; i < n; i++)
		levels[i] = threshold + (high - threshold) * (float) (i - negative) / (float) (n - 1 - negative);
	return negative;
}

static int choose_levels(float *levels, const struct span *s, uint32_t planes)
{
	uint32_t n = 1u << planes, zero;
	float threshold = PRUNE * span_deviation(s);

	zero = start_levels(levels, n, s, threshold);
	for (uint32_t round = 0; round < ROUNDS; round++)
		move_levels(levels, n, zero, s, threshold);
	for (size_t i = 0; i < s->n; i++)
		s->codes[i] = (uint8_t) (fabsf(s->weights[i]) < threshold
				? zero : levels_nearest(levels, n, s->weights[i]));
	return 1;
}

int quantize_deep_compression(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_levels(ret, weights, rows, columns, options, choose_levels, reterr);
}
