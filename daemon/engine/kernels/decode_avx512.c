/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes to int8 by masked adds, products by VPDPBUSD.
 *
 * The weights of 32 rows and up to 1024 columns are decoded once per tile into scratch that stays in
 * the first cache, in the order in which VPDPBUSD eats them:
 *
 *	scratch[quad of 4 weights][half of 16 rows][row][4]
 *
 * so a register of weights belongs to 16 rows, four neighbours of a column are broadcast against it, and
 * the sums come out as 16 rows side by side: no horizontal addition, whatever the number of columns.
 */
#include <immintrin.h>
#include <string.h>

#include "engine/kernels/rows.h"

#define HALF_ROWS 16
#define BLOCK_ROWS 32
#define BLOCK_WORDS 16 /* 32 rows * 16 words * 64 weights = 32 KiB */
#define QUADS_PER_WORD 16

/* A body with the number of planes as a constant, so that scales stay in registers. */
#define INLINED static inline __attribute__((always_inline))
#define PER_PLANES(planes, fn, ...)                                                                \
	switch (planes) {                                                                          \
	case 1: fn(w, 1, __VA_ARGS__); break;                                                      \
	case 2: fn(w, 2, __VA_ARGS__); break;                                                      \
	case 3: fn(w, 3, __VA_ARGS__); break;                                                      \
	case 4: fn(w, 4, __VA_ARGS__); break;                                                      \
	case 5: fn(w, 5, __VA_ARGS__); break;                                                      \
	case 6: fn(w, 6, __VA_ARGS__); break;                                                      \
	case 7: fn(w, 7, __VA_ARGS__); break;                                                      \
	default: fn(w, 8, __VA_ARGS__); break;                                                     \
	}

/* Where the register of @quad and @half lies. */
static int8_t *quad_at(int8_t *scratch, uint32_t quad, uint32_t half)
{
	return scratch + ((size_t) quad * 2 + half) * 64;
}

/*
 * struct row - one row being decoded
 * @step, @base: sum coding, of this group
 * @table: level coding, filled up with zeros
 */
struct row {
	const struct kernel_matrix *w;
	uint32_t row;
	__m512i step[BITS_PLANES_MAX], base;
	_Alignas(16) int8_t table[256];
};

INLINED void row_start(struct row *d, const struct kernel_matrix *w, uint32_t row)
{
	d->w = w;
	d->row = row;
	d->base = _mm512_setzero_si512();
#pragma GCC unroll 8
	for (uint32_t i = 0; i < BITS_PLANES_MAX; i++)
		d->step[i] = d->base;
	if (!w->level)
		return;
	memset(d->table, 0, sizeof d->table);
	memcpy(d->table, w->level + (size_t) row * w->level_stride, (size_t) 1 << w->planes);
}

/* The scales of a group, before its weights. */
INLINED void row_scales(struct row *d, uint32_t planes, uint32_t group)
{
	const struct kernel_matrix *w = d->w;
	size_t at = (size_t) d->row * w->groups + group;

#pragma GCC unroll 8
	for (uint32_t i = 0; i < planes; i++)
		d->step[i] = _mm512_set1_epi8((char) w->step[at * planes + i]);
	d->base = _mm512_set1_epi8(w->base[at]);
}

INLINED __mmask64 row_bits(const struct row *d, uint32_t plane, uint32_t word)
{
	return _cvtu64_mask64(d->w->plane[plane][(size_t) d->row * d->w->words + word]);
}

INLINED __m512i weights_sum(const struct row *d, uint32_t planes, uint32_t word)
{
	__m512i sum = d->base;

#pragma GCC unroll 8
	for (uint32_t i = 0; i < planes; i++)
		sum = _mm512_mask_add_epi8(sum, row_bits(d, i, word), sum, d->step[i]);
	return sum;
}

/* The low four bits of an index choose within 16 levels, the others which 16. */
INLINED __m512i weights_level(const struct row *d, uint32_t planes, uint32_t word)
{
	const __m512i nibble = _mm512_set1_epi8(15);
	__m512i index = _mm512_setzero_si512(), found = index, low, high;

#pragma GCC unroll 8
	for (uint32_t i = 0; i < planes; i++)
		index = _mm512_mask_add_epi8(index, row_bits(d, i, word), index,
			_mm512_set1_epi8((char) (1u << (planes - 1 - i))));
	low = _mm512_and_si512(index, nibble);
	high = _mm512_and_si512(_mm512_srli_epi16(index, 4), nibble);
	for (uint32_t s = 0; s < 1u << planes; s += 16) {
		__m512i slice = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *) (d->table + s)));

		found = _mm512_mask_shuffle_epi8(found,
			_mm512_cmpeq_epi8_mask(high, _mm512_set1_epi8((char) (s / 16))), slice, low);
	}
	return found;
}

