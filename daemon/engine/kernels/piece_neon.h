/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of kernels for arm64 that take a tile of ROWS rows and a piece of at most two words of one group
 * at a time: each plane gives one number for each row, which its step multiplies. ROWS is the kernel's.
 */
#pragma once

#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/rows.h"

#define PIECE_WORDS 2
#define INLINED static inline __attribute__((always_inline))

/* struct scales - of the rows of a piece */
struct scales {
	int16_t step[BITS_PLANES_MAX][ROWS], base[ROWS];
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

	if (row + 16 <= p->rows)
		for (uint32_t r = 0; r < 16; r++)
			words[r] = from[(size_t) r * p->w->words];
	else
		for (uint32_t r = 0; r < 16; r++)
			words[r] = row + r < p->rows ? from[(size_t) r * p->w->words] : 0;
	a = vld4q_u8((const uint8_t *) words);
	b = vld4q_u8((const uint8_t *) (words + 8));
	for (uint32_t j = 0; j < 4; j++) {
		out[j] = vuzp1q_u8(a.val[j], b.val[j]);
		out[j + 4] = vuzp2q_u8(a.val[j], b.val[j]);
	}
}

/*
 * 16 sums of a piece and a column.
 * @sum: of the column's values, @counts: what the rows have of each plane; both below 2^15
 */
INLINED void piece_multiply(const struct scales *s, uint32_t planes, size_t row, int16_t sum,
	const uint16_t (*counts)[ROWS], bool add, int32_t *acc)
{
	int16x8_t u = vld1q_s16(s->base + row), v = vld1q_s16(s->base + row + 8);
	int32x4_t a = {}, b = {}, c = {}, d = {};

	if (add) {
		a = vld1q_s32(acc);
		b = vld1q_s32(acc + 4);
		c = vld1q_s32(acc + 8);
		d = vld1q_s32(acc + 12);
	}
	a = vmlal_n_s16(a, vget_low_s16(u), sum);
	b = vmlal_high_n_s16(b, u, sum);
	c = vmlal_n_s16(c, vget_low_s16(v), sum);
	d = vmlal_high_n_s16(d, v, sum);
#pragma GCC unroll 4
	for (uint32_t i = 0; i < planes; i++) {
		int16x8_t x = vreinterpretq_s16_u16(vld1q_u16(counts[i] + row));
		int16x8_t y = vreinterpretq_s16_u16(vld1q_u16(counts[i] + row + 8));

		u = vld1q_s16(s->step[i] + row);
		v = vld1q_s16(s->step[i] + row + 8);
		a = vmlal_s16(a, vget_low_s16(x), vget_low_s16(u));
		b = vmlal_high_s16(b, x, u);
		c = vmlal_s16(c, vget_low_s16(y), vget_low_s16(v));
		d = vmlal_high_s16(d, y, v);
	}
	vst1q_s32(acc, a);
	vst1q_s32(acc + 4, b);
	vst1q_s32(acc + 8, c);
	vst1q_s32(acc + 12, d);
}

INLINED void piece_put_planes(const struct piece *p, uint32_t planes, int16_t sum,
	const uint16_t (*counts)[ROWS], int32_t *acc)
{
	const size_t whole = p->rows / 16 * 16;
	int32_t last[16] = {0};
	size_t row;

	for (row = 0; row < whole; row += 16)
		piece_multiply(p->scales, planes, row, sum, counts, p->first > 0, acc + row);
	if (row == p->rows)
		return;
	if (p->first > 0)
		memcpy(last, acc + row, (p->rows - row) * sizeof *acc);
	piece_multiply(p->scales, planes, row, sum, counts, true, last);
	memcpy(acc + row, last, (p->rows - row) * sizeof *acc);
}

/* Only rows that exist are written. */
static inline void piece_put(const struct piece *p, int32_t sum, const uint16_t (*counts)[ROWS], int32_t *acc)
{
	if (p->w->planes == 1)
		piece_put_planes(p, 1, (int16_t) sum, counts, acc);
	else if (p->w->planes == 2)
		piece_put_planes(p, 2, (int16_t) sum, counts, acc);
	else
		piece_put_planes(p, p->w->planes, (int16_t) sum, counts, acc);
}
