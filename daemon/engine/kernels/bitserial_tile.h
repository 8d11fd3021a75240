/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of the bitserial kernels (bitserial_scalar.c has the formula). The including file gives
 * the vectors: a register holds the same word of LANES rows, one row per 64-bit lane, so that sums of
 * rows come out side by side.
 *
 *	LANES, vec		lanes of int64
 *	vec_load, vec_store	aligned
 *	vec_multiply_add(a, b, c)	a + b * c, b and c within 32 bits
 *	vec_zero(), vec_add(a, b), vec_shift(a, n), vec_set1(v)
 *	vec_put(acc, v, rows, add)	the first @rows lanes to int32, stored or added
 *	count_1, count_4(weights, stride, d, words, out)	for 1 or 4 columns d[]: popcounts per
 *				lane of weights[k * stride] & d[][k], summed over k < words
 */
#include <string.h>

#include "engine/kernels/rows.h"

#define BLOCK_WORDS 32
#define TILE_COLUMNS 32

/*
 * struct bits_scratch - one block of LANES rows and BLOCK_WORDS words, words of rows side by side
 * @factor: per group that the block meets: the step of each plane, then the base
 * @sum: S of each column and group
 */
struct bits_scratch {
	uint64_t plane[BLOCK_WORDS][BITS_PLANES_MAX][LANES];
	int64_t factor[BLOCK_WORDS][BITS_PLANES_MAX + 1][LANES];
	int32_t sum[TILE_COLUMNS][BLOCK_WORDS];
};

