/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One or two columns times two to four planes that come from memory. A table of 16 weights per group
 * is made from its steps, the bits of neighbours are brought together to indexes, and one VPSHUFB
 * looks up 64 weights for VPDPBUSD: fewer instructions the more planes there are.
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
 * Which columns of a block meet the tables when, the values follow: scratch[block][8][64].
 */
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/rows.h"

#define BLOCK_WORDS 8
#define PIECE_BLOCKS 72
#define PIECE_WORDS (PIECE_BLOCKS * BLOCK_WORDS)
#define AHEAD 8192 /* bytes of a plane that are asked for before they are due */

/*
 * struct block - what the rows need to know of 512 columns
 * @values: in the order of the look-ups
 * @base: for all bytes of a lane, where the base of its group is, counted from that of @group
 * @index: for the words of a lane, where the steps of its group are, counted from those of @group
 * @entry: two planes: for each entry of a table, where the step is that it takes, in bytes
 * @words, @steps, @groups: those that exist, one bit for each
 */
struct block {
	_Alignas(64) uint8_t values[8][64];
	uint8_t base[64];
	uint16_t index[32];
	uint8_t entry[2][64];
	uint32_t steps, group;
	uint16_t groups;
	uint8_t words;
};

/* struct near - what all rows share: one column, words [first, first + words) of it */
struct near {
	struct block block[PIECE_BLOCKS];
	uint32_t first, words, blocks;
};

_Static_assert(sizeof(struct near) <= KERNEL_SCRATCH_BYTES, "what is near fits the scratch");

bool lookup_gfni_fits(const struct kernel_matrix *w)
{
	return w->planes >= 2 && w->planes <= 4 && (w->level || w->group_words % 2 == 0 || w->groups == 1);
}

/* Which of the 16 bytes of a lane the look-up @i has in qword @half. */
static uint32_t byte_of(uint32_t planes, uint32_t i, uint32_t half)
{
	return planes == 2 ? i / 4 * 8 + half * 4 + i % 4 : i / 2 * 4 + half * 2 + i % 2;
}

static void lay_out_values(struct near *n, uint32_t planes, const uint8_t *q)
{
	for (uint32_t b = 0; b < n->blocks; b++)
		for (uint32_t i = 0; i < 8; i++)
			for (uint32_t k = 0; k < 8; k++) {
				uint32_t byte = k / 2 * 16 + byte_of(planes, i, k % 2);
				uint8_t *to = &n->block[b].values[i][k * 8];

				if (b * BLOCK_WORDS + byte / 8 < n->words)
					memcpy(to, q + (size_t) b * 512 + byte * 8, 8);
				else
					memset(to, 0, 8);
			}
}

#define ZERO 0x80 /* for VPSHUFB */

