/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four rows per register. Bits of nibbles are counted by PSHUFB, summed in bytes for as many words as
 * bytes can hold, then per lane by PSADBW.
 */
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 4
#define WORDS_PER_BYTE 31 /* times 8 bits stays below 256 */
typedef __m256i vec;

static inline vec vec_zero(void)
{
	return _mm256_setzero_si256();
}

static inline vec vec_load(const int64_t *p)
{
	return _mm256_load_si256((const __m256i *) p);
}

static inline vec vec_set1(int64_t v)
{
	return _mm256_set1_epi64x(v);
}

static inline vec vec_add(vec a, vec b)
{
	return _mm256_add_epi64(a, b);
}

static inline vec vec_shift(vec a, uint32_t n)
{
	return _mm256_sll_epi64(a, _mm_cvtsi32_si128((int) n));
}

static inline vec vec_multiply_add(vec a, vec b, vec c)
{
	return _mm256_add_epi64(a, _mm256_mul_epi32(b, c));
}

static inline void vec_put(int32_t *acc, vec v, uint32_t rows, bool add)
{
	_Alignas(32) int64_t sum[LANES];

	_mm256_store_si256((__m256i *) sum, v);
	for (uint32_t r = 0; r < rows; r++)
		acc[r] = (int32_t) (add ? acc[r] + sum[r] : sum[r]);
}

static inline vec count_word(vec bytes, vec weights, uint64_t d)
{
	const __m256i of_nibble = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1,
		1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i both = _mm256_and_si256(weights, _mm256_set1_epi64x((long long) d));
	__m256i low = _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(both, nibble));
	__m256i high = _mm256_shuffle_epi8(of_nibble,
		_mm256_and_si256(_mm256_srli_epi16(both, 4), nibble));

	return _mm256_add_epi8(bytes, _mm256_add_epi8(low, high));
}

static inline vec widen(vec sum, vec bytes)
{
	return _mm256_add_epi64(sum, _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
}

static inline void count_1(const uint64_t *weights, uint32_t stride, const uint64_t *d,
	uint32_t words, vec out[1])
{
	out[0] = vec_zero();
	for (uint32_t k = 0; k < words;) {
		uint32_t end = words - k < WORDS_PER_BYTE ? words : k + WORDS_PER_BYTE;
		vec b = vec_zero();

		for (; k < end; k++)
			b = count_word(b, _mm256_load_si256((const __m256i *) (weights + (size_t) k * stride)),
				d[k]);
		out[0] = widen(out[0], b);
	}
}

static inline void count_4(const uint64_t *weights, uint32_t stride, const uint64_t *d,
	size_t column_words, uint32_t words, vec out[4])
{
	for (uint32_t c = 0; c < 4; c++)
		out[c] = vec_zero();
	for (uint32_t k = 0; k < words;) {
		uint32_t end = words - k < WORDS_PER_BYTE ? words : k + WORDS_PER_BYTE;
		vec b0 = vec_zero(), b1 = vec_zero(), b2 = vec_zero(), b3 = vec_zero();

		for (; k < end; k++) {
			vec w = _mm256_load_si256((const __m256i *) (weights + (size_t) k * stride));

			b0 = count_word(b0, w, d[k]);
			b1 = count_word(b1, w, d[column_words + k]);
			b2 = count_word(b2, w, d[2 * column_words + k]);
			b3 = count_word(b3, w, d[3 * column_words + k]);
		}
		out[0] = widen(out[0], b0);
		out[1] = widen(out[1], b1);
		out[2] = widen(out[2], b2);
		out[3] = widen(out[3], b3);
	}
}

#include "engine/kernels/bitserial_tile.h"

void bitserial_avx2(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	bitserial(w, x, acc, acc_stride, scratch);
}
