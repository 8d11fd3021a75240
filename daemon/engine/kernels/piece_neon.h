/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of kernels for arm64 that take 32 rows and a piece of at most two words of one group at a
 * time: each plane gives one number for all 32 rows, which their steps multiply.
 */
#pragma once

#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/rows.h"

#define ROWS 32
#define PIECE_WORDS 2
#define INLINED static inline __attribute__((always_inline))

/*
 * struct scales - of 32 rows of a piece
 * @acc: of the columns that are being multiplied
 */
struct scales {
	int16_t step[BITS_PLANES_MAX][ROWS], base[ROWS];
	int32_t acc[4][ROWS];
};

/* struct piece - words [first, first + words), of one group, of rows [row, row + rows) */
struct piece {
	const struct kernel_matrix *w;
	struct scales *scales;
	uint32_t first, words, group, row, rows;
};

/* The piece that follows; @p->words 0: the first one. Return: is there one? */
static inline bool piece_next(struct piece *p)
{
	uint32_t end;

	p->first += p->words;
	if (p->first == p->w->words)
		return false;
	p->group = p->first / p->w->group_words;
	end = (p->group + 1) * p->w->group_words;
	end = end < p->w->words ? end : p->w->words;
	p->words = end - p->first < PIECE_WORDS ? end - p->first : PIECE_WORDS;
	return true;
}

static inline void piece_scales(const struct piece *p)
{
	const struct kernel_matrix *w = p->w;
	struct scales *s = p->scales;

	memset(s->step, 0, sizeof s->step);
	memset(s->base, 0, sizeof s->base);
	for (uint32_t r = 0; r < p->rows; r++) {
		size_t at = (size_t) (p->row + r) * w->groups + p->group;

		s->base[r] = w->base[at];
		for (uint32_t i = 0; i < w->planes; i++)
			s->step[i][r] = w->step[at * w->planes + i];
	}
}

/* One word of 16 rows from @row on: byte k of all of them to out[k]; rows that do not exist are clear. */
INLINED void piece_bytes(const struct piece *p, uint32_t plane, uint32_t word, uint32_t row, uint8x16_t out[8])
{
	const uint64_t *from = p->w->plane[plane] + (size_t) (p->row + row) * p->w->words + p->first + word;
	uint64_t words[16];
	uint8x16x4_t a, b;

	for (uint32_t r = 0; r < 16; r++)
		words[r] = row + r < p->rows ? from[(size_t) r * p->w->words] : 0;
	a = vld4q_u8((const uint8_t *) words);
	b = vld4q_u8((const uint8_t *) (words + 8));
	for (uint32_t j = 0; j < 4; j++) {
		out[j] = vuzp1q_u8(a.val[j], b.val[j]);
		out[j + 4] = vuzp2q_u8(a.val[j], b.val[j]);
	}
}

/* The weight of clear bits; @sum: of the column's values */
static inline void piece_start(const struct piece *p, uint32_t column, int32_t sum)
{
	const struct scales *s = p->scales;

	for (uint32_t r = 0; r < ROWS; r += 4)
		vst1q_s32(p->scales->acc[column] + r, vmulq_n_s32(vmovl_s16(vld1_s16(s->base + r)), sum));
}

/* What 16 rows have of a plane, below 2^15, times their steps. */
INLINED void piece_add(const struct piece *p, uint32_t plane, uint32_t column, uint32_t row,
	uint16x8_t low, uint16x8_t high)
{
	const int16_t *step = p->scales->step[plane] + row;
	int32_t *acc = p->scales->acc[column] + row;
	int16x8_t a = vld1q_s16(step), b = vld1q_s16(step + 8);
	int16x8_t first = vreinterpretq_s16_u16(low), second = vreinterpretq_s16_u16(high);

	vst1q_s32(acc, vmlal_s16(vld1q_s32(acc), vget_low_s16(first), vget_low_s16(a)));
	vst1q_s32(acc + 4, vmlal_high_s16(vld1q_s32(acc + 4), first, a));
	vst1q_s32(acc + 8, vmlal_s16(vld1q_s32(acc + 8), vget_low_s16(second), vget_low_s16(b)));
	vst1q_s32(acc + 12, vmlal_high_s16(vld1q_s32(acc + 12), second, b));
}

static inline void piece_put(const struct piece *p, uint32_t column, int32_t *acc)
{
	const int32_t *sums = p->scales->acc[column];
	uint32_t r = 0;

	for (; r + 4 <= p->rows; r += 4) {
		int32x4_t v = vld1q_s32(sums + r);

		vst1q_s32(acc + r, p->first > 0 ? vaddq_s32(v, vld1q_s32(acc + r)) : v);
	}
	for (; r < p->rows; r++)
		acc[r] = p->first > 0 ? acc[r] + sums[r] : sums[r];
}
