/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/kernels/rows.h"

/* bit 0 of byte i of @bytes to bit i: the product moves each to its place in the top byte */
static uint64_t gather(uint64_t bytes)
{
	return (bytes & UINT64_C(0x0101010101010101)) * UINT64_C(0x0102040810204080) >> 56;
}

void pack_scalar(const uint8_t *u8, uint32_t words, uint32_t planes, uint64_t *bits)
{
	for (uint32_t k = 0; k < words; k++)
		for (uint32_t m = 0; m < planes; m++) {
			uint64_t word = 0;

			for (uint32_t b = 0; b < 8; b++) {
				uint64_t bytes;

				memcpy(&bytes, u8 + (size_t) k * 64 + 8 * b, 8);
				word |= gather(bytes >> m) << (8 * b);
			}
			bits[(size_t) m * words + k] = word;
		}
}
