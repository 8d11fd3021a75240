/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of decoded weights by VPDPBUSD, for whoever decodes them. The weights of 32 rows and up to
 * 1024 columns lie in scratch that stays in the first cache, in the order in which VPDPBUSD eats them:
 *
 *	scratch[quad of 4 weights][half of 16 rows][row][4]
 *
 * so a register of weights belongs to 16 rows, four neighbours of a column are broadcast against it, and
 * the sums come out as 16 rows side by side: no horizontal addition, whatever the number of columns.
 */
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/finish_avx512.h"
#include "engine/kernels/rows.h"
#include "engine/kernels/square_avx512.h"

#define HALF_ROWS 16
#define BLOCK_ROWS 32
#define BLOCK_WORDS 16 /* 32 rows * 16 words * 64 weights = 32 KiB */
#define BLOCK_BYTES (BLOCK_ROWS * BLOCK_WORDS * 64)
#define QUADS_PER_WORD 16

/* Where the register of @quad and @half lies. */
static inline int8_t *quad_at(int8_t *scratch, uint32_t quad, uint32_t half)
{
	return scratch + ((size_t) quad * 2 + half) * 64;
}

/*
 * struct tile - what one call of a multiply function works on
 * @q, @stride: first column, bytes between columns
 * @quads: of each column; @first of them lie together, then @run at a time, @jump bytes further on
 * @add: add to acc instead of storing: not the first block of columns
 * @out: the last block, whose sums leave requantized with @gain and @bias; NULL: they do not
 */
struct tile {
	const int8_t *weights;
	const uint8_t *q;
	size_t stride;
	uint32_t quads, first, run;
	size_t jump;
	int32_t *acc;
	uint32_t acc_stride;
	__mmask16 rows[2];
	bool add;
	uint8_t *out;
	size_t out_stride;
	const float *gain, *bias;
	struct finish finish;
};

static inline __m512i broadcast(const uint8_t *q)
{
	int32_t v;

	memcpy(&v, q, sizeof v);
	return _mm512_set1_epi32(v);
}

static inline __m512i whole_sum(const struct tile *t, uint32_t n, uint32_t half, __m512i sum)
{
	const int32_t *earlier = t->acc + (size_t) n * t->acc_stride + half * HALF_ROWS;

	return t->add ? _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(t->rows[half], earlier)) : sum;
}

static inline void store(const struct tile *t, uint32_t n, uint32_t half, __m512i sum)
{
	_mm512_mask_storeu_epi32(t->acc + (size_t) n * t->acc_stride + half * HALF_ROWS, t->rows[half],
		whole_sum(t, n, half, sum));
}

/* Gains and biases of the rows of a half. */
struct scales {
	__m512 gain, bias;
};

static inline struct scales scales_of(const struct tile *t, uint32_t half)
{
	return (struct scales){_mm512_maskz_loadu_ps(t->rows[half], t->gain + half * HALF_ROWS),
		_mm512_maskz_loadu_ps(t->rows[half], t->bias + half * HALF_ROWS)};
}

/* Called, not inlined, it would send all other sums to the stack. */
static inline __attribute__((always_inline)) void finish(
	const struct tile *t, uint32_t n, uint32_t half, const struct scales *s, __m512i sum)
{
	finish_store(t->rows[half], finish_16(&t->finish, whole_sum(t, n, half, sum), s->gain, s->bias),
		t->out + n * t->out_stride + half * HALF_ROWS);
}

/* Compilers keep sums in registers only when each has a name. */
#define EACH_1(f) f(0)
#define EACH_2(f) EACH_1(f) f(1)
#define EACH_3(f) EACH_2(f) f(2)
#define EACH_4(f) EACH_3(f) f(3)
#define EACH_5(f) EACH_4(f) f(4)
#define EACH_6(f) EACH_5(f) f(5)
#define EACH_7(f) EACH_6(f) f(6)
#define EACH_8(f) EACH_7(f) f(7)
#define EACH_9(f) EACH_8(f) f(8)
#define EACH_10(f) EACH_9(f) f(9)
#define EACH_11(f) EACH_10(f) f(10)
#define EACH_12(f) EACH_11(f) f(11)
#define EACH_13(f) EACH_12(f) f(12)
#define EACH_14(f) EACH_13(f) f(13)

#define DECLARE(n) __m512i a##n = _mm512_setzero_si512(), b##n = _mm512_setzero_si512();
#define STEP(n)                                                                                    \
	{                                                                                          \
		__m512i q = broadcast(base[(n) / 3] + (size_t) ((n) % 3) * stride + 4 * i);        \
		a##n = _mm512_dpbusd_epi32(a##n, q, wa);                                           \
		b##n = _mm512_dpbusd_epi32(b##n, q, wb);                                           \
	}
#define STEP_HALF(n)                                                                               \
	a##n = _mm512_dpbusd_epi32(a##n,                                                           \
		broadcast(base[(n) / 3] + (size_t) ((n) % 3) * stride + 4 * i), wa);
