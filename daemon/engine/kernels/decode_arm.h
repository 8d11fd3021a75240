/* SPDX-License-Identifier: Apache-2.0 */
/* 16 weights at a time from planes to int8, for the decode kernels of arm64. */
#pragma once

#include <arm_neon.h>
#include <string.h>

#include "engine/kernels/rows.h"

/*
 * struct arm_row - one row being decoded
 * @twice, @clear: sum coding, 2 alpha of each plane and the weight with all bits clear, of this group
 * @table: level coding
 */
struct arm_row {
	const struct kernel_matrix *w;
	uint32_t row;
	int8x16_t twice[BITS_PLANES_MAX], clear;
	int8x16_t table[16];
};

static inline void arm_row_start(struct arm_row *d, const struct kernel_matrix *w, uint32_t row)
{
	d->w = w;
	d->row = row;
	d->clear = vdupq_n_s8(0);
	if (!w->level)
		return;
	memset(d->table, 0, sizeof d->table);
	memcpy(d->table, w->level + (size_t) row * w->level_stride, (size_t) 1 << w->planes);
}

/* To be called before the first word of a group, and before the first word of a block. */
static inline void arm_row_group(struct arm_row *d, uint32_t group)
{
	const struct kernel_matrix *w = d->w;
	size_t at = (size_t) d->row * w->groups + group;
	int32_t clear = w->offset[at];

	for (uint32_t i = 0; i < w->planes; i++) {
		clear -= w->alpha[at * w->planes + i];
		d->twice[i] = vdupq_n_s8((int8_t) (2 * w->alpha[at * w->planes + i]));
	}
	d->clear = vdupq_n_s8((int8_t) clear);
}

/* 16 bits to the bytes of a register: all ones where set */
static inline uint8x16_t arm_spread(uint32_t bits)
{
	const uint8x16_t bit_of = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
	uint8x16_t v = vcombine_u8(vdup_n_u8((uint8_t) bits), vdup_n_u8((uint8_t) (bits >> 8)));

	return vtstq_u8(v, bit_of);
}

static inline int8x16_t arm_levels(const struct arm_row *d, uint8x16_t index)
{
	int8x16x4_t first = {{d->table[0], d->table[1], d->table[2], d->table[3]}};
	int8x16_t found;

	if (d->w->planes <= 4)
		return vqtbl1q_s8(d->table[0], index);
	found = vqtbl4q_s8(first, index);
	for (uint32_t s = 4; s < 1u << (d->w->planes - 4); s += 4) {
		int8x16x4_t slice = {{d->table[s], d->table[s + 1], d->table[s + 2], d->table[s + 3]}};

		found = vqtbx4q_s8(found, slice, vsubq_u8(index, vdupq_n_u8((uint8_t) (16 * s))));
	}
	return found;
}

/* Weights [16 * part, 16 * part + 16) of word @word of the row. */
static inline int8x16_t arm_row_weights(const struct arm_row *d, uint32_t word, uint32_t part)
{
	const struct kernel_matrix *w = d->w;
	size_t at = (size_t) d->row * w->words + word;
	uint8x16_t index = vdupq_n_u8(0);
	int8x16_t sum = d->clear;

	if (w->level) {
		for (uint32_t i = 0; i < w->planes; i++)
			index = vsubq_u8(vaddq_u8(index, index),
				arm_spread((uint32_t) (w->plane[i][at] >> (16 * part))));
		return arm_levels(d, index);
	}
	for (uint32_t i = 0; i < w->planes; i++) {
		uint8x16_t mask = arm_spread((uint32_t) (w->plane[i][at] >> (16 * part)));

		sum = vaddq_s8(sum, vandq_s8(vreinterpretq_s8_u8(mask), d->twice[i]));
	}
	return sum;
}

#define ARM_BLOCK_ROWS 8

/*
 * struct arm_tile - what one call of a multiply function works on
 * @q, @stride: first column, bytes between columns
 * @add: add to acc instead of storing: not the first block of columns
 */
struct arm_tile {
	const void *scratch;
	const uint8_t *q;
	size_t stride;
	uint32_t values, rows;
	int32_t *acc;
	uint32_t acc_stride;
	bool add;
};

/* Only rows that exist leave the tile. */
static inline void arm_put_sums(const struct arm_tile *t, uint32_t count,
	int32_t (*sums)[ARM_BLOCK_ROWS])
{
	for (uint32_t n = 0; n < count; n++) {
		int32_t *to = t->acc + (size_t) n * t->acc_stride;

		for (uint32_t r = 0; r < t->rows; r++)
			to[r] = t->add ? to[r] + sums[n][r] : sums[n][r];
	}
}
