/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products by look-up, for processors whose products of bytes saturate or need 16 bits: four neighbours of
 * a column have 16 partial sums, one for each choice of them, and four neighbouring bits of a plane are
 * that choice. So a VPSHUFB does four products of 32 rows, whatever the planes weigh.
 *
 *	table	[piece][column][quad of 4 values][2][16]	made once for all rows
 *	choice	[plane][quad][32 rows]				made once per piece for all columns
 *
 * A sum of four values has 10 bits. They lie in two tables of 5, of which 8 can be added up in a byte
 * before VPMADDUBSW brings both together. A plane's sum over a piece fits 16 bits; VPMADDWD multiplies
 * two planes with their steps.
 */
#include <immintrin.h>
#include <string.h>

#include "engine/kernels/rows.h"

#define ROWS 32
#define PIECE_WORDS 2 /* of one group: a plane's sum of 128 values stays below 2^15 */
#define WORD_QUADS 16
#define QUADS (PIECE_WORDS * WORD_QUADS)
#define BYTE_QUADS 8 /* that fit a byte */
#define TILE_COLUMNS 24
#define HALF_BITS 5
#define PAIRS ((BITS_PLANES_MAX + 2) / 2)
#define INLINED static inline __attribute__((always_inline))

/* struct piece - words [first, first + words), of one group; @quads: those of them that matter */
struct piece {
	uint32_t first, words, group, quads;
};

/*
 * struct near - what the first cache holds
 * @factor: of the base and the planes' steps, two by two, beside each other for each row
 * @sum: of the values of each piece and column
 */
struct near {
	_Alignas(64) uint8_t table[TILE_COLUMNS][QUADS][2][16];
	uint8_t choice[BITS_PLANES_MAX][QUADS][ROWS];
	int16_t factor[PAIRS][ROWS][2];
	int16_t sum[TILE_COLUMNS];
	struct piece piece[TILE_COLUMNS];
};

_Static_assert(sizeof(struct near) <= KERNEL_SCRATCH_BYTES, "what is near fits the scratch");

/* struct block - up to TILE_COLUMNS pieces of as many columns; @row: the tile of rows in work */
struct block {
	const struct kernel_matrix *w;
	struct near *near;
	uint32_t pieces, columns, row, rows;
};

bool lookup_avx2_fits(const struct kernel_matrix *w)
{
	return w->rows >= ROWS;
}

/* Each choice of four values: their sums, in two halves. */
INLINED void make_table(uint8_t table[2][16], const uint8_t *q)
{
	const __m256i first = _mm256_setr_epi16(0, 0x0001, 0x0100, 0x0101, 0, 0x0001, 0x0100, 0x0101, 0, 0x0001,
		0x0100, 0x0101, 0, 0x0001, 0x0100, 0x0101);
	const __m256i second = _mm256_setr_epi16(0, 0, 0, 0, 0x0001, 0x0001, 0x0001, 0x0001, 0x0100, 0x0100,
		0x0100, 0x0100, 0x0101, 0x0101, 0x0101, 0x0101);
	int16_t pair[2];
	__m256i sum, halves;

	memcpy(pair, q, sizeof pair);
	sum = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_set1_epi16(pair[0]), first),
		_mm256_maddubs_epi16(_mm256_set1_epi16(pair[1]), second));
	halves = _mm256_packus_epi16(_mm256_and_si256(sum, _mm256_set1_epi16((1 << HALF_BITS) - 1)),
		_mm256_srli_epi16(sum, HALF_BITS));
	_mm256_store_si256((__m256i *) table, _mm256_permute4x64_epi64(halves, 0xd8));
}

static int16_t sum_values(const uint8_t *q, uint32_t values)
{
	__m256i sum = _mm256_setzero_si256();
	__m128i half;

	for (uint32_t t = 0; t < values; t += 32)
		sum = _mm256_add_epi64(sum, _mm256_sad_epu8(_mm256_loadu_si256((const __m256i *) (q + t)),
						    _mm256_setzero_si256()));
	half = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
	return (int16_t) (_mm_cvtsi128_si32(half) + _mm_extract_epi16(half, 4));
}

