/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16 rows times 6 columns in registers, counted by VPOPCNTQ (bitserial_scalar.c has the formula). A
 * register holds the same word of 8 rows, so that sums of rows come out side by side.
 *
 * The counts of a group end in one VPDPWSSD: the low half of a lane holds P, which takes the step,
 * the high half S, which takes the base. Both fit 16 bits: a block has at most
 * BLOCK_WORDS * 64 * 15 = 15360 of either.
 */
#include <immintrin.h>
#include <stdbool.h>

#include "engine/kernels/rows.h"
#include "engine/kernels/square_avx512.h"

#define ROWS 16
#define BLOCK_WORDS 16
#define VALUE_PLANES_MAX 4
#define COLUMN_WORDS(planes) (BLOCK_WORDS * (planes) + 8) /* no power of two: caches choke on those */
#define TILE_WORDS (48 * COLUMN_WORDS(VALUE_PLANES_MAX))
#define TILE_COLUMNS_MAX (TILE_WORDS / COLUMN_WORDS(1))
#define COUNT_MAX 6
#define INLINED static inline __attribute__((always_inline))

/*
 * struct bits_scratch - one block of ROWS rows and BLOCK_WORDS words, words of rows side by side
 * @column: of each column group after group, of a group plane after plane, the least significant last
 * @scale: of each plane of each group that the block meets, the step; of the first plane also base << 16
 * @sum: S << 16 of each column and group, halved as often as it will be doubled
 */
struct bits_scratch {
	uint64_t plane[BITS_PLANES_MAX][BLOCK_WORDS][ROWS];
	uint64_t column[TILE_WORDS];
	uint32_t scale[BLOCK_WORDS * BITS_PLANES_MAX][ROWS];
	uint32_t sum[TILE_COLUMNS_MAX][BLOCK_WORDS];
};

_Static_assert(sizeof(struct bits_scratch) <= KERNEL_SCRATCH_BYTES, "the tile fits its scratch");

/*
 * struct block - words [first, first + words) of rows [row, row + rows), of all columns of a tile
 * @group, @groups: the groups that it meets
 * @bits: the first column's word @first, of activation plane 0
 * @pairs: every group is two words, the last of a row maybe one
 * @mask: rows that exist
 */
struct block {
	const struct kernel_matrix *w;
	const struct kernel_columns *x;
	struct bits_scratch *scratch;
	uint32_t first, words, row, rows, group, groups;
	const uint64_t *bits;
	uint32_t count;
	bool pairs;
	__mmask16 mask;
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
	/* in pairs of words, the last one's second may be empty */
	for (uint32_t i = 0; i < 8 && i < left + left % 2; i++)
		_mm512_store_si512(&b->scratch->plane[plane][k + i][half], v[i]);
}

static __mmask16 first_ones(uint32_t count)
{
	return (__mmask16) (count >= 16 ? 0xffff : (1u << count) - 1);
}

/* 16 steps of each row at a time; rows that do not exist weigh nothing. */
static void load_steps(const struct block *b)
{
	const struct kernel_matrix *w = b->w;
	const uint32_t count = b->groups * w->planes;
	const size_t stride = (size_t) w->groups * w->planes;
	const int16_t *step = w->step + b->row * stride + (size_t) b->group * w->planes;

	for (uint32_t at = 0; at < count; at += 16) {
		__mmask16 mask = first_ones(count - at);
		__m512i v[ROWS];

		for (uint32_t r = 0; r < ROWS; r++)
			v[r] = _mm512_cvtepu16_epi32(
				_mm256_maskz_loadu_epi16(r < b->rows ? mask : 0, step + r * stride + at));
		turn_square(v);
		for (uint32_t i = 0; i < 16 && at + i < count; i++)
			_mm512_store_si512(b->scratch->scale[at + i], v[i]);
	}
}

static void load_bases(const struct block *b)
{
	const struct kernel_matrix *w = b->w;
	const int8_t *base = w->base + (size_t) b->row * w->groups + b->group;
	__m512i v[ROWS];

	for (uint32_t r = 0; r < ROWS; r++)
		v[r] = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(
			r < b->rows ? first_ones(b->groups) : 0, base + (size_t) r * w->groups));
	turn_square(v);
	for (uint32_t g = 0; g < b->groups; g++) {
		uint32_t *to = b->scratch->scale[g * w->planes];

		_mm512_store_si512(
			to, _mm512_or_si512(_mm512_load_si512(to), _mm512_slli_epi32(v[g], 16)));
	}
}