/* Words [first, first + words) of one row, a register of 64 weights per word, to slot @slot of each word. */
INLINED void decode_row_at(const struct kernel_matrix *w, uint32_t planes, uint32_t row, uint32_t first,
	uint32_t words, int8_t *scratch, uint32_t half, uint32_t slot)
{
	uint32_t group = first / w->group_words;
	struct row d;

	row_start(&d, w, row);
	for (uint32_t k = first; k < first + words; group++) {
		uint32_t end = w->level ? first + words : (group + 1) * w->group_words;

		if (!w->level)
			row_scales(&d, planes, group);
		for (end = end < first + words ? end : first + words; k < end; k++)
			_mm512_store_si512(quad_at(scratch, (k - first) * QUADS_PER_WORD + slot, half),
				w->level ? weights_level(&d, planes, k) : weights_sum(&d, planes, k));
	}
}

static void decode_row(const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words,
	int8_t *scratch, uint32_t half, uint32_t slot)
{
	PER_PLANES(w->planes, decode_row_at, row, first, words, scratch, half, slot)
}

#define ZIP(a, b, lo, hi, width)                                                                   \
	do {                                                                                       \
		__m512i zip_a = a, zip_b = b;                                                      \
		lo = _mm512_unpacklo_epi##width(zip_a, zip_b);                                     \
		hi = _mm512_unpackhi_epi##width(zip_a, zip_b);                                     \
	} while (0)

/* One word of 16 rows: from row after row to quad after quad, in place: 16x16 of 32 bits. */
static void transpose(int8_t *word, uint32_t half)
{
	__m512i v[16], t[16];

	for (uint32_t i = 0; i < 16; i++)
		v[i] = _mm512_load_si512(quad_at(word, i, half));
	/* within lanes: t[4g + j] holds quads j, j+4, j+8, j+12 of rows 4g..4g+3 */
	for (uint32_t g = 0; g < 16; g += 4) {
		__m512i a, b, c, d;

		ZIP(v[g], v[g + 1], a, b, 32);
		ZIP(v[g + 2], v[g + 3], c, d, 32);
		ZIP(a, c, t[g], t[g + 1], 64);
		ZIP(b, d, t[g + 2], t[g + 3], 64);
	}
	/* between lanes: lane l of t[j], t[4+j], t[8+j], t[12+j] are the rows of quad 4l + j */
	for (uint32_t j = 0; j < 4; j++) {
		__m512i a = _mm512_shuffle_i32x4(t[j], t[4 + j], 0x44);
		__m512i b = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0x44);
		__m512i c = _mm512_shuffle_i32x4(t[j], t[4 + j], 0xee);
		__m512i d = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0xee);

		_mm512_store_si512(quad_at(word, j, half), _mm512_shuffle_i32x4(a, b, 0x88));
		_mm512_store_si512(quad_at(word, 4 + j, half), _mm512_shuffle_i32x4(a, b, 0xdd));
		_mm512_store_si512(quad_at(word, 8 + j, half), _mm512_shuffle_i32x4(c, d, 0x88));
		_mm512_store_si512(quad_at(word, 12 + j, half), _mm512_shuffle_i32x4(c, d, 0xdd));
	}
}

/* Rows [row, row + rows) of a half; the rows up to 16 that do not exist weigh nothing that is stored. */
static void decode_half(const struct kernel_matrix *w, uint32_t row, uint32_t rows, uint32_t first,
	uint32_t words, int8_t *scratch, uint32_t half)
{
	for (uint32_t r = 0; r < HALF_ROWS; r++) {
		if (r >= rows)
			for (uint32_t k = 0; k < words; k++)
				_mm512_store_si512(quad_at(scratch, k * QUADS_PER_WORD + r, half),
					_mm512_setzero_si512());
		else
			decode_row(w, row + r, first, words, scratch, half, r);
	}
	for (uint32_t k = 0; k < words; k++)
		transpose(quad_at(scratch, k * QUADS_PER_WORD, 0), half);
}

/*
 * struct tile - what one call of a multiply function works on
 * @q, @stride: first column, bytes between columns
 * @add: add to acc instead of storing: not the first block of columns
 */
struct tile {
	const int8_t *weights;
	const uint8_t *q;
	size_t stride;
	uint32_t quads;
	int32_t *acc;
	uint32_t acc_stride;
	__mmask16 rows[2];
	bool add;
};

static inline __m512i broadcast(const uint8_t *q)
{
	int32_t v;

	memcpy(&v, q, sizeof v);
	return _mm512_set1_epi32(v);
}