/* Tables of all columns of piece @i. */
static void make_tables(const struct block *b, uint32_t i, const uint8_t *q)
{
	const struct piece *p = &b->near->piece[i];

	q += (size_t) p->first * 64;
	for (uint32_t n = 0; n < b->columns; n++, q += (size_t) b->w->words * 64) {
		uint32_t at = i * b->columns + n;

		for (uint32_t k = 0; k < p->quads; k++)
			make_table(b->near->table[at][k], q + 4 * k);
		b->near->sum[at] = sum_values(q, p->quads * 4);
	}
}

/* Words of 16 rows to words of their bytes: byte k of all of them to register k, in each half. */
INLINED void transpose(__m256i v[8])
{
	const __m256i pairs = _mm256_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15, 0, 8, 1, 9, 2,
		10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
	__m256i t[8];

	for (uint32_t i = 0; i < 8; i++)
		v[i] = _mm256_shuffle_epi8(v[i], pairs);
	for (uint32_t i = 0; i < 8; i += 2) {
		t[i] = _mm256_unpacklo_epi16(v[i], v[i + 1]);
		t[i + 1] = _mm256_unpackhi_epi16(v[i], v[i + 1]);
	}
	for (uint32_t i = 0; i < 8; i += 4)
		for (uint32_t j = 0; j < 2; j++) {
			v[i + 2 * j] = _mm256_unpacklo_epi32(t[i + j], t[i + j + 2]);
			v[i + 2 * j + 1] = _mm256_unpackhi_epi32(t[i + j], t[i + j + 2]);
		}
	for (uint32_t j = 0; j < 4; j++) {
		t[2 * j] = _mm256_unpacklo_epi64(v[j], v[j + 4]);
		t[2 * j + 1] = _mm256_unpackhi_epi64(v[j], v[j + 4]);
	}
	memcpy(v, t, sizeof t);
}

/*
 * Where the rows of a tile lie in a register of choices: such that two rounds of interleaving, of low and
 * high halves and of two planes, bring them into order.
 */
static const uint8_t row_at[ROWS] = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27,
	4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31};

/* One word of all rows of a tile; where rows do not exist, the last one is in their place. */
static void make_choices(const struct block *b, uint32_t plane, size_t word, uint8_t (*to)[ROWS])
{
	const __m256i nibble = _mm256_set1_epi8(15);
	const uint64_t *from = b->w->plane[plane] + (size_t) b->row * b->w->words + word;
	_Alignas(32) uint64_t words[8][4];
	__m256i v[8];

	for (uint32_t at = 0; at < ROWS; at++) {
		uint32_t r = row_at[at] < b->rows ? row_at[at] : b->rows - 1;

		words[at % 16 / 2][at / 16 * 2 + at % 2] = from[(size_t) r * b->w->words];
	}
	for (uint32_t i = 0; i < 8; i++)
		v[i] = _mm256_load_si256((const __m256i *) words[i]);
	transpose(v);
	for (uint32_t i = 0; i < 8; i++) {
		_mm256_store_si256((__m256i *) to[2 * i], _mm256_and_si256(v[i], nibble));
		_mm256_store_si256((__m256i *) to[2 * i + 1],
			_mm256_and_si256(_mm256_srli_epi16(v[i], 4), nibble));
	}
}

static void load_factors(const struct block *b, uint32_t group)
{
	const struct kernel_matrix *w = b->w;

	for (uint32_t r = 0; r < b->rows; r++) {
		size_t at = (size_t) (b->row + r) * w->groups + group;
		const int16_t *step = w->step + at * w->planes;

		b->near->factor[0][r][0] = w->base[at];
		for (uint32_t i = 1; i <= w->planes; i++)
			b->near->factor[i / 2][r][i % 2] = step[i - 1];
		if (w->planes % 2 == 0)
			b->near->factor[w->planes / 2][r][1] = 0;
	}
}

