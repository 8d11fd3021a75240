/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/ternary.h"

#include <errno.h>
#include <math.h>

float ternary_scale(const float *w, uint32_t n, float threshold)
{
	double sum = 0;
	uint32_t count = 0;

	for (uint32_t i = 0; i < n; i++)
		if (fabsf(w[i]) > threshold) {
			sum += (double) fabsf(w[i]);
			count++;
		}
	return count ? (float) (sum / count) : 0;
}

int ternary_codes(struct coded *ret, const struct train_layer *l, const float *scale,
	const float *threshold, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {};
	int r = coded_allocate(&c, CODING_SUM, l->rows, l->columns, l->columns, 2, false, reterr);

	if (r < 0)
		return r;
	c.alpha_widths = 1;
	c.alpha_at = calloc(l->rows, sizeof *c.alpha_at);
	if (!c.alpha_at)
		return -ENOMEM;
	for (uint32_t row = 0; row < l->rows; row++) {
		const float *w = l->weight + (size_t) row * l->columns;
		uint8_t *codes = c.codes + (size_t) row * l->columns;

		c.alpha[2 * row] = c.alpha[2 * row + 1] = scale[row] / 2;
		c.alpha_at[row] = ternary_scale(w, l->columns, -1);
		for (uint32_t t = 0; t < l->columns; t++) {
			bool positive = w[t] >= 0, zero = !(fabsf(w[t]) > threshold[row]);

			codes[t] = (uint8_t) (2 * positive + (positive != zero));
		}
	}
	*ret = c;
	c = (struct coded){};
	return 0;
}