static inline void store(const struct tile *t, uint32_t n, uint32_t half, __m512i sum)
{
	int32_t *to = t->acc + (size_t) n * t->acc_stride + half * HALF_ROWS;

	if (t->add)
		sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(t->rows[half], to));
	_mm512_mask_storeu_epi32(to, t->rows[half], sum);
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

#define DEFINE_MULTIPLY(count)                                                                     \
	static void multiply_##count(const struct tile *t)                                         \
	{                                                                                          \
		size_t stride = t->stride, quads = t->quads;                                       \
		const uint8_t *base[5] = {t->q, t->q + 3 * stride, t->q + 6 * stride,              \
			t->q + 9 * stride, t->q + 12 * stride};                                    \
		const int8_t *weights = t->weights;                                                \
                                                                                                   \
		EACH_##count(DECLARE)                                                              \
		if (t->rows[1]) {                                                                  \
			for (size_t i = 0; i < quads; i++, weights += 128) {                       \
				__m512i wa = _mm512_load_si512(weights);                           \
				__m512i wb = _mm512_load_si512(weights + 64);                      \
                                                                                                   \
				EACH_##count(STEP)                                                 \
			}                                                                          \
			EACH_##count(STORE)                                                        \
		} else {                                                                           \
			for (size_t i = 0; i < quads; i++, weights += 128) {                       \
				__m512i wa = _mm512_load_si512(weights);                           \
                                                                                                   \
				EACH_##count(STEP_HALF)                                            \
			}                                                                          \
			EACH_##count(STORE_HALF)                                                   \
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

static void multiply_columns(struct tile t, uint32_t count)
{
	static void (*const multiply[])(const struct tile *) = {NULL, EACH_COUNT(MULTIPLY)};

	/* in parts of nearly the same size: few columns do not fill the multipliers */
	while (count) {
		uint32_t parts = (count + COUNT_MAX - 1) / COUNT_MAX, n = (count + parts - 1) / parts;

		multiply[n](&t);
		t.q += n * t.stride;
		t.acc += (size_t) n * t.acc_stride;
		count -= n;
	}
}

/*
 * One or two columns: nothing is decoded step, so weights go from the decoder's register into the
 * product, and each row adds up its lanes in the end.
 */
INLINED void multiply_row_at(const struct kernel_matrix *w, uint32_t planes,
	const struct kernel_columns *x, uint32_t row, int32_t *acc, uint32_t acc_stride)
{
	const uint8_t *q0 = x->u8, *q1 = x->count > 1 ? q0 + (size_t) w->words * 64 : q0;
	__m512i s0 = _mm512_setzero_si512(), s1 = s0;
	uint32_t group = 0;
	struct row d;

	row_start(&d, w, row);
	for (uint32_t k = 0; k < w->words; group++) {
		uint32_t end = w->level ? w->words : (group + 1) * w->group_words;

		if (!w->level)
			row_scales(&d, planes, group);
		for (end = end < w->words ? end : w->words; k < end; k++) {
			__m512i v = w->level ? weights_level(&d, planes, k) : weights_sum(&d, planes, k);

			s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(q0 + (size_t) k * 64), v);
			s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(q1 + (size_t) k * 64), v);
		}
	}
	acc[row] = _mm512_reduce_add_epi32(s0);
	if (x->count > 1)
		acc[(size_t) acc_stride + row] = _mm512_reduce_add_epi32(s1);
}

static void multiply_row(const struct kernel_matrix *w, const struct kernel_columns *x, uint32_t row,
	int32_t *acc, uint32_t acc_stride)
{
	PER_PLANES(w->planes, multiply_row_at, x, row, acc, acc_stride)
}

void decode_avx512(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	if (x->count <= 2) {
		for (uint32_t r = 0; r < w->rows && x->count; r++)
			multiply_row(w, x, r, acc, acc_stride);
		return;
	}
	for (uint32_t first = 0; first < w->words; first += BLOCK_WORDS) {
		uint32_t words = w->words - first < BLOCK_WORDS ? w->words - first : BLOCK_WORDS;

		for (uint32_t row = 0; row < w->rows; row += BLOCK_ROWS) {
			uint32_t rows = w->rows - row, second = rows > HALF_ROWS ? rows - HALF_ROWS : 0;
			struct tile t = {
				.weights = scratch,
				.q = x->u8 + (size_t) first * 64,
				.stride = (size_t) w->words * 64,
				.quads = kernel_values(x, first, words, 4) / 4,
				.acc = acc + row,
				.acc_stride = acc_stride,
				.rows = {first_rows(rows), first_rows(second)},
				.add = first > 0,
			};

			decode_half(w, row, rows, first, words, scratch, 0);
			if (second)
				decode_half(w, row + HALF_ROWS, second, first, words, scratch, 1);
			multiply_columns(t, x->count);
		}
	}
}
