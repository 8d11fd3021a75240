/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products by look-up, for processors that have no product of bytes: four neighbours of a column have
 * 16 partial sums, one for each choice of them, and four neighbouring bits of a plane are that choice.
 * So a TBL does four products of 16 rows, whatever the planes weigh.
 *
 *	table	[column][quad of 4 values][2][16]	made once per piece of all columns
 *	choice	[plane][quad][32 rows]			made once per 32 rows of a piece
 *
 * A sum of four values has 10 bits. They lie in two tables of 5, of which 8 can be added up in a byte
 * before they are widened.
 */
#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/rows.h"

#define ROWS 32
#define PIECE_WORDS 2
#define WORD_QUADS 16
#define QUADS (PIECE_WORDS * WORD_QUADS)
#define BYTE_QUADS 8 /* that fit a byte */
#define TILE_COLUMNS 48
#define HALF_BITS 5

/*
 * struct near
 * @sum: of the values of the piece
 * @acc: of two columns, sums of 32 rows
 */
struct near {
	uint8_t table[TILE_COLUMNS][QUADS][2][16];
	uint8_t choice[BITS_PLANES_MAX][QUADS][ROWS];
	int16_t step[BITS_PLANES_MAX][ROWS], base[ROWS];
	int32_t acc[2][ROWS];
	int32_t sum[TILE_COLUMNS];
};

_Static_assert(sizeof(struct near) <= KERNEL_SCRATCH_BYTES, "what is near fits the scratch");

/* struct piece - words [first, first + words), of one group, of rows [row, row + rows) */
struct piece {
	const struct kernel_matrix *w;
	struct near *near;
	uint32_t first, words, group, row, rows;
};

bool lookup_neon_fits(const struct kernel_matrix *w)
{
	return w->planes <= 2 && w->rows >= ROWS;
}

static void put_table(uint8_t table[2][16], uint16x8_t low, uint16x8_t high)
{
	const uint16x8_t mask = vdupq_n_u16((1 << HALF_BITS) - 1);

	vst1q_u8(table[0], vcombine_u8(vmovn_u16(vandq_u16(low, mask)), vmovn_u16(vandq_u16(high, mask))));
	vst1q_u8(table[1], vcombine_u8(vshrn_n_u16(low, HALF_BITS), vshrn_n_u16(high, HALF_BITS)));
}

static void make_tables(const struct piece *p, uint32_t n, const uint8_t *q)
{
	const uint8x8_t has0 = vcreate_u8(UINT64_C(0x0100010001000100));
	const uint8x8_t has1 = vcreate_u8(UINT64_C(0x0101000001010000));
	const uint8x8_t has2 = vcreate_u8(UINT64_C(0x0101010100000000));
	uint32x4_t sum = vdupq_n_u32(0);

	for (uint32_t i = 0; i < p->words * WORD_QUADS; i++, q += 4) {
		uint16x8_t low = vmull_u8(vdup_n_u8(q[0]), has0);
		uint16x8_t high;

		low = vmlal_u8(low, vdup_n_u8(q[1]), has1);
		low = vmlal_u8(low, vdup_n_u8(q[2]), has2);
		high = vaddq_u16(low, vdupq_n_u16(q[3]));
		put_table(p->near->table[n][i], low, high);
		sum = vaddw_u16(sum, vget_high_u16(high)); /* the last one is the sum of all four */
	}
	p->near->sum[n] = (int32_t) vgetq_lane_u32(sum, 3);
}

