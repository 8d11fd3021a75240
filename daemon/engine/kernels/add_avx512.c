/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

static inline __m512 scaled(const uint8_t *q, __mmask16 mask, __m512i zero, __m512 gain)
{
	__m512i v = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, q));

	return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(v, zero)), gain);
}

void add_avx512(const struct kernel_add *p, const uint8_t *a, const uint8_t *b, size_t count,
	uint8_t *out)
{
	const __m512 floor_ = _mm512_set1_ps((float) (p->low - p->zero_out));
	const __m512 ceiling = _mm512_set1_ps((float) (p->high - p->zero_out));
	const __m512 gain_a = _mm512_set1_ps(p->gain_a), gain_b = _mm512_set1_ps(p->gain_b);
	const __m512i zero_a = _mm512_set1_epi32(p->zero_a), zero_b = _mm512_set1_epi32(p->zero_b);
	const __m512i zero_out = _mm512_set1_epi32(p->zero_out);

	for (size_t i = 0; i < count; i += 16) {
		__mmask16 mask = (__mmask16) (count - i >= 16 ? 0xffff : (1u << (count - i)) - 1);
		__m512 t = _mm512_add_ps(scaled(a + i, mask, zero_a, gain_a),
			scaled(b + i, mask, zero_b, gain_b));

		/* of NaN and a bound, these give their second operand, as round_u8() does */
		t = _mm512_min_ps(_mm512_max_ps(t, floor_), ceiling);
		_mm512_mask_cvtepi32_storeu_epi8(out + i, mask,
			_mm512_add_epi32(_mm512_cvtps_epi32(t), zero_out));
	}
}
