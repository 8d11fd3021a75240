/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products by look-up, for processors that have no product of bytes: four neighbours of a column have
 * 16 partial sums, one for each choice of them, and four neighbouring bits of a plane are that choice.
 * So a TBL does four products of 16 rows, whatever the planes weigh.
 *
 *	table	[column][pair of 2 x 4 values][4][16]	made once per piece of all columns
 *	choice	[plane][pair][4 x 16 rows][2][16 rows]	made once per 64 rows of a piece
 *
 * A sum of four values has 10 bits, which lie in two tables of 5. Of a pair, the second quad's tables hold
 * the complement -1 - s: so the distance of what both quads give is the sum plus one, and one SABA adds two
 * look-ups up. Eight of them fit a byte, ones included, before they are widened; the ones are taken from
 * the wide sums beforehand.
 */
#define ROWS 64

#include "engine/kernels/piece_neon.h"

#define WORD_PAIRS 8
#define PAIRS (PIECE_WORDS * WORD_PAIRS)
#define BYTE_PAIRS 4 /* that fit a byte */
#define TILE_COLUMNS 48
#define HALF_BITS 5
#define PAIR_ONES ((1 << HALF_BITS) + 1)
#define PLANES_MAX 4 /* with more, other rows are faster */

/* struct near - @sum: of the values of the piece; @counts: of the column in work */
struct near {
	uint8_t table[TILE_COLUMNS][PAIRS][4][16];
	uint8_t choice[PLANES_MAX][PAIRS][ROWS / 16][2][16];
	uint16_t counts[PLANES_MAX][ROWS];
	struct scales scales;
	int32_t sum[TILE_COLUMNS];
};

_Static_assert(sizeof(struct near) <= KERNEL_SCRATCH_BYTES, "what is near fits the scratch");

bool lookup_neon_fits(const struct kernel_matrix *w)
{
	return w->rows >= 32 && w->planes <= PLANES_MAX;
}