/* One word of 16 rows: byte by byte, then the two quads of a byte. */
static void make_choices(const struct piece *p, uint32_t plane, uint32_t word, uint32_t row)
{
	const uint64_t *from = p->w->plane[plane] + (size_t) (p->row + row) * p->w->words + p->first + word;
	uint8_t (*to)[ROWS] = p->near->choice[plane] + (size_t) word * WORD_QUADS;
	uint64_t words[16];
	uint8x16x4_t a, b;

	for (uint32_t r = 0; r < 16; r++)
		words[r] = row + r < p->rows ? from[(size_t) r * p->w->words] : 0;
	a = vld4q_u8((const uint8_t *) words);
	b = vld4q_u8((const uint8_t *) (words + 8));
	for (uint32_t j = 0; j < 4; j++) {
		uint8x16_t first = vuzp1q_u8(a.val[j], b.val[j]), second = vuzp2q_u8(a.val[j], b.val[j]);

		vst1q_u8(to[2 * j] + row, vandq_u8(first, vdupq_n_u8(15)));
		vst1q_u8(to[2 * j + 1] + row, vshrq_n_u8(first, 4));
		vst1q_u8(to[2 * j + 8] + row, vandq_u8(second, vdupq_n_u8(15)));
		vst1q_u8(to[2 * j + 9] + row, vshrq_n_u8(second, 4));
	}
}

static void make_scales(const struct piece *p)
{
	const struct kernel_matrix *w = p->w;

	memset(p->near->step, 0, sizeof p->near->step);
	memset(p->near->base, 0, sizeof p->near->base);
	for (uint32_t r = 0; r < p->rows; r++) {
		size_t at = (size_t) (p->row + r) * w->groups + p->group;

		p->near->base[r] = w->base[at];
		for (uint32_t i = 0; i < w->planes; i++)
			p->near->step[i][r] = w->step[at * w->planes + i];
	}
}

static void load_rows(const struct piece *p)
{
	for (uint32_t i = 0; i < p->w->planes; i++)
		for (uint32_t k = 0; k < p->words; k++)
			for (uint32_t row = 0; row < ROWS; row += 16)
				make_choices(p, i, k, row);
	make_scales(p);
}

/* What 16 rows and one column are summed up in. Compilers keep it in registers when it has a name. */
struct sums {
	uint8x16_t low, high;
	uint16x8_t first, second;
};

#define INLINED static inline __attribute__((always_inline))

INLINED void look_up(struct sums *s, const uint8x16x2_t *table, uint8x16_t choice)
{
	s->low = vaddq_u8(s->low, vqtbl1q_u8(table->val[0], choice));
	s->high = vaddq_u8(s->high, vqtbl1q_u8(table->val[1], choice));
}

INLINED void widen(struct sums *s)
{
	const uint8x16_t weight = vdupq_n_u8(1 << HALF_BITS);

	s->first = vaddw_u8(s->first, vget_low_u8(s->low));
	s->second = vaddw_high_u8(s->second, s->low);
	s->first = vmlal_u8(s->first, vget_low_u8(s->high), vget_low_u8(weight));
	s->second = vmlal_high_u8(s->second, s->high, weight);
	s->low = s->high = vdupq_n_u8(0);
}

/* The sums, at most 128 * 255, times the steps of their rows. */
INLINED void put_scaled(int32_t *acc, const int16_t *step, const struct sums *s)
{
	int16x8_t first = vreinterpretq_s16_u16(s->first), second = vreinterpretq_s16_u16(s->second);
	int16x8_t a = vld1q_s16(step), b = vld1q_s16(step + 8);

	vst1q_s32(acc, vmlal_s16(vld1q_s32(acc), vget_low_s16(first), vget_low_s16(a)));
	vst1q_s32(acc + 4, vmlal_high_s16(vld1q_s32(acc + 4), first, a));
	vst1q_s32(acc + 8, vmlal_s16(vld1q_s32(acc + 8), vget_low_s16(second), vget_low_s16(b)));
	vst1q_s32(acc + 12, vmlal_high_s16(vld1q_s32(acc + 12), second, b));
}

