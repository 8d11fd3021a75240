/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16 rows times 6 columns in registers, counted by VPOPCNTQ (bitserial_scalar.c has the formula). A
 * register holds the same word of 8 rows, so that sums of rows come out side by side.
 *
 * The counts of a group end in one VPDPWSSD: the low half of a lane holds P, which takes the step,
 * the high half S, which takes the base. Both fit 16 bits: a block has at most
 * BLOCK_WORDS * 64 * 15 = 30720 of either.
 */
#include <immintrin.h>
#include <stdbool.h>

#include "engine/kernels/rows.h"

#define ROWS 16
#define BLOCK_WORDS 32
#define TILE_COLUMNS 96
#define COUNT_MAX 6

/*
 * struct bits_scratch - one block of ROWS rows and BLOCK_WORDS words, words of rows side by side
 * @scale: per group that the block meets: the step of each plane; of the first, base << 16
 * @sum: S << 16 of each column and group
 */
struct bits_scratch {
	uint64_t plane[BLOCK_WORDS][BITS_PLANES_MAX][ROWS];
	uint32_t scale[BLOCK_WORDS][BITS_PLANES_MAX][ROWS];
	uint32_t sum[BLOCK_WORDS][TILE_COLUMNS];
};

_Static_assert(sizeof(struct bits_scratch) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

/*
 * struct block - words [first, first + words) of rows [row, row + rows), of all columns of a tile
 * @group, @groups: the groups that it meets
 * @bits: the first column's word @first, of activation plane 0
 */
struct block {
	const struct kernel_matrix *w;
	const struct kernel_columns *x;
	struct bits_scratch *scratch;
	uint32_t first, words, row, rows, group, groups;
	const uint64_t *bits;
	uint32_t count;
	int32_t *acc;
	uint32_t acc_stride;
};

/* Where the words of group @g of the block begin, counted from the block's first. */
static inline uint32_t group_begin(const struct block *b, uint32_t g)
{
	uint32_t begin = (b->group + g) * b->w->group_words;

	return begin > b->first ? begin - b->first : 0;
}

static inline uint32_t group_end(const struct block *b, uint32_t g)
{
	uint32_t end = (b->group + g + 1) * b->w->group_words - b->first;

	return end < b->words ? end : b->words;
}

#define ZIP(i, j)                                                                                  \
	t[i] = _mm512_unpacklo_epi64(v[i], v[j]);                                                  \
	t[j] = _mm512_unpackhi_epi64(v[i], v[j]);

/* 8 rows, the words [k, k + 8) of the block as far as they exist, to 8 words of rows. */
static void load_words(const struct block *b, uint32_t plane, uint32_t half, uint32_t k)
{
	const struct kernel_matrix *w = b->w;
	uint32_t left = b->words - k, rows = b->rows > half ? b->rows - half : 0;
	__mmask8 mask = (__mmask8) (left >= 8 ? 0xff : (1u << left) - 1);
	__m512i v[8], t[8];

	for (uint32_t r = 0; r < 8; r++) {
		const uint64_t *row = w->plane[plane] + (size_t) (b->row + half + r) * w->words + b->first + k;

		v[r] = r < rows ? _mm512_maskz_loadu_epi64(mask, row) : _mm512_setzero_si512();
		/* rows lie too far apart for the processor to guess the next block's */
		if (r < rows && b->row + half + r + ROWS < w->rows)
			_mm_prefetch(row + (size_t) ROWS * w->words, _MM_HINT_T0);
	}
	/* t[2p] and t[2p + 1]: even and odd words of rows 2p and 2p + 1, a pair of words per lane */
	ZIP(0, 1)
	ZIP(2, 3)
	ZIP(4, 5)
	ZIP(6, 7)
	for (uint32_t odd = 0; odd < 2; odd++) {
		__m512i a = _mm512_shuffle_i32x4(t[odd], t[2 + odd], 0x44);
		__m512i c = _mm512_shuffle_i32x4(t[4 + odd], t[6 + odd], 0x44);
		__m512i d = _mm512_shuffle_i32x4(t[odd], t[2 + odd], 0xee);
		__m512i e = _mm512_shuffle_i32x4(t[4 + odd], t[6 + odd], 0xee);

		v[odd] = _mm512_shuffle_i32x4(a, c, 0x88);
		v[2 + odd] = _mm512_shuffle_i32x4(a, c, 0xdd);
		v[4 + odd] = _mm512_shuffle_i32x4(d, e, 0x88);
		v[6 + odd] = _mm512_shuffle_i32x4(d, e, 0xdd);
	}
	for (uint32_t i = 0; i < 8 && i < left; i++)
		_mm512_store_si512(&b->scratch->plane[k + i][plane][half], v[i]);
}

static void load_scales(const struct block *b, uint32_t r)
{
	const struct kernel_matrix *w = b->w;
	size_t at = (size_t) (b->row + r) * w->groups + b->group;
	const int16_t *step = w->step + at * w->planes;

	for (uint32_t g = 0; g < b->groups; g++, step += w->planes) {
		for (uint32_t i = 0; i < w->planes; i++)
			b->scratch->scale[g][i][r] = (uint16_t) step[i];
		b->scratch->scale[g][0][r] |= (uint32_t) w->base[at + g] << 16;
	}
}

/* Rows that do not exist weigh nothing. */
static void clear_scales(const struct block *b, uint32_t r)
{
	for (uint32_t g = 0; g < b->groups; g++)
		for (uint32_t i = 0; i < b->w->planes; i++)
			b->scratch->scale[g][i][r] = 0;
}

static void load_rows(const struct block *b)
{
	for (uint32_t i = 0; i < b->w->planes; i++)
		for (uint32_t k = 0; k < b->words; k += 8)
			for (uint32_t half = 0; half < ROWS; half += 8)
				load_words(b, i, half, k);
	for (uint32_t r = 0; r < ROWS; r++)
		(r < b->rows ? load_scales : clear_scales)(b, r);
}

/* S of each column of the tile and each group of the block. */
static void sum_columns(const struct block *b)
{
	for (uint32_t n = 0; n < b->count; n++)
		for (uint32_t g = 0; g < b->groups; g++) {
			uint32_t sum = 0;

			for (uint32_t m = 0; m < b->x->planes; m++)
				for (uint32_t k = group_begin(b, g); k < group_end(b, g); k++)
					sum += (uint32_t) __builtin_popcountll(
						       b->bits[((size_t) n * b->x->planes + m) * b->w->words + k])
					       << m;
			b->scratch->sum[g][n] = sum << 16;
		}
}

static inline __m512i count_word(__m512i sum, __m512i weights, __m512i d)
{
	return _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_and_si512(weights, d)));
}

