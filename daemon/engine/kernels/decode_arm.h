/* SPDX-License-Identifier: Apache-2.0 */
/* Words of 64 weights from planes to int8, for the decode kernels of arm64. */
#pragma once

#include <arm_neon.h>
#include <string.h>

#include "engine/kernels/rows.h"

/*
 * struct arm_row - one row being decoded
 * @add: what a set bit of each plane adds: its step in sum coding, its place in the index in level coding
 * @clear: what there is with all bits clear
 * @table: level coding
 */
struct arm_row {
	const struct kernel_matrix *w;
	uint32_t row;
	int8x16_t add[BITS_PLANES_MAX], clear;
	int8x16_t table[16];
};

static inline void arm_row_start(struct arm_row *d, const struct kernel_matrix *w, uint32_t row)
{
	d->w = w;
	d->row = row;
	d->clear = vdupq_n_s8(0);
	if (!w->level)
		return;
	for (uint32_t i = 0; i < w->planes; i++)
		d->add[i] = vdupq_n_s8((int8_t) (1u << (w->planes - 1 - i)));
	memset(d->table, 0, sizeof d->table);
	memcpy(d->table, w->level + (size_t) row * w->level_stride, (size_t) 1 << w->planes);
}

/* Sum coding: to be called before the first word of a group and of a block. */
static inline void arm_row_group(struct arm_row *d, uint32_t group)
{
	const struct kernel_matrix *w = d->w;
	size_t at = (size_t) d->row * w->groups + group;

	for (uint32_t i = 0; i < w->planes; i++)
		d->add[i] = vdupq_n_s8((int8_t) w->step[at * w->planes + i]);
	d->clear = vdupq_n_s8(w->base[at]);
}

static inline int8x16_t arm_levels(const struct arm_row *d, int8x16_t sum)
{
	uint8x16_t index = vreinterpretq_u8_s8(sum);
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

/* @bytes 2 part and 2 part + 1 of @word, each bit to a byte: -1 where set */
static inline int8x16_t arm_spread(uint8x16_t word, uint32_t part)
{
	const uint8x16_t bit_of = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
	const uint8x16_t bytes = vcombine_u8(vdup_n_u8((uint8_t) (2 * part)),
		vdup_n_u8((uint8_t) (2 * part + 1)));

	return vreinterpretq_s8_u8(vtstq_u8(vqtbl1q_u8(word, bytes), bit_of));
}

/* The 64 weights of word @word of the row. */
static inline void arm_row_weights(const struct arm_row *d, uint32_t word, int8_t out[64])
{
	const struct kernel_matrix *w = d->w;
	size_t at = (size_t) d->row * w->words + word;
	int8x16_t s0 = d->clear, s1 = s0, s2 = s0, s3 = s0;

	for (uint32_t i = 0; i < w->planes; i++) {
		uint8x16_t bits = vreinterpretq_u8_u64(vld1q_dup_u64(w->plane[i] + at));

		s0 = vmlsq_s8(s0, arm_spread(bits, 0), d->add[i]);
		s1 = vmlsq_s8(s1, arm_spread(bits, 1), d->add[i]);
		s2 = vmlsq_s8(s2, arm_spread(bits, 2), d->add[i]);
		s3 = vmlsq_s8(s3, arm_spread(bits, 3), d->add[i]);
	}
	if (w->level) {
		s0 = arm_levels(d, s0);
		s1 = arm_levels(d, s1);
		s2 = arm_levels(d, s2);
		s3 = arm_levels(d, s3);
	}
	vst1q_s8(out, s0);
	vst1q_s8(out + 16, s1);
	vst1q_s8(out + 32, s2);
	vst1q_s8(out + 48, s3);
}

#define ARM_BLOCK_ROWS 8

/*
 * struct arm_block - up to 8 rows of a block, word by word
 * @weights: of the last word, row after row; rows that do not exist weigh 0
 */
struct arm_block {
	struct arm_row row[ARM_BLOCK_ROWS];
	uint32_t rows, next, group, group_end;
	int8_t weights[ARM_BLOCK_ROWS][64];
};

static inline void arm_block_start(struct arm_block *b, const struct kernel_matrix *w, uint32_t row,
	uint32_t first)
{
	b->rows = w->rows - row < ARM_BLOCK_ROWS ? w->rows - row : ARM_BLOCK_ROWS;
	b->next = b->group_end = first;
	b->group = first / w->group_words;
	for (uint32_t r = 0; r < b->rows; r++)
		arm_row_start(&b->row[r], w, row + r);
	memset(b->weights, 0, sizeof b->weights);
}

/* The next word of all rows. */
static inline void arm_block_word(struct arm_block *b, const struct kernel_matrix *w)
{
	if (!w->level && b->next == b->group_end) {
		for (uint32_t r = 0; r < b->rows; r++)
			arm_row_group(&b->row[r], b->group);
		b->group_end = ++b->group * w->group_words;
	}
	for (uint32_t r = 0; r < b->rows; r++)
		arm_row_weights(&b->row[r], b->next, b->weights[r]);
	b->next++;
}

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

/**
 * arm_multiply() - the product, block of @block_words after block
 * @step: values that @columns takes at once
 * @decode: words [first, first + words) of the rows from @row on to @scratch
 * @columns: @count columns times what was decoded
 */
static inline __attribute__((always_inline)) void arm_multiply(const struct kernel_matrix *w,
	const struct kernel_columns *x, int32_t *acc, uint32_t acc_stride, void *scratch, uint32_t block_words,
	uint32_t step,
	void (*decode)(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words, void *scratch),
	void (*columns)(struct arm_tile t, uint32_t count))
{
	for (uint32_t first = 0; first < w->words; first += block_words) {
		uint32_t words = w->words - first < block_words ? w->words - first : block_words;

		for (uint32_t row = 0; row < w->rows; row += ARM_BLOCK_ROWS) {
			struct arm_tile t = {
				.scratch = scratch,
				.q = x->u8 + (size_t) first * 64,
				.stride = (size_t) w->words * 64,
				.values = kernel_values(x, first, words, step),
				.rows = w->rows - row < ARM_BLOCK_ROWS ? w->rows - row : ARM_BLOCK_ROWS,
				.acc = acc + row,
				.acc_stride = acc_stride,
				.add = first > 0,
			};

			decode(w, row, first, words, scratch);
			columns(t, x->count);
		}
	}
}
