/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

#define VALUES 16

void sum_avx512(const uint8_t *in, uint32_t count, int32_t *acc)
{
	for (uint32_t i = 0; i < count; i += VALUES) {
		const __mmask16 mask = (__mmask16) (count - i >= VALUES ? 0xffff : (1u << (count - i)) - 1);
		__m512i v = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, in + i));

		v = _mm512_add_epi32(v, _mm512_maskz_loadu_epi32(mask, acc + i));
		_mm512_mask_storeu_epi32(acc + i, mask, v);
	}
}