static inline __m512i load_scale(const uint32_t *scale)
{
	return _mm512_cvtepu32_epi64(_mm256_load_si256((const __m256i *) scale));
}

static inline void put(const struct block *b, uint32_t n, uint32_t half, __m512i v)
{
	uint32_t rows = b->rows > half ? b->rows - half : 0;
	__mmask8 mask = (__mmask8) (rows >= 8 ? 0xff : (1u << rows) - 1);
	int32_t *to = b->acc + (size_t) n * b->acc_stride + b->row + half;
	__m256i sum = _mm512_cvtepi64_epi32(v);

	if (b->first > 0)
		sum = _mm256_add_epi32(sum, _mm256_maskz_loadu_epi32(mask, to));
	_mm256_mask_storeu_epi32(to, mask, sum);
}

/* Compilers keep sums in registers only when each has a name. */
#define EACH_1(f) f(0)
#define EACH_2(f) EACH_1(f) f(1)
#define EACH_3(f) EACH_2(f) f(2)
#define EACH_4(f) EACH_3(f) f(3)
#define EACH_5(f) EACH_4(f) f(4)
#define EACH_6(f) EACH_5(f) f(5)

#define DECLARE(n)                                                                                 \
	__m512i p##n, q##n, a##n = _mm512_setzero_si512(), b##n = _mm512_setzero_si512();
#define CLEAR(n) p##n = q##n = _mm512_setzero_si512();
#define DOUBLE(n)                                                                                  \
	p##n = _mm512_add_epi64(p##n, p##n);                                                       \
	q##n = _mm512_add_epi64(q##n, q##n);
#define COUNT(n)                                                                                   \
	{                                                                                          \
		__m512i d = _mm512_set1_epi64((long long) (n < 3 ? d0 : d3)[(n % 3) * stride + k]);\
                                                                                                   \
		p##n = count_word(p##n, wa, d);                                                    \
		q##n = count_word(q##n, wb, d);                                                    \
	}
#define ADD_SUM(n)                                                                                 \
	{                                                                                          \
		__m512i s = _mm512_set1_epi32((int32_t) b->scratch->sum[g][column + n]);           \
                                                                                                   \
		p##n = _mm512_add_epi64(p##n, s);                                                  \
		q##n = _mm512_add_epi64(q##n, s);                                                  \
	}
