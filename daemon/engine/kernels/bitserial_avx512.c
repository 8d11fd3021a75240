/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16 rows times 8 columns in registers, counted by VPOPCNTQ (bitserial_scalar.c has the formula). A
 * register holds the same word of 8 rows, so that sums of rows come out side by side.
 *
 * A unit is two words of one group, or one where groups begin anywhere. Its counts end in one VPDPWSSD
 * with the step: for one bit that is two AND, two VPOPCNTQ, one addition and the product, just three
 * instructions for a word. What clear bits weigh, the sum of a unit's values times the base, follows
 * once per block, two units at a time. All of it fits 16 bits: a unit has at most 128 * 15.
 */
#include <immintrin.h>
#include <stdbool.h>

#include "engine/kernels/finish_avx512.h"
#include "engine/kernels/rows.h"

#define ROWS 16
#define BLOCK_WORDS 16
#define VALUE_PLANES_MAX 4
#define COLUMN_WORDS(planes) (BLOCK_WORDS * (planes) + 8) /* no power of two: caches choke on those */
#define COUNT_MAX 8
#define INLINED static inline __attribute__((always_inline))

/*
 * struct bits_scratch - one block of ROWS rows and BLOCK_WORDS words, words of rows side by side. What
 * planes leave of scratch is for columns.
 * @scale: of each plane of each group that the block meets, the step
 * @base: of each pair of units, one in each half
 * @column: of each column plane after plane, the least significant first
 * @sum: of each column the values of each unit, in pairs as well
 */
struct bits_scratch {
	uint64_t (*plane)[BLOCK_WORDS][ROWS];
	uint32_t (*scale)[ROWS], (*base)[ROWS];
	uint64_t *column;
	uint32_t (*sum)[BLOCK_WORDS / 2];
	uint32_t columns;
};

/*
 * struct block - words [first, first + words) of rows [row, row + rows), of all columns of a tile
 * @group, @groups: the groups that it meets
 * @bits: the first column's word @first, of activation plane 0
 * @unit: words of a unit; beyond @words they are zero
 * @units: how many; @group_of: where each one belongs, counted from @group
 * @mask: rows that exist
 * @output: of the first column, where sums leave requantized after the last words; or NULL
 */
struct block {
	const struct kernel_matrix *w;
	const struct kernel_columns *x;
	struct bits_scratch scratch;
	uint32_t first, words, row, rows, group, groups;
	const uint64_t *bits;
	uint32_t count, unit, units;
	uint8_t group_of[BLOCK_WORDS];
	__mmask16 mask;
	int32_t *acc;
	uint32_t acc_stride;
	const struct kernel_output *output;
	struct finish finish;
};

static __mmask16 first_ones(uint32_t count)
{
	return (__mmask16) (count >= 16 ? 0xffff : (1u << count) - 1);
}

#define ZIP(i, j)                                                                                  \
	t[i] = _mm512_unpacklo_epi64(v[i], v[j]);                                                  \
	t[j] = _mm512_unpackhi_epi64(v[i], v[j]);

/* 8 rows, the words [k, k + 8) of the block, to 8 words of rows; what does not exist is zero. */
static void load_words(const struct block *b, uint32_t plane, uint32_t half, uint32_t k)
{
	const struct kernel_matrix *w = b->w;
	const __mmask8 mask = (__mmask8) (first_ones(b->words) >> k);
	const uint64_t *row = w->plane[plane] + (size_t) (b->row + half) * w->words + b->first + k;
	__m512i v[8], t[8];

#pragma GCC unroll 8
	for (uint32_t r = 0; r < 8; r++, row += w->words)
		v[r] = _mm512_maskz_loadu_epi64(half + r < b->rows ? mask : 0, row);
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
	for (uint32_t i = 0; i < 8; i++)
		_mm512_store_si512(&b->scratch.plane[plane][k + i][half], v[i]);
}

/*
 * 8 numbers of each of 16 rows: @v[j] has rows j, j + 4, j + 8 and j + 12, a lane each. Turned around in
 * place: @v[c] then has columns 2c and 2c + 1 of all rows, one in each half of 32 bits.
 */
