/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Universal quantization (methods B11; Choi et al. 2018): a shift u, uniform over a step and known to both
 * sides from the seed, makes the error uniform and independent of the weights, whatever their distribution:
 *
 *	q = round((w + u) / step),  decoded step * q - u
 *
 * with half a step added to both, so that the levels lie about zero.
 * One shift per group of columns, which the group's offset carries, so nothing has to draw it again when the
 * planes are used. The step is the one that errs least. The indices pack well (bitshed-model pack).
 */
#include <errno.h>
#include <math.h>

#include "base/cleanup.h"
#include "convert/quantize/method.h"

static uint64_t draw(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = *state;

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* -1/2 .. 1/2 of a step for group @group of row @row. */
static float shift_of(uint64_t seed, uint32_t row, uint32_t group)
{
	uint64_t state = seed + ((uint64_t) row << 32 | group) * UINT64_C(0xd1342543de82ef95);

	return (float) (draw(&state) >> 40) / (float) (1 << 24) - 0.5f;
}

/* Codes of a row on @step. Return: the squared error */
static double code_row(struct coded *c, const float *weights, uint32_t row, float step, uint64_t seed)
{
	float highest = (float) ((1 << c->planes) - 1), zero = highest / 2;
	double sum = 0;

	for (uint32_t t = 0; t < c->columns; t++) {
		float u = shift_of(seed, row, t / c->group_columns);
		float q = fminf(fmaxf(roundf(weights[t] / step + u + zero), 0), highest);
		double e = (double) weights[t] - (double) step * ((double) q - (double) zero - (double) u);

		c->codes[(size_t) row * c->columns + t] = (uint8_t) q;
		sum += e * e;
	}
	return sum;
}

static void store_scales(struct coded *c, uint32_t row, float step, uint64_t seed)
{
	for (uint32_t g = 0; g < c->groups; g++) {
		size_t at = (size_t) row * c->groups + g;

		for (uint32_t i = 0; i < c->planes; i++)
			c->alpha[at * c->planes + i] = ldexpf(step, (int) (c->planes - 2 - i));
		c->offset[at] = -step * shift_of(seed, row, g);
	}
}

/* The step of @rows rows that share it. */
static void code_rows(struct coded *c, const float *weights, uint32_t first, uint32_t rows, uint64_t seed)
{
	struct span s = {.weights = weights + (size_t) first * c->columns, .n = (size_t) rows * c->columns};
	float largest = 2 * span_largest(&s) / (float) ((1 << c->planes) - 1), best = largest;
	double smallest = INFINITY;

	for (int t = 105; t >= 15 && largest > 0; t -= 5) {
		float step = largest * (float) t / 100;
		double error = 0;

		for (uint32_t i = 0; i < rows; i++)
			error += code_row(c, s.weights + (size_t) i * c->columns, first + i, step, seed);
		if (error < smallest) {
			smallest = error;
			best = step;
		}
	}
	for (uint32_t i = 0; i < rows && largest > 0; i++)
		(void) code_row(c, s.weights + (size_t) i * c->columns, first + i, best, seed);
	for (uint32_t i = 0; i < rows; i++)
		store_scales(c, first + i, largest > 0 ? best : 0, seed);
}

int quantize_dithered(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {0};
	uint32_t together = options->per_tensor ? rows : 1;
	int r = coded_allocate(&c, CODING_SUM, rows, columns, options->group_columns, options->planes, false,
		reterr);

	if (r >= 0)
		r = weights_finite(weights, rows, columns, reterr);
	if (r < 0)
		return r;
	c.offset = calloc((size_t) rows * c.groups, sizeof *c.offset);
	if (!c.offset)
		return -ENOMEM;
	for (uint32_t row = 0; row < rows; row += together)
		code_rows(&c, weights, row, together, options->seed);
	*ret = c;
	c = (struct coded){0};
	return 0;
}
