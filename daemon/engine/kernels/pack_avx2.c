/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

/* Bit m of each byte, moved to where VPMOVMSKB takes it from; what comes over from a neighbour does not matter. */
static uint32_t plane_of(__m256i v, uint32_t m)
{
	return (uint32_t) _mm256_movemask_epi8(_mm256_sll_epi16(v, _mm_cvtsi32_si128((int) (7 - m))));
}

void pack_avx2(const uint8_t *u8, uint32_t words, uint32_t planes, uint64_t *bits)
{
	for (uint32_t k = 0; k < words; k++) {
		const __m256i *from = (const __m256i *) (const void *) (u8 + (size_t) k * 64);
		__m256i low = _mm256_loadu_si256(from), high = _mm256_loadu_si256(from + 1);

		for (uint32_t m = 0; m < planes; m++)
			bits[(size_t) m * words + k] = plane_of(low, m) | (uint64_t) plane_of(high, m) << 32;
	}
}
