/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of levels: a code is the number of a level, the levels ascend. */
#include <errno.h>
#include <math.h>

#include "convert/quantize/method.h"

uint32_t levels_nearest(const float *levels, uint32_t n, float w)
{
	uint32_t low = 0, high = n - 1;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if ((double) w + w < (double) levels[middle] + levels[middle + 1])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

double levels_error(const float *levels, uint32_t n, float scale, const struct span *s)
{
	double sum = 0;

	for (size_t i = 0; i < s->n; i++) {
		double e = s->weights[i] -
			   (double) scale * levels[levels_nearest(levels, n, s->weights[i] / scale)];

		sum += e * e;
	}
	return sum;
}

void levels_mirror(float *levels, const float *magnitudes, uint32_t planes, float scale)
{
	uint32_t half = 1u << (planes - 1);

	for (uint32_t i = 0; i < half; i++) {
		levels[half + i] = scale * magnitudes[i];
		levels[half - 1 - i] = -scale * magnitudes[i];
	}
	levels[half - 1] = 0; /* not -0 */
}

int quantize_levels(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options,
	int (*choose)(float *levels, const struct span *s, uint32_t planes), struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {0};
	uint32_t together, n;
	int r;

	r = coded_allocate(&c, CODING_LEVEL, rows, columns, columns, options->planes,
		options->per_tensor, reterr);
	if (r < 0)
		return r;
	r = weights_finite(weights, rows, columns, reterr);
	if (r < 0)
		return r;
	n = 1u << options->planes;
	together = options->per_tensor ? rows : 1;
	for (uint32_t row = 0; row < rows; row += together) {
		struct span s = {.weights = weights + (size_t) row * columns,
			.importance = options->importance
				? options->importance + (size_t) row * columns : NULL,
			.codes = c.codes + (size_t) row * columns,
			.n = (size_t) together * columns,
			.first = row,
			.rows = together,
			.columns = columns};
		float *levels = c.level + (options->per_tensor ? 0 : (size_t) row * n);

		r = choose(levels, &s, options->planes);
		if (r < 0)
			return r;
		for (size_t i = 0; r == 0 && i < s.n; i++)
			s.codes[i] = (uint8_t) levels_nearest(levels, n, s.weights[i]);
	}
	*ret = c;
	c = (struct coded){0};
	return 0;
}
