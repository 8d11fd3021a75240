/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes to tiles of 16 rows, for the decode kernels with registers of 256 bits. A unit is what one row has
 * in 32 bits: two weights of 16 bits, or four of 8.
 *
 *	tile[unit][half of 8 rows][row]
 *
 * So a register of weights belongs to 8 rows, and the sums come out side by side.
 */
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/rows.h"

#define HALF_ROWS 8
#define BLOCK_ROWS 16
#define INLINED static inline __attribute__((always_inline))

typedef __m256i tile_unit[2];

/* 32 bits to the sign bytes of a register: -1 where set */
INLINED __m256i spread(uint32_t bits)
{
	const __m256i byte_of = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
		2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
	const __m256i bit_of = _mm256_set1_epi64x((long long) 0x8040201008040201u);
	__m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t) bits), byte_of);

	return _mm256_cmpeq_epi8(_mm256_and_si256(v, bit_of), bit_of);
}

INLINED uint32_t half_word(const struct kernel_matrix *w, uint32_t plane, size_t word, uint32_t half)
{
	return (uint32_t) (w->plane[plane][word] >> (32 * half));
}

/* 32 weights of sum coding: the base, plus a step for each set bit; wraps harmlessly (kernel.h) */
INLINED __m256i decode_sum(const struct kernel_matrix *w, size_t word, uint32_t half,
	__m256i base, const __m256i *step)
{
	for (uint32_t i = 0; i < w->planes; i++)
		base = _mm256_add_epi8(base,
			_mm256_and_si256(spread(half_word(w, i, word, half)), step[i]));
	return base;
}

/* 32 weights of level coding: slices of 16 levels, each kept where the upper bits of the index name it */
INLINED __m256i decode_level(const struct kernel_matrix *w, size_t word, uint32_t half,
	const int8_t *table)
{
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i index = _mm256_setzero_si256(), found = _mm256_setzero_si256(), low, high;

	for (uint32_t i = 0; i < w->planes; i++)
		index = _mm256_sub_epi8(_mm256_add_epi8(index, index),
			spread(half_word(w, i, word, half)));
	low = _mm256_and_si256(index, nibble);
	high = _mm256_and_si256(_mm256_srli_epi16(index, 4), nibble);
	for (uint32_t s = 0; s < 1u << w->planes; s += 16) {
		__m256i slice = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *) (table + s)));
		__m256i here = _mm256_cmpeq_epi8(high, _mm256_set1_epi8((char) (s / 16)));

		found = _mm256_or_si256(found, _mm256_and_si256(here, _mm256_shuffle_epi8(slice, low)));
	}
	return found;
}

/* struct row - one row being decoded; @step, @base: sum coding, of this group; @table: level coding */
struct row {
	const struct kernel_matrix *w;
	uint32_t row, group_end;
	__m256i step[BITS_PLANES_MAX], base;
	_Alignas(16) int8_t table[256];
};

INLINED void row_start(struct row *d, const struct kernel_matrix *w, uint32_t row, uint32_t first)
{
	d->w = w;
	d->row = row;
	d->group_end = first;
	if (!w->level)
		return;
	memset(d->table, 0, sizeof d->table);
	memcpy(d->table, w->level + (size_t) row * w->level_stride, (size_t) 1 << w->planes);
}

/* Before the weights of word @word: its group's scales. */
INLINED void row_word(struct row *d, uint32_t word)
{
	const struct kernel_matrix *w = d->w;
	uint32_t group = word / w->group_words;
	size_t at = (size_t) d->row * w->groups + group;

	if (w->level || word < d->group_end)
		return;
	for (uint32_t i = 0; i < w->planes; i++)
		d->step[i] = _mm256_set1_epi8((char) w->step[at * w->planes + i]);
	d->base = _mm256_set1_epi8(w->base[at]);
	d->group_end = (group + 1) * w->group_words;
}

/* 32 weights of a word. */
INLINED __m256i row_weights(const struct row *d, uint32_t word, uint32_t half)
{
	size_t at = (size_t) d->row * d->w->words + word;

	return d->w->level ? decode_level(d->w, at, half, d->table) :
			     decode_sum(d->w, at, half, d->base, d->step);
}

