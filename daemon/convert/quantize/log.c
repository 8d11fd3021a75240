/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Powers of two and zero (methods A4, S4). Weights go to the nearest level, which is better than
 * the nearest exponent; the top exponent is that of the largest weight or one less, whichever errs
 * less.
 */
#include <math.h>

#include "convert/quantize/method.h"

static int choose_levels(float *levels, const struct span *s, uint32_t planes)
{
	float largest = span_largest(s), magnitudes[1 << (BITS_PLANES_MAX - 1)] = {0}, top;
	uint32_t half = 1u << (planes - 1);

	if (largest == 0) {
		levels_mirror(levels, magnitudes, planes, 0);
		return 0;
	}
	for (uint32_t i = 1; i < half; i++)
		magnitudes[i] = ldexpf(1, (int) i - (int) (half - 1));
	levels_mirror(levels, magnitudes, planes, 1);
	top = exp2f(roundf(log2f(largest)));
	if (levels_error(levels, 2 * half, top / 2, s) < levels_error(levels, 2 * half, top, s))
		top /= 2;
	levels_mirror(levels, magnitudes, planes, top);
	return 0;
}

int quantize_log(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_levels(ret, weights, rows, columns, options, choose_levels, reterr);
}
