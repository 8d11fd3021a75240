/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes to int8, products by VPDPBUSD of 256 bits as AVX-VNNI has it: for processors that have it without
 * the registers of AVX-512 (Alder Lake and later, their small cores too).
 *
 * The weights of 16 rows and up to 1024 columns are decoded once for all columns of values; decode_avx2.h has
 * their order, a unit is four of 8 bits. Four neighbours of a column are broadcast against a register of them.
 */
#include "engine/kernels/decode_avx2.h"

#define BLOCK_WORDS 16
#define WORD_UNITS 16

_Static_assert(
	BLOCK_WORDS * WORD_UNITS * sizeof(tile_unit) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

INLINED __m256i broadcast(const uint8_t *q)
{
	int32_t v;

	memcpy(&v, q, sizeof v);
	return _mm256_set1_epi32(v);
}

/* Compilers keep sums in registers only when each has a name. */
#define EACH_1(f) f(0)
#define EACH_2(f) EACH_1(f) f(1)
#define EACH_3(f) EACH_2(f) f(2)
#define EACH_4(f) EACH_3(f) f(3)
#define EACH_5(f) EACH_4(f) f(4)
#define EACH_6(f) EACH_5(f) f(5)

#define DECLARE(n) __m256i a##n = _mm256_setzero_si256(), b##n = _mm256_setzero_si256();
#define STEP(n)                                                                                    \
	{                                                                                          \
		__m256i v = broadcast(((n) < 3 ? q : far) + (size_t) ((n) % 3) * stride + 4 * u);  \
                                                                                                   \
		a##n = _mm256_dpbusd_avx_epi32(a##n, v, wa);                                       \
		b##n = _mm256_dpbusd_avx_epi32(b##n, v, wb);                                       \
	}
#define STORE(n)                                                                                   \
	_mm256_store_si256((__m256i *) sums[n], a##n);                                             \
	_mm256_store_si256((__m256i *) sums[n] + 1, b##n);

#define DEFINE_MULTIPLY(count)                                                                     \
	static void multiply_##count(const tile_unit *weights, const uint8_t *q, size_t stride,    \
		size_t units, int32_t (*sums)[BLOCK_ROWS])                                         \
	{                                                                                          \
		const uint8_t *far = q + ((count) > 3 ? 3 * stride : 0);                           \
                                                                                                   \
		EACH_##count(DECLARE)                                                              \
		for (size_t u = 0; u < units; u++) {                                               \
			__m256i wa = weights[u][0], wb = weights[u][1];                            \
                                                                                                   \
			EACH_##count(STEP)                                                         \
		}                                                                                  \
		EACH_##count(STORE)                                                                \
	}

#define EACH_COUNT(f) f(1) f(2) f(3) f(4) f(5) f(6)
#define COUNT_MAX 6 /* twice as many sums, two registers of weights and one of values */
#define MULTIPLY(count) multiply_##count,

EACH_COUNT(DEFINE_MULTIPLY)

static void multiply_columns(const struct kernel_matrix *w, const struct kernel_columns *x,
	const tile_unit *weights, uint32_t row, uint32_t first, uint32_t units, int32_t *acc, uint32_t acc_stride)
{
	static void (*const multiply[])(const tile_unit *, const uint8_t *, size_t, size_t,
		int32_t (*)[BLOCK_ROWS]) = {NULL, EACH_COUNT(MULTIPLY)};
	_Alignas(32) int32_t sums[COUNT_MAX][BLOCK_ROWS];
	size_t stride = (size_t) w->words * 64;

	for (uint32_t at = 0, n; at < x->count; at += n) {
		n = x->count - at < COUNT_MAX ? x->count - at : COUNT_MAX;
		multiply[n](weights, x->u8 + at * stride + (size_t) first * 64, stride, units, sums);
		put_sums(w, row, first, n, sums, acc + (size_t) at * acc_stride, acc_stride);
	}
}

INLINED int32_t add_lanes(__m256i v)
{
	__m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	return _mm_cvtsi128_si32(s) + _mm_extract_epi32(s, 1);
}

/* One or two columns: nothing is decoded twice, so weights go from the decoder's register into the product. */
static void multiply_row(const struct kernel_matrix *w, const struct kernel_columns *x, uint32_t row,
	int32_t *acc, uint32_t acc_stride)
{
	const __m256i *q0 = (const __m256i *) x->u8, *q1 = q0 + (x->count > 1 ? (size_t) w->words * 2 : 0);
	__m256i s0 = _mm256_setzero_si256(), s1 = s0;
	struct row d;

	row_start(&d, w, row, 0);
	for (uint32_t k = 0; k < w->words; k++) {
		row_word(&d, k);
		for (uint32_t h = 0; h < 2; h++) {
			__m256i v = row_weights(&d, k, h);

			s0 = _mm256_dpbusd_avx_epi32(s0, _mm256_load_si256(q0 + 2 * k + h), v);
			s1 = _mm256_dpbusd_avx_epi32(s1, _mm256_load_si256(q1 + 2 * k + h), v);
		}
	}
	acc[row] = add_lanes(s0);
	if (x->count > 1)
		acc[acc_stride + row] = add_lanes(s1);
}

void decode_avxvnni(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	if (x->count <= 2) {
		for (uint32_t r = 0; r < w->rows && x->count; r++)
			multiply_row(w, x, r, acc, acc_stride);
		return;
	}
	for (uint32_t first = 0; first < w->words; first += BLOCK_WORDS) {
		uint32_t words = w->words - first < BLOCK_WORDS ? w->words - first : BLOCK_WORDS;
		uint32_t units = kernel_values(x, first, words, 4) / 4;

		for (uint32_t row = 0; row < w->rows; row += BLOCK_ROWS) {
			decode_tile(w, row, first, words, false, scratch);
			multiply_columns(w, x, scratch, row, first, units, acc, acc_stride);
		}
	}
}