static inline void turn_numbers(__m512i v[4])
{
	__m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
	__m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);

	v[0] = _mm512_unpacklo_epi64(a, c);
	v[1] = _mm512_unpackhi_epi64(a, c);
	v[2] = _mm512_unpacklo_epi64(b, d);
	v[3] = _mm512_unpackhi_epi64(b, d);
}

INLINED __m512i lanes(__m128i a, __m128i b, __m128i c, __m128i d)
{
	__m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
	__m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);

	return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* Rows that do not exist weigh nothing. */
#define STEPS(r) _mm_maskz_loadu_epi16((r) < b->rows ? mask : 0, step + (r) * stride)
#define BASES(r)                                                                                   \
	_mm_cvtepi8_epi16(_mm_maskz_loadu_epi8((r) < b->rows ? mask : 0, base + (r) * stride))
#define LANES(load, j) lanes(load(j), load((j) + 4), load((j) + 8), load((j) + 12))
#define LOAD_NUMBERS(load) {LANES(load, 0), LANES(load, 1), LANES(load, 2), LANES(load, 3)}

/* 8 steps of each row at a time. */
static void load_steps(const struct block *b)
{
	const struct kernel_matrix *w = b->w;
	const size_t stride = (size_t) w->groups * w->planes;
	const int16_t *step = w->step + b->row * stride + (size_t) b->group * w->planes;
	uint32_t (*to)[ROWS] = b->scratch.scale;

	for (uint32_t left = b->groups * w->planes, n; left > 0; left -= n, step += n, to += n) {
		__mmask8 mask = (__mmask8) first_ones(left < 8 ? left : 8);
		__m512i v[4] = LOAD_NUMBERS(STEPS);

		n = left < 8 ? left : 8;
		turn_numbers(v);
		for (uint32_t i = 0; i < n; i++)
			_mm512_store_si512(to[i], i % 2 ? _mm512_srli_epi32(v[i / 2], 16)
							: _mm512_maskz_mov_epi16(0x55555555, v[i / 2]));
	}
}

/* 8 bases of each row, as pairs. */
static void load_few_bases(const struct block *b, const int8_t *base, uint32_t count, uint32_t (*to)[ROWS])
{
	const size_t stride = b->w->groups;
	const __mmask16 mask = first_ones(count < 8 ? count : 8);
	__m512i v[4] = LOAD_NUMBERS(BASES);

	turn_numbers(v);
	for (uint32_t i = 0; i < 4; i++)
		_mm512_store_si512(to[i], v[i]);
}

/* One of 16 bits of each row, where units have the next base only now and then. */
static inline __m512i take_base(uint32_t (*pair)[ROWS], uint32_t group)
{
	__m512i v = _mm512_load_si512(pair[group / 2]);

	return group % 2 ? _mm512_srli_epi32(v, 16) : v;
}

