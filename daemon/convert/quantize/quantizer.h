/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weight quantizers: fp32 matrix in, coded matrix out. quantizers.inc is the list: one file and one
 * row per method; options, help, tests and comparisons come from it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/bits.h"
#include "engine/model.h"

/**
 * struct quantize_options - for one matrix
 * @planes: 1..8
 * @group_columns: sum coding: columns that share scales (a multiple of 64, or >= columns)
 * @per_tensor: methods with one scale or codebook per matrix: share it over all rows, else per row
 * @importance: [rows][columns], what a squared error of each weight costs, or NULL
 * @favour_top: nested methods: the widest width matters more than the narrower ones
 * @seed: methods that draw
 */
struct quantize_options {
	uint32_t planes, group_columns;
	bool per_tensor, favour_top;
	const float *importance;
	uint64_t seed;
};

/**
 * struct coded - a quantized matrix before it is written; owned, coded_done() frees
 * @codes: [rows][columns], bit (planes - 1 - i) is plane i: the code read as a number has plane 0
 *as its most significant bit
 * @alpha: sum: [rows][groups][planes], value = offset + sum alpha_i * (bit_i ? 1 : -1), i from
 *plane 0
 * @offset: sum: [rows][groups] or NULL
 * @alpha_widths, @alpha_at: as in struct matrix; 0 and NULL unless the method knows the inputs
 * @level: level: [shared ? 1 : rows][1 << planes], ascending
 */
struct coded {
	enum coding coding;
	uint32_t rows, columns, group_columns, groups, planes, alpha_widths;
	bool shared_levels;
	uint8_t *codes;
	float *alpha, *offset, *alpha_at, *level;
};

void coded_done(struct coded *c);

/**
 * coded_allocate() - room for the codes and scales of a matrix, all zero
 * @group_columns: of sum coding; level coding has one group per row
 * @shared_levels: level coding: one table for all rows
 *
 * Return: 0; -EINVAL for impossible sizes, with words; -ENOMEM.
 */
int coded_allocate(struct coded *ret, enum coding coding, uint32_t rows, uint32_t columns,
	uint32_t group_columns, uint32_t planes, bool shared_levels, struct error *reterr);

/** coded_value() - what weight (row, column) decodes to with the first @planes planes and these
 * scales */
float coded_value(const struct coded *c, uint32_t row, uint32_t column);

/**
 * quantizer_fn - quantize one matrix
 * @ret: written on success only; coded_done() frees
 * @weights: [rows][columns]
 *
 * Return: 0; -EINVAL with words for weights that are not finite or options out of range; -ENOMEM.
 * Any thread.
 */
typedef int quantizer_fn(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr);

struct metric;

/**
 * quantizer_rows_fn - quantize rows @first to @end - 1 of @weights, the whole matrix
 * @c: from coded_allocate(), sum coding, with an offset where the method has a grid; only these rows are
 *	written, so threads can share it
 * @m: what errors cost (gptq.h)
 *
 * Return: 0; -EINVAL when a weight is not finite; -ENOMEM. Any thread.
 */
typedef int quantizer_rows_fn(struct coded *c, const float *weights, uint32_t first, uint32_t end,
	const struct metric *m, const struct quantize_options *options, struct error *reterr);

/**
 * struct quantizer - @run, or @rows, or neither: gptq, which has a way of its own (calibrated.h)
 * @weighs: @run looks at the importance of weights
 * @grid: @rows wants one group per row and an offset
 */
struct quantizer {
	const char *name, *help;
	quantizer_fn *run;
	quantizer_rows_fn *rows;
	uint32_t planes_min, planes_max;
	bool weighs, grid;
};

extern const struct quantizer quantizers[];
extern const uint32_t n_quantizers;

/** quantizer_gptq - the default where there are calibration data; not in the list above */
extern const struct quantizer quantizer_gptq;

/** quantizer_find() - Return: the row or quantizer_gptq, or NULL */
const struct quantizer *quantizer_find(const char *name);

/**
 * bcq_rows() - the default method on rows @first to @end - 1 of @weights, the whole matrix
 * @c: from coded_allocate(), sum coding; only these rows are written, so threads can share it
 *
 * Return: 0; -EINVAL when a weight is not finite; -ENOMEM. Any thread.
 */
int bcq_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end,
	const struct quantize_options *options, struct error *reterr);
