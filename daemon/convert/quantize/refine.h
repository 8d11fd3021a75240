/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows in the metric of their inputs: the best scales for given codes, and better codes for all
 * widths at once. A few rows go together, so that H is read once for all of them.
 */
#pragma once

#include "convert/quantize/metric.h"

/** Most rows of one call. */
#define ROWS_TOGETHER 16

/**
 * struct equations - least squares for the scales of one row: A^T H A x = A^T H w
 * @planes: of A, whose column u is plane u % planes inside group u / planes, and 0 elsewhere
 * @product: [groups * planes][columns], (H A) transposed
 * @gram: A^T H A, its lower triangle; @right: A^T H w
 * @factor, @x: of the last equations_solve()
 */
struct equations {
	uint32_t groups, planes;
	double *product, *gram, *right, *factor, *x;
};

/** equations_new_rows() - for up to ROWS_TOGETHER rows of @c, an array */
int equations_new_rows(struct equations **ret, const struct coded *c, uint32_t planes);
/** equations_free_rows() - for _cleanup_ */
void equations_free_rows(struct equations **e);

/**
 * equations_make() - for the first planes of @codes
 * @e: [rows], all of as many planes; @rows: 1..ROWS_TOGETHER
 * @codes, @weights: [rows][columns]
 */
void equations_make(struct equations *e, uint32_t rows, const struct coded *c, const uint8_t *codes,
	const float *weights, const struct metric *m);

/** equations_solve() - e->x: [groups][planes], scales when only the first @planes planes are kept
 */
void equations_solve(struct equations *e, uint32_t planes);

/**
 * struct refine - scratch for rows; one per thread
 * @row: [rows], its equations among @equations
 * @factor: [RANK_MAX][rows * planes]; @to: [rows * planes]
 */
struct refine {
	uint32_t rows;
	struct equations *equations;
	struct refine_row *row;
	double *factor, **to;
};

/** refine_init() - @rows: 1..ROWS_TOGETHER, the most that will go together */
int refine_init(struct refine *r, const struct coded *c, uint32_t rows);
void refine_done(struct refine *r);

/**
 * refine_rows() - descend on the sum over widths of lambda * (w - decoded)^T H (w - decoded), one
 * code at a time, refitting all scales between rounds
 * @rows: up to those of refine_init()
 * @codes: [rows][columns]; in and out
 *
 * The sum of no row ever rises. A width counts by the inverse of its error at the start, so all fall alike.
 */
void refine_rows(struct refine *r, uint32_t rows, const struct coded *c, uint8_t *codes, const float *weights,
	const struct metric *m);
