/* SPDX-License-Identifier: Apache-2.0 */
/* Registers whose rows become columns. */
#pragma once

#include <immintrin.h>
#include <stdint.h>

#define TURN_ZIP(a, b, lo, hi, width)                                                              \
	do {                                                                                       \
		__m512i zip_a = a, zip_b = b;                                                      \
		lo = _mm512_unpacklo_epi##width(zip_a, zip_b);                                     \
		hi = _mm512_unpackhi_epi##width(zip_a, zip_b);                                     \
	} while (0)

/* A square of 16 rows and 16 columns of 32 bits, turned around in place. */
static inline void turn_square(__m512i v[16])
{
	__m512i t[16];

	/* within lanes: t[4g + j] holds columns j, j+4, j+8, j+12 of rows 4g..4g+3 */
	for (uint32_t g = 0; g < 16; g += 4) {
		__m512i a, b, c, d;

		TURN_ZIP(v[g], v[g + 1], a, b, 32);
		TURN_ZIP(v[g + 2], v[g + 3], c, d, 32);
		TURN_ZIP(a, c, t[g], t[g + 1], 64);
		TURN_ZIP(b, d, t[g + 2], t[g + 3], 64);
	}
	/* between lanes: lane l of t[j], t[4+j], t[8+j], t[12+j] are the rows of column 4l + j */
	for (uint32_t j = 0; j < 4; j++) {
		__m512i a = _mm512_shuffle_i32x4(t[j], t[4 + j], 0x44);
		__m512i b = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0x44);
		__m512i c = _mm512_shuffle_i32x4(t[j], t[4 + j], 0xee);
		__m512i d = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0xee);

		v[j] = _mm512_shuffle_i32x4(a, b, 0x88);
		v[4 + j] = _mm512_shuffle_i32x4(a, b, 0xdd);
		v[8 + j] = _mm512_shuffle_i32x4(c, d, 0x88);
		v[12 + j] = _mm512_shuffle_i32x4(c, d, 0xdd);
	}
}

#undef TURN_ZIP
