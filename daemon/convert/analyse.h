/* SPDX-License-Identifier: Apache-2.0 */
/* What the values of quantized weights look like, matrix by matrix (methods A4): range and local sparsity. */
#pragma once

#include "engine/model.h"

/**
 * struct analysis - of one matrix at one width; of the integers that kernels see
 * @range_bits: log2 of the largest magnitude over the smallest that is not zero
 * @occupancy: entropy of the codes, bits: an effective width, at most that of the planes
 * @rows_mean, @rows_deviation: share of zeros per row (output channel)
 * @taps_mean, @taps_deviation: the same per kernel: the taps of one input channel in one row
 */
struct analysis {
	double range_bits, occupancy, rows_mean, rows_deviation, taps_mean, taps_deviation;
};

/** analyse_matrix() - @m: at its width. Return: 0 or -ENOMEM */
int analyse_matrix(struct analysis *ret, const struct model *m, uint32_t matrix);

/** layer_weight() - the int8 weight of (row, column) as kernels decode it */
int layer_weight(const struct matrix *m, const struct layer *l, uint32_t row, uint32_t column);
