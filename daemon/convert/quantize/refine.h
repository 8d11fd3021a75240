/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row in the metric of its inputs: the best scales for given codes, and better codes for all
 * widths at once.
 */
#pragma once

#include "convert/quantize/metric.h"

/**
 * struct equations - least squares for the scales of one row: A^T H A x = A^T H w
 * @planes: of A, whose column u is plane u % planes inside group u / planes, and 0 elsewhere
 * @product: [groups * planes][columns], (H A) transposed
 * @gram: A^T H A; @right: A^T H w
 * @factor, @x: of the last equations_solve()
 */
struct equations {
	uint32_t groups, planes;
	double *product, *gram, *right, *factor, *x;
};

int equations_init(struct equations *e, const struct coded *c, uint32_t planes);
void equations_done(struct equations *e);

/** equations_make() - for the first planes of @codes, one row */
void equations_make(struct equations *e, const struct coded *c, const uint8_t *codes,
	const float *weights, const struct metric *m);

/** equations_solve() - e->x: [groups][planes], scales when only the first @planes planes are kept
 */
void equations_solve(struct equations *e, uint32_t planes);

/**
 * struct refine - scratch for one row at a time; one per thread
 * @value: [planes][groups][codes], what the prefix of a code means
 * @gradient: [planes][columns], H (w - decoded)
 */
struct refine {
	struct equations equations;
	double *value, *gradient, *target, lambda[BITS_PLANES_MAX];
};

int refine_init(struct refine *r, const struct coded *c);
void refine_done(struct refine *r);

/**
 * refine_row() - descend on the sum over widths of lambda * (w - decoded)^T H (w - decoded), one
 * code at a time, refitting all scales between rounds
 * @codes: of the row; in and out
 *
 * The sum never rises. A width counts by the inverse of its error at the start, so all fall alike.
 */
void refine_row(struct refine *r, const struct coded *c, uint8_t *codes, const float *weights,
	const struct metric *m);
