/* SPDX-License-Identifier: Apache-2.0 */
/* Lowering of one matrix: from real scales of all planes to integer scales of some. */
#pragma once

#include "engine/model.h"

/**
 * struct lower_matrix - one matrix, what is known of it, and where its numbers go
 * @planes: [matrix->planes]; beyond @kept looked at only for a refit
 * @kept: planes of the width
 * @scale_in, @zero_in: of the input of its op
 * @scale_out: of the output, 1 for f32
 * @step, @base, @level, @gain, @bias: to fill, see struct layer
 */
struct lower_matrix {
	const struct matrix *matrix;
	const uint64_t *planes[BITS_PLANES_MAX];
	uint32_t kept;
	double scale_in, scale_out, zero_in;
	int16_t *step;
	int8_t *base, *level;
	float *gain, *bias;
};

/** lower_needs_refit() - whether @kept planes run with numbers that only all planes together tell */
static inline bool lower_needs_refit(const struct matrix *m, uint32_t kept)
{
	return kept < m->planes && (m->coding == CODING_LEVEL || kept > m->alpha_widths);
}

/** lower_matrix_run() - Return: 0; -ENOMEM; -EBADMSG when a gain or bias is not finite */
int lower_matrix_run(const struct lower_matrix *l, struct error *reterr);

/** lower_refit_scales() - lower_refit() without the error; of @gram only rows of kept planes and of ones count */
void lower_refit_scales(const double gram[9][9], uint32_t planes, uint32_t kept, const double *alpha,
	bool with_offset, double *ret_alpha, double *ret_offset);

#define LOWER_COLUMNS_MAX (BITS_PLANES_MAX + 1)

/**
 * lower_solve() - the symmetric m x = r of @n columns, by Gauss elimination in the upper triangle
 * @m: only its upper triangle counts; is used up
 *
 * A plane that repeats what others say has a pivot of nothing but rounding: its x is 0.
 */
void lower_solve(uint32_t n, double m[LOWER_COLUMNS_MAX][LOWER_COLUMNS_MAX], const double *r, double *x);
