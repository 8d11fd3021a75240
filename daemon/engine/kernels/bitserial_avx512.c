/* SPDX-License-Identifier: Apache-2.0 */
/* Eight rows per register, counted by VPOPCNTQ. */
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 8
typedef __m512i vec;

static inline vec vec_zero(void)
{
	return _mm512_setzero_si512();
}

static inline vec vec_load(const int64_t *p)
{
	return _mm512_load_si512(p);
}

static inline vec vec_set1(int64_t v)
{
	return _mm512_set1_epi64(v);
}

static inline vec vec_add(vec a, vec b)
{
	return _mm512_add_epi64(a, b);
}

static inline vec vec_shift(vec a, uint32_t n)
{
	return _mm512_sll_epi64(a, _mm_cvtsi32_si128((int) n));
}

static inline vec vec_multiply_add(vec a, vec b, vec c)
{
	return _mm512_add_epi64(a, _mm512_mul_epi32(b, c));
}

static inline void vec_put(int32_t *acc, vec v, uint32_t rows, bool add)
{
	__mmask8 mask = (__mmask8) ((1u << rows) - 1);
	__m256i sum = _mm512_cvtepi64_epi32(v);

	if (add)
		sum = _mm256_add_epi32(sum, _mm256_maskz_loadu_epi32(mask, acc));
	_mm256_mask_storeu_epi32(acc, mask, sum);
}

static inline vec count_word(vec sum, vec weights, uint64_t d)
{
	__m512i both = _mm512_and_si512(weights, _mm512_set1_epi64((long long) d));

	return _mm512_add_epi64(sum, _mm512_popcnt_epi64(both));
}

static inline void count_1(const uint64_t *weights, uint32_t stride, const uint64_t *d,
	uint32_t words, vec out[1])
{
	vec sum = vec_zero();

	for (uint32_t k = 0; k < words; k++)
		sum = count_word(sum, _mm512_load_si512(weights + (size_t) k * stride), d[k]);
	out[0] = sum;
}

static inline void count_4(const uint64_t *weights, uint32_t stride, const uint64_t *d,
	size_t column_words, uint32_t words, vec out[4])
{
	vec s0 = vec_zero(), s1 = vec_zero(), s2 = vec_zero(), s3 = vec_zero();

	for (uint32_t k = 0; k < words; k++) {
		vec w = _mm512_load_si512(weights + (size_t) k * stride);

		s0 = count_word(s0, w, d[k]);
		s1 = count_word(s1, w, d[column_words + k]);
		s2 = count_word(s2, w, d[2 * column_words + k]);
		s3 = count_word(s3, w, d[3 * column_words + k]);
	}
	out[0] = s0;
	out[1] = s1;
	out[2] = s2;
	out[3] = s3;
}

#include "engine/kernels/bitserial_tile.h"

void bitserial_avx512(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	bitserial(w, x, acc, acc_stride, scratch);
}
