/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One or two columns times two to four planes that come from memory: lookup_gfni.h makes weights of them
 * that VPDPBUSD takes as they come. Which columns of a block that is when, the values follow:
 * scratch[block][8][64].
 */
#include <stddef.h>
#include <string.h>

#include "engine/kernels/lookup_gfni.h"

#define BLOCK_WORDS LOOKUP_WORDS
#define PIECE_BLOCKS 72
#define PIECE_WORDS (PIECE_BLOCKS * BLOCK_WORDS)

/* struct block - of 512 columns; @lookup: which one of them */
struct block {
	uint32_t group, lookup;
};

/*
 * struct near - what all rows share: one column, words [first, first + words) of it
 * @values: of each block in the order of the look-ups
 *
 * Blocks that look up alike share their struct lookup: what is on its way from memory needs the
 * first cache too, half of which may belong to the other thread of a core.
 */
struct near {
	_Alignas(64) uint8_t values[PIECE_BLOCKS][8][64];
	struct lookup lookup[PIECE_BLOCKS];
	struct block block[PIECE_BLOCKS];
	uint32_t first, words, blocks;
};

_Static_assert(sizeof(struct near) <= KERNEL_SCRATCH_BYTES, "what is near fits the scratch");

bool lookup_gfni_fits(const struct kernel_matrix *w)
{
	return w->planes >= 2 && w->planes <= 4 && (w->level || w->group_words % 2 == 0 || w->groups == 1);
}

static void lay_out_values(struct near *n, uint32_t planes, const uint8_t *q)
{
	for (uint32_t b = 0; b < n->blocks; b++)
		for (uint32_t i = 0; i < 8; i++)
			for (uint32_t k = 0; k < 8; k++) {
				uint32_t byte = k / 2 * 16 + byte_of(planes, i, k % 2);
				uint8_t *to = &n->values[b][i][k * 8];

				if (b * BLOCK_WORDS + byte / 8 < n->words)
					memcpy(to, q + (size_t) b * 512 + byte * 8, 8);
				else
					memset(to, 0, 8);
			}
}

static bool is_same(const struct lookup *a, const struct lookup *b)
{
	return memcmp(a, b, offsetof(struct lookup, group)) == 0;
}

static void find_lookups(struct near *n, const struct kernel_matrix *w)
{
	uint32_t last = 0;

	for (uint32_t b = 0; b < n->blocks; b++) {
		find_groups(&n->lookup[b], w, n->first + b * BLOCK_WORDS, n->first + n->words);
		if (!is_same(&n->lookup[b], &n->lookup[last]))
			last = b;
		n->block[b] = (struct block){n->lookup[b].group, last};
	}
}

static void prepare(struct near *n, const struct kernel_matrix *w, const uint8_t *q, uint32_t first)
{
	n->first = first;
	n->words = w->words - first < PIECE_WORDS ? w->words - first : PIECE_WORDS;
	n->blocks = (n->words + BLOCK_WORDS - 1) / BLOCK_WORDS;
	lay_out_values(n, w->planes, q + (size_t) first * 64);
	find_lookups(n, w);
}

/* struct sums - independent ones, so that no product waits for the last */
struct sums {
	__m512i a, b, c, d;
};

INLINED __m512i add_product(__m512i sum, const uint8_t (*values)[64], uint32_t i, __m512i weights)
{
	return _mm512_dpbusd_epi32(sum, _mm512_load_si512(values[i]), weights);
}

/* @v: bytes of two planes, one after the other; look-ups from @i on */
INLINED void add_fours(
	struct sums *s, const uint8_t (*values)[64], const struct tables *t, uint32_t i, __m512i v)
{
	__m512i turned = turn(v), up = upper(turned), low = lower(turned);

	s->a = add_product(s->a, values, i, _mm512_shuffle_epi8(t->a, up));
	s->b = add_product(s->b, values, i + 1, _mm512_shuffle_epi8(t->b, up));
	s->c = add_product(s->c, values, i + 2, _mm512_shuffle_epi8(t->a, low));
	s->d = add_product(s->d, values, i + 3, _mm512_shuffle_epi8(t->b, low));
}

/* @v: bytes of four planes, one after the other */
INLINED void add_twos(
	struct sums *s, const uint8_t (*values)[64], const struct tables *t, uint32_t i, __m512i v)
{
	__m512i turned = turn(v);

	s->a = add_product(s->a, values, i, _mm512_shuffle_epi8(t->a, upper(turned)));
	s->b = add_product(s->b, values, i + 1, _mm512_shuffle_epi8(t->a, lower(turned)));
}

/*
 * Bytes of a plane that are asked for before they are due. All planes together have as much on its way as
 * memory takes to answer; more would push the values out of the first cache.
 */
#define AHEAD(planes) ((planes) == 2 ? 5120 : (planes) == 3 ? 3072 : 2560)

