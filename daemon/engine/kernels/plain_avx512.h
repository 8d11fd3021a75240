/* SPDX-License-Identifier: Apache-2.0 */
/* Levels that are numbers themselves: what plain int8 becomes where all its planes are kept. */
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

/* Of 256 levels: is each one 128 less than its index, -127 the least? */
static inline bool is_plain(const int8_t *level)
{
	const __m512i ramp = _mm512_cvtepi8_epi16(_mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
		13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31));
	__mmask32 differ = 0;

	for (int i = 0; i < 256; i += 32) {
		__m512i number = _mm512_add_epi16(ramp, _mm512_set1_epi16((int16_t) (i - 128)));

		differ |= _mm512_cmpneq_epi16_mask(_mm512_max_epi16(number, _mm512_set1_epi16(-127)),
			_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *) (level + i))));
	}
	return differ == 0;
}

static inline __m512i plain_weights(__m512i index)
{
	return _mm512_max_epi8(_mm512_xor_si512(index, _mm512_set1_epi8(-128)), _mm512_set1_epi8(-127));
}
