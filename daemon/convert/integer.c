/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codes that know the integers they will be run with. Every matrix computes with weights of -127..127 on
 * one scale per row (engine/model.h); scales that were fitted as real numbers are rounded then, and at
 * many planes this rounding is a larger error than the fit's own. So after the fit the widest scales are
 * put on that grid, and the less significant planes are chosen again for what they decode to.
 */
#include "convert/integer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define WEIGHT_MAX 127
#define STEPS_MAX (2 * WEIGHT_MAX)
#define FREE_PLANES_MAX 5

int integer_grid(struct coded *ret, float *row_scale, const float *weights, uint32_t rows,
	uint32_t columns)
{
	struct coded c = {.coding = CODING_LEVEL, .rows = rows, .columns = columns,
		.group_columns = columns, .groups = 1, .planes = 8, .shared_levels = true};

	c.codes = malloc((size_t) rows * columns);
	c.level = malloc(256 * sizeof *c.level);
	if (!c.codes || !c.level) {
		coded_done(&c);
		return -ENOMEM;
	}
	/* Level 0 is never used: -128 would move the grid of all others. */
	for (int i = 0; i < 256; i++)
		c.level[i] = (float) ((i ? i : 1) - 128) / WEIGHT_MAX;
	for (uint32_t r = 0; r < rows; r++) {
		const float *w = weights + (size_t) r * columns;
		float most = 0;

		for (uint32_t t = 0; t < columns; t++)
			most = fmaxf(most, fabsf(w[t]));
		row_scale[r] = most > 0 ? most : 1;
		for (uint32_t t = 0; t < columns; t++)
			c.codes[(size_t) r * columns + t] =
				(uint8_t) (rintf(w[t] / row_scale[r] * WEIGHT_MAX) + 128);
	}
	*ret = c;
	return 0;
}

static float reach(const struct coded *c, uint32_t row, uint32_t group)
{
	const float *alpha = c->alpha + ((size_t) row * c->groups + group) * c->planes;
	float sum = 0;

	for (uint32_t i = 0; i < c->planes; i++)
		sum += fabsf(alpha[i]);
	return sum;
}

/* The scales of one group as halves of integers; their sum is an integer (engine/model.h), at most 127 and
 * exactly 127 for the widest group, because its reach is what the row's scale comes from. */
static void round_group(float *alpha, uint32_t planes, float scale, bool widest)
{
	int q[BITS_PLANES_MAX], sum = 0;

	for (uint32_t i = 0; i < planes; i++) {
		q[i] = (int) rintf(2 * alpha[i] / scale);
		sum += abs(q[i]);
	}
	while (sum > STEPS_MAX || (widest && sum < STEPS_MAX) || sum % 2 != 0) {
		int step = sum > STEPS_MAX ? -1 : 1;
		uint32_t at = 0;
		float best = -INFINITY;

		/* The one that rounding has moved furthest the other way; never the last integer to zero. */
		for (uint32_t i = 0; i < planes; i++) {
			float moved = ((float) abs(q[i]) - fabsf(2 * alpha[i] / scale)) * (float) -step;

			if (q[i] != 0 && (step > 0 || abs(q[i]) > 1) && moved > best) {
				best = moved;
				at = i;
			}
		}
		q[at] += q[at] < 0 ? -step : step;
		sum += step;
	}
	for (uint32_t i = 0; i < planes; i++)
		alpha[i] = (float) q[i] * scale / 2;
}

/* What prefix of @planes planes of @code decodes to. */
static float decode(const float *alpha, uint32_t all, uint32_t planes, uint32_t code)
{
	float sum = 0;

	for (uint32_t i = 0; i < planes; i++)
		sum += code >> (all - 1 - i) & 1 ? alpha[i] : -alpha[i];
	return sum;
}

/* Errors of all prefixes that the free planes change, each width weighing as much as the next. */
static void encode_group(struct coded *c, uint32_t row, uint32_t group, const float *weights)
{
	const float *alpha = c->alpha + ((size_t) row * c->groups + group) * c->planes;
	uint32_t n_free = MIN_OF(c->planes - 3, FREE_PLANES_MAX), first = c->planes - n_free;
	uint32_t begin = group * c->group_columns, end = MIN_OF(begin + c->group_columns, c->columns);
	uint8_t *codes = c->codes + (size_t) row * c->columns;

	for (uint32_t t = begin; t < end; t++) {
		uint32_t fixed = codes[t] & ~((1u << n_free) - 1), best = codes[t];
		float best_error = INFINITY;

		for (uint32_t low = 0; low < 1u << n_free; low++) {
			float weight = 1, error = 0;

			for (uint32_t p = first + 1; p <= c->planes; p++, weight *= 4) {
				float e = weights[t] - decode(alpha, c->planes, p, fixed | low);

				error += weight * e * e;
			}
			if (error < best_error) {
				best_error = error;
				best = fixed | low;
			}
		}
		codes[t] = (uint8_t) best;
	}
}

void integer_scales(struct coded *c, uint32_t row)
{
	uint32_t widest = 0;
	float scale;

	for (uint32_t g = 1; g < c->groups; g++)
		if (reach(c, row, g) > reach(c, row, widest))
			widest = g;
	scale = reach(c, row, widest) / WEIGHT_MAX;
	for (uint32_t g = 0; scale > 0 && g < c->groups; g++)
		round_group(c->alpha + ((size_t) row * c->groups + g) * c->planes, c->planes, scale,
			g == widest);
}

void integer_codes(struct coded *c, const float *weights)
{
	if (c->coding != CODING_SUM || c->offset || c->planes < 5)
		return;
	for (uint32_t r = 0; r < c->rows; r++) {
		integer_scales(c, r);
		for (uint32_t g = 0; g < c->groups; g++)
			encode_group(c, r, g, weights + (size_t) r * c->columns);
	}
}
