/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

void pack_avx512(const uint8_t *u8, uint32_t words, uint32_t planes, uint64_t *bits)
{
	for (uint32_t k = 0; k < words; k++) {
		__m512i v = _mm512_loadu_si512(u8 + (size_t) k * 64);

		for (uint32_t m = 0; m < planes; m++)
			bits[(size_t) m * words + k] =
				_cvtmask64_u64(_mm512_test_epi8_mask(v, _mm512_set1_epi8((char) (1u << m))));
	}
}