static void load_rows(const struct block *b, const struct piece *p)
{
	for (uint32_t i = 0; i < b->w->planes; i++)
		for (uint32_t k = 0; k < p->words; k++)
			make_choices(b, i, p->first + k, b->near->choice[i] + (size_t) k * WORD_QUADS);
}

/* What 32 rows and one column are summed up in. Compilers keep it in registers when it has a name. */
struct sums {
	__m256i low, high, first, second;
};

INLINED void look_up(struct sums *s, const uint8_t (*table)[16], __m256i choice)
{
	__m256i low = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *) table[0]));
	__m256i high = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *) table[1]));

	s->low = _mm256_add_epi8(s->low, _mm256_shuffle_epi8(low, choice));
	s->high = _mm256_add_epi8(s->high, _mm256_shuffle_epi8(high, choice));
}

INLINED void widen(struct sums *s)
{
	const __m256i weights = _mm256_set1_epi16((1 << HALF_BITS) << 8 | 1);

	s->first = _mm256_add_epi16(
		s->first, _mm256_maddubs_epi16(_mm256_unpacklo_epi8(s->low, s->high), weights));
	s->second = _mm256_add_epi16(
		s->second, _mm256_maddubs_epi16(_mm256_unpackhi_epi8(s->low, s->high), weights));
	s->low = s->high = _mm256_setzero_si256();
}

/* What is multiplied with the factors: the sum of values, then the planes' sums. */
struct terms {
	__m256i half[BITS_PLANES_MAX + 2][2];
};

/* One plane of a piece times one or two columns. */
INLINED void add_plane(const struct near *near, uint32_t quads, uint32_t plane, uint32_t at, bool two,
	struct terms *x, struct terms *y)
{
	const __m256i zero = _mm256_setzero_si256();
	const uint8_t (*choice)[ROWS] = near->choice[plane];
	const uint8_t (*s)[2][16] = near->table[at], (*t)[2][16] = near->table[two ? at + 1 : at];
	struct sums a = {zero, zero, zero, zero}, b = a;

	for (uint32_t i = 0; i < quads; i += BYTE_QUADS) {
		/* no more at once: sums that are added up in another order do not fit the registers */
#pragma GCC unroll 2
		for (uint32_t k = i; k < i + BYTE_QUADS; k++) {
			__m256i rows = _mm256_load_si256((const __m256i *) choice[k]);

			look_up(&a, s[k], rows);
			if (two)
				look_up(&b, t[k], rows);
		}
		widen(&a);
		if (two)
			widen(&b);
	}
	x->half[plane + 1][0] = a.first;
	x->half[plane + 1][1] = a.second;
	if (two) {
		y->half[plane + 1][0] = b.first;
		y->half[plane + 1][1] = b.second;
	}
}

/* The 32 sums of a piece and a column. */
INLINED void multiply_factors(const struct near *near, uint32_t planes, const struct terms *x, __m256i out[4])
{
	for (uint32_t i = 0; i < 4; i++)
		out[i] = _mm256_setzero_si256();
	for (uint32_t j = 0; j <= planes / 2; j++) {
		const __m256i *factor = (const __m256i *) near->factor[j];
		const __m256i *a = x->half[2 * j], *b = x->half[2 * j + 1];

		for (uint32_t i = 0; i < 2; i++) {
			__m256i low = _mm256_unpacklo_epi16(a[i], b[i]), high = _mm256_unpackhi_epi16(a[i], b[i]);

			out[2 * i] = _mm256_add_epi32(out[2 * i],
				_mm256_madd_epi16(low, _mm256_load_si256(factor + 2 * i)));
			out[2 * i + 1] = _mm256_add_epi32(out[2 * i + 1],
				_mm256_madd_epi16(high, _mm256_load_si256(factor + 2 * i + 1)));
		}
	}
}