static void load_bases(const struct block *b)
{
	const int8_t *base = b->w->base + (size_t) b->row * b->w->groups + b->group;
	uint32_t (*to)[ROWS] = b->scratch.base;

	load_few_bases(b, base, b->groups, to);
	if (b->groups > 8)
		load_few_bases(b, base + 8, b->groups - 8, to + 4);
	if (b->groups == b->units)
		return;
	for (uint32_t u = (b->units - 1) / 2 * 2 + 2; u > 0; u -= 2)
		_mm512_store_si512(to[u / 2 - 1],
			_mm512_mask_blend_epi16(0xaaaaaaaa, take_base(to, b->group_of[u - 2]),
				_mm512_slli_epi32(take_base(to, b->group_of[u - 1]), 16)));
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

/*
 * The rows that come next, of these words or the first ones of the next: they lie too far apart for the
 * processor to guess them, and while columns are multiplied there is time. (Not inlined, compilers take it for a
 * function without effect.)
 */
INLINED void prefetch_rows(const struct block *b)
{
	const struct kernel_matrix *w = b->w;
	const bool same = b->row + ROWS < w->rows;
	const uint32_t first = same ? b->first : b->first + BLOCK_WORDS, row = same ? b->row + ROWS : 0;
	const size_t word = (size_t) row * w->words + first;
	const size_t group = (size_t) row * w->groups + first / w->group_words;

	if (first >= w->words)
		return;
	for (uint32_t r = 0; r < ROWS; r++) {
		const size_t at = group + (size_t) r * w->groups;

		for (uint32_t i = 0; i < w->planes; i++) {
			const uint64_t *from = w->plane[i] + word + (size_t) r * w->words;

			_mm_prefetch(from, _MM_HINT_T0);
			_mm_prefetch(from + BLOCK_WORDS / 2, _MM_HINT_T0);
			_mm_prefetch(from + BLOCK_WORDS - 1, _MM_HINT_T0);
		}
		_mm_prefetch(w->step + at * w->planes, _MM_HINT_T0);
		_mm_prefetch(w->base + at, _MM_HINT_T0);
	}
}

/* Numbers of each word, at most 64 * 15, to sums of units, two to 32 bits. */
INLINED void store_sums(uint32_t unit, __m512i low, __m512i high, uint32_t *sum)
{
	__m256i all = _mm256_inserti128_si256(
		_mm256_castsi128_si256(_mm512_cvtepi64_epi16(low)), _mm512_cvtepi64_epi16(high), 1);

	if (unit == 1)
		_mm256_storeu_si256((__m256i *) sum, all);
	else
		_mm_storeu_si128((__m128i *) sum,
			_mm256_cvtepi32_epi16(_mm256_madd_epi16(all, _mm256_set1_epi16(1))));
}

/* @planes, @half: a constant, for the more frequent ones; not more words than half a block has */
INLINED void load_columns_at(const struct block *b, uint32_t planes, bool half)
{
	const __mmask8 mask = (__mmask8) first_ones(b->words), rest = (__mmask8) (first_ones(b->words) >> 8);
	const size_t words = b->w->words;
	const uint32_t unit = b->unit, count = b->count;
	uint64_t *to = b->scratch.column;
	const uint64_t *from = b->bits;

	for (uint32_t n = 0; n < count; n++, from += planes * words, to += COLUMN_WORDS(planes)) {
		__m512i low = _mm512_setzero_si512(), high = low;

		for (uint32_t m = planes; m-- > 0;) {
			__m512i v = _mm512_maskz_loadu_epi64(mask, from + m * words);

			low = _mm512_add_epi64(_mm512_add_epi64(low, low), _mm512_popcnt_epi64(v));
			_mm512_store_si512(to + (size_t) m * BLOCK_WORDS, v);
			if (half)
				continue;
			v = _mm512_maskz_loadu_epi64(rest, from + m * words + 8);
			high = _mm512_add_epi64(_mm512_add_epi64(high, high), _mm512_popcnt_epi64(v));
			_mm512_store_si512(to + (size_t) m * BLOCK_WORDS + 8, v);
		}
		store_sums(unit, low, high, b->scratch.sum[n]);
	}
}

static void load_columns(const struct block *b)
{
	const bool half = b->words <= BLOCK_WORDS / 2;

	if (b->x->planes == 1 && half)
		load_columns_at(b, 1, true);
	else if (b->x->planes == 1)
		load_columns_at(b, 1, false);
	else if (b->x->planes == 2 && half)
		load_columns_at(b, 2, true);
	else if (b->x->planes == 2)
		load_columns_at(b, 2, false);
	else
		load_columns_at(b, b->x->planes, half);
}

static inline __m512i load_scale(const uint32_t *scale)
{
	return _mm512_cvtepu32_epi64(_mm256_load_si256((const __m256i *) scale));
}

/*
 * struct output - where sums go, apart from the block: a compiler cannot know that they change nothing there
 * @sum, @base, @pairs: what clear bits weigh
 * @out: of the first row and column, requantized with @gain and @bias; or NULL
 */
struct output {
	int32_t *acc;
	size_t stride;
	const uint32_t (*sum)[BLOCK_WORDS / 2], (*base)[ROWS];
	uint32_t pairs;
	__mmask16 mask;
	bool add;
	uint8_t *out;
	size_t out_stride;
	__m512 gain, bias;
};

INLINED struct output output_at(const struct block *b, uint32_t column)
{
	struct output o = {
		.acc = b->acc + (size_t) column * b->acc_stride + b->row,
		.stride = b->acc_stride,
		.sum = b->scratch.sum + column,
		.base = b->scratch.base,
		.pairs = (b->units + 1) / 2,
		.mask = b->mask,
		.add = b->first > 0,
	};

	if (!b->output || b->first + b->words < b->w->words)
		return o;
	o.out = b->output->out + column * b->output->stride + b->row;
	o.out_stride = b->output->stride;
	o.gain = _mm512_maskz_loadu_ps(b->mask, b->output->gain + b->row);
	o.bias = _mm512_maskz_loadu_ps(b->mask, b->output->bias + b->row);
	return o;
}

INLINED __m512i add_earlier(const struct output *o, uint32_t n, __m512i sum)
{
	return _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(o->mask, o->acc + n * o->stride));
}

