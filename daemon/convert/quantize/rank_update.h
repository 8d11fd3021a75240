/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one loop that calibrated methods live on: a few rows of a large matrix, each times its own factor, onto
 * other rows. All that is quadratic or cubic in the columns of a layer is written as such updates.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Most rows of one update. */
#define RANK_MAX 128

/**
 * struct rank_update - to[i][j] += sum over k of factor[k * n_to + i] * from[k * stride + j], first <= j < end
 * @to: [n_to]; none of them overlaps @from in these columns
 * @rank: 0..RANK_MAX
 *
 * Each element is summed in the order of k, with two roundings a step, on every processor: the result has the
 * bits of the plain loop.
 */
struct rank_update {
	double *const *to;
	uint32_t n_to, rank;
	const double *factor, *from;
	size_t stride, first, end;
};

/** rank_update() - Any thread. */
void rank_update(const struct rank_update *u);