static void load_rows(const struct block *b)
{
	for (uint32_t i = 0; i < b->w->planes; i++)
		for (uint32_t half = 0; half < ROWS; half += 8)
			for (uint32_t k = 0; k < b->words; k += 8)
				load_words(b, i, half, k);
	load_steps(b);
	load_bases(b);
}

/* One group of a column to where the products read it. Return: S */
static uint32_t copy_group(const struct block *b, const uint64_t *bits, uint32_t g, uint64_t *to)
{
	uint32_t begin = group_begin(b, g), end = group_end(b, g), sum = 0;

	to += (size_t) begin * b->x->planes;
	for (uint32_t m = b->x->planes; m-- > 0;) {
		uint32_t some = 0;

		for (uint32_t k = begin; k < end; k++) {
			uint64_t word = bits[(size_t) m * b->w->words + k];

			some += (uint32_t) __builtin_popcountll(word);
			*to++ = word;
		}
		sum += some << m;
	}
	return sum;
}

/* All groups of a column where each has two words; a last word that is alone is followed by zeros. */
INLINED void copy_pairs(const struct block *b, const uint64_t *bits, uint32_t planes, uint64_t *to, uint32_t *sum)
{
	const uint32_t shift = 17 - planes;

	for (uint32_t k = 0; k < b->words; k += 2, sum++) {
		uint32_t all = 0;

		for (uint32_t m = planes; m-- > 0; to += 2) {
			const uint64_t *from = bits + (size_t) m * b->w->words + k;

			to[0] = from[0];
			to[1] = k + 1 < b->words ? from[1] : 0;
			all += all + (uint32_t) (__builtin_popcountll(to[0]) + __builtin_popcountll(to[1]));
		}
		*sum = all << shift;
	}
}

static void load_column(const struct block *b, const uint64_t *bits, uint32_t n)
{
	const uint32_t planes = b->x->planes;
	uint64_t *to = b->scratch->column + n * COLUMN_WORDS(planes);

	if (b->pairs && planes == 1)
		copy_pairs(b, bits, 1, to, b->scratch->sum[n]);
	else if (b->pairs && planes == 2)
		copy_pairs(b, bits, 2, to, b->scratch->sum[n]);
	else if (b->pairs)
		copy_pairs(b, bits, planes, to, b->scratch->sum[n]);
	else
		for (uint32_t g = 0; g < b->groups; g++)
			b->scratch->sum[n][g] = copy_group(b, bits, g, to) << (17 - planes);
}

static void load_columns(const struct block *b)
{
	const uint64_t *bits = b->bits;

	for (uint32_t n = 0; n < b->count; n++, bits += (size_t) b->x->planes * b->w->words)
		load_column(b, bits, n);
}

static inline __m512i count_word(__m512i sum, __m512i weights, __m512i d)
{
	return _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_and_si512(weights, d)));
}

static inline __m512i load_scale(const uint32_t *scale)
{
	return _mm512_cvtepu32_epi64(_mm256_load_si256((const __m256i *) scale));
}

/* Low halves of the lanes of 16 rows. */
static inline void put(const struct block *b, uint32_t n, __m512i v, __m512i w)
{
	const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
	int32_t *to = b->acc + (size_t) n * b->acc_stride + b->row;
	__m512i sum = _mm512_permutex2var_epi32(v, even, w);

	if (b->first > 0)
		sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(b->mask, to));
	_mm512_mask_storeu_epi32(to, b->mask, sum);
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
#define START(n) p##n = q##n = _mm512_setzero_si512();
#define START_SUM(n) p##n = q##n = _mm512_set1_epi32((int32_t) b->scratch->sum[column + n][g]);
#define DOUBLE(n)                                                                                  \
	p##n = _mm512_add_epi64(p##n, p##n);                                                       \
	q##n = _mm512_add_epi64(q##n, q##n);