/* @mask: words that exist; where it is a constant of ones, a plain load */
INLINED __m512i load_plane(
	const struct kernel_matrix *w, uint32_t planes, uint32_t plane, __mmask8 mask, size_t word)
{
	const uint64_t *p = w->plane[plane] + word;

	_mm_prefetch((const char *) p + AHEAD(planes), _MM_HINT_T0);
	return _mm512_maskz_loadu_epi64(mask, p);
}

INLINED void add_block(struct sums *s, const struct kernel_matrix *w, uint32_t planes,
	const uint8_t (*values)[64], const struct tables *t, __mmask8 mask, size_t word)
{
	__m512i p0 = load_plane(w, planes, 0, mask, word), p1 = load_plane(w, planes, 1, mask, word);
	__m512i p2, p3, low, high;

	low = _mm512_unpacklo_epi8(p0, p1);
	high = _mm512_unpackhi_epi8(p0, p1);
	if (planes == 2) {
		add_fours(s, values, t, 0, low);
		add_fours(s, values, t, 4, high);
		return;
	}
	p2 = load_plane(w, planes, 2, mask, word);
	p3 = planes == 4 ? load_plane(w, planes, 3, mask, word) : _mm512_setzero_si512();
	p0 = _mm512_unpacklo_epi8(p2, p3);
	p1 = _mm512_unpackhi_epi8(p2, p3);
	add_twos(s, values, t, 0, _mm512_unpacklo_epi16(low, p0));
	add_twos(s, values, t, 2, _mm512_unpackhi_epi16(low, p0));
	add_twos(s, values, t, 4, _mm512_unpacklo_epi16(high, p1));
	add_twos(s, values, t, 6, _mm512_unpackhi_epi16(high, p1));
}

/* @whole: nothing that is read around this row lies outside of the matrix */
INLINED int32_t multiply_row(const struct near *n, const struct kernel_matrix *w, uint32_t planes,
	bool level, uint32_t row, bool whole)
{
	size_t word = (size_t) row * w->words + n->first, group = (size_t) row * w->groups;
	__m512i zero = _mm512_setzero_si512();
	struct sums s = {zero, zero, zero, zero};
	struct tables t = {zero, zero};

	if (level)
		t = tables_level(w->level + (size_t) row * w->level_stride, planes);
	for (uint32_t k = 0; k < n->blocks; k++, word += BLOCK_WORDS) {
		const struct lookup *b = &n->lookup[n->block[k].lookup];
		size_t at = group + n->block[k].group;

		if (!level)
			t = tables_sum(b, w->step + at * planes, w->base + at, planes, whole);
		if (whole && b->words == 0xff)
			add_block(&s, w, planes, n->values[k], &t, 0xff, word);
		else
			add_block(&s, w, planes, n->values[k], &t, (__mmask8) b->words, word);
	}
	return _mm512_reduce_add_epi32(
		_mm512_add_epi32(_mm512_add_epi32(s.a, s.b), _mm512_add_epi32(s.c, s.d)));
}

#define LAST_ROWS 8 /* with at least one group of two planes each: more than a read of 16 steps is too long */

INLINED void multiply_rows(
	const struct near *n, const struct kernel_matrix *w, uint32_t planes, bool level, int32_t *acc)
{
	uint32_t r = 0;

	for (; r + LAST_ROWS < w->rows; r++)
		acc[r] = (n->first ? acc[r] : 0) + multiply_row(n, w, planes, level, r, true);
	for (; r < w->rows; r++)
		acc[r] = (n->first ? acc[r] : 0) + multiply_row(n, w, planes, level, r, false);
}

#define EACH_CASE(f)                                                                               \
	f(2, sum, false) f(3, sum, false) f(4, sum, false)                                         \
	f(2, level, true) f(3, level, true) f(4, level, true)
#define DEFINE_MULTIPLY(count, coding, is_level)                                                   \
	static void multiply_##coding##_##count(                                                   \
		const struct near *n, const struct kernel_matrix *w, int32_t *acc)                 \
	{                                                                                          \
		multiply_rows(n, w, count, is_level, acc);                                         \
	}
#define MULTIPLY(count, coding, is_level) [is_level][count] = multiply_##coding##_##count,

EACH_CASE(DEFINE_MULTIPLY)

void lookup_gfni(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	static void (*const multiply[2][5])(const struct near *, const struct kernel_matrix *, int32_t *) = {
		EACH_CASE(MULTIPLY)};
	struct near *n = scratch;

	for (uint32_t c = 0; c < x->count; c++)
		for (uint32_t first = 0; first < w->words; first += PIECE_WORDS) {
			prepare(n, w, x->u8 + (size_t) c * w->words * 64, first);
			multiply[w->level != NULL][w->planes](n, w, acc + (size_t) c * acc_stride);
		}
}