/* @add: to what is there: not the first piece of columns. Only rows that exist leave the tile. */
static void put_sums(const struct block *b, const struct terms *x, bool add, int32_t *acc)
{
	_Alignas(32) int32_t last[ROWS];
	__m256i out[4];
	int32_t *to = acc;

	if (b->rows < ROWS) {
		memcpy(last, acc, add ? b->rows * sizeof *acc : 0);
		to = last;
	}
	multiply_factors(b->near, b->w->planes, x, out);
	for (uint32_t i = 0; i < 4; i++) {
		__m256i *at = (__m256i *) (to + 8 * i);

		if (add)
			out[i] = _mm256_add_epi32(out[i], _mm256_loadu_si256(at));
		_mm256_storeu_si256(at, out[i]);
	}
	if (to == last)
		memcpy(acc, last, b->rows * sizeof *acc);
}

static void start_terms(const struct block *b, struct terms *x, int16_t sum)
{
	x->half[0][0] = x->half[0][1] = _mm256_set1_epi16(sum);
	x->half[b->w->planes + 1][0] = x->half[b->w->planes + 1][1] = _mm256_setzero_si256();
}

INLINED void multiply_columns(
	const struct block *b, const struct piece *p, uint32_t at, bool two, int32_t *acc, uint32_t stride)
{
	struct terms x, y;

	start_terms(b, &x, b->near->sum[at]);
	if (two)
		start_terms(b, &y, b->near->sum[at + 1]);
	for (uint32_t i = 0; i < b->w->planes; i++)
		add_plane(b->near, p->quads, i, at, two, &x, &y);
	put_sums(b, &x, p->first > 0, acc);
	if (two)
		put_sums(b, &y, p->first > 0, acc + stride);
}

/* All pieces and columns of one tile of rows. */
static void multiply_rows(const struct block *b, int32_t *acc, uint32_t stride)
{
	for (uint32_t i = 0; i < b->pieces; i++) {
		const struct piece *p = &b->near->piece[i];
		uint32_t n = 0, at = i * b->columns;

		load_rows(b, p);
		if (i == 0 || p->group != p[-1].group)
			load_factors(b, p->group);
		for (; n + 2 <= b->columns; n += 2)
			multiply_columns(b, p, at + n, true, acc + (size_t) n * stride, stride);
		if (n < b->columns)
			multiply_columns(b, p, at + n, false, acc + (size_t) n * stride, stride);
	}
}

/* The piece from word @first on, which is none if that is the end. */
static struct piece piece_from(const struct kernel_matrix *w, const struct kernel_columns *x, uint32_t first)
{
	uint32_t group = first / w->group_words, end = (group + 1) * w->group_words;
	struct piece p = {.first = first, .group = group};

	end = end < w->words ? end : w->words;
	p.words = end - first < PIECE_WORDS ? end - first : PIECE_WORDS;
	p.quads = kernel_values(x, first, p.words, 4 * BYTE_QUADS) / 4;
	return p;
}

static void multiply_tile(struct block *b, const struct kernel_columns *x, const uint8_t *q, int32_t *acc,
	uint32_t stride)
{
	const struct kernel_matrix *w = b->w;

	for (uint32_t first = 0; first < w->words;) {
		b->pieces = 0;
		while (first < w->words && (b->pieces + 1) * b->columns <= TILE_COLUMNS) {
			b->near->piece[b->pieces] = piece_from(w, x, first);
			first += b->near->piece[b->pieces].words;
			make_tables(b, b->pieces++, q);
		}
		for (b->row = 0; b->row < w->rows; b->row += ROWS) {
			b->rows = w->rows - b->row < ROWS ? w->rows - b->row : ROWS;
			multiply_rows(b, acc + b->row, stride);
		}
	}
}

void lookup_avx2(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	for (uint32_t n = 0; n < x->count; n += TILE_COLUMNS) {
		struct block b = {.w = w, .near = scratch};

		b.columns = x->count - n < TILE_COLUMNS ? x->count - n : TILE_COLUMNS;
		multiply_tile(&b, x, x->u8 + (size_t) n * w->words * 64, acc + (size_t) n * acc_stride, acc_stride);
	}
}
