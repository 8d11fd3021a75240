/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/quantize/quantizer.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "convert/quantize/method.h"

static int check_planes(
	const char *name, uint32_t planes, uint32_t fewest, uint32_t most, struct error *reterr)
{
	if (planes < fewest || planes > most)
		return error_set(reterr, -EINVAL, "%s: planes must be %u to %u, not %u", name,
			fewest, most, planes);
	return 0;
}

/* In front of each method, so that none divides by the levels it does not have. */
#define QUANTIZER_ROWS(n, id, fewest, most, grid, h)
#define QUANTIZER_WEIGHED QUANTIZER
#define QUANTIZER(n, id, fewest, most, h)                                                          \
	static int run_##id(struct coded *ret, const float *weights, uint32_t rows,                \
		uint32_t columns, const struct quantize_options *options, struct error *reterr)    \
	{                                                                                          \
		int r = check_planes(n, options->planes, fewest, most, reterr);                    \
                                                                                                   \
		return r < 0 ? r : quantize_##id(ret, weights, rows, columns, options, reterr);    \
	}
#include "convert/quantize/quantizers.inc"
#undef QUANTIZER

#undef QUANTIZER_ROWS
#undef QUANTIZER_WEIGHED

const struct quantizer quantizers[] = {
#define QUANTIZER(n, id, fewest, most, h)                                                          \
	{.name = (n), .help = (h), .run = run_##id, .planes_min = (fewest), .planes_max = (most)},
#define QUANTIZER_WEIGHED(n, id, fewest, most, h)                                                  \
	{.name = (n), .help = (h), .run = run_##id, .planes_min = (fewest), .planes_max = (most),  \
		.weighs = true},
#define QUANTIZER_ROWS(n, id, fewest, most, on_grid, h)                                            \
	{.name = (n), .help = (h), .rows = id##_rows, .planes_min = (fewest), .planes_max = (most), \
		.grid = (on_grid)},
#include "convert/quantize/quantizers.inc"
#undef QUANTIZER
#undef QUANTIZER_WEIGHED
#undef QUANTIZER_ROWS
};

const struct quantizer quantizer_gptq = {
	.name = "gptq",
	.help = "nested binary codes that keep each layer's output (default with --calibrate)",
	.planes_min = 1,
	.planes_max = BITS_PLANES_MAX,
};

const uint32_t n_quantizers = ARRAY_SIZE(quantizers);

const struct quantizer *quantizer_find(const char *name)
{
	for (uint32_t i = 0; i < n_quantizers; i++)
		if (strcmp(quantizers[i].name, name) == 0)
			return &quantizers[i];
	return strcmp(quantizer_gptq.name, name) == 0 ? &quantizer_gptq : NULL;
}

void coded_done(struct coded *c)
{
	free(c->codes);
	free(c->alpha);
	free(c->offset);
	free(c->alpha_at);
	free(c->level);
	*c = (struct coded){0};
}

int coded_allocate(struct coded *ret, enum coding coding, uint32_t rows, uint32_t columns,
	uint32_t group_columns, uint32_t planes, bool shared_levels, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {.coding = coding,
		.rows = rows,
		.columns = columns,
		.planes = planes,
		.shared_levels = coding == CODING_LEVEL && shared_levels};
	size_t codes, scales;

	if (planes < 1 || planes > BITS_PLANES_MAX)
		return error_set(
			reterr, -EINVAL, "planes must be 1 to %d, not %u", BITS_PLANES_MAX, planes);
	if (rows == 0 || columns == 0 || columns > INT32_MAX || !bytes_mul(&codes, rows, columns))
		return error_set(reterr, -EINVAL, "a matrix of %u x %u", rows, columns);
	if (coding == CODING_LEVEL || group_columns > columns)
		group_columns = columns;
	if (group_columns == 0 || (group_columns < columns && group_columns % BITS_PER_WORD))
		return error_set(reterr, -EINVAL, "group columns must be a multiple of %d, not %u",
			BITS_PER_WORD, group_columns);
	c.group_columns = group_columns;
	c.groups = (columns - 1) / group_columns + 1;
	c.codes = calloc(codes, 1);
	if (coding == CODING_LEVEL)
		c.level = calloc(c.shared_levels ? 1 : rows, sizeof *c.level << planes);
	else if (bytes_mul(&scales, (size_t) rows * c.groups, planes * sizeof *c.alpha))
		c.alpha = calloc(1, scales);
	if (!c.codes || (!c.level && !c.alpha))
		return -ENOMEM;
	*ret = c;
	c = (struct coded){0};
	return 0;
}

float coded_value(const struct coded *c, uint32_t row, uint32_t column)
{
	uint32_t code = c->codes[(size_t) row * c->columns + column];
	size_t group = (size_t) row * c->groups + column / c->group_columns;
	double value;

	if (c->coding == CODING_LEVEL)
		return c->level[((size_t) (c->shared_levels ? 0 : row) << c->planes) + code];
	value = c->offset ? c->offset[group] : 0;
	for (uint32_t i = 0; i < c->planes; i++) {
		float alpha = c->alpha[group * c->planes + i];

		value += code >> (c->planes - 1 - i) & 1 ? alpha : -alpha;
	}
	return (float) value;
}

int weights_finite(const float *weights, uint32_t rows, uint32_t columns, struct error *reterr)
{
	for (size_t i = 0; i < (size_t) rows * columns; i++)
		if (!isfinite(weights[i]))
			return error_set(reterr, -EINVAL, "weight [%zu][%zu] is not finite",
				i / columns, i % columns);
	return 0;
}

float span_largest(const struct span *s)
{
	float largest = 0;

	for (size_t i = 0; i < s->n; i++)
		largest = fmaxf(largest, fabsf(s->weights[i]));
	return largest;
}

float span_deviation(const struct span *s)
{
	double sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += (double) s->weights[i] * s->weights[i];
	return s->n ? (float) sqrt(sum / (double) s->n) : 0;
}
