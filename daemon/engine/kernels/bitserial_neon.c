/* SPDX-License-Identifier: Apache-2.0 */
/* Two rows per register. CNT counts in bytes, which are summed for as many words as bytes can hold. */
#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 2
#define WORDS_PER_BYTE 31 /* times 8 bits stays below 256 */
typedef int64x2_t vec;

static inline vec vec_zero(void)
{
	return vdupq_n_s64(0);
}

static inline vec vec_load(const int64_t *p)
{
	return vld1q_s64(p);
}

static inline vec vec_set1(int64_t v)
{
	return vdupq_n_s64(v);
}

static inline vec vec_add(vec a, vec b)
{
	return vaddq_s64(a, b);
}

static inline vec vec_shift(vec a, uint32_t n)
{
	return vshlq_s64(a, vdupq_n_s64((int64_t) n));
}

static inline vec vec_multiply_add(vec a, vec b, vec c)
{
	return vmlal_s32(a, vmovn_s64(b), vmovn_s64(c));
}

static inline void vec_put(int32_t *acc, vec v, uint32_t rows, bool add)
{
	int64_t sum[LANES];

	vst1q_s64(sum, v);
	for (uint32_t r = 0; r < rows; r++)
		acc[r] = (int32_t) (add ? acc[r] + sum[r] : sum[r]);
}

static inline uint8x16_t count_word(uint8x16_t bytes, uint64x2_t weights, uint64_t d)
{
	return vaddq_u8(bytes, vcntq_u8(vreinterpretq_u8_u64(vandq_u64(weights, vdupq_n_u64(d)))));
}

static inline vec widen(vec sum, uint8x16_t bytes)
{
	return vaddq_s64(sum, vreinterpretq_s64_u64(vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(bytes)))));
}

static inline void count_1(const uint64_t *weights, uint32_t stride, const uint64_t *d,
	uint32_t words, vec out[1])
{
	out[0] = vec_zero();
	for (uint32_t k = 0; k < words;) {
		uint32_t end = words - k < WORDS_PER_BYTE ? words : k + WORDS_PER_BYTE;
		uint8x16_t b = vdupq_n_u8(0);

		for (; k < end; k++)
			b = count_word(b, vld1q_u64(weights + (size_t) k * stride), d[k]);
		out[0] = widen(out[0], b);
	}
}

static inline void count_4(const uint64_t *weights, uint32_t stride, const uint64_t *d,
	size_t column_words, uint32_t words, vec out[4])
{
	for (uint32_t c = 0; c < 4; c++)
		out[c] = vec_zero();
	for (uint32_t k = 0; k < words;) {
		uint32_t end = words - k < WORDS_PER_BYTE ? words : k + WORDS_PER_BYTE;
		uint8x16_t b0 = vdupq_n_u8(0), b1 = b0, b2 = b0, b3 = b0;

		for (; k < end; k++) {
			uint64x2_t w = vld1q_u64(weights + (size_t) k * stride);

			b0 = count_word(b0, w, d[k]);
			b1 = count_word(b1, w, d[column_words + k]);
			b2 = count_word(b2, w, d[2 * column_words + k]);
			b3 = count_word(b3, w, d[3 * column_words + k]);
		}
		out[0] = widen(out[0], b0);
		out[1] = widen(out[1], b1);
		out[2] = widen(out[2], b2);
		out[3] = widen(out[3], b3);
	}
}

#include "engine/kernels/bitserial_tile.h"

void bitserial_neon(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	bitserial(w, x, acc, acc_stride, scratch);
}
