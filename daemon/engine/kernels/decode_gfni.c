/* SPDX-License-Identifier: Apache-2.0 */
/* Two to four planes to int8 by look-up (lookup_gfni.h), once per tile of 32 rows (decode_tile.h). */
#include "engine/kernels/decode_tile.h"
#include "engine/kernels/lookup_gfni.h"

/*
 * struct near
 * @weights: of the tile, as decode_tile.h wants them
 * @rows: of 512 columns and 16 rows, as they are looked up
 */
struct near {
	_Alignas(64) int8_t weights[BLOCK_BYTES];
	__m512i rows[8][HALF_ROWS];
	struct lookup lookup[BLOCK_WORDS / LOOKUP_WORDS];
};

_Static_assert(sizeof(struct near) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

/* Of less than half a register of columns most look-ups would be for nothing. */
bool decode_gfni_fits(const struct kernel_matrix *w)
{
	return w->words > LOOKUP_WORDS / 2 && lookup_gfni_fits(w);
}

/* @v: bytes of two planes, one after the other */
INLINED void put_fours(__m512i (*to)[HALF_ROWS], uint32_t r, const struct tables *t, __m512i v)
{
	__m512i turned = turn(v), up = upper(turned), low = lower(turned);

	to[0][r] = _mm512_shuffle_epi8(t->a, up);
	to[1][r] = _mm512_shuffle_epi8(t->b, up);
	to[2][r] = _mm512_shuffle_epi8(t->a, low);
	to[3][r] = _mm512_shuffle_epi8(t->b, low);
}

/* @v: bytes of four planes, one after the other */
INLINED void put_twos(__m512i (*to)[HALF_ROWS], uint32_t r, const struct tables *t, __m512i v)
{
	__m512i turned = turn(v);

	to[0][r] = _mm512_shuffle_epi8(t->a, upper(turned));
	to[1][r] = _mm512_shuffle_epi8(t->a, lower(turned));
}

/* Of the next tile, whose rows lie too far apart for the processor to guess them. */
INLINED void prefetch_row(const struct kernel_matrix *w, uint32_t planes, bool level, size_t word, size_t group)
{
	for (uint32_t i = 0; i < planes; i++) {
		_mm_prefetch(w->plane[i] + word, _MM_HINT_T0);
		_mm_prefetch(w->plane[i] + word + LOOKUP_WORDS - 1, _MM_HINT_T0);
	}
	if (level)
		return;
	_mm_prefetch(w->step + group * planes, _MM_HINT_T0);
	_mm_prefetch(w->base + group, _MM_HINT_T0);
}

INLINED void decode_row(struct near *n, const struct kernel_matrix *w, uint32_t planes, bool level,
	const struct lookup *b, uint32_t row, uint32_t word, uint32_t r)
{
	const size_t at = (size_t) row * w->words + word, group = (size_t) row * w->groups + b->group;
	const struct tables t = level ? tables_level(w->level + (size_t) row * w->level_stride, planes)
				      : tables_sum(b, w->step + group * planes, w->base + group, planes, false);
	__m512i p[4], low, high;

	prefetch_row(w, planes, level, at + (size_t) BLOCK_ROWS * w->words, group + (size_t) BLOCK_ROWS * w->groups);
	for (uint32_t i = 0; i < 4; i++)
		p[i] = i < planes ? _mm512_maskz_loadu_epi64(b->words, w->plane[i] + at)
				  : _mm512_setzero_si512();
	low = _mm512_unpacklo_epi8(p[0], p[1]);
	high = _mm512_unpackhi_epi8(p[0], p[1]);
	if (planes == 2) {
		put_fours(n->rows, r, &t, low);
		put_fours(n->rows + 4, r, &t, high);
		return;
	}
	p[0] = _mm512_unpacklo_epi8(p[2], p[3]);
	p[1] = _mm512_unpackhi_epi8(p[2], p[3]);
	put_twos(n->rows, r, &t, _mm512_unpacklo_epi16(low, p[0]));
	put_twos(n->rows + 2, r, &t, _mm512_unpackhi_epi16(low, p[0]));
	put_twos(n->rows + 4, r, &t, _mm512_unpacklo_epi16(high, p[1]));
	put_twos(n->rows + 6, r, &t, _mm512_unpackhi_epi16(high, p[1]));
}

/* Register @i of 16 rows to its quads, wherever they lie among the 512 columns. */
static void put_quads(struct near *n, uint32_t planes, uint32_t i, int8_t *to, uint32_t half)
{
	turn_square(n->rows[i]);
	for (uint32_t d = 0; d < 16; d++) {
		uint32_t byte = d / 4 * 16 + byte_of(planes, i, d % 4 / 2);

		_mm512_store_si512(quad_at(to, byte * 2 + d % 2, half), n->rows[i][d]);
	}
}

/* 512 columns of the rows [row, row + rows) of a half; rows that do not exist weigh nothing that is stored. */
INLINED void decode_half_at(struct near *n, const struct kernel_matrix *w, uint32_t planes, bool level,
	const struct lookup *b, uint32_t row, uint32_t rows, uint32_t word, int8_t *to, uint32_t half)
{
	for (uint32_t r = 0; r < HALF_ROWS; r++) {
		if (r < rows)
			decode_row(n, w, planes, level, b, row + r, word, r);
		else
			for (uint32_t i = 0; i < 8; i++)
				n->rows[i][r] = _mm512_setzero_si512();
	}
	for (uint32_t i = 0; i < 8; i++)
		put_quads(n, planes, i, to, half);
}

static void decode_half(struct near *n, const struct kernel_matrix *w, const struct lookup *b, uint32_t row,
	uint32_t rows, uint32_t word, int8_t *to, uint32_t half)
{
	if (w->planes == 2)
		decode_half_at(n, w, 2, w->level != NULL, b, row, rows, word, to, half);
	else if (w->planes == 3)
		decode_half_at(n, w, 3, w->level != NULL, b, row, rows, word, to, half);
	else
		decode_half_at(n, w, 4, w->level != NULL, b, row, rows, word, to, half);
}

static void decode_rows(struct near *n, const struct kernel_matrix *w, uint32_t row, uint32_t first, uint32_t words)
{
	uint32_t rows = w->rows - row;

	for (uint32_t k = 0; k < words; k += LOOKUP_WORDS) {
		const struct lookup *b = &n->lookup[k / LOOKUP_WORDS];
		int8_t *to = quad_at(n->weights, k * QUADS_PER_WORD, 0);

		decode_half(n, w, b, row, rows, first + k, to, 0);
		if (rows > HALF_ROWS)
			decode_half(n, w, b, row + HALF_ROWS, rows - HALF_ROWS, first + k, to, 1);
	}
}

/* @o: where sums leave requantized, with @acc for those of long rows until then; or NULL */
static void multiply_tiles(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch, const struct kernel_output *o)
{
	struct near *n = scratch;

	for (uint32_t first = 0; first < w->words; first += BLOCK_WORDS) {
		uint32_t words = w->words - first < BLOCK_WORDS ? w->words - first : BLOCK_WORDS;

		for (uint32_t k = 0; k < words; k += LOOKUP_WORDS)
			find_groups(&n->lookup[k / LOOKUP_WORDS], w, first + k, first + words);
		for (uint32_t row = 0; row < w->rows; row += BLOCK_ROWS) {
			decode_rows(n, w, row, first, words);
			multiply_block(w, x, n->weights, first, words, row, acc, acc_stride, o);
		}
	}
}

void decode_gfni(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	multiply_tiles(w, x, acc, acc_stride, scratch, NULL);
}

void decode_gfni_u8(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	void *scratch, const struct kernel_output *o)
{
	multiply_tiles(w, x, acc, w->rows, scratch, o);
}
