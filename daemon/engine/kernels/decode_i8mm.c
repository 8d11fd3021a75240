/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes to int8, products by USMMLA: 2 columns of 8 values times 2 rows of 8 weights, 32 products, and the
 * values as they are, without a sign.
 *
 * The weights of 8 rows and up to 1024 columns are decoded once per tile:
 *
 *	scratch[eight weights][pair of rows][2][8]
 */
#include <arm_neon.h>

#include "engine/kernels/decode_arm.h"

#define BLOCK_ROWS ARM_BLOCK_ROWS
#define BLOCK_WORDS 16
#define WORD_EIGHTS 8

struct decode_scratch {
	int8_t weights[BLOCK_WORDS * WORD_EIGHTS][BLOCK_ROWS][8];
};

_Static_assert(sizeof(struct decode_scratch) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

static void decode_block(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words,
	void *scratch)
{
	struct decode_scratch *s = scratch;
	struct arm_block b;

	arm_block_start(&b, w, row, first);
	for (uint32_t k = 0; k < words; k++) {
		arm_block_word(&b, w);
		for (uint32_t r = 0; r < BLOCK_ROWS; r++)
			for (uint32_t e = 0; e < WORD_EIGHTS; e++)
				vst1_s8(s->weights[k * WORD_EIGHTS + e][r], vld1_s8(b.weights[r] + 8 * e));
	}
}

/* The same eight values of two columns, of which 16 lie in @a and @b. */
static inline uint8x16_t join(uint8x16_t a, uint8x16_t b, uint32_t half)
{
	uint64x2_t x = vreinterpretq_u64_u8(a), y = vreinterpretq_u64_u8(b);

	return vreinterpretq_u8_u64(half ? vzip2q_u64(x, y) : vzip1q_u64(x, y));
}

/* Compilers keep sums in registers only when each has a name: of two columns and the four pairs of rows. */
#define EACH_1(f) f(0)
#define EACH_4(f) f(0) f(1) f(2) f(3)

#define DECLARE(n) int32x4_t a##n = vdupq_n_s32(0), b##n = a##n, c##n = a##n, d##n = a##n;
#define LOAD(n)                                                                                    \
	uint8x16_t p##n = vld1q_u8(t->q + 2 * (n) * t->stride + i);                                \
	uint8x16_t q##n = vld1q_u8(t->q + (2 * (n) + second) * t->stride + i);
#define STEP(n, half)                                                                              \
	{                                                                                          \
		uint8x16_t v = join(p##n, q##n, half);                                             \
                                                                                                   \
		a##n = vusmmlaq_s32(a##n, v, wa);                                                  \
		b##n = vusmmlaq_s32(b##n, v, wb);                                                  \
		c##n = vusmmlaq_s32(c##n, v, wc);                                                  \
		d##n = vusmmlaq_s32(d##n, v, wd);                                                  \
	}
#define STEP_0(n) STEP(n, 0)
#define STEP_1(n) STEP(n, 1)
#define STEP_ALL(count, half)                                                                      \
	{                                                                                          \
		const int8_t *w = s->weights[i / 8 + (half)][0];                                   \
		int8x16_t wa = vld1q_s8(w), wb = vld1q_s8(w + 16);                                 \
		int8x16_t wc = vld1q_s8(w + 32), wd = vld1q_s8(w + 48);                            \
                                                                                                   \
		EACH_##count(STEP_##half)                                                          \
	}
#define STORE_PAIR(n, at, sum)                                                                     \
	vst1_s32(sums[2 * (n)] + (at), vget_low_s32(sum));                                         \
	vst1_s32(sums[2 * (n) + 1] + (at), vget_high_s32(sum));
#define STORE(n) STORE_PAIR(n, 0, a##n) STORE_PAIR(n, 2, b##n) STORE_PAIR(n, 4, c##n) STORE_PAIR(n, 6, d##n)

/* @second: 1, or 0 where there is only one column, which then is its own neighbour */
#define DEFINE_MULTIPLY(count)                                                                     \
	static void multiply_##count(const struct arm_tile *t, size_t second, int32_t (*sums)[BLOCK_ROWS]) \
	{                                                                                          \
		const struct decode_scratch *s = t->scratch;                                       \
                                                                                                   \
		EACH_##count(DECLARE)                                                              \
		for (size_t i = 0; i < t->values; i += 16) {                                       \
			EACH_##count(LOAD)                                                         \
			STEP_ALL(count, 0)                                                         \
			STEP_ALL(count, 1)                                                         \
		}                                                                                  \
		EACH_##count(STORE)                                                                \
	}

DEFINE_MULTIPLY(1)
DEFINE_MULTIPLY(4)

static void multiply_columns(struct arm_tile t, uint32_t count)
{
	int32_t sums[8][BLOCK_ROWS];

	while (count) {
		uint32_t n = count >= 8 ? 8 : count >= 2 ? 2 : 1;

		(n == 8 ? multiply_4 : multiply_1)(&t, n > 1, sums);
		arm_put_sums(&t, n, sums);
		t.q += n * t.stride;
		t.acc += (size_t) n * t.acc_stride;
		count -= n;
	}
}

void decode_i8mm(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	arm_multiply(w, x, acc, acc_stride, scratch, BLOCK_WORDS, 16, decode_block, multiply_columns);
}
