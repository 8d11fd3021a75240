/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes to int16, products by VPMADDWD: VPMADDUBSW would be step as wide but saturates, and answers
 * must be exact.
 *
 * The weights of 16 rows and up to 256 columns are decoded once per tile of up to 48 columns, whose
 * values are widened to 16 bits beside them:
 *
 *	weights[pair of 2 weights][half of 8 rows][row][2]	16 bits each
 *	values[column][256]					16 bits each
 *
 * A register of weights belongs to 8 rows; two neighbours of a column are broadcast against it.
 */
#include <immintrin.h>
#include <string.h>

#include "engine/kernels/rows.h"

#define HALF_ROWS 8
#define BLOCK_ROWS 16
#define BLOCK_WORDS 4
#define BLOCK_VALUES (BLOCK_WORDS * 64)
#define PAIRS_PER_WORD 32
#define TILE_COLUMNS 48

struct decode_scratch {
	int16_t weights[BLOCK_WORDS * PAIRS_PER_WORD][2][HALF_ROWS * 2];
	int16_t values[TILE_COLUMNS][BLOCK_VALUES];
};

_Static_assert(sizeof(struct decode_scratch) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

/* 32 bits to the sign bytes of a register: -1 where set */
static inline __m256i spread(uint32_t bits)
{
	const __m256i byte_of = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
		2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
	const __m256i bit_of = _mm256_set1_epi64x((long long) 0x8040201008040201u);
	__m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t) bits), byte_of);

	return _mm256_cmpeq_epi8(_mm256_and_si256(v, bit_of), bit_of);
}

static uint32_t half_word(const struct kernel_matrix *w, uint32_t plane, size_t word, uint32_t half)
{
	return (uint32_t) (w->plane[plane][word] >> (32 * half));
}

/* 32 weights of sum coding: the base, plus a step for each set bit; wraps harmlessly (kernel.h) */
static inline __m256i decode_sum(const struct kernel_matrix *w, size_t word, uint32_t half,
	__m256i base, const __m256i *step)
{
	for (uint32_t i = 0; i < w->planes; i++)
		base = _mm256_add_epi8(base,
			_mm256_and_si256(spread(half_word(w, i, word, half)), step[i]));
	return base;
}

/* 32 weights of level coding: slices of 16 levels, each kept where the upper bits of the index name it */
static inline __m256i decode_level(const struct kernel_matrix *w, size_t word, uint32_t half,
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

/* 16 weights, 8 pairs, of row @slot of a half */
static inline void put_pairs(struct decode_scratch *s, uint32_t pair, uint32_t half, uint32_t slot,
	__m128i weights)
{
	_mm256_store_si256((__m256i *) s->weights[pair + slot][half], _mm256_cvtepi8_epi16(weights));
}

static void decode_row(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words,
	struct decode_scratch *s, uint32_t half, uint32_t slot)
{
	_Alignas(16) int8_t table[256] = {0};
	__m256i step[BITS_PLANES_MAX], base = _mm256_setzero_si256();

	if (w->level)
		memcpy(table, w->level + (size_t) row * w->level_stride, (size_t) 1 << w->planes);
	for (uint32_t k = 0; k < words; k++) {
		size_t word = (size_t) row * w->words + first + k;

		if (!w->level && (k == 0 || (first + k) % w->group_words == 0)) {
			size_t at = (size_t) row * w->groups + (first + k) / w->group_words;

			for (uint32_t i = 0; i < w->planes; i++)
				step[i] = _mm256_set1_epi8((char) w->step[at * w->planes + i]);
			base = _mm256_set1_epi8(w->base[at]);
		}
		for (uint32_t h = 0; h < 2; h++) {
			__m256i v = w->level ? decode_level(w, word, h, table) :
					       decode_sum(w, word, h, base, step);
			uint32_t pair = k * PAIRS_PER_WORD + h * 16;

			put_pairs(s, pair, half, slot, _mm256_castsi256_si128(v));
			put_pairs(s, pair + 8, half, slot, _mm256_extracti128_si256(v, 1));
		}
	}
}

/* 8 pairs of 8 rows, from row after row to pair after pair, in place: 8x8 of 32 bits */
static void transpose(int16_t (*pairs)[2][HALF_ROWS * 2], uint32_t half)
{
	__m256i v[8], t[8];

	for (uint32_t i = 0; i < 8; i++)
		v[i] = _mm256_load_si256((const __m256i *) pairs[i][half]);
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
		_mm256_store_si256((__m256i *) pairs[j][half],
			_mm256_permute2x128_si256(t[j], t[4 + j], 0x20));
		_mm256_store_si256((__m256i *) pairs[4 + j][half],
			_mm256_permute2x128_si256(t[j], t[4 + j], 0x31));
	}
}

static void decode_half(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words,
	struct decode_scratch *s, uint32_t half)
{
	uint32_t rows = w->rows > row ? w->rows - row : 0;

	for (uint32_t r = 0; r < HALF_ROWS; r++)
		if (r < rows)
			decode_row(w, row + r, first, words, s, half, r);
		else
			for (uint32_t p = 0; p < words * PAIRS_PER_WORD; p += 8)
				put_pairs(s, p, half, r, _mm_setzero_si128());
	for (uint32_t p = 0; p < words * PAIRS_PER_WORD; p += 8)
		transpose(s->weights + p, half);
}

