/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Symmetric linear, the step a power of two: the one above S2's, or the one below (methods A4, S3).
 */
#include <math.h>

#include "convert/quantize/method.h"

static struct grid choose_grid(const struct span *s, uint32_t planes)
{
	float step = span_largest(s) / (float) ((1 << (planes - 1)) - 1);
	struct grid above, below;

	if (step == 0)
		return grid_symmetric(0, planes);
	above = grid_symmetric(exp2f(ceilf(log2f(step))), planes);
	below = grid_symmetric(exp2f(floorf(log2f(step))), planes);
	return grid_error(&below, s) < grid_error(&above, s) ? below : above;
}

int quantize_linear_pot(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_grid(ret, weights, rows, columns, options, choose_grid, reterr);
}
