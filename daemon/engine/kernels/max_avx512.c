/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

#define VALUES 64

void max_avx512(const uint8_t *in, uint32_t count, uint8_t *out)
{
	uint32_t i = 0;
	__mmask64 rest;

	for (; i + VALUES <= count; i += VALUES)
		_mm512_storeu_si512(
			out + i, _mm512_max_epu8(_mm512_loadu_si512(in + i), _mm512_loadu_si512(out + i)));
	rest = (UINT64_C(1) << (count - i)) - 1;
	if (rest)
		_mm512_mask_storeu_epi8(out + i, rest, _mm512_max_epu8(_mm512_maskz_loadu_epi8(rest, in + i),
							       _mm512_maskz_loadu_epi8(rest, out + i)));
}
