/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

void requantize_avx512(const int32_t *acc, uint32_t count, const float *gain, const float *bias,
	int32_t zero_point, uint8_t low, uint8_t high, uint8_t *out)
{
	const __m512 floor_ = _mm512_set1_ps((float) (low - zero_point));
	const __m512 ceiling = _mm512_set1_ps((float) (high - zero_point));
	const __m512i zero = _mm512_set1_epi32(zero_point);

	for (uint32_t i = 0; i < count; i += 16) {
		__mmask16 mask = (__mmask16) (count - i >= 16 ? 0xffff : (1u << (count - i)) - 1);
		__m512 t = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask, acc + i));

		t = _mm512_mul_ps(t, _mm512_maskz_loadu_ps(mask, gain + i));
		t = _mm512_add_ps(t, _mm512_maskz_loadu_ps(mask, bias + i));
		/* of NaN and a bound, these give their second operand, as round_u8() does */
		t = _mm512_min_ps(_mm512_max_ps(t, floor_), ceiling);
		_mm512_mask_cvtepi32_storeu_epi8(out + i, mask,
			_mm512_add_epi32(_mm512_cvtps_epi32(t), zero));
	}
}
