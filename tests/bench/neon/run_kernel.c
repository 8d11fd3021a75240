/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_kernel KERNEL PLANES BITS TIMES: one product, so often, for count.py to count.
 *
 * KERNEL is a row of the list, or a plain int8 kernel to compare with: weights and values are bytes in
 * the order that suits it, nothing is decoded, packed or scaled.
 *
 *	int8-smlal	u8 values, both sides widened to 16 bits, SMLAL by lane: 8 rows times 6 columns
 *	int8-sadalp	s8 values, SMULL + SMLAL2 + SADALP along the columns: 4 rows times 4 columns
 *	int8-sdot	s8 values, SDOT by lane: 16 rows times 4 columns
 */
#include <arm_neon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "engine/kernels/kernel.h"

#define ROWS 256
#define COLUMNS 2304
#define COUNT 48
#define WORDS (COLUMNS / BITS_PER_WORD)
#define GROUP_WORDS 2
#define GROUPS (WORDS / GROUP_WORDS)

static _Alignas(64) uint64_t plane[BITS_PLANES_MAX][ROWS * WORDS];
static _Alignas(64) uint64_t bits[COUNT * 4 * WORDS];
static _Alignas(64) uint8_t q[COUNT * COLUMNS];
static _Alignas(64) int32_t acc[COUNT * ROWS];
static _Alignas(64) uint8_t scratch[KERNEL_SCRATCH_BYTES];
static int16_t step[ROWS * GROUPS * BITS_PLANES_MAX], wide[COLUMNS * ROWS];
static int8_t base[ROWS * GROUPS], weight[COLUMNS * ROWS];

/* Names of sums, so that they stay in registers. */
#define EACH_4(f) f(0) f(1) f(2) f(3)
#define EACH_6(f) EACH_4(f) f(4) f(5)

static void smlal_tile(const int16_t *w, const uint8_t *x, int32_t *to)
{
#define DECLARE(n) int32x4_t a##n = vdupq_n_s32(0), b##n = a##n;
#define LOAD(n) int16x8_t x##n = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(x + (size_t) (n) * COLUMNS + k)));
#define STEP(n, lane)                                                                              \
	a##n = vmlal_laneq_s16(a##n, vget_low_s16(v), x##n, lane);                                 \
	b##n = vmlal_high_laneq_s16(b##n, v, x##n, lane);
#define STEPS(lane)                                                                                \
	{                                                                                          \
		int16x8_t v = vld1q_s16(w + (k + (lane)) * 8);                                     \
                                                                                                   \
		STEP(0, lane) STEP(1, lane) STEP(2, lane) STEP(3, lane) STEP(4, lane) STEP(5, lane)\
	}
#define STORE(n) vst1q_s32(to + (n) * ROWS, a##n); vst1q_s32(to + (n) * ROWS + 4, b##n);
	EACH_6(DECLARE)
	for (size_t k = 0; k < COLUMNS; k += 8) {
		EACH_6(LOAD)
		STEPS(0) STEPS(1) STEPS(2) STEPS(3) STEPS(4) STEPS(5) STEPS(6) STEPS(7)
	}
	EACH_6(STORE)
#undef DECLARE
#undef LOAD
#undef STEP
#undef STEPS
#undef STORE
}

static void int8_smlal(void)
{
	for (size_t r = 0; r < ROWS; r += 8)
		for (size_t n = 0; n < COUNT; n += 6)
			smlal_tile(wide + r * COLUMNS, q + n * COLUMNS, acc + n * ROWS + r);
}