INLINED void store(const struct output *o, uint32_t n, __m512i sum)
{
	_mm512_mask_storeu_epi32(o->acc + n * o->stride, o->mask, sum);
}

INLINED void finish(const struct output *o, const struct finish *f, uint32_t n, __m512i sum)
{
	finish_store(o->mask, finish_16(f, sum, o->gain, o->bias), o->out + n * o->out_stride);
}

/* struct words - those of a unit, of the lower and the upper 8 rows */
struct words {
	__m512i low[2], high[2];
};

INLINED struct words load_unit(const uint64_t *from, uint32_t unit)
{
	const uint64_t *next = from + (unit - 1) * ROWS;

	return (struct words){{_mm512_load_si512(from), _mm512_load_si512(next)},
		{_mm512_load_si512(from + 8), _mm512_load_si512(next + 8)}};
}

INLINED __m512i count_word(__m512i weights, uint64_t values)
{
	return _mm512_popcnt_epi64(_mm512_and_si512(weights, _mm512_set1_epi64((long long) values)));
}

/* One plane of values. */
INLINED __m512i count_plane(const __m512i w[2], const uint64_t *values, uint32_t unit)
{
	__m512i one = count_word(w[0], values[0]);

	return unit == 1 ? one : _mm512_add_epi64(one, count_word(w[1], values[1]));
}

/*
 * Upon @sum, all planes of values times the step. Of two planes each goes by itself, the upper one with the
 * step twice: one product, where bringing both together first takes two additions.
 */
