/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One or two columns times planes that come from memory: the planes are the stream that counts, so a
 * row is read as it lies, 512 weights to a register, and everything else stays near.
 *
 * A byte of a plane holds eight neighbours. Bit j of each byte of a register alone, as a byte of 0 or 1,
 * is what VPDPBUSD multiplies with those values that stand at bit j of their bytes: once per call the
 * values are laid out so,
 *
 *	scratch[block of 512 columns][bit j][byte of the plane]
 *
 * GF2P8AFFINEQB takes out a bit, a shift and an AND do so too: the one needs the units that the products
 * need, the other two need more of the rest, and half of the bits each way is what keeps all busy. So
 * two or three instructions do for 64 weights of a plane, whatever their scales. A lane then has a sum of
 * 32 values, all of one group and at most 8160: VPDPWSSD multiplies it with the group's step. The
 * weight of clear bits goes in at the end, group by group.
 */
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "engine/kernels/rows.h"

#define BLOCK_WORDS 8
#define BLOCK_VALUES (BLOCK_WORDS * BITS_PER_WORD)
#define PIECE_BLOCKS 72
#define PIECE_WORDS (PIECE_BLOCKS * BLOCK_WORDS)
#define AHEAD 10240 /* bytes of a plane that are asked for before they are due */

/*
 * struct steps - where 512 columns find the steps of their groups
 * @index: for each half lane of 32 bits where its group's steps begin, counted from those of the first group
 * @one: one plane: the same for bytes, counted in bytes
 * @words, @steps: those that exist, of 8 and of 64
 */
struct steps {
	_Alignas(64) uint16_t index[32];
	uint8_t one[64];
	uint64_t steps, words;
};

/* struct block - of 512 columns; @steps: which one of them */
struct block {
	uint32_t group, steps;
};

/*
 * struct near - what all rows share: one column, words [first, first + words) of it
 * @steps: blocks that have the same share one (lookup_gfni.c says why)
 * @sum: of each group's values
 */
struct near {
	_Alignas(64) uint8_t values[PIECE_BLOCKS][8][64];
	struct steps steps[PIECE_BLOCKS];
	struct block block[PIECE_BLOCKS];
	int32_t sum[PIECE_WORDS];
	uint32_t first, words, blocks, first_group, groups;
};

_Static_assert(sizeof(struct near) <= KERNEL_SCRATCH_BYTES, "what is near fits the scratch");

/* 64 values: byte j of each word to qword j */
static __m512i gather_bits(__m512i v)
{
	const __m512i pairs = _mm512_broadcast_i32x4(
		_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
	const __m512i order = _mm512_set_epi16(31, 23, 15, 7, 30, 22, 14, 6, 29, 21, 13, 5, 28, 20, 12, 4,
		27, 19, 11, 3, 26, 18, 10, 2, 25, 17, 9, 1, 24, 16, 8, 0);

	return _mm512_permutexvar_epi16(order, _mm512_shuffle_epi8(v, pairs));
}

static void lay_out_values(struct near *n, const uint8_t *q)
{
	for (uint32_t k = 0; k < n->blocks * BLOCK_WORDS; k++) {
		__m512i v = k < n->words ? _mm512_loadu_si512(q + (size_t) k * 64) : _mm512_setzero_si512();
		_Alignas(64) uint64_t bytes[8];

		_mm512_store_si512(bytes, gather_bits(v));
		for (uint32_t j = 0; j < 8; j++)
			memcpy(&n->values[k / BLOCK_WORDS][j][k % BLOCK_WORDS * 8], &bytes[j], 8);
	}
}

static void sum_groups(struct near *n, const struct kernel_matrix *w, const uint8_t *q)
{
	const __m512i ones = _mm512_set1_epi8(1);

	for (uint32_t k = 0; k < n->words;) {
		uint32_t group = (n->first + k) / w->group_words;
		uint32_t end = (group + 1) * w->group_words - n->first;
		__m512i sum = _mm512_setzero_si512();

		for (end = end < n->words ? end : n->words; k < end; k++)
			sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(q + (size_t) k * 64), ones);
		n->sum[group - n->first_group] = _mm512_reduce_add_epi32(sum);
	}
}