static uint64_t first_ones(uint64_t count)
{
	return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

static void find_entries(struct block *b, uint32_t lane, uint32_t group)
{
	for (uint32_t e = 0; e < 16; e++) {
		b->base[lane * 16 + e] = (uint8_t) group;
		b->entry[0][lane * 16 + e] = e & 8 ? (uint8_t) (4 * group) : ZERO;
		b->entry[1][lane * 16 + e] = e & 4 ? (uint8_t) (4 * group + 2) : ZERO;
	}
}

static void find_groups(struct near *n, const struct kernel_matrix *w)
{
	for (uint32_t k = 0; k < n->blocks; k++) {
		struct block *b = &n->block[k];
		uint32_t first = n->first + k * BLOCK_WORDS, last = n->first + n->words - 1, group = 0;

		b->group = first / w->group_words;
		b->words = (uint8_t) first_ones(last - first + 1);
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
}

static void prepare(struct near *n, const struct kernel_matrix *w, const uint8_t *q, uint32_t first)
{
	n->first = first;
	n->words = w->words - first < PIECE_WORDS ? w->words - first : PIECE_WORDS;
	n->blocks = (n->words + BLOCK_WORDS - 1) / BLOCK_WORDS;
	lay_out_values(n, w->planes, q + (size_t) first * 64);
	find_groups(n, w);
}

#define INLINED static inline __attribute__((always_inline))
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
INLINED struct tables tables_sum(const struct block *b, const int16_t *step, const int8_t *base,
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

/* struct sums - independent ones, so that no product waits for the last */
struct sums {
	__m512i a, b, c, d;
};

INLINED __m512i add_product(__m512i sum, const struct block *b, uint32_t i, __m512i weights)
{
	return _mm512_dpbusd_epi32(sum, _mm512_load_si512(b->values[i]), weights);
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

/* @v: bytes of two planes, one after the other; look-ups from @i on */
INLINED void add_fours(struct sums *s, const struct block *b, const struct tables *t, uint32_t i, __m512i v)
{
	__m512i turned = turn(v), up = upper(turned), low = lower(turned);

	s->a = add_product(s->a, b, i, _mm512_shuffle_epi8(t->a, up));
	s->b = add_product(s->b, b, i + 1, _mm512_shuffle_epi8(t->b, up));
	s->c = add_product(s->c, b, i + 2, _mm512_shuffle_epi8(t->a, low));
	s->d = add_product(s->d, b, i + 3, _mm512_shuffle_epi8(t->b, low));
}

/* @v: bytes of four planes, one after the other */
INLINED void add_twos(struct sums *s, const struct block *b, const struct tables *t, uint32_t i, __m512i v)
{
	__m512i turned = turn(v);

	s->a = add_product(s->a, b, i, _mm512_shuffle_epi8(t->a, upper(turned)));
	s->b = add_product(s->b, b, i + 1, _mm512_shuffle_epi8(t->a, lower(turned)));
}

INLINED __m512i load_plane(
	const struct kernel_matrix *w, uint32_t plane, const struct block *b, size_t word, bool whole)
{
	const uint64_t *p = w->plane[plane] + word;

	_mm_prefetch((const char *) p + AHEAD, _MM_HINT_T0);
	return whole ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi64(b->words, p);
}

INLINED void add_block(struct sums *s, const struct kernel_matrix *w, uint32_t planes,
	const struct block *b, const struct tables *t, size_t word, bool whole)
{
	__m512i p0 = load_plane(w, 0, b, word, whole), p1 = load_plane(w, 1, b, word, whole), p2, p3, low, high;

	low = _mm512_unpacklo_epi8(p0, p1);
	high = _mm512_unpackhi_epi8(p0, p1);
	if (planes == 2) {
		add_fours(s, b, t, 0, low);
		add_fours(s, b, t, 4, high);
		return;
	}
	p2 = load_plane(w, 2, b, word, whole);
	p3 = planes == 4 ? load_plane(w, 3, b, word, whole) : _mm512_setzero_si512();
	p0 = _mm512_unpacklo_epi8(p2, p3);
	p1 = _mm512_unpackhi_epi8(p2, p3);
	add_twos(s, b, t, 0, _mm512_unpacklo_epi16(low, p0));
	add_twos(s, b, t, 2, _mm512_unpackhi_epi16(low, p0));
	add_twos(s, b, t, 4, _mm512_unpacklo_epi16(high, p1));
	add_twos(s, b, t, 6, _mm512_unpackhi_epi16(high, p1));
}

/* @whole: nothing that is read around this row lies outside of the matrix */
INLINED int32_t multiply_row(const struct near *n, const struct kernel_matrix *w, uint32_t planes,
	bool level, uint32_t row, bool whole)
{
	size_t word = (size_t) row * w->words + n->first, group = (size_t) row * w->groups;
	__m512i zero = _mm512_setzero_si512();
	struct sums s = {zero, zero, zero, zero};
	struct tables t = {zero, zero};

	if (level)
		t = tables_level(w->level + (size_t) row * w->level_stride, planes);
	for (uint32_t k = 0; k < n->blocks; k++, word += BLOCK_WORDS) {
		const struct block *b = &n->block[k];
		size_t at = group + b->group;

		if (!level)
			t = tables_sum(b, w->step + at * planes, w->base + at, planes, whole);
		if (whole && b->words == 0xff)
			add_block(&s, w, planes, b, &t, word, true);
		else
			add_block(&s, w, planes, b, &t, word, false);
	}
	return _mm512_reduce_add_epi32(
		_mm512_add_epi32(_mm512_add_epi32(s.a, s.b), _mm512_add_epi32(s.c, s.d)));
}

#define LAST_ROWS 8 /* with at least one group of two planes each: more than a read of 16 steps is too long */

INLINED void multiply_rows(
	const struct near *n, const struct kernel_matrix *w, uint32_t planes, bool level, int32_t *acc)
{
	uint32_t r = 0;

	for (; r + LAST_ROWS < w->rows; r++)
		acc[r] = (n->first ? acc[r] : 0) + multiply_row(n, w, planes, level, r, true);
	for (; r < w->rows; r++)
		acc[r] = (n->first ? acc[r] : 0) + multiply_row(n, w, planes, level, r, false);
}

#define EACH_CASE(f)                                                                               \
	f(2, sum, false) f(3, sum, false) f(4, sum, false)                                         \
	f(2, level, true) f(3, level, true) f(4, level, true)
#define DEFINE_MULTIPLY(count, coding, is_level)                                                   \
	static void multiply_##coding##_##count(                                                   \
		const struct near *n, const struct kernel_matrix *w, int32_t *acc)                 \
	{                                                                                          \
		multiply_rows(n, w, count, is_level, acc);                                         \
	}
#define MULTIPLY(count, coding, is_level) [is_level][count] = multiply_##coding##_##count,

EACH_CASE(DEFINE_MULTIPLY)

void lookup_gfni(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	static void (*const multiply[2][5])(const struct near *, const struct kernel_matrix *, int32_t *) = {
		EACH_CASE(MULTIPLY)};
	struct near *n = scratch;

	for (uint32_t c = 0; c < x->count; c++)
		for (uint32_t first = 0; first < w->words; first += PIECE_WORDS) {
			prepare(n, w, x->u8 + (size_t) c * w->words * 64, first);
			multiply[w->level != NULL][w->planes](n, w, acc + (size_t) c * acc_stride);
		}
}
