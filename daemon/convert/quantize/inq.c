/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grid of INQ without its retraining (methods B16; Zhou et al. 2017): of s, the largest weight,
 *
 *	n1 = floor(log2(4 s / 3)),  n2 = n1 + 1 - 2^(planes - 2),  levels 0, +-2^n2 .. +-2^n1
 *
 * and a weight goes to the nearest of them, which is what its rule of thresholds comes to. That is half as
 * many levels as codes, and one more: the paper spends a bit on zero. Codes above stay unused.
 */
#include <math.h>

#include "convert/quantize/method.h"

static int choose_levels(float *levels, const struct span *s, uint32_t planes)
{
	uint32_t magnitudes = 1u << (planes - 2), n = 1u << planes;
	float largest = span_largest(s);
	int top = largest > 0 ? (int) floorf(log2f(4 * largest / 3)) : 0;

	for (uint32_t i = 0; i < n; i++)
		levels[i] = 0;
	for (uint32_t i = 0; largest > 0 && i < magnitudes; i++) {
		float level = ldexpf(1, top - (int) i);

		levels[i] = -level;
		levels[2 * magnitudes - i] = level;
	}
	for (uint32_t i = 2 * magnitudes + 1; i < n; i++)
		levels[i] = levels[2 * magnitudes];
	return 0;
}

int quantize_inq(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_levels(ret, weights, rows, columns, options, choose_levels, reterr);
}
