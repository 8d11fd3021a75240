/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uniform steps as sum coding, exact (methods D2): bit j of q counts 2^j steps, so its plane's
 * scale is half of that, and the offset takes up the middle of the range and the zero point.
 */
#include <errno.h>
#include <math.h>

#include "convert/quantize/method.h"

struct grid grid_symmetric(float step, uint32_t planes)
{
	int32_t half = 1 << (planes - 1);

	return (struct grid){.step = step, .zero = half, .lowest = 1, .highest = 2 * half - 1};
}

static int32_t grid_code(const struct grid *g, float w)
{
	/* A step of 0 is a span of zeros. Clamped before the cast: w / step may be beyond any
	 * integer. */
	float q = g->step > 0 ? roundf(w / g->step) : 0;

	q = fminf(fmaxf(q, (float) (g->lowest - g->zero)), (float) (g->highest - g->zero));
	return (int32_t) q + g->zero;
}

double grid_error(const struct grid *g, const struct span *s)
{
	double sum = 0;

	for (size_t i = 0; i < s->n; i++) {
		double e =
			s->weights[i] - (double) g->step * (grid_code(g, s->weights[i]) - g->zero);

		sum += e * e;
	}
	return sum;
}

void grid_scales(struct coded *c, uint32_t first, uint32_t rows, const struct grid *g)
{
	double middle = 0.5 * ((1 << c->planes) - 1);

	for (size_t group = (size_t) first * c->groups; group < (size_t) (first + rows) * c->groups; group++) {
		for (uint32_t i = 0; i < c->planes; i++)
			c->alpha[group * c->planes + i] =
				ldexpf(g->step, (int) (c->planes - 2 - i));
		c->offset[group] = (float) (g->step * (middle - g->zero));
	}
}

void grid_store(struct coded *c, const struct span *s, const struct grid *g)
{
	uint8_t *codes = c->codes + (size_t) s->first * c->columns;

	for (size_t i = 0; i < s->n; i++)
		codes[i] = (uint8_t) grid_code(g, s->weights[i]);
	grid_scales(c, s->first, s->rows, g);
}

int quantize_grid(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options,
	struct grid (*choose)(const struct span *s, uint32_t planes), struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {0};
	uint32_t together;
	int r;

	r = coded_allocate(&c, CODING_SUM, rows, columns, columns, options->planes, false, reterr);
	if (r < 0)
		return r;
	r = weights_finite(weights, rows, columns, reterr);
	if (r < 0)
		return r;
	c.offset = calloc(rows, sizeof *c.offset);
	if (!c.offset)
		return -ENOMEM;
	together = options->per_tensor ? rows : 1;
	for (uint32_t row = 0; row < rows; row += together) {
		struct span s = {.weights = weights + (size_t) row * columns,
			.n = (size_t) together * columns,
			.first = row,
			.rows = together,
			.columns = columns};
		struct grid g = choose(&s, options->planes);

		grid_store(&c, &s, &g);
	}
	*ret = c;
	c = (struct coded){0};
	return 0;
}
