/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the inputs of a matrix look like together: H = E[x x^T] over calibration samples, x a column of the
 * fp32 network's im2col in the order of the matrix' columns.
 */
#pragma once

#include "convert/export.h"
#include "engine/threads.h"

/**
 * struct second_moment - of one matrix
 * @groups: of its convolution; a depthwise one has a group per row
 * @h: [groups][columns][columns]
 */
struct second_moment {
	uint32_t groups;
	double *h;
};

void second_moment_done(struct second_moment *m);

/** second_moment_groups() - Return: groups of matrix @matrix */
uint32_t second_moment_groups(const struct export *e, uint32_t matrix);

/** second_moment_bytes() - Return: how much H of matrix @matrix takes */
uint64_t second_moment_bytes(const struct export *e, uint32_t matrix);

/**
 * second_moments() - run up to @limit of @samples, spread evenly, through the fp32 interpreter
 * @ret: [n_matrices]; those of @wanted are filled, the caller frees each
 * @wanted: [n_matrices]
 *
 * Of large images only some positions are taken. The result does not depend on @threads.
 * Return: 0, -ENOMEM, or an error of reading.
 */
int second_moments(struct second_moment *ret, const bool *wanted, const struct export *e,
	struct samples *samples, uint32_t limit, struct threads *threads,
	const struct progress *progress, struct error *reterr);
