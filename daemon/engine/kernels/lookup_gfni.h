/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two to four planes to weights by look-up. A table of 16 weights per group is made from its steps, the
 * bits of neighbours are brought together to indexes, and one VPSHUFB looks up 64 weights: fewer
 * instructions the more planes there are.
 *
 * A register of a plane holds 512 columns of a row, 128 in each lane. Bytes of all planes that belong
 * together are interleaved to words of 8 bytes, and GF2P8AFFINEQB, which has those words as matrices
 * of 8 times 8 bits, turns each around: byte j of the outcome has bit j of every byte. Of four planes
 * a byte then is the indexes of two columns, of two planes of four, which share tables in pairs:
 *
 *	bits of a byte	7 6 5 4 | 3 2 1 0
 *	four planes	byte 0	  byte 1	of each pair of bytes of the planes
 *	two planes	0   1	  2   3		of each four bytes
 *
 * So 512 columns are 8 registers of weights, in an order that byte_of() tells.
 */
#pragma once

#include <immintrin.h>
#include <stdbool.h>

#include "engine/kernels/rows.h"

#define LOOKUP_WORDS 8
#define INLINED static inline __attribute__((always_inline))

/*
 * struct lookup - what the rows need to know of the groups of 512 columns
 * @base: for all bytes of a lane, where the base of its group is, counted from that of @group
 * @index: for the words of a lane, where the steps of its group are, counted from those of @group
 * @entry: two planes: for each entry of a table, where the step is that it takes, in bytes
 * @words, @steps, @groups: those that exist, one bit for each
 * @group: the first one; what stands before it is often the same for many blocks
 */
struct lookup {
	_Alignas(64) uint8_t base[64];
	uint16_t index[32];
	uint8_t entry[2][64];
	uint32_t steps;
	uint16_t groups, words;
	uint32_t group;
};

#define ZERO 0x80 /* for VPSHUFB */

static inline uint64_t first_ones(uint64_t count)
{
	return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

static inline void find_entries(struct lookup *b, uint32_t lane, uint32_t group)
{
	for (uint32_t e = 0; e < 16; e++) {
		b->base[lane * 16 + e] = (uint8_t) group;
		b->entry[0][lane * 16 + e] = e & 8 ? (uint8_t) (4 * group) : ZERO;
		b->entry[1][lane * 16 + e] = e & 4 ? (uint8_t) (4 * group + 2) : ZERO;
	}
}

/* The groups of words [first, first + LOOKUP_WORDS), none of @end or later. */
static inline void find_groups(struct lookup *b, const struct kernel_matrix *w, uint32_t first, uint32_t end)
{
	uint32_t last = end - 1, group = 0;

	b->group = first / w->group_words;
	b->words = (uint16_t) (first_ones(end - first) & 0xff);
	for (uint32_t lane = 0; lane < 4; lane++) {
		uint32_t word = first + lane * 2 < last ? first + lane * 2 : last;

		group = word / w->group_words - b->group;
		find_entries(b, lane, group);
		for (uint32_t i = 0; i < 8; i++)
			b->index[lane * 8 + i] = (uint16_t) (group * w->planes + i % w->planes);
	}
	b->steps = (uint32_t) first_ones((group + 1) * w->planes);
	b->groups = (uint16_t) first_ones(group + 1);
}

/* Which of the 16 bytes of a lane register @i has the columns of in qword @half. */
static inline uint32_t byte_of(uint32_t planes, uint32_t i, uint32_t half)
{
	return planes == 2 ? i / 4 * 8 + half * 4 + i % 4 : i / 2 * 4 + half * 2 + i % 2;
}

#define EVERY_LANE(...) _mm512_broadcast_i32x4(_mm_setr_epi8(__VA_ARGS__))

/*
 * struct tables - of 16 weights per lane; two planes: for the upper two and the lower two bits of a nibble
 */
struct tables {
	__m512i a, b;
};

#define X ((char) ZERO)

/* The low byte of the step of plane @i of every lane, where an index of four planes has its bit. */
INLINED __m512i step_entries(__m512i steps, uint32_t i)
{
	switch (i) {
	case 0:
		return _mm512_shuffle_epi8(steps, EVERY_LANE(X, X, X, X, X, X, X, X, 0, 0, 0, 0, 0, 0, 0, 0));
	case 1:
		return _mm512_shuffle_epi8(steps, EVERY_LANE(X, X, X, X, 2, 2, 2, 2, X, X, X, X, 2, 2, 2, 2));
	case 2:
		return _mm512_shuffle_epi8(steps, EVERY_LANE(X, X, 4, 4, X, X, 4, 4, X, X, 4, 4, X, X, 4, 4));
	default:
		return _mm512_shuffle_epi8(steps, EVERY_LANE(X, 6, X, 6, X, 6, X, 6, X, 6, X, 6, X, 6, X, 6));
	}
}

/* For indexes in the lower half of a nibble, from the table for those in the upper half. */
INLINED __m512i for_lower(__m512i table)
{
	return _mm512_shuffle_epi8(table, EVERY_LANE(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12));
}

/* @whole: 4 bases and 16 steps can be read, if only a part of them is of use */
INLINED struct tables tables_sum(const struct lookup *b, const int16_t *step, const int8_t *base,
	uint32_t planes, bool whole)
{
	__m128i four = whole ? _mm_loadu_si32(base) : _mm_maskz_loadu_epi8(b->groups, base);
	__m256i few = whole ? _mm256_loadu_si256((const __m256i *) step)
			    : _mm256_maskz_loadu_epi16((__mmask16) b->steps, step);
	struct tables t;
	__m512i steps;

	t.a = _mm512_shuffle_epi8(_mm512_broadcastd_epi32(four), _mm512_load_si512(b->base));
	if (planes == 2) {
		steps = _mm512_broadcast_i32x4(_mm256_castsi256_si128(few));
		t.a = _mm512_add_epi8(t.a, _mm512_shuffle_epi8(steps, _mm512_load_si512(b->entry[0])));
		t.a = _mm512_add_epi8(t.a, _mm512_shuffle_epi8(steps, _mm512_load_si512(b->entry[1])));
		t.b = for_lower(t.a);
		return t;
	}
	steps = _mm512_permutexvar_epi16(_mm512_load_si512(b->index), _mm512_castsi256_si512(few));
	for (uint32_t i = 0; i < planes; i++)
		t.a = _mm512_add_epi8(t.a, step_entries(steps, i));
	t.b = t.a;
	return t;
}

INLINED struct tables tables_level(const int8_t *level, uint32_t planes)
{
	__m512i all = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8((__mmask16) ((1u << (1u << planes)) - 1), level));

	if (planes == 3)
		all = _mm512_shuffle_epi8(all, EVERY_LANE(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7));
	if (planes == 2)
		all = _mm512_shuffle_epi8(all, EVERY_LANE(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
	return (struct tables) {all, for_lower(all)};
}

/* Bit j of 8 bytes to byte j, the first byte's on top. */
INLINED __m512i turn(__m512i v)
{
	return _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64((long long) UINT64_C(0x8040201008040201)), v, 0);
}

INLINED __m512i upper(__m512i v)
{
	return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}

INLINED __m512i lower(__m512i v)
{
	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}