/* 32 weights of row @slot of a half to their units, 16 or 8 from @to; transpose() brings them into order. */
INLINED void put_weights(tile_unit *to, uint32_t half, uint32_t slot, bool wide, __m256i weights)
{
	if (!wide) {
		to[slot][half] = weights;
		return;
	}
	to[slot][half] = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(weights));
	to[HALF_ROWS + slot][half] = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(weights, 1));
}

INLINED void decode_row(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words,
	bool wide, tile_unit *to, uint32_t half, uint32_t slot)
{
	struct row d;

	row_start(&d, w, row, first);
	for (uint32_t k = first; k < first + words; k++) {
		row_word(&d, k);
		for (uint32_t h = 0; h < 2; h++, to += wide ? 16 : 8)
			put_weights(to, half, slot, wide, row_weights(&d, k, h));
	}
}

/* 8 units of 8 rows, from row after row to unit after unit, in place: 8x8 of 32 bits */
INLINED void transpose(tile_unit *units, uint32_t half)
{
	__m256i v[8], t[8];

	for (uint32_t i = 0; i < 8; i++)
		v[i] = units[i][half];
	for (uint32_t g = 0; g < 8; g += 4) {
		__m256i a = _mm256_unpacklo_epi32(v[g], v[g + 1]);
		__m256i b = _mm256_unpackhi_epi32(v[g], v[g + 1]);
		__m256i c = _mm256_unpacklo_epi32(v[g + 2], v[g + 3]);
		__m256i d = _mm256_unpackhi_epi32(v[g + 2], v[g + 3]);

		t[g] = _mm256_unpacklo_epi64(a, c);
		t[g + 1] = _mm256_unpackhi_epi64(a, c);
		t[g + 2] = _mm256_unpacklo_epi64(b, d);
		t[g + 3] = _mm256_unpackhi_epi64(b, d);
	}
	for (uint32_t j = 0; j < 4; j++) {
		units[j][half] = _mm256_permute2x128_si256(t[j], t[4 + j], 0x20);
		units[4 + j][half] = _mm256_permute2x128_si256(t[j], t[4 + j], 0x31);
	}
}

INLINED void decode_half(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words,
	bool wide, tile_unit *tile, uint32_t half)
{
	uint32_t rows = w->rows > row ? w->rows - row : 0, units = words * (wide ? 32 : 16);

	for (uint32_t r = 0; r < HALF_ROWS; r++)
		if (r < rows)
			decode_row(w, row + r, first, words, wide, tile, half, r);
		else
			for (uint32_t u = r; u < units; u += HALF_ROWS)
				tile[u][half] = _mm256_setzero_si256();
	for (uint32_t u = 0; u < units; u += HALF_ROWS)
		transpose(tile + u, half);
}

/*
 * decode_tile() - words [first, first + words) of rows [row, row + BLOCK_ROWS)
 * @wide: weights of 16 bits, 32 units a word; else of 8 bits, 16 units
 *
 * Rows that do not exist weigh nothing.
 */
INLINED void decode_tile(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words,
	bool wide, tile_unit *tile)
{
	decode_half(w, row, first, words, wide, tile, 0);
	decode_half(w, row + HALF_ROWS, first, words, wide, tile, 1);
}

/* Sums of @count columns to their place; unless @first is 0, on top of what is there. */
static inline void put_sums(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t count,
	int32_t (*sums)[BLOCK_ROWS], int32_t *acc, uint32_t acc_stride)
{
	uint32_t rows = w->rows - row < BLOCK_ROWS ? w->rows - row : BLOCK_ROWS;

	for (uint32_t n = 0; n < count; n++) {
		int32_t *to = acc + (size_t) n * acc_stride + row;

		if (first == 0)
			memcpy(to, sums[n], rows * sizeof *to);
		else
			for (uint32_t r = 0; r < rows; r++)
				to[r] += sums[n][r];
	}
}