_Static_assert(sizeof(struct bits_scratch) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

/* struct block - words [first, first + words) of rows [row, row + rows) */
struct block {
	uint32_t first, words, row, rows;
};

/* struct piece - the words of a block that share scales, counted from the start of the block */
struct piece {
	uint32_t begin, end;
};

static uint32_t first_group(const struct kernel_matrix *w, const struct block *b)
{
	return b->first / w->group_words;
}

static uint32_t piece_count(const struct kernel_matrix *w, const struct block *b)
{
	return (b->first + b->words - 1) / w->group_words - first_group(w, b) + 1;
}

static struct piece piece_at(const struct kernel_matrix *w, const struct block *b, uint32_t i)
{
	uint32_t begin = (first_group(w, b) + i) * w->group_words, end = begin + w->group_words;

	begin = begin > b->first ? begin - b->first : 0;
	end = end - b->first < b->words ? end - b->first : b->words;
	return (struct piece) {begin, end};
}

/* Rows that do not exist get clear planes and no weight. */
static void load_rows(struct bits_scratch *s, const struct kernel_matrix *w, const struct block *b)
{
	uint32_t pieces = piece_count(w, b);

	for (uint32_t i = 0; i < w->planes; i++)
		for (uint32_t r = 0; r < LANES; r++) {
			const uint64_t *row = w->plane[i] + (size_t) (b->row + r) * w->words + b->first;

			for (uint32_t k = 0; k < b->words; k++)
				s->plane[k][i][r] = r < b->rows ? row[k] : 0;
		}
	for (uint32_t g = 0; g < pieces; g++)
		for (uint32_t r = 0; r < LANES; r++) {
			size_t at = (size_t) (b->row + r) * w->groups + first_group(w, b) + g;

			for (uint32_t i = 0; i < w->planes; i++)
				s->factor[g][i][r] = r < b->rows ? w->step[at * w->planes + i] : 0;
			s->factor[g][w->planes][r] = r < b->rows ? w->base[at] : 0;
		}
}

/* S of each column of the tile and each piece of the block. */
static void sum_columns(struct bits_scratch *s, const struct kernel_matrix *w,
	const struct kernel_columns *x, const uint64_t *bits, uint32_t count, const struct block *b)
{
	uint32_t pieces = piece_count(w, b);

	for (uint32_t n = 0; n < count; n++)
		for (uint32_t g = 0; g < pieces; g++) {
			struct piece p = piece_at(w, b, g);
			int32_t sum = 0;

			for (uint32_t m = 0; m < x->planes; m++)
				for (uint32_t k = p.begin; k < p.end; k++)
					sum += __builtin_popcountll(
						       bits[((size_t) n * x->planes + m) * w->words + b->first + k])
					       << m;
			s->sum[n][g] = sum;
		}
}

/* @count, 1 or 4, is a constant where this is used, and the loops over columns vanish. */
static inline __attribute__((always_inline)) void multiply(const struct bits_scratch *s,
	const struct kernel_matrix *w, const struct kernel_columns *x, const uint64_t *bits, uint32_t n,
	const struct block *b, uint32_t count, vec sum[4])
{
	uint32_t pieces = piece_count(w, b);
	size_t column_words = (size_t) x->planes * w->words;

	for (uint32_t c = 0; c < count; c++)
		sum[c] = vec_zero();
	for (uint32_t g = 0; g < pieces; g++) {
		struct piece p = piece_at(w, b, g);

		for (uint32_t c = 0; c < count; c++)
			sum[c] = vec_multiply_add(sum[c], vec_load(s->factor[g][w->planes]),
				vec_set1(s->sum[n + c][g]));
		for (uint32_t i = 0; i < w->planes; i++) {
			vec total[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()}, part[4];

			for (uint32_t m = 0; m < x->planes; m++) {
				const uint64_t *d = bits + n * column_words + (size_t) m * w->words +
						    b->first + p.begin;

				if (count == 4)
					count_4(s->plane[p.begin][i], BITS_PLANES_MAX * LANES, d,
						column_words, p.end - p.begin, part);
				else
					count_1(s->plane[p.begin][i], BITS_PLANES_MAX * LANES, d,
						p.end - p.begin, part);
				for (uint32_t c = 0; c < count; c++)
					total[c] = vec_add(total[c], vec_shift(part[c], m));
			}
			for (uint32_t c = 0; c < count; c++)
				sum[c] = vec_multiply_add(sum[c], total[c], vec_load(s->factor[g][i]));
		}
	}
}

static void multiply_block(struct bits_scratch *s, const struct kernel_matrix *w,
	const struct kernel_columns *x, const uint64_t *bits, uint32_t count, const struct block *b,
	int32_t *acc, uint32_t acc_stride)
{
	vec sum[4];
	uint32_t n = 0;

	load_rows(s, w, b);
	for (; n + 4 <= count; n += 4) {
		multiply(s, w, x, bits, n, b, 4, sum);
		for (uint32_t c = 0; c < 4; c++)
			vec_put(acc + (size_t) (n + c) * acc_stride + b->row, sum[c], b->rows, b->first > 0);
	}
	for (; n < count; n++) {
		multiply(s, w, x, bits, n, b, 1, sum);
		vec_put(acc + (size_t) n * acc_stride + b->row, sum[0], b->rows, b->first > 0);
	}
}

static void multiply_tile(struct bits_scratch *s, const struct kernel_matrix *w,
	const struct kernel_columns *x, const uint64_t *bits, uint32_t count, int32_t *acc,
	uint32_t acc_stride)
{
	for (uint32_t first = 0; first < w->words; first += BLOCK_WORDS) {
		struct block b = {.first = first, .words = w->words - first};

		if (b.words > BLOCK_WORDS)
			b.words = BLOCK_WORDS;
		sum_columns(s, w, x, bits, count, &b);
		for (b.row = 0; b.row < w->rows; b.row += LANES) {
			b.rows = w->rows - b.row < LANES ? w->rows - b.row : LANES;
			multiply_block(s, w, x, bits, count, &b, acc, acc_stride);
		}
	}
}

static inline void bitserial(const struct kernel_matrix *w, const struct kernel_columns *x,
	int32_t *acc, uint32_t acc_stride, void *scratch)
{
	for (uint32_t n = 0; n < x->count; n += TILE_COLUMNS) {
		uint32_t count = x->count - n < TILE_COLUMNS ? x->count - n : TILE_COLUMNS;

		multiply_tile(scratch, w, x, x->bits + (size_t) n * x->planes * w->words, count,
			acc + (size_t) n * acc_stride, acc_stride);
	}
}
