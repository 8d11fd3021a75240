/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decode a word of planes (64 weights) to int8 and multiply it with every column of the tile. Eight
 * weights at a time live in the bytes of an integer; sums wrap modulo 256, which is harmless because
 * every weight itself fits (kernel.h).
 */
#include <string.h>

#include "engine/kernels/rows.h"

#define BYTES_01 UINT64_C(0x0101010101010101)
#define BYTES_7F UINT64_C(0x7f7f7f7f7f7f7f7f)
#define BYTES_80 UINT64_C(0x8080808080808080)

/* bit i of @bits to byte i, 0 or 1 */
static uint64_t spread(uint8_t bits)
{
	uint64_t one_each = (bits * BYTES_01) & UINT64_C(0x8040201008040201);

	return ((one_each + BYTES_7F) | one_each) >> 7 & BYTES_01;
}

static uint64_t add_bytes(uint64_t a, uint64_t b)
{
	return ((a & BYTES_7F) + (b & BYTES_7F)) ^ ((a ^ b) & BYTES_80);
}

/* 64 weights of sum coding: the base, plus a step for each set bit */
static void decode_sum(const struct kernel_matrix *w, uint32_t row, uint32_t word, int8_t out[64])
{
	size_t at = (size_t) row * w->groups + word / w->group_words;

	for (uint32_t b = 0; b < 8; b++) {
		uint64_t sum = (uint8_t) w->base[at] * BYTES_01;

		for (uint32_t i = 0; i < w->planes; i++) {
			uint64_t bits = w->plane[i][(size_t) row * w->words + word];
			uint64_t step = (uint8_t) w->step[at * w->planes + i];

			sum = add_bytes(sum, spread((uint8_t) (bits >> (8 * b))) * step);
		}
		memcpy(out + 8 * b, &sum, 8);
	}
}

static void decode_level(const struct kernel_matrix *w, uint32_t row, uint32_t word, int8_t out[64])
{
	const int8_t *level = w->level + (size_t) row * w->level_stride;

	for (uint32_t b = 0; b < 8; b++) {
		uint64_t index = 0;

		for (uint32_t i = 0; i < w->planes; i++) {
			uint64_t bits = w->plane[i][(size_t) row * w->words + word];

			index = index << 1 | spread((uint8_t) (bits >> (8 * b)));
		}
		for (uint32_t t = 0; t < 8; t++)
			out[8 * b + t] = level[(uint8_t) (index >> (8 * t))];
	}
}

static int32_t dot(const int8_t *w, const uint8_t *q)
{
	int32_t sum = 0;

	for (uint32_t t = 0; t < 64; t++)
		sum += (int16_t) w[t] * (int16_t) q[t];
	return sum;
}

void decode_scalar(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	size_t column_bytes = (size_t) w->words * BITS_PER_WORD;
	int8_t weights[64];

	for (uint32_t r = 0; r < w->rows; r++) {
		for (uint32_t n = 0; n < x->count; n++)
			acc[(size_t) n * acc_stride + r] = 0;
		for (uint32_t k = 0; k < w->words; k++) {
			if (w->level)
				decode_level(w, r, k, weights);
			else
				decode_sum(w, r, k, weights);
			for (uint32_t n = 0; n < x->count; n++)
				acc[(size_t) n * acc_stride + r] +=
					dot(weights, x->u8 + n * column_bytes + (size_t) k * 64);
		}
	}
}