static uint64_t first_ones(uint64_t count)
{
	return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

/* Of words from @first on, none of @end or later. */
static void index_steps(struct steps *s, const struct kernel_matrix *w, uint32_t first, uint32_t end)
{
	uint32_t last = end - 1, group = first / w->group_words;

	s->words = first_ones(end - first) & 0xff;
	for (uint32_t i = 0; i < 32; i++) {
		uint32_t word = first + i / 4 < last ? first + i / 4 : last;

		s->index[i] = (uint16_t) ((word / w->group_words - group) * w->planes);
		s->one[2 * i] = (uint8_t) (2 * s->index[i]);
		s->one[2 * i + 1] = (uint8_t) (2 * s->index[i] + 1);
	}
	s->steps = first_ones((uint64_t) s->index[31] + w->planes);
}

static bool is_same(const struct steps *a, const struct steps *b)
{
	return memcmp(a, b, offsetof(struct steps, words) + sizeof a->words) == 0;
}

static void find_steps(struct near *n, const struct kernel_matrix *w)
{
	uint32_t last = 0;

	for (uint32_t b = 0; b < n->blocks; b++) {
		uint32_t first = n->first + b * BLOCK_WORDS;

		index_steps(&n->steps[b], w, first, n->first + n->words);
		if (!is_same(&n->steps[b], &n->steps[last]))
			last = b;
		n->block[b] = (struct block){first / w->group_words, last};
	}
}

static void prepare(struct near *n, const struct kernel_matrix *w, const uint8_t *q, uint32_t first)
{
	n->first = first;
	n->words = w->words - first < PIECE_WORDS ? w->words - first : PIECE_WORDS;
	n->blocks = (n->words + BLOCK_WORDS - 1) / BLOCK_WORDS;
	n->first_group = first / w->group_words;
	n->groups = (first + n->words - 1) / w->group_words - n->first_group + 1;
	q += (size_t) first * 64;
	lay_out_values(n, q);
	sum_groups(n, w, q);
	find_steps(n, w);
}

#define INLINED static inline __attribute__((always_inline))

/* The weight of clear bits: base times the sum of each group. */
INLINED __m512i add_bases(const struct near *n, const struct kernel_matrix *w, uint32_t row, __m512i acc)
{
	const int8_t *base = w->base + (size_t) row * w->groups + n->first_group;
	__mmask16 rest = (__mmask16) first_ones(n->groups % 16);
	uint32_t g = 0;

	for (; g + 16 <= n->groups; g += 16)
		acc = _mm512_add_epi32(acc,
			_mm512_mullo_epi32(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) (base + g))),
				_mm512_loadu_si512(n->sum + g)));
	if (rest)
		acc = _mm512_add_epi32(acc,
			_mm512_mullo_epi32(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(rest, base + g)),
				_mm512_maskz_loadu_epi32(rest, n->sum + g)));
	return acc;
}

/*
 * What one plane of one row adds: sums per lane, times the steps of their groups.
 * @whole: 8 steps can be read, if only a part of them is of use
 */
INLINED __m512i add_scaled(const struct steps *b, uint32_t planes, uint32_t plane, const int16_t *step,
	bool whole, __m512i sum, __m512i acc)
{
	__m512i index = _mm512_add_epi16(_mm512_load_si512(b->index), _mm512_set1_epi16((short) plane));
	__m512i low;

	if (planes == 1 && whole) {
		low = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *) step));
		return _mm512_dpwssd_epi32(acc, sum, _mm512_shuffle_epi8(low, _mm512_load_si512(b->one)));
	}
	low = _mm512_maskz_loadu_epi16((__mmask32) b->steps, step);
	if (planes > 4)
		index = _mm512_permutex2var_epi16(low, index,
			_mm512_maskz_loadu_epi16((__mmask32) (b->steps >> 32), step + 32));
	else
		index = _mm512_permutexvar_epi16(index, low);
	return _mm512_dpwssd_epi32(acc, sum, index);
}

/* struct sums - of up to four rows */
struct sums {
	__m512i a, b, c, d;
};

#define BIT(j) _mm512_set1_epi64((long long) (UINT64_C(1) << (56 + (j))))
#define TAKE_BIT(v, j)                                                                             \
	((j) % 2 ? _mm512_gf2p8affine_epi64_epi8(v, BIT(j), 0)                                     \
		 : _mm512_and_si512(_mm512_srli_epi16(v, j), _mm512_set1_epi8(1)))
#define MANY 4 /* registers of planes at once */

/*
 * Sums of @n planes, one after the other from @plane on, of row after row. Compilers keep
 * sums in registers only when each has a name.
 */
#define SUM_BIT_OF(r, j)                                                                           \
	if (n > r)                                                                                 \
		s##r = _mm512_dpbusd_epi32(s##r, v, TAKE_BIT(x##r, j));
#define SUM_BIT(j)                                                                                 \
	{                                                                                          \
		__m512i v = _mm512_load_si512(values[j]);                                       \
                                                                                                   \
		SUM_BIT_OF(0, j) SUM_BIT_OF(1, j) SUM_BIT_OF(2, j) SUM_BIT_OF(3, j)                \
	}
#define LOAD(r)                                                                                    \
	__m512i s##r = _mm512_setzero_si512(), x##r = s##r;                                        \
	if (n > r) {                                                                               \
		const uint64_t *bits = w->plane[plane + r % planes] + word + (r / planes) * w->words; \
                                                                                                   \
		x##r = whole && b->words == 0xff ? _mm512_loadu_si512(bits)                        \
						 : _mm512_maskz_loadu_epi64(b->words, bits);       \
		_mm_prefetch((const char *) bits + AHEAD, _MM_HINT_T0);                            \
	}
