/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes to int16, products by widening multiplication: for processors without int8 dot products
 * (Cortex-A53, A72).
 *
 * The weights of 8 rows and up to 512 columns are decoded once per tile:
 *
 *	scratch[weight][row]	16 bits each
 *
 * A register of weights belongs to 8 rows, and one value of a column is multiplied with it by lane.
 */
#include <arm_neon.h>

#include "engine/kernels/decode_arm.h"

#define BLOCK_ROWS ARM_BLOCK_ROWS
#define BLOCK_WORDS 8

struct decode_scratch {
	int16_t weights[BLOCK_WORDS * 64][BLOCK_ROWS];
};

_Static_assert(sizeof(struct decode_scratch) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

/* 8 rows of 8 weights each to 8 weights of 8 rows each, widened */
static void put_weights(int16_t (*out)[BLOCK_ROWS], int8x8_t *v)
{
	int8x8x2_t p[4];
	int16x4x2_t q[4];
	int32x2x2_t r[4];

	for (uint32_t i = 0; i < 4; i++)
		p[i] = vtrn_s8(v[2 * i], v[2 * i + 1]);
	for (uint32_t i = 0; i < 2; i++)
		for (uint32_t j = 0; j < 2; j++)
			q[2 * j + i] = vtrn_s16(vreinterpret_s16_s8(p[2 * i].val[j]),
				vreinterpret_s16_s8(p[2 * i + 1].val[j]));
	/* q[2 j + i].val[m]: rows 4i..4i+3 of weights 2m + j and 2m + j + 4 */
	for (uint32_t j = 0; j < 2; j++)
		for (uint32_t m = 0; m < 2; m++)
			r[2 * m + j] = vtrn_s32(vreinterpret_s32_s16(q[2 * j].val[m]),
				vreinterpret_s32_s16(q[2 * j + 1].val[m]));
	for (uint32_t t = 0; t < 4; t++) {
		vst1q_s16(out[t], vmovl_s8(vreinterpret_s8_s32(r[t].val[0])));
		vst1q_s16(out[t + 4], vmovl_s8(vreinterpret_s8_s32(r[t].val[1])));
	}
}

static void decode_block(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words,
	void *scratch)
{
	struct decode_scratch *s = scratch;
	struct arm_block b;

	arm_block_start(&b, w, row, first);
	for (uint32_t k = 0; k < words; k++) {
		arm_block_word(&b, w);
		for (uint32_t t = 0; t < 64; t += 8) {
			int8x8_t v[BLOCK_ROWS];

			for (uint32_t r = 0; r < BLOCK_ROWS; r++)
				v[r] = vld1_s8(b.weights[r] + t);
			put_weights(s->weights + k * 64 + t, v);
		}
	}
}

/* Compilers keep sums in registers only when each has a name. */
#define EACH_1(f) f(0)
#define EACH_6(f) f(0) f(1) f(2) f(3) f(4) f(5)

#define DECLARE(n) int32x4_t a##n = vdupq_n_s32(0), b##n = vdupq_n_s32(0);
#define LOAD(n)                                                                                    \
	int16x8_t q##n = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(t->q + (n) * t->stride + i)));
#define STEP(n, lane)                                                                              \
	a##n = vmlal_laneq_s16(a##n, vget_low_s16(w), q##n, lane);                                 \
	b##n = vmlal_high_laneq_s16(b##n, w, q##n, lane);
#define STEP_0(n) STEP(n, 0)
#define STEP_1(n) STEP(n, 1)
#define STEP_2(n) STEP(n, 2)
#define STEP_3(n) STEP(n, 3)
#define STEP_4(n) STEP(n, 4)
#define STEP_5(n) STEP(n, 5)
#define STEP_6(n) STEP(n, 6)
#define STEP_7(n) STEP(n, 7)
#define STEP_ALL(count, lane)                                                                      \
	{                                                                                          \
		int16x8_t w = vld1q_s16(s->weights[i + (lane)]);                          \
                                                                                                   \
		EACH_##count(STEP_##lane)                                                          \
	}
#define STORE(n)                                                                                    \
	vst1q_s32(sums[n], a##n);                                                                  \
	vst1q_s32(sums[n] + 4, b##n);

#define DEFINE_MULTIPLY(count)                                                                     \
	static void multiply_##count(const struct arm_tile *t, int32_t (*sums)[BLOCK_ROWS])         \
	{                                                                                          \
		const struct decode_scratch *s = t->scratch;                                       \
                                                                                                   \
		EACH_##count(DECLARE)                                                              \
		for (size_t i = 0; i < t->values; i += 8) {                                        \
			EACH_##count(LOAD)                                                         \
			STEP_ALL(count, 0)                                                         \
			STEP_ALL(count, 1)                                                         \
			STEP_ALL(count, 2)                                                         \
			STEP_ALL(count, 3)                                                         \
			STEP_ALL(count, 4)                                                         \
			STEP_ALL(count, 5)                                                         \
			STEP_ALL(count, 6)                                                         \
			STEP_ALL(count, 7)                                                         \
		}                                                                                  \
		EACH_##count(STORE)                                                                \
	}

DEFINE_MULTIPLY(1)
DEFINE_MULTIPLY(6)

static void multiply_columns(struct arm_tile t, uint32_t count)
{
	int32_t sums[6][BLOCK_ROWS];

	while (count) {
		uint32_t n = count >= 6 ? 6 : 1;

		(n == 6 ? multiply_6 : multiply_1)(&t, sums);
		arm_put_sums(&t, n, sums);
		t.q += n * t.stride;
		t.acc += (size_t) n * t.acc_stride;
		count -= n;
	}
}

void decode_neon(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	arm_multiply(w, x, acc, acc_stride, scratch, BLOCK_WORDS, 8, decode_block, multiply_columns);
}