/* @low: the sums of choices 0 to 7, @high: of 8 to 15 */
INLINED uint8x16_t low_bytes(uint16x8_t low, uint16x8_t high)
{
	return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

INLINED uint8x16_t high_half(uint16x8_t low, uint16x8_t high)
{
	return vshrn_high_n_u16(vshrn_n_u16(low, HALF_BITS), high, HALF_BITS);
}

/* Of the lower 8 values of @q: half a register has the choices of three of a quad, the fourth is added. */
INLINED void make_pair(uint8_t table[4][16], uint8x16_t q)
{
	const uint8x16_t has0 = {255, 0, 255, 0, 255, 0, 255, 0, 255, 4, 255, 4, 255, 4, 255, 4};
	const uint8x16_t has1 = {255, 255, 1, 1, 255, 255, 1, 1, 255, 255, 5, 5, 255, 255, 5, 5};
	const uint8x16_t has2 = {255, 255, 255, 255, 2, 2, 2, 2, 255, 255, 255, 255, 6, 6, 6, 6};
	const uint8x16_t has3 = {3, 3, 3, 3, 3, 3, 3, 3, 7, 7, 7, 7, 7, 7, 7, 7};
	const uint8x16_t mask = vdupq_n_u8((1 << HALF_BITS) - 1);
	uint8x16_t a = vqtbl1q_u8(q, has0), b = vqtbl1q_u8(q, has1), c = vqtbl1q_u8(q, has2);
	uint8x16_t d = vqtbl1q_u8(q, has3);
	uint16x8_t low0 = vaddw_u8(vaddl_u8(vget_low_u8(a), vget_low_u8(b)), vget_low_u8(c));
	uint16x8_t low1 = vaddw_high_u8(vaddl_high_u8(a, b), c);
	uint16x8_t high0 = vaddw_u8(low0, vget_low_u8(d)), high1 = vaddw_high_u8(low1, d);

	vst1q_u8(table[0], vandq_u8(low_bytes(low0, high0), mask));
	vst1q_u8(table[1], high_half(low0, high0));
	vst1q_u8(table[2], vornq_u8(vmvnq_u8(mask), low_bytes(low1, high1)));
	vst1q_u8(table[3], vmvnq_u8(high_half(low1, high1)));
}

/* A function of its own, so that what it looks up by stays in registers. */
__attribute__((noinline)) static void make_tables(
	struct near *near, uint32_t pairs, uint32_t n, const uint8_t *q)
{
	uint16x8_t sum = vdupq_n_u16(0);

	for (uint32_t i = 0; i < pairs; i += 2, q += 16) {
		uint8x16_t v = vld1q_u8(q);

		make_pair(near->table[n][i], v);
		make_pair(near->table[n][i + 1], vextq_u8(v, v, 8));
		sum = vpadalq_u8(sum, v);
	}
	near->sum[n] = (int32_t) vaddlvq_u16(sum);
}

/* One word of 16 rows: of each byte the two quads. */
static void make_choices(const struct piece *p, struct near *near, uint32_t plane, uint32_t word, uint32_t row)
{
	uint8x16_t bytes[WORD_PAIRS];

	piece_bytes(p, plane, word, row, bytes);
	for (uint32_t j = 0; j < WORD_PAIRS; j++) {
		uint8_t (*to)[16] = near->choice[plane][word * WORD_PAIRS + j][row / 16];

		vst1q_u8(to[0], vandq_u8(bytes[j], vdupq_n_u8(15)));
		vst1q_u8(to[1], vshrq_n_u8(bytes[j], 4));
	}
}

static void load_rows(const struct piece *p, struct near *near)
{
	for (uint32_t i = 0; i < p->w->planes; i++)
		for (uint32_t k = 0; k < p->words; k++)
			for (uint32_t row = 0; row < ROWS && row < p->rows; row += 16)
				make_choices(p, near, i, k, row);
	piece_scales(p);
}

/* What 16 rows and one column are summed up in. Compilers keep it in registers when it has a name. */
struct sums {
	int8x16_t low, high;
	uint16x8_t first, second;
};

INLINED int8x16_t look_up(uint8x16_t table, uint8x16_t choice)
{
	return vreinterpretq_s8_u8(vqtbl1q_u8(table, choice));
}

/* @start: instead of adding to what is there */
INLINED void add_pair(
	struct sums *s, const uint8x16x4_t *t, uint8x16_t first, uint8x16_t second, bool start)
{
	int8x16_t low = look_up(t->val[0], first), high = look_up(t->val[1], first);
	int8x16_t minus_low = look_up(t->val[2], second), minus_high = look_up(t->val[3], second);

	s->low = start ? vabdq_s8(low, minus_low) : vabaq_s8(s->low, low, minus_low);
	s->high = start ? vabdq_s8(high, minus_high) : vabaq_s8(s->high, high, minus_high);
}

INLINED void widen(struct sums *s)
{
	const uint8x16_t weight = vdupq_n_u8(1 << HALF_BITS);
	uint8x16_t low = vreinterpretq_u8_s8(s->low), high = vreinterpretq_u8_s8(s->high);

	s->first = vmlal_u8(s->first, vget_low_u8(high), vget_low_u8(weight));
	s->second = vmlal_high_u8(s->second, high, weight);
	s->first = vaddw_u8(s->first, vget_low_u8(low));
	s->second = vaddw_high_u8(s->second, low);
}

/* struct rows - of a tile; only the first two where there are no more than 32 rows */
struct rows {
	struct sums a, b, c, d;
};

INLINED void add_tile(
	struct rows *s, const uint8_t (*table)[16], const uint8_t (*choice)[2][16], bool four, bool start)
{
	uint8x16x4_t t = vld1q_u8_x4(table[0]), x = vld1q_u8_x4(choice[0][0]);

	add_pair(&s->a, &t, x.val[0], x.val[1], start);
	add_pair(&s->b, &t, x.val[2], x.val[3], start);
	if (!four)
		return;
	x = vld1q_u8_x4(choice[2][0]);
	add_pair(&s->c, &t, x.val[0], x.val[1], start);
	add_pair(&s->d, &t, x.val[2], x.val[3], start);
}

INLINED void put_counts(const struct sums *s, uint16_t *to)
{
	vst1q_u16(to, s->first);
	vst1q_u16(to + 8, s->second);
}

/* One plane of a tile of rows times one column. */
INLINED void add_plane(struct near *near, uint32_t pairs, uint32_t plane, uint32_t column, bool four)
{
	const uint16x8_t ones = vdupq_n_u16((uint16_t) -(PAIR_ONES * pairs));
	const uint8_t (*choice)[ROWS / 16][2][16] = near->choice[plane];
	const uint8_t (*table)[4][16] = near->table[column], (*end)[4][16] = table + pairs;
	struct rows s = {};

	s.a.first = s.a.second = s.b.first = s.b.second = ones;
	s.c.first = s.c.second = s.d.first = s.d.second = ones;
	while (table < end) {
#pragma GCC unroll 4
		for (uint32_t k = 0; k < BYTE_PAIRS; k++, choice++, table++)
			add_tile(&s, table[0], choice[0], four, k == 0);
		widen(&s.a);
		widen(&s.b);
		if (four) {
			widen(&s.c);
			widen(&s.d);
		}
	}
	put_counts(&s.a, near->counts[plane]);
	put_counts(&s.b, near->counts[plane] + 16);
	if (four) {
		put_counts(&s.c, near->counts[plane] + 32);
		put_counts(&s.d, near->counts[plane] + 48);
	}
}

static void multiply_rows(const struct piece *p, struct near *near, uint32_t pairs, uint32_t count,
	int32_t *acc, uint32_t stride)
{
	for (uint32_t n = 0; n < count; n++) {
		for (uint32_t i = 0; i < p->w->planes; i++) {
			if (p->rows > 32)
				add_plane(near, pairs, i, n, true);
			else
				add_plane(near, pairs, i, n, false);
		}
		piece_put(p, near->sum[n], near->counts, acc + (size_t) n * stride);
	}
}

static void multiply_piece(struct piece *p, struct near *near, const struct kernel_columns *x, uint32_t first,
	uint32_t count, int32_t *acc, uint32_t stride)
{
	const uint32_t pairs = kernel_values(x, p->first, p->words, 8 * BYTE_PAIRS) / 8;
	const struct kernel_matrix *w = p->w;

	for (uint32_t n = 0; n < count; n++)
		make_tables(near, pairs, n, x->u8 + ((size_t) (first + n) * w->words + p->first) * 64);
	for (p->row = 0; p->row < w->rows; p->row += ROWS) {
		p->rows = w->rows - p->row < ROWS ? w->rows - p->row : ROWS;
		load_rows(p, near);
		multiply_rows(p, near, pairs, count, acc + p->row, stride);
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
			multiply_piece(&p, near, x, n, count, acc + (size_t) n * acc_stride, acc_stride);
	}
}
