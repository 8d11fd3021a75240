/* SPDX-License-Identifier: Apache-2.0 */
#include <arm_neon.h>

#include "engine/kernels/rows.h"

/* Bit m of 16 bytes: each to its place within 8, then added up. */
static uint64_t plane_of(uint8x16_t v, uint8x16_t bit)
{
	static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
	uint8x16_t set = vandq_u8(vtstq_u8(v, bit), vld1q_u8(places));

	return vaddv_u8(vget_low_u8(set)) | (uint64_t) vaddv_u8(vget_high_u8(set)) << 8;
}

void pack_neon(const uint8_t *u8, uint32_t words, uint32_t planes, uint64_t *bits)
{
	for (uint32_t k = 0; k < words; k++, u8 += 64)
		for (uint32_t m = 0; m < planes; m++) {
			uint8x16_t bit = vdupq_n_u8((uint8_t) (1u << m));
			uint64_t word = 0;

			for (uint32_t i = 0; i < 4; i++)
				word |= plane_of(vld1q_u8(u8 + (size_t) 16 * i), bit) << (16 * i);
			bits[(size_t) m * words + k] = word;
		}
}
