/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes to int8 by masked adds, once per tile of 32 rows; decode_tile.h has what follows.
 */
#include "engine/kernels/decode_tile.h"
#include "engine/kernels/plain_avx512.h"

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

/*
 * struct row - one row being decoded
 * @step, @base: sum coding, of this group
 * @table: level coding, filled up with zeros
 * @plain: of eight planes, the levels are plain_avx512.h's
 */
struct row {
	const struct kernel_matrix *w;
	uint32_t row;
	__m512i step[BITS_PLANES_MAX], base;
	_Alignas(16) int8_t table[256];
	bool plain;
};

INLINED void row_start(struct row *d, const struct kernel_matrix *w, uint32_t row)
{
	d->w = w;
	d->row = row;
	d->base = _mm512_setzero_si512();
#pragma GCC unroll 8
	for (uint32_t i = 0; i < BITS_PLANES_MAX; i++)
		d->step[i] = d->base;
	d->plain = false;
	if (!w->level)
		return;
	d->plain = w->planes == 8 && is_plain(w->level + (size_t) row * w->level_stride);
	if (d->plain)
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
	if (planes == 8 && d->plain)
		return plain_weights(index);
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

/* One word of 16 rows: from row after row to quad after quad, in place. */
static void transpose(int8_t *word, uint32_t half)
{
	__m512i v[16];

	for (uint32_t i = 0; i < 16; i++)
		v[i] = _mm512_load_si512(quad_at(word, i, half));
	turn_square(v);
	for (uint32_t i = 0; i < 16; i++)
		_mm512_store_si512(quad_at(word, i, half), v[i]);
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

/* @o: where sums leave requantized, with @acc for those of long rows until then; or NULL */
static void multiply_tiles(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch, const struct kernel_output *o)
{
	for (uint32_t first = 0; first < w->words; first += BLOCK_WORDS) {
		uint32_t words = w->words - first < BLOCK_WORDS ? w->words - first : BLOCK_WORDS;

		for (uint32_t row = 0; row < w->rows; row += BLOCK_ROWS) {
			uint32_t rows = w->rows - row, second = rows > HALF_ROWS ? rows - HALF_ROWS : 0;

			decode_half(w, row, rows, first, words, scratch, 0);
			if (second)
				decode_half(w, row + HALF_ROWS, second, first, words, scratch, 1);
			multiply_block(w, x, scratch, first, words, row, acc, acc_stride, o);
		}
	}
}

void decode_avx512(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	if (x->count > 2 || x->run)
		return multiply_tiles(w, x, acc, acc_stride, scratch, NULL);
	for (uint32_t r = 0; r < w->rows && x->count; r++)
		multiply_row(w, x, r, acc, acc_stride);
}

void decode_avx512_u8(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	void *scratch, const struct kernel_output *o)
{
	if (x->count > 2 || x->run)
		return multiply_tiles(w, x, acc, w->rows, scratch, o);
	decode_avx512(w, x, acc, w->rows, scratch);
	for (uint32_t n = 0; n < x->count; n++)
		requantize_avx512(acc + (size_t) n * w->rows, w->rows, o->gain, o->bias, o->zero_point,
			o->low, o->high, o->out + n * o->stride);
}