#define ACC(row) ((row) == 0 ? &acc->a : (row) == 1 ? &acc->b : (row) == 2 ? &acc->c : &acc->d)
#define ADD_SCALED(r)                                                                              \
	if (n > r)                                                                                 \
		*ACC(r / planes) = add_scaled(b, planes, plane + r % planes,                       \
			step + r / planes * row_steps, whole, s##r, *ACC(r / planes));

INLINED void add_planes(const uint8_t (*values)[64], const struct steps *b, const struct kernel_matrix *w,
	uint32_t planes, uint32_t plane, uint32_t n, size_t word, const int16_t *step, size_t row_steps,
	bool whole, struct sums *acc)
{
	LOAD(0) LOAD(1) LOAD(2) LOAD(3)
	SUM_BIT(0) SUM_BIT(1) SUM_BIT(2) SUM_BIT(3) SUM_BIT(4) SUM_BIT(5) SUM_BIT(6) SUM_BIT(7)
	ADD_SCALED(0) ADD_SCALED(1) ADD_SCALED(2) ADD_SCALED(3)
}

#define ZIP(a, b, width) _mm512_add_epi32(_mm512_unpacklo_epi##width(a, b), _mm512_unpackhi_epi##width(a, b))

/* The sums over all lanes of each. */
INLINED __m128i reduce(struct sums s)
{
	__m512i all = ZIP(ZIP(s.a, s.b, 32), ZIP(s.c, s.d, 32), 64);
	__m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* @whole: nothing that is read around these rows lies outside of the matrix */
INLINED void multiply_rows(const struct near *n, const struct kernel_matrix *w, uint32_t planes,
	uint32_t rows, bool whole, uint32_t row, int32_t *acc)
{
	size_t word = (size_t) row * w->words + n->first, row_steps = (size_t) w->groups * planes;
	const int16_t *step = w->step + row * row_steps;
	__mmask8 mask = (__mmask8) first_ones(rows);
	__m512i zero = _mm512_setzero_si512();
	struct sums sum = {zero, zero, zero, zero};
	__m128i all;

	for (uint32_t k = 0; k < n->blocks; k++, word += BLOCK_WORDS) {
		const struct steps *b = &n->steps[n->block[k].steps];
		const uint8_t (*values)[64] = n->values[k];
		const int16_t *at = step + (size_t) n->block[k].group * planes;

		if (planes <= MANY) {
			add_planes(values, b, w, planes, 0, rows * planes, word, at, row_steps, whole, &sum);
			continue;
		}
		add_planes(values, b, w, planes, 0, MANY, word, at, row_steps, whole, &sum);
		add_planes(values, b, w, planes, MANY, planes - MANY, word, at, row_steps, whole, &sum);
	}
	sum.a = add_bases(n, w, row, sum.a);
	if (rows > 1)
		sum.b = add_bases(n, w, row + 1, sum.b);
	if (rows > 2)
		sum.c = add_bases(n, w, row + 2, sum.c);
	if (rows > 3)
		sum.d = add_bases(n, w, row + 3, sum.d);
	all = reduce(sum);
	if (n->first)
		all = _mm_add_epi32(all, _mm_maskz_loadu_epi32(mask, acc + row));
	_mm_mask_storeu_epi32(acc + row, mask, all);
}

#define LAST_ROWS 8 /* with at least one step each: more than a read of 8 steps is too long */

#define DEFINE_MULTIPLY(count, many)                                                               \
	static void multiply_##count(const struct near *n, const struct kernel_matrix *w, int32_t *acc) \
	{                                                                                          \
		uint32_t r = 0;                                                                    \
                                                                                                   \
		for (; r + many + LAST_ROWS <= w->rows; r += many)                                 \
			multiply_rows(n, w, count, many, true, r, acc);                            \
		for (; r < w->rows; r++)                                                           \
			multiply_rows(n, w, count, 1, false, r, acc);                              \
	}

DEFINE_MULTIPLY(1, 4) DEFINE_MULTIPLY(2, 2) DEFINE_MULTIPLY(3, 1) DEFINE_MULTIPLY(4, 1)
DEFINE_MULTIPLY(5, 1) DEFINE_MULTIPLY(6, 1) DEFINE_MULTIPLY(7, 1) DEFINE_MULTIPLY(8, 1)

void matvec_gfni(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	static void (*const multiply[])(const struct near *, const struct kernel_matrix *, int32_t *) = {
		NULL, multiply_1, multiply_2, multiply_3, multiply_4, multiply_5, multiply_6, multiply_7,
		multiply_8};
	struct near *n = scratch;

	for (uint32_t c = 0; c < x->count; c++)
		for (uint32_t first = 0; first < w->words; first += PIECE_WORDS) {
			prepare(n, w, x->u8 + (size_t) c * w->words * 64, first);
			multiply[w->planes](n, w, acc + (size_t) c * acc_stride);
		}
}
