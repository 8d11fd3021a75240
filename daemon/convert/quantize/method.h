/* SPDX-License-Identifier: Apache-2.0 */
/* What the methods share: their prototypes, and filling a struct coded from steps or levels. */
#pragma once

#include "convert/quantize/quantizer.h"

#define QUANTIZER(name, id, fewest, most, help) quantizer_fn quantize_##id;
#define QUANTIZER_WEIGHED(name, id, fewest, most, help) quantizer_fn quantize_##id;
#define QUANTIZER_ROWS(name, id, fewest, most, grid, help) quantizer_rows_fn id##_rows;
#include "convert/quantize/quantizers.inc"
#undef QUANTIZER
#undef QUANTIZER_WEIGHED
#undef QUANTIZER_ROWS

/** weights_finite() - Return: 0, or -EINVAL with the place of the first weight that is not finite
 */
int weights_finite(const float *weights, uint32_t rows, uint32_t columns, struct error *reterr);

/**
 * struct span - the weights that share a scale or a table: one row, or the whole matrix
 * @importance: of each weight, or NULL: all count the same
 * @codes: [n], of level methods that choose them themselves
 * @first, @rows: of the matrix
 */
struct span {
	const float *weights, *importance;
	uint8_t *codes;
	size_t n;
	uint32_t first, rows, columns;
};

/** span_largest() - largest magnitude */
float span_largest(const struct span *s);

/**
 * struct grid - value = step * (q - zero), q the code, an integer from 0 to 2^planes - 1
 * @lowest: the smallest code in use: 1 for an odd number of levels
 */
struct grid {
	float step;
	int32_t zero, lowest, highest;
};

/** grid_symmetric() - 2^planes - 1 levels about zero */
struct grid grid_symmetric(float step, uint32_t planes);

/** grid_error() - squared error of rounding @s to @g */
double grid_error(const struct grid *g, const struct span *s);

/** quantize_grid() - a uniform method: @choose picks the grid of each span */
int quantize_grid(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options,
	struct grid (*choose)(const struct span *s, uint32_t planes), struct error *reterr);

/** span_deviation() - root of the mean square */
float span_deviation(const struct span *s);

/** grid_store() - the codes of @s on @g, each group with the plane scales and the offset of the grid */
void grid_store(struct coded *c, const struct span *s, const struct grid *g);

/** grid_scales() - only the scales and the offset of the groups of @rows rows from @first on */
void grid_scales(struct coded *c, uint32_t first, uint32_t rows, const struct grid *g);

/** levels_nearest() - Return: the number of the level of @n ascending ones that is nearest to @w */
uint32_t levels_nearest(const float *levels, uint32_t n, float w);

/** levels_error() - squared error of rounding @s to the nearest of @n ascending levels times @scale
 */
double levels_error(const float *levels, uint32_t n, float scale, const struct span *s);

/**
 * quantize_levels() - a level method: @choose fills in the ascending table of each span
 *
 * @choose returns 0, 1 when it has written the codes too, or a negative errno.
 */
int quantize_levels(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options,
	int (*choose)(float *levels, const struct span *s, uint32_t planes), struct error *reterr);

/** levels_mirror() - ascending table of 2^planes from zero and the positive ones; zero appears
 * twice */
void levels_mirror(float *levels, const float *magnitudes, uint32_t planes, float scale);

struct fit;

/** nested_lambda() - how much the errors at p = index + 1 of @planes planes count in a joint fit */
void nested_lambda(double *lambda, uint32_t planes, bool favour_top);

/** nested_fit() - load @f with a group and leave the joint nested fit in it (methods D4.4-3) */
void nested_fit(struct fit *f, const float *weights, uint32_t n, uint32_t planes, bool favour_top);
