/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes to int16, products by VPMADDWD: VPMADDUBSW would be twice as wide but saturates, and answers
 * must be exact.
 *
 * The weights of 16 rows and up to 256 columns are decoded once per tile of up to 48 columns, whose
 * values are widened to 16 bits beside them:
 *
 *	weights		decode_avx2.h, a unit is a pair of 16 bits each
 *	values[column][256]					16 bits each
 *
 * Two neighbours of a column are broadcast against a register of weights.
 */
#include "engine/kernels/decode_avx2.h"

#define BLOCK_WORDS 4
#define BLOCK_VALUES (BLOCK_WORDS * 64)
#define TILE_COLUMNS 48

struct decode_scratch {
	tile_unit weights[BLOCK_VALUES / 2];
	int16_t values[TILE_COLUMNS][BLOCK_VALUES];
};

_Static_assert(sizeof(struct decode_scratch) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

static void widen_columns(struct decode_scratch *s, const uint8_t *q, size_t stride, uint32_t count,
	uint32_t values)
{
	for (uint32_t n = 0; n < count; n++)
		for (uint32_t t = 0; t < values; t += 16)
			_mm256_store_si256((__m256i *) (s->values[n] + t),
				_mm256_cvtepu8_epi16(_mm_load_si128(
					(const __m128i *) (q + n * stride + t))));
}

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
	static void multiply_##count(const tile_unit *weights, const int16_t *values, size_t pairs, \
		int32_t (*sums)[BLOCK_ROWS])                                                       \
	{                                                                                          \
		EACH_##count(DECLARE)                                                              \
		for (size_t p = 0; p < pairs; p++) {                                               \
			__m256i wa = weights[p][0], wb = weights[p][1];                            \
                                                                                                   \
			EACH_##count(STEP)                                                         \
		}                                                                                  \
		EACH_##count(STORE)                                                                \
	}

DEFINE_MULTIPLY(1)
DEFINE_MULTIPLY(6)

static void multiply_columns(const struct kernel_matrix *w, const struct decode_scratch *s, uint32_t row,
	uint32_t first, uint32_t pairs, uint32_t count, int32_t *acc, uint32_t acc_stride)
{
	_Alignas(32) int32_t sums[6][BLOCK_ROWS];

	for (uint32_t at = 0, n; at < count; at += n) {
		n = count - at >= 6 ? 6 : 1;
		(n == 6 ? multiply_6 : multiply_1)(s->weights, s->values[at], pairs, sums);
		put_sums(w, row, first, n, sums, acc + (size_t) at * acc_stride, acc_stride);
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
			decode_tile(w, row, first, words, true, s->weights);
			multiply_columns(w, s, row, first, values / 2, count, acc, acc_stride);
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
