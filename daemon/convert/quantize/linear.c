/* SPDX-License-Identifier: Apache-2.0 */
/* Symmetric linear: the largest weight is the last level (methods A4, S2). */
#include "convert/quantize/method.h"

static struct grid choose_grid(const struct span *s, uint32_t planes)
{
	return grid_symmetric(span_largest(s) / (float) ((1 << (planes - 1)) - 1), planes);
}

int quantize_linear(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_grid(ret, weights, rows, columns, options, choose_grid, reterr);
}
