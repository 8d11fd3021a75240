/* SPDX-License-Identifier: Apache-2.0 */
/* Asymmetric linear: the range of the weights, widened to contain 0 so that 0 is exact (methods A4,
 * S1). */
#include <math.h>

#include "convert/quantize/method.h"

static struct grid choose_grid(const struct span *s, uint32_t planes)
{
	struct grid g = {.highest = (1 << planes) - 1};
	float low = 0, high = 0;

	for (size_t i = 0; i < s->n; i++) {
		low = fminf(low, s->weights[i]);
		high = fmaxf(high, s->weights[i]);
	}
	g.step = (float) (((double) high - low) / g.highest);
	g.zero = g.step > 0 ? (int32_t) roundf(-low / g.step) : 0;
	return g;
}

int quantize_linear_asymmetric(struct coded *ret, const float *weights, uint32_t rows,
	uint32_t columns, const struct quantize_options *options, struct error *reterr)
{
	return quantize_grid(ret, weights, rows, columns, options, choose_grid, reterr);
}
