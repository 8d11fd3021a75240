/* SPDX-License-Identifier: Apache-2.0 */
/* Symmetric linear, the range clipped by the t of 1.00 to 0.05 with the smallest error (methods A4,
 * S5). */
#include <math.h>

#include "convert/quantize/method.h"

static struct grid choose_grid(const struct span *s, uint32_t planes)
{
	float step = span_largest(s) / (float) ((1 << (planes - 1)) - 1);
	struct grid best = grid_symmetric(step, planes);
	double smallest = INFINITY;

	for (int t = 100; t >= 5; t--) {
		struct grid g = grid_symmetric(step * (float) t / 100, planes);
		double error = grid_error(&g, s);

		if (error < smallest) {
			smallest = error;
			best = g;
		}
	}
	return best;
}

int quantize_linear_clipped(struct coded *ret, const float *weights, uint32_t rows,
	uint32_t columns, const struct quantize_options *options, struct error *reterr)
{
	return quantize_grid(ret, weights, rows, columns, options, choose_grid, reterr);
}