/* One plane of 32 rows times one or two columns. */
INLINED void add_plane(const struct piece *p, uint32_t plane, uint32_t column, bool two)
{
	const uint8_t *x = p->near->table[column][0][0], *y = two ? p->near->table[column + 1][0][0] : x;
	const uint8_t *choice = p->near->choice[plane][0];
	const int16_t *step = p->near->step[plane];
	struct sums a = {}, b = {}, c = {}, d = {};

	for (uint32_t i = p->words * WORD_QUADS; i > 0; i -= BYTE_QUADS) {
#pragma GCC unroll 8
		for (uint32_t k = 0; k < BYTE_QUADS; k++) {
			uint8x16x2_t rows = vld1q_u8_x2(choice), t = vld1q_u8_x2(x);

			choice += ROWS;
			x += 32;
			look_up(&a, &t, rows.val[0]);
			look_up(&b, &t, rows.val[1]);
			if (!two)
				continue;
			t = vld1q_u8_x2(y);
			y += 32;
			look_up(&c, &t, rows.val[0]);
			look_up(&d, &t, rows.val[1]);
		}
		widen(&a);
		widen(&b);
		if (two) {
			widen(&c);
			widen(&d);
		}
	}
	put_scaled(p->near->acc[0], step, &a);
	put_scaled(p->near->acc[0] + 16, step + 16, &b);
	if (two) {
		put_scaled(p->near->acc[1], step, &c);
		put_scaled(p->near->acc[1] + 16, step + 16, &d);
	}
}

/* The weight of clear bits. */
static void start(const struct piece *p, uint32_t column, int32_t *acc)
{
	int32x4_t sum = vdupq_n_s32(p->near->sum[column]);

	for (uint32_t r = 0; r < ROWS; r += 4)
		vst1q_s32(acc + r, vmulq_s32(sum, vmovl_s16(vld1_s16(p->near->base + r))));
}

static void put(const struct piece *p, const int32_t *sums, int32_t *acc)
{
	uint32_t r = 0;

	for (; r + 4 <= p->rows; r += 4) {
		int32x4_t v = vld1q_s32(sums + r);

		vst1q_s32(acc + r, p->first > 0 ? vaddq_s32(v, vld1q_s32(acc + r)) : v);
	}
	for (; r < p->rows; r++)
		acc[r] = p->first > 0 ? acc[r] + sums[r] : sums[r];
}

static void multiply_rows(const struct piece *p, uint32_t count, int32_t *acc, uint32_t stride)
{
	for (uint32_t n = 0; n < count; n += 2) {
		bool two = n + 1 < count;

		start(p, n, p->near->acc[0]);
		if (two)
			start(p, n + 1, p->near->acc[1]);
		for (uint32_t i = 0; i < p->w->planes; i++) {
			if (two)
				add_plane(p, i, n, true);
			else
				add_plane(p, i, n, false);
		}
		put(p, p->near->acc[0], acc + (size_t) n * stride);
		if (two)
			put(p, p->near->acc[1], acc + (size_t) (n + 1) * stride);
	}
}

static void multiply_piece(struct piece *p, const uint8_t *q, uint32_t count, int32_t *acc, uint32_t stride)
{
	const struct kernel_matrix *w = p->w;

	for (uint32_t n = 0; n < count; n++)
		make_tables(p, n, q + ((size_t) n * w->words + p->first) * 64);
	for (p->row = 0; p->row < w->rows; p->row += ROWS) {
		p->rows = w->rows - p->row < ROWS ? w->rows - p->row : ROWS;
		load_rows(p);
		multiply_rows(p, count, acc + p->row, stride);
	}
}

void lookup_neon(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	for (uint32_t n = 0; n < x->count; n += TILE_COLUMNS) {
		struct piece p = {.w = w, .near = scratch};
		uint32_t count = x->count - n < TILE_COLUMNS ? x->count - n : TILE_COLUMNS;

		for (; p.first < w->words; p.first += p.words) {
			uint32_t end;

			p.group = p.first / w->group_words;
			end = (p.group + 1) * w->group_words;
			end = end < w->words ? end : w->words;
			p.words = end - p.first < PIECE_WORDS ? end - p.first : PIECE_WORDS;
			multiply_piece(&p, x->u8 + (size_t) n * w->words * 64, count,
				acc + (size_t) n * acc_stride, acc_stride);
		}
	}
}