static void sadalp_tile(const int8_t *w, const int8_t *x, int32_t *to)
{
#define LOAD(n)                                                                                    \
	int8x16_t w##n = vld1q_s8(w + (size_t) (n) * COLUMNS + k), x##n = vld1q_s8(x + (size_t) (n) * COLUMNS + k);
#define DECLARE(n) int32x4_t a##n = vdupq_n_s32(0), b##n = a##n, c##n = a##n, d##n = a##n;
#define PAIR(s, i, j)                                                                              \
	s = vpadalq_s16(s, vmlal_high_s8(vmull_s8(vget_low_s8(w##i), vget_low_s8(x##j)), w##i, x##j));
#define STEP(n) PAIR(a##n, n, 0) PAIR(b##n, n, 1) PAIR(c##n, n, 2) PAIR(d##n, n, 3)
#define STORE(n)                                                                                   \
	to[n] = vaddvq_s32(a##n); to[ROWS + n] = vaddvq_s32(b##n);                                 \
	to[2 * ROWS + n] = vaddvq_s32(c##n); to[3 * ROWS + n] = vaddvq_s32(d##n);
	EACH_4(DECLARE)
	for (size_t k = 0; k < COLUMNS; k += 16) {
		EACH_4(LOAD)
		EACH_4(STEP)
	}
	EACH_4(STORE)
#undef DECLARE
#undef LOAD
#undef STEP
#undef PAIR
#undef STORE
}

static void int8_sadalp(void)
{
	for (size_t r = 0; r < ROWS; r += 4)
		for (size_t n = 0; n < COUNT; n += 4)
			sadalp_tile(weight + r * COLUMNS, (const int8_t *) q + n * COLUMNS, acc + n * ROWS + r);
}

__attribute__((target("arch=armv8.2-a+dotprod"))) static void sdot_tile(
	const int8_t *w, const int8_t *x, int32_t *to)
{
#define DECLARE(n) int32x4_t a##n = vdupq_n_s32(0), b##n = a##n, c##n = a##n, d##n = a##n;
#define LOAD(n) int8x16_t x##n = vld1q_s8(x + (size_t) (n) * COLUMNS + k);
#define STEP(n, lane)                                                                              \
	a##n = vdotq_laneq_s32(a##n, v0, x##n, lane); b##n = vdotq_laneq_s32(b##n, v1, x##n, lane);\
	c##n = vdotq_laneq_s32(c##n, v2, x##n, lane); d##n = vdotq_laneq_s32(d##n, v3, x##n, lane);
#define STEPS(lane)                                                                                \
	{                                                                                          \
		const int8_t *at = w + k * 16 + 64 * (lane);                                       \
		int8x16_t v0 = vld1q_s8(at), v1 = vld1q_s8(at + 16), v2 = vld1q_s8(at + 32),       \
			  v3 = vld1q_s8(at + 48);                                                  \
                                                                                                   \
		STEP(0, lane) STEP(1, lane) STEP(2, lane) STEP(3, lane)                            \
	}
#define STORE(n)                                                                                   \
	vst1q_s32(to + (n) * ROWS, a##n); vst1q_s32(to + (n) * ROWS + 4, b##n);                    \
	vst1q_s32(to + (n) * ROWS + 8, c##n); vst1q_s32(to + (n) * ROWS + 12, d##n);
	EACH_4(DECLARE)
	for (size_t k = 0; k < COLUMNS; k += 16) {
		EACH_4(LOAD)
		STEPS(0) STEPS(1) STEPS(2) STEPS(3)
	}
	EACH_4(STORE)
}

static void int8_sdot(void)
{
	for (size_t r = 0; r < ROWS; r += 16)
		for (size_t n = 0; n < COUNT; n += 4)
			sdot_tile(weight + r * COLUMNS, (const int8_t *) q + n * COLUMNS, acc + n * ROWS + r);
}

static int run_row(const char *name, uint32_t planes, uint32_t value_bits)
{
	struct kernel_matrix w = {ROWS, WORDS, GROUPS, GROUP_WORDS, planes, .step = step, .base = base};
	struct kernel_columns x = {COUNT, q, bits, value_bits, COLUMNS};

	for (uint32_t i = 0; i < planes; i++)
		w.plane[i] = plane[i];
	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		if (strcmp(k->name, name) != 0 || (k->needs & ~cpu_flags()) || !kernel_takes(k, &w, COUNT))
			continue;
		k->matmul(&w, &x, acc, ROWS, scratch);
		return 0;
	}
	fprintf(stderr, "%s does not run here\n", name);
	return 1;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} plain[] = {{"int8-smlal", int8_smlal}, {"int8-sadalp", int8_sadalp}, {"int8-sdot", int8_sdot}};
	int r = 0;

	if (argc != 5)
		return 2;
	for (int t = atoi(argv[4]); t > 0 && r == 0; t--) {
		bool found = false;

		for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
			if (strcmp(argv[1], plain[i].name) == 0) {
				plain[i].fn();
				found = true;
			}
		if (!found)
			r = run_row(argv[1], (uint32_t) atoi(argv[2]), (uint32_t) atoi(argv[3]));
	}
	return r;
}
