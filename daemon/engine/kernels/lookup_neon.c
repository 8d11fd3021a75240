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
#include "engine/kernels/piece_neon.h"

#define WORD_QUADS 16
#define QUADS (PIECE_WORDS * WORD_QUADS)
#define BYTE_QUADS 8 /* that fit a byte */
#define TILE_COLUMNS 48
#define HALF_BITS 5

/* struct near - @sum: of the values of the piece */
struct near {
	uint8_t table[TILE_COLUMNS][QUADS][2][16];
	uint8_t choice[BITS_PLANES_MAX][QUADS][ROWS];
	struct scales scales;
	int32_t sum[TILE_COLUMNS];
};

_Static_assert(sizeof(struct near) <= KERNEL_SCRATCH_BYTES, "what is near fits the scratch");

bool lookup_neon_fits(const struct kernel_matrix *w)
{
	return w->rows >= ROWS;
}

static void put_table(uint8_t table[2][16], uint16x8_t low, uint16x8_t high)
{
	const uint16x8_t mask = vdupq_n_u16((1 << HALF_BITS) - 1);

	vst1q_u8(table[0], vcombine_u8(vmovn_u16(vandq_u16(low, mask)), vmovn_u16(vandq_u16(high, mask))));
	vst1q_u8(table[1], vcombine_u8(vshrn_n_u16(low, HALF_BITS), vshrn_n_u16(high, HALF_BITS)));
}

static void make_tables(const struct piece *p, struct near *near, uint32_t n, const uint8_t *q)
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
		put_table(near->table[n][i], low, high);
		sum = vaddw_u16(sum, vget_high_u16(high)); /* the last one is the sum of all four */
	}
	near->sum[n] = (int32_t) vgetq_lane_u32(sum, 3);
}

/* One word of 16 rows: of each byte the two quads. */
static void make_choices(const struct piece *p, struct near *near, uint32_t plane, uint32_t word, uint32_t row)
{
	uint8_t (*to)[ROWS] = near->choice[plane] + (size_t) word * WORD_QUADS;
	uint8x16_t bytes[8];

	piece_bytes(p, plane, word, row, bytes);
	for (uint32_t j = 0; j < 8; j++) {
		vst1q_u8(to[2 * j] + row, vandq_u8(bytes[j], vdupq_n_u8(15)));
		vst1q_u8(to[2 * j + 1] + row, vshrq_n_u8(bytes[j], 4));
	}
}

static void load_rows(const struct piece *p, struct near *near)
{
	for (uint32_t i = 0; i < p->w->planes; i++)
		for (uint32_t k = 0; k < p->words; k++)
			for (uint32_t row = 0; row < ROWS; row += 16)
				make_choices(p, near, i, k, row);
	piece_scales(p);
}

/* What 16 rows and one column are summed up in. Compilers keep it in registers when it has a name. */
struct sums {
	uint8x16_t low, high;
	uint16x8_t first, second;
};

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

/* One plane of 32 rows times one or two columns. */
INLINED void add_plane(
	const struct piece *p, const struct near *near, uint32_t plane, uint32_t column, bool two)
{
	const uint8_t *x = near->table[column][0][0], *y = two ? near->table[column + 1][0][0] : x;
	const uint8_t *choice = near->choice[plane][0];
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
	piece_add(p, plane, 0, 0, a.first, a.second);
	piece_add(p, plane, 0, 16, b.first, b.second);
	if (two) {
		piece_add(p, plane, 1, 0, c.first, c.second);
		piece_add(p, plane, 1, 16, d.first, d.second);
	}
}

static void multiply_rows(
	const struct piece *p, const struct near *near, uint32_t count, int32_t *acc, uint32_t stride)
{
	for (uint32_t n = 0; n < count; n += 2) {
		bool two = n + 1 < count;

		piece_start(p, 0, near->sum[n]);
		if (two)
			piece_start(p, 1, near->sum[n + 1]);
		for (uint32_t i = 0; i < p->w->planes; i++) {
			if (two)
				add_plane(p, near, i, n, true);
			else
				add_plane(p, near, i, n, false);
		}
		piece_put(p, 0, acc + (size_t) n * stride);
		if (two)
			piece_put(p, 1, acc + (size_t) (n + 1) * stride);
	}
}

static void multiply_piece(struct piece *p, struct near *near, const uint8_t *q, uint32_t count,
	int32_t *acc, uint32_t stride)
{
	const struct kernel_matrix *w = p->w;

	for (uint32_t n = 0; n < count; n++)
		make_tables(p, near, n, q + ((size_t) n * w->words + p->first) * 64);
	for (p->row = 0; p->row < w->rows; p->row += ROWS) {
		p->rows = w->rows - p->row < ROWS ? w->rows - p->row : ROWS;
		load_rows(p, near);
		multiply_rows(p, near, count, acc + p->row, stride);
	}
}

void lookup_neon(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	struct near *near = scratch;

	for (uint32_t n = 0; n < x->count; n += TILE_COLUMNS) {
		struct piece p = {.w = w, .scales = &near->scales};
		uint32_t count = x->count - n < TILE_COLUMNS ? x->count - n : TILE_COLUMNS;

		while (piece_next(&p))
			multiply_piece(&p, near, x->u8 + (size_t) n * w->words * 64, count,
				acc + (size_t) n * acc_stride, acc_stride);
	}
}