#define STORE(n) store(t, n, 0, a##n); store(t, n, 1, b##n);
#define STORE_HALF(n) store(t, n, 0, a##n); (void) b##n;
#define FINISH(n) finish(t, n, 0, &low, a##n); finish(t, n, 1, &high, b##n);
#define FINISH_HALF(n) finish(t, n, 0, &low, a##n);
/* What follows the products: @store of each column, or @finish. */
#define LEAVE(count, store, finish)                                                                \
	if (t->out) {                                                                              \
		struct scales low = scales_of(t, 0), high = scales_of(t, 1);                       \
                                                                                                   \
		(void) high;                                                                       \
		EACH_##count(finish)                                                               \
	} else {                                                                                   \
		EACH_##count(store)                                                                \
	}

/* @step: one quad of weights and all columns */
#define EACH_QUAD(count, step)                                                                     \
	for (uint32_t left = t->quads, run = t->first;;) {                                         \
		for (size_t i = 0; i < run; i++, weights += 128)                                   \
			step                                                                       \
		left -= run;                                                                       \
		if (left == 0)                                                                     \
			break;                                                                     \
		for (uint32_t k = 0; k < (count + 2) / 3; k++)                                     \
			base[k] += 4 * (size_t) run + t->jump;                                     \
		run = left < t->run ? left : t->run;                                               \
	}

#define DEFINE_MULTIPLY(count)                                                                     \
	static void multiply_##count(const struct tile *t)                                         \
	{                                                                                          \
		const size_t stride = t->stride;                                                   \
		const uint8_t *base[5] = {t->q, t->q + 3 * stride, t->q + 6 * stride,              \
			t->q + 9 * stride, t->q + 12 * stride};                                    \
		const int8_t *weights = t->weights;                                                \
                                                                                                   \
		EACH_##count(DECLARE)                                                              \
		if (t->rows[1]) {                                                                  \
			EACH_QUAD(count, {                                                         \
				__m512i wa = _mm512_load_si512(weights);                           \
				__m512i wb = _mm512_load_si512(weights + 64);                      \
                                                                                                   \
				EACH_##count(STEP)                                                 \
			})                                                                         \
			LEAVE(count, STORE, FINISH)                                                \
		} else {                                                                           \
			EACH_QUAD(count, {                                                         \
				__m512i wa = _mm512_load_si512(weights);                           \
                                                                                                   \
				EACH_##count(STEP_HALF)                                            \
			})                                                                         \
			LEAVE(count, STORE_HALF, FINISH_HALF)                                      \
		}                                                                                  \
	}

#define EACH_COUNT(f) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14)
#define COUNT_MAX 14 /* twice as many sums, two registers of weights and one of values */
#define MULTIPLY(count) multiply_##count,

EACH_COUNT(DEFINE_MULTIPLY)

static __mmask16 first_rows(uint32_t rows)
{
	return (__mmask16) (rows >= HALF_ROWS ? 0xffff : (1u << rows) - 1);
}

static void multiply_line(struct tile *t, uint32_t count)
{
	static void (*const multiply[])(const struct tile *) = {NULL, EACH_COUNT(MULTIPLY)};

	/* in parts of nearly the same size: few columns do not fill the multipliers */
	while (count) {
		uint32_t parts = (count + COUNT_MAX - 1) / COUNT_MAX, n = (count + parts - 1) / parts;

		multiply[n](t);
		t->q += n * t->stride;
		t->acc += (size_t) n * t->acc_stride;
		if (t->out)
			t->out += n * t->out_stride;
		count -= n;
	}
}

/* Where the columns of words [first, first + words) are. */
static inline void find_quads(struct tile *t, const struct kernel_matrix *w,
	const struct kernel_columns *x, uint32_t first, uint32_t words)
{
	const uint32_t at = first * 64;

	t->quads = t->first = kernel_values(x, first, words, 4) / 4;
	if (x->run == 0) {
		t->q = x->u8 + at;
		t->stride = (size_t) w->words * 64;
		return;
	}
	t->q = x->u8 + at / x->run * x->run_step + at % x->run;
	t->stride = x->step;
	t->run = x->run / 4;
	if (t->first > t->run - at % x->run / 4)
		t->first = t->run - at % x->run / 4;
	t->jump = x->run_step - x->run;
}

/*
 * Sums of rows [row, row + BLOCK_ROWS) as far as they exist, of words that lie decoded in @scratch.
 * @o: where they go when these are the last words; NULL: to @acc
 */
static inline void multiply_block(const struct kernel_matrix *w, const struct kernel_columns *x,
	const int8_t *scratch, uint32_t first, uint32_t words, uint32_t row, int32_t *acc, uint32_t acc_stride,
	const struct kernel_output *o)
{
	const uint32_t rows = w->rows - row, second = rows > HALF_ROWS ? rows - HALF_ROWS : 0;
	const uint32_t width = x->run ? x->width : x->count;
	struct tile t = {
		.weights = scratch,
		.acc = acc + row,
		.acc_stride = acc_stride,
		.rows = {first_rows(rows), first_rows(second)},
		.add = first > 0,
	};

	find_quads(&t, w, x, first, words);
	if (o && first + words == w->words) {
		t.out = o->out + row;
		t.out_stride = o->stride;
		t.gain = o->gain + row;
		t.bias = o->bias + row;
		t.finish = finish_of(o);
	}
	for (uint32_t left = x->count, n; left > 0; left -= n) {
		const uint8_t *line = t.q;

		n = left < width ? left : width;
		multiply_line(&t, n);
		t.q = line + x->line_step;
	}
}
