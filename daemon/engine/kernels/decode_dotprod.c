/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes to int8, products by SDOT.
 *
 * SDOT takes signed values only, so columns are moved down by 128, which a flip of the top bit does, and
 * 128 times the sum of a row's weights is added at the end: pad weights are in that sum as well, because
 * the pad zeros move down too.
 *
 * The weights of 8 rows and up to 1024 columns are decoded once per tile:
 *
 *	scratch.weights[quad of 4 weights][row][4]
 */
#include <arm_neon.h>

#include "engine/kernels/decode_arm.h"

#define BLOCK_ROWS ARM_BLOCK_ROWS
#define BLOCK_WORDS 16

struct decode_scratch {
	int8_t weights[BLOCK_WORDS * 16][BLOCK_ROWS][4];
	int32_t correction[BLOCK_ROWS];
};

_Static_assert(sizeof(struct decode_scratch) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

/* 16 weights of 4 rows to 4 quads of 4 rows: 4x4 of 32 bits */
static void put_quads(int8_t (*out)[BLOCK_ROWS][4], uint32_t row, const int8x16_t *v)
{
	int32x4x2_t a = vtrnq_s32(vreinterpretq_s32_s8(v[0]), vreinterpretq_s32_s8(v[1]));
	int32x4x2_t b = vtrnq_s32(vreinterpretq_s32_s8(v[2]), vreinterpretq_s32_s8(v[3]));

	for (uint32_t i = 0; i < 2; i++) {
		int64x2_t x = vreinterpretq_s64_s32(a.val[i]), y = vreinterpretq_s64_s32(b.val[i]);

		vst1q_s8(out[i][row], vreinterpretq_s8_s64(vtrn1q_s64(x, y)));
		vst1q_s8(out[2 + i][row], vreinterpretq_s8_s64(vtrn2q_s64(x, y)));
	}
}

static void decode_block(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words,
	void *scratch)
{
	struct decode_scratch *s = scratch;
	const int8x16_t ones = vdupq_n_s8(1);
	int32x4_t sum[BLOCK_ROWS];
	struct arm_block b;

	for (uint32_t r = 0; r < BLOCK_ROWS; r++)
		sum[r] = vdupq_n_s32(0);
	arm_block_start(&b, w, row, first);
	for (uint32_t k = 0; k < words; k++) {
		arm_block_word(&b, w);
		for (uint32_t part = 0; part < 4; part++) {
			int8x16_t v[BLOCK_ROWS];

			for (uint32_t r = 0; r < BLOCK_ROWS; r++) {
				v[r] = vld1q_s8(b.weights[r] + 16 * part);
				sum[r] = vdotq_s32(sum[r], v[r], ones);
			}
			put_quads(s->weights + k * 16 + part * 4, 0, v);
			put_quads(s->weights + k * 16 + part * 4, 4, v + 4);
		}
	}
	for (uint32_t r = 0; r < BLOCK_ROWS; r++)
		s->correction[r] = 128 * vaddvq_s32(sum[r]);
}

/* Compilers keep sums in registers only when each has a name. */
#define EACH_1(f) f(0)
#define EACH_8(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)

#define DECLARE(n) int32x4_t a##n = vdupq_n_s32(0), b##n = vdupq_n_s32(0);
#define LOAD(n)                                                                                    \
	int8x16_t q##n = vreinterpretq_s8_u8(                                                      \
		veorq_u8(vld1q_u8(t->q + (n) * t->stride + i), vdupq_n_u8(0x80)));
#define STEP(n, lane)                                                                              \
	a##n = vdotq_laneq_s32(a##n, wa, q##n, lane);                                              \
	b##n = vdotq_laneq_s32(b##n, wb, q##n, lane);
#define STEP_0(n) STEP(n, 0)
#define STEP_1(n) STEP(n, 1)
#define STEP_2(n) STEP(n, 2)
#define STEP_3(n) STEP(n, 3)
#define STEP_ALL(count, lane)                                                                      \
	{                                                                                          \
		int8x16_t wa = vld1q_s8(s->weights[i / 4 + (lane)][0]);                   \
		int8x16_t wb = vld1q_s8(s->weights[i / 4 + (lane)][4]);                   \
                                                                                                   \
		EACH_##count(STEP_##lane)                                                          \
	}
#define STORE(n)                                                                                    \
	vst1q_s32(sums[n], vaddq_s32(a##n, vld1q_s32(s->correction)));                             \
	vst1q_s32(sums[n] + 4, vaddq_s32(b##n, vld1q_s32(s->correction + 4)));

#define DEFINE_MULTIPLY(count)                                                                     \
	static void multiply_##count(const struct arm_tile *t, int32_t (*sums)[BLOCK_ROWS])         \
	{                                                                                          \
		const struct decode_scratch *s = t->scratch;                                       \
                                                                                                   \
		EACH_##count(DECLARE)                                                              \
		for (size_t i = 0; i < t->values; i += 16) {                                       \
			EACH_##count(LOAD)                                                         \
			STEP_ALL(count, 0)                                                         \
			STEP_ALL(count, 1)                                                         \
			STEP_ALL(count, 2)                                                         \
			STEP_ALL(count, 3)                                                         \
		}                                                                                  \
		EACH_##count(STORE)                                                                \
	}

DEFINE_MULTIPLY(1)
DEFINE_MULTIPLY(8)

static void multiply_columns(struct arm_tile t, uint32_t count)
{
	int32_t sums[8][BLOCK_ROWS];

	while (count) {
		uint32_t n = count >= 8 ? 8 : 1;

		(n == 8 ? multiply_8 : multiply_1)(&t, sums);
		arm_put_sums(&t, n, sums);
		t.q += n * t.stride;
		t.acc += (size_t) n * t.acc_stride;
		count -= n;
	}
}

void decode_dotprod(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	/* all of the words: their zeros, moved down, are in the correction */
	arm_multiply(w, x, acc, acc_stride, scratch, BLOCK_WORDS, 64, decode_block, multiply_columns);
}