static void widen_columns(struct decode_scratch *s, const uint8_t *q, size_t stride, uint32_t count,
	uint32_t values)
{
	for (uint32_t n = 0; n < count; n++)
		for (uint32_t t = 0; t < values; t += 16)
			_mm256_store_si256((__m256i *) (s->values[n] + t),
				_mm256_cvtepu8_epi16(_mm_load_si128(
					(const __m128i *) (q + n * stride + t))));
}

/*
 * struct tile - what one call of a multiply function works on
 * @column: first column in scratch
 * @add: add to acc instead of storing: not the first block of columns
 */
struct tile {
	const struct decode_scratch *scratch;
	uint32_t column, pairs, rows;
	int32_t *acc;
	uint32_t acc_stride;
	bool add;
};

static inline __m256i broadcast(const int16_t *pair)
{
	int32_t v;

	memcpy(&v, pair, sizeof v);
	return _mm256_set1_epi32(v);
}

/* Compilers keep sums in registers only when each has a name. */
#define EACH_1(f) f(0)
#define EACH_6(f) f(0) f(1) f(2) f(3) f(4) f(5)

#define DECLARE(n) __m256i a##n = _mm256_setzero_si256(), b##n = _mm256_setzero_si256();
#define STEP(n)                                                                                    \
	{                                                                                          \
		__m256i q = broadcast(values + (n) * BLOCK_VALUES + 2 * p);                        \
		a##n = _mm256_add_epi32(a##n, _mm256_madd_epi16(q, wa));                           \
		b##n = _mm256_add_epi32(b##n, _mm256_madd_epi16(q, wb));                           \
	}
#define STORE(n)                                                                                    \
	_mm256_store_si256((__m256i *) sums[n], a##n);                                             \
	_mm256_store_si256((__m256i *) sums[n] + 1, b##n);

#define DEFINE_MULTIPLY(count)                                                                     \
	static void multiply_##count(const struct tile *t, int32_t (*sums)[BLOCK_ROWS])             \
	{                                                                                          \
		const int16_t *values = t->scratch->values[t->column];                             \
                                                                                                   \
		EACH_##count(DECLARE)                                                              \
		for (size_t p = 0; p < t->pairs; p++) {                                            \
			const __m256i *weights = (const __m256i *) t->scratch->weights[p];         \
			__m256i wa = _mm256_load_si256(weights), wb = _mm256_load_si256(weights + 1); \
                                                                                                   \
			EACH_##count(STEP)                                                         \
		}                                                                                  \
		EACH_##count(STORE)                                                                \
	}

DEFINE_MULTIPLY(1)
DEFINE_MULTIPLY(6)

/* Only rows that exist leave the tile. */
static void put_sums(const struct tile *t, uint32_t count, int32_t (*sums)[BLOCK_ROWS])
{
	uint32_t rows = t->rows < BLOCK_ROWS ? t->rows : BLOCK_ROWS;

	for (uint32_t n = 0; n < count; n++) {
		int32_t *to = t->acc + (size_t) n * t->acc_stride;

		if (!t->add)
			memcpy(to, sums[n], rows * sizeof *to);
		else
			for (uint32_t r = 0; r < rows; r++)
				to[r] += sums[n][r];
	}
}

static void multiply_columns(struct tile t, uint32_t count)
{
	_Alignas(32) int32_t sums[6][BLOCK_ROWS];

	while (count) {
		uint32_t n = count >= 6 ? 6 : 1;

		(n == 6 ? multiply_6 : multiply_1)(&t, sums);
		put_sums(&t, n, sums);
		t.column += n;
		t.acc += (size_t) n * t.acc_stride;
		count -= n;
	}
}

static void multiply_tile(const struct kernel_matrix *w, const struct kernel_columns *x,
	const uint8_t *q, uint32_t count, int32_t *acc, uint32_t acc_stride, struct decode_scratch *s)
{
	for (uint32_t first = 0; first < w->words; first += BLOCK_WORDS) {
		uint32_t words = w->words - first < BLOCK_WORDS ? w->words - first : BLOCK_WORDS;

		uint32_t values = kernel_values(x, first, words, 16);

		widen_columns(s, q + (size_t) first * 64, (size_t) w->words * 64, count, values);
		for (uint32_t row = 0; row < w->rows; row += BLOCK_ROWS) {
			struct tile t = {s, 0, values / 2, w->rows - row, acc + row,
				acc_stride, first > 0};

			decode_half(w, row, first, words, s, 0);
			decode_half(w, row + HALF_ROWS, first, words, s, 1);
			multiply_columns(t, count);
		}
	}
}

void decode_avx2(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	for (uint32_t n = 0; n < x->count; n += TILE_COLUMNS) {
		uint32_t count = x->count - n < TILE_COLUMNS ? x->count - n : TILE_COLUMNS;

		multiply_tile(w, x, x->u8 + (size_t) n * w->words * 64, count,
			acc + (size_t) n * acc_stride, acc_stride, scratch);
	}
}