#define COUNT(n)                                                                                   \
	{                                                                                          \
		__m512i d = _mm512_set1_epi64((long long) from[(n) * COLUMN_WORDS(planes)]);               \
                                                                                                   \
		p##n = count_word(p##n, wa, d);                                                    \
		q##n = count_word(q##n, wb, d);                                                    \
		/* in this order: all columns at once would not find registers */                  \
		__asm__ volatile("" : "+v"(p##n), "+v"(q##n));                                     \
	}
#define SCALE(n)                                                                                   \
	a##n = _mm512_dpwssd_epi32(a##n, p##n, sa);                                                \
	b##n = _mm512_dpwssd_epi32(b##n, q##n, sb);
#define PUT(n) put(b, column + n, a##n, b##n);

/* @planes, @words: of each group, if they are known where this is used; @words 0: any */
#define DEFINE_MULTIPLY_AT(count)                                                                  \
	INLINED void multiply_at_##count(                                                          \
		const struct block *b, uint32_t column, uint32_t planes, uint32_t words)           \
	{                                                                                          \
		EACH_##count(DECLARE)                                                              \
		for (uint32_t g = 0; g < b->groups; g++) {                                         \
			uint32_t begin = words ? g * words : group_begin(b, g);                    \
			uint32_t each = words ? words : group_end(b, g) - begin;                   \
                                                                                                   \
			for (uint32_t i = 0; i < b->w->planes; i++) {                              \
				const uint64_t *from = b->scratch->column +                        \
					column * COLUMN_WORDS(planes) + begin * planes;            \
				__m512i sa = load_scale(b->scratch->scale[g * b->w->planes + i]);                  \
				__m512i sb = load_scale(b->scratch->scale[g * b->w->planes + i] + 8);              \
                                                                                                   \
				if (i == 0) {                                                      \
					EACH_##count(START_SUM)                                    \
				} else {                                                           \
					EACH_##count(START)                                        \
				}                                                                  \
				/* else it broadcasts all of a group at once, to the stack */      \
				__asm__("" : "+r"(from));                                          \
				_Pragma("GCC unroll 2")                                            \
				for (uint32_t m = 0; m < planes; m++) {                            \
					const uint64_t *w = b->scratch->plane[i][begin];           \
                                                                                                   \
					if (m > 0) {                                               \
						EACH_##count(DOUBLE)                               \
					}                                                          \
					_Pragma("GCC unroll 2")                                    \
					for (uint32_t k = 0; k < each; k++, w += ROWS, from++) {   \
						__m512i wa = _mm512_load_si512(w);                 \
						__m512i wb = _mm512_load_si512(w + 8);             \
                                                                                                   \
						EACH_##count(COUNT)                                \
					}                                                          \
				}                                                                  \
				EACH_##count(SCALE)                                                \
			}                                                                          \
		}                                                                                  \
		EACH_##count(PUT)                                                                  \
	}

/* Groups of two words, and few planes of values, are what most matrices have. */
#define DEFINE_MULTIPLY(count)                                                                     \
	DEFINE_MULTIPLY_AT(count)                                                                  \
	static void multiply_##count(const struct block *b, uint32_t column)                       \
	{                                                                                          \
		if (!b->pairs)                                                                     \
			multiply_at_##count(b, column, b->x->planes, 0);                                 \
		else if (b->x->planes == 1)                                                        \
			multiply_at_##count(b, column, 1, 2);                                      \
		else if (b->x->planes == 2)                                                        \
			multiply_at_##count(b, column, 2, 2);                                      \
		else                                                                               \
			multiply_at_##count(b, column, b->x->planes, 2);                                 \
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
		b->pairs = w->group_words == 2;
		load_columns(b);
		for (b->row = 0; b->row < w->rows; b->row += ROWS) {
			b->rows = w->rows - b->row < ROWS ? w->rows - b->row : ROWS;
			b->mask = first_ones(b->rows);
			load_rows(b);
			multiply_columns(b);
		}
	}
}

void bitserial_avx512(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	const uint32_t tile = TILE_WORDS / COLUMN_WORDS(x->planes) / COUNT_MAX * COUNT_MAX;

	for (uint32_t n = 0; n < x->count; n += tile) {
		struct block b = {
			.w = w,
			.x = x,
			.scratch = scratch,
			.bits = x->bits + (size_t) n * x->planes * w->words,
			.count = x->count - n < tile ? x->count - n : tile,
			.acc = acc + (size_t) n * acc_stride,
			.acc_stride = acc_stride,
		};

		multiply_tile(&b);
	}
}