INLINED __m512i add_unit(__m512i sum, const __m512i w[2], const uint64_t *values, uint32_t planes,
	uint32_t unit, __m512i step, __m512i twice)
{
	__m512i all = count_plane(w, values + (planes - 1) * BLOCK_WORDS, unit);

	if (planes == 2)
		return _mm512_dpwssd_epi32(
			_mm512_dpwssd_epi32(sum, all, twice), count_plane(w, values, unit), step);
	for (uint32_t m = planes - 1; m-- > 0;)
		all = _mm512_add_epi64(
			_mm512_add_epi64(all, all), count_plane(w, values + m * BLOCK_WORDS, unit));
	return _mm512_dpwssd_epi32(sum, all, step);
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

#define DECLARE(n) __m512i a##n = _mm512_setzero_si512(), b##n = _mm512_setzero_si512();
#define COUNT(n)                                                                                   \
	{                                                                                          \
		const uint64_t *values = from + (n) * COLUMN_WORDS(planes);                        \
                                                                                                   \
		__asm__ volatile("" : "+v"(a##n), "+v"(b##n));                                     \
		a##n = add_unit(a##n, w.low, values, planes, unit, low, low2);                     \
		b##n = add_unit(b##n, w.high, values, planes, unit, high, high2);                  \
	}
#define FENCE(n) __asm__ volatile("" : "+v"(a##n), "+v"(b##n));
/* From low halves of the lanes to 16 rows side by side. */
#define JOIN(n) a##n = _mm512_permutex2var_epi32(a##n, even, b##n);
#define ADD_BASE(n)                                                                                \
	a##n = _mm512_dpwssd_epi32(a##n, base, _mm512_set1_epi32((int32_t) o.sum[n][i]));
#define ADD_EARLIER(n) a##n = add_earlier(&o, n, a##n);
#define STORE(n) store(&o, n, a##n);
#define FINISH(n) finish(&o, &f, n, a##n);

/* Unit @u, which has @unit words. */
#define ADD_UNIT(count, u, unit_words)                                                             \
	{                                                                                          \
		const uint32_t unit = unit_words;                                                  \
		const uint32_t *scale = b->scratch.scale[b->group_of[u] * b->w->planes];          \
                                                                                                   \
		for (uint32_t i = 0; i < b->w->planes; i++, scale += ROWS) {                       \
			struct words w = load_unit(b->scratch.plane[i][(u) * most], unit);        \
			__m512i low = load_scale(scale), high = load_scale(scale + 8);             \
			__m512i low2 = _mm512_add_epi16(low, low);                                 \
			__m512i high2 = _mm512_add_epi16(high, high);                              \
                                                                                                   \
			/* else all of a unit is broadcast at once, to the stack */                \
			__asm__ volatile("" : "+r"(from));                                         \
			EACH_##count(COUNT)                                                        \
		}                                                                                  \
	}

/* @planes, @unit: constants, for the more frequent ones */
#define DEFINE_MULTIPLY(count)                                                                     \
	INLINED void multiply_at_##count(                                                          \
		const struct block *b, uint32_t column, uint32_t planes, uint32_t most)            \
	{                                                                                          \
		const __m512i even =                                                               \
			_mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0); \
		const uint64_t *from = b->scratch.column + column * COLUMN_WORDS(planes);         \
		const struct output o = output_at(b, column);                                      \
		const uint32_t whole = b->words / most;                                            \
		EACH_##count(DECLARE)                                                              \
                                                                                                   \
		for (uint32_t u = 0; u < whole; u++, from += most)                                 \
			ADD_UNIT(count, u, most)                                                   \
		EACH_##count(FENCE)                                                                \
		if (most > 1 && whole < b->units)                                                  \
			ADD_UNIT(count, whole, 1)                                                  \
		EACH_##count(FENCE)                                                                \
		EACH_##count(JOIN)                                                                 \
		for (uint32_t i = 0; i < o.pairs; i++) {                                           \
			__m512i base = _mm512_load_si512(o.base[i]);                               \
                                                                                                   \
			EACH_##count(ADD_BASE)                                                     \
		}                                                                                  \
		if (o.add) {                                                                       \
			EACH_##count(ADD_EARLIER)                                                  \
		}                                                                                  \
		if (o.out) {                                                                       \
			const struct finish f = b->finish;                                         \
                                                                                                   \
			EACH_##count(FINISH)                                                       \
		} else {                                                                           \
			EACH_##count(STORE)                                                        \
		}                                                                                  \
	}                                                                                          \
	static void multiply_##count(const struct block *b, uint32_t column, uint32_t end)         \
	{                                                                                          \
		for (; column < end; column += count)                                              \
			if (b->unit == 1)                                                          \
				multiply_at_##count(b, column, b->x->planes, 1);                   \
			else if (b->x->planes == 1)                                                \
				multiply_at_##count(b, column, 1, 2);                              \
			else if (b->x->planes == 2)                                                \
				multiply_at_##count(b, column, 2, 2);                              \
			else if (b->x->planes == 4)                                                \
				multiply_at_##count(b, column, 4, 2);                              \
			else                                                                       \
				multiply_at_##count(b, column, b->x->planes, 2);                   \
	}

#define EACH_COUNT(f) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8)
#define MULTIPLY(count) multiply_##count,

EACH_COUNT(DEFINE_MULTIPLY)

/* All columns in as few, alike parts as possible, and what is left. */
static void multiply_columns(const struct block *b)
{
	static void (*const multiply[])(const struct block *, uint32_t, uint32_t) = {NULL, EACH_COUNT(MULTIPLY)};
	const uint32_t parts = (b->count + COUNT_MAX - 1) / COUNT_MAX, each = (b->count + parts - 1) / parts;
	const uint32_t rest = b->count % each;

	multiply[each](b, 0, b->count - rest);
	if (rest > 0)
		multiply[rest](b, b->count - rest, b->count);
}

static void find_groups(struct block *b)
{
	const uint32_t group_words = b->w->group_words;

	b->group = b->first / group_words;
	b->groups = (b->first + b->words - 1) / group_words - b->group + 1;
	b->unit = b->words > 1 && (group_words % 2 == 0 || b->w->groups == 1) ? 2 : 1;
	b->units = (b->words + b->unit - 1) / b->unit;
	for (uint32_t u = 0; u < b->units; u++)
		b->group_of[u] = (uint8_t) ((b->first + u * b->unit) / group_words - b->group);
	if (b->units % 2)
		b->group_of[b->units] = b->group_of[b->units - 1];
}

static void multiply_tile(struct block *b)
{
	const struct kernel_matrix *w = b->w;

	for (b->first = 0; b->first < w->words; b->first += BLOCK_WORDS, b->bits += BLOCK_WORDS) {
		uint32_t left = w->words - b->first;

		b->words = left < BLOCK_WORDS ? left : BLOCK_WORDS;
		find_groups(b);
		load_columns(b);
		for (b->row = 0; b->row < w->rows; b->row += ROWS) {
			b->rows = w->rows - b->row < ROWS ? w->rows - b->row : ROWS;
			b->mask = first_ones(b->rows);
			load_rows(b);
			prefetch_rows(b);
			multiply_columns(b);
		}
	}
}

static struct bits_scratch scratch_of(void *scratch, uint32_t planes, uint32_t value_planes)
{
	const size_t each = COLUMN_WORDS(value_planes) * sizeof(uint64_t);
	struct bits_scratch s = {.plane = scratch};
	size_t left = KERNEL_SCRATCH_BYTES - planes * sizeof s.plane[0];

	s.scale = (uint32_t (*)[ROWS]) (s.plane + planes);
	left -= BLOCK_WORDS * planes * sizeof s.scale[0];
	s.base = s.scale + (size_t) BLOCK_WORDS * planes;
	left -= BLOCK_WORDS / 2 * sizeof s.base[0];
	s.columns = (uint32_t) (left / (each + sizeof s.sum[0]) / COUNT_MAX * COUNT_MAX);
	s.column = (uint64_t *) (s.base + BLOCK_WORDS / 2);
	s.sum = (uint32_t (*)[BLOCK_WORDS / 2]) (s.column + s.columns * COLUMN_WORDS(value_planes));
	return s;
}

/* @o: where sums leave requantized, with @acc for those of long rows until then; or NULL */
static void multiply_tiles(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch, const struct kernel_output *o)
{
	const struct bits_scratch near = scratch_of(scratch, w->planes, x->planes);
	const uint32_t parts = (x->count + near.columns - 1) / near.columns;
	/* tiles alike: the last one turns the planes around once more, and for few columns it would not pay */
	const uint32_t tile = ((x->count + parts - 1) / parts + COUNT_MAX - 1) / COUNT_MAX * COUNT_MAX;

	for (uint32_t n = 0; n < x->count; n += tile) {
		struct kernel_output output = o ? *o : (struct kernel_output){};
		struct block b = {
			.w = w,
			.x = x,
			.scratch = near,
			.bits = x->bits + (size_t) n * x->planes * w->words,
			.count = x->count - n < tile ? x->count - n : tile,
			.acc = acc + (size_t) n * acc_stride,
			.acc_stride = acc_stride,
			.output = o ? &output : NULL,
			.finish = finish_of(&output),
		};

		if (o)
			output.out += n * output.stride;
		multiply_tile(&b);
	}
}

void bitserial_avx512(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	multiply_tiles(w, x, acc, acc_stride, scratch, NULL);
}

void bitserial_avx512_u8(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	void *scratch, const struct kernel_output *o)
{
	multiply_tiles(w, x, acc, w->rows, scratch, o);
}
