/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lowering wants to know about the bits of one row: how often they are set, differ, or make a code.
 * Real columns only: pad bits do not count, whatever a file has put there.
 */
#pragma once

#include "engine/model.h"

/** lower_pairs() - how many pairs (i, j), i < @kept, i < j < @planes, there are */
static inline uint32_t lower_pairs(uint32_t planes, uint32_t kept)
{
	return kept * planes - kept * (kept + 1) / 2;
}

/**
 * lower_count_pairs() - columns in which two planes differ
 * @ret: [lower_pairs()][m->groups], in the order (0,1), (0,2), .. (1,2), ..
 */
void lower_count_pairs(const struct matrix *m, const uint64_t *const *planes, uint32_t row, uint32_t kept,
	uint32_t *ret);

/** lower_count_ones() - set columns; @ret: [@n][m->groups] */
void lower_count_ones(const struct matrix *m, const uint64_t *const *planes, uint32_t row, uint32_t n,
	uint32_t *ret);

/** lower_count_codes() - add how often each code of the first @n planes appears to @counts, [1 << n] */
void lower_count_codes(const struct matrix *m, const uint64_t *const *planes, uint32_t row, uint32_t n,
	uint64_t *counts);