/* Else a compiler keeps a second copy of each sum for after the loop, and spills both. */
#define KEEP(n) __asm__("" : "+v"(p##n), "+v"(q##n));
#define SCALE(n)                                                                                   \
	a##n = _mm512_dpwssd_epi32(a##n, p##n, sa);                                                \
	b##n = _mm512_dpwssd_epi32(b##n, q##n, sb);
#define PUT(n) put(b, column + n, 0, a##n); put(b, column + n, 8, b##n);

#define DEFINE_MULTIPLY(count)                                                                     \
	static void multiply_##count(const struct block *b, uint32_t column)                       \
	{                                                                                          \
		const uint32_t planes = b->x->planes, words = b->w->words;                         \
		const size_t stride = (size_t) planes * words;                                     \
		const uint64_t *bits = b->bits + column * stride;                                  \
                                                                                                   \
		EACH_##count(DECLARE)                                                              \
		for (uint32_t g = 0; g < b->groups; g++) {                                         \
			size_t begin = group_begin(b, g), end = group_end(b, g);                   \
                                                                                                   \
			for (uint32_t i = 0; i < b->w->planes; i++) {                              \
				const uint64_t *plane = b->scratch->plane[0][i];                   \
				__m512i sa = load_scale(b->scratch->scale[g][i]);                  \
				__m512i sb = load_scale(b->scratch->scale[g][i] + 8);              \
                                                                                                   \
				EACH_##count(CLEAR)                                                \
				for (uint32_t m = planes; m-- > 0;) {                              \
					const uint64_t *d0 = bits + (size_t) m * words;            \
					const uint64_t *d3 = d0 + 3 * stride;                      \
                                                                                                   \
					EACH_##count(DOUBLE)                                       \
					for (size_t k = begin; k < end; k++) {                     \
						const uint64_t *w = plane + k * BITS_PLANES_MAX * ROWS; \
						__m512i wa = _mm512_load_si512(w);                 \
						__m512i wb = _mm512_load_si512(w + 8);             \
                                                                                                   \
						EACH_##count(COUNT)                                \
						EACH_##count(KEEP)                                 \
					}                                                          \
					(void) d3;                                                 \
				}                                                                  \
				if (i == 0) {                                                      \
					EACH_##count(ADD_SUM)                                      \
				}                                                                  \
				EACH_##count(SCALE)                                                \
			}                                                                          \
		}                                                                                  \
		EACH_##count(PUT)                                                                  \
	}

#define EACH_COUNT(f) f(1) f(2) f(3) f(4) f(5) f(6)
#define MULTIPLY(count) multiply_##count,

EACH_COUNT(DEFINE_MULTIPLY)

static void multiply_columns(const struct block *b)
{
	static void (*const multiply[])(const struct block *, uint32_t) = {NULL, EACH_COUNT(MULTIPLY)};

	for (uint32_t column = 0, n; column < b->count; column += n) {
		uint32_t left = b->count - column, parts = (left + COUNT_MAX - 1) / COUNT_MAX;

		n = (left + parts - 1) / parts;
		multiply[n](b, column);
	}
}

static void multiply_tile(struct block *b)
{
	const struct kernel_matrix *w = b->w;

	for (b->first = 0; b->first < w->words; b->first += BLOCK_WORDS, b->bits += BLOCK_WORDS) {
		uint32_t left = w->words - b->first;

		b->words = left < BLOCK_WORDS ? left : BLOCK_WORDS;
		b->group = b->first / w->group_words;
		b->groups = (b->first + b->words - 1) / w->group_words - b->group + 1;
		sum_columns(b);
		for (b->row = 0; b->row < w->rows; b->row += ROWS) {
			b->rows = w->rows - b->row < ROWS ? w->rows - b->row : ROWS;
			load_rows(b);
			multiply_columns(b);
		}
	}
}

void bitserial_avx512(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	for (uint32_t n = 0; n < x->count; n += TILE_COLUMNS) {
		struct block b = {
			.w = w,
			.x = x,
			.scratch = scratch,
			.bits = x->bits + (size_t) n * x->planes * w->words,
			.count = x->count - n < TILE_COLUMNS ? x->count - n : TILE_COLUMNS,
			.acc = acc + (size_t) n * acc_stride,
			.acc_stride = acc_stride,
		};

		multiply_tile(&b);
	}
}
