/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same byte of 16 rows lies in one register: AND with a byte of a column, CNT and an addition of
 * bytes do eight products of each row (bitserial_scalar.c has the formula). A piece has 16 bytes at
 * most, so the counts of a row fit one, and are widened once per piece and plane.
 */
#define ROWS 32

#include "engine/kernels/piece_neon.h"

#define WORD_BYTES 8
#define COLUMNS 4 /* at once */

/* struct near - @byte: of each plane and byte of the piece, of 32 rows; @counts: of the columns in work */
struct near {
	uint8_t byte[BITS_PLANES_MAX][PIECE_WORDS * WORD_BYTES][ROWS];
	uint16_t counts[COLUMNS][BITS_PLANES_MAX][ROWS];
	struct scales scales;
};

_Static_assert(sizeof(struct near) <= KERNEL_SCRATCH_BYTES, "what is near fits the scratch");

static void load_rows(const struct piece *p, struct near *near)
{
	for (uint32_t i = 0; i < p->w->planes; i++)
		for (uint32_t k = 0; k < p->words; k++)
			for (uint32_t row = 0; row < ROWS; row += 16) {
				uint8x16_t bytes[WORD_BYTES];

				piece_bytes(p, i, k, row, bytes);
				for (uint32_t j = 0; j < WORD_BYTES; j++)
					vst1q_u8(near->byte[i][k * WORD_BYTES + j] + row, bytes[j]);
			}
	piece_scales(p);
}

/* Sums have names, so that they stay in registers. */
#define EACH_1(f) f(0)
#define EACH_4(f) f(0) f(1) f(2) f(3)

#define DECLARE(n) uint16x8_t s##n[4] = {};
#define CLEAR(n) uint8x16_t a##n = vdupq_n_u8(0), b##n = a##n;
#define COUNT(n)                                                                                   \
	{                                                                                          \
		uint8x16_t d = vld1q_dup_u8(from + (n) * stride);                                  \
                                                                                                   \
		a##n = vaddq_u8(a##n, vcntq_u8(vandq_u8(v.val[0], d)));                            \
		b##n = vaddq_u8(b##n, vcntq_u8(vandq_u8(v.val[1], d)));                            \
	}
/* planes of values come from the most significant one down */
#define WIDEN(n)                                                                                   \
	s##n[0] = vaddw_u8(vshlq_n_u16(s##n[0], 1), vget_low_u8(a##n));                            \
	s##n[1] = vaddw_high_u8(vshlq_n_u16(s##n[1], 1), a##n);                                    \
	s##n[2] = vaddw_u8(vshlq_n_u16(s##n[2], 1), vget_low_u8(b##n));                            \
	s##n[3] = vaddw_high_u8(vshlq_n_u16(s##n[3], 1), b##n);
#define STORE(n)                                                                                   \
	for (uint32_t k = 0; k < 4; k++)                                                           \
		vst1q_u16(near->counts[n][plane] + 8 * k, s##n[k]);

/* @bits: the first column's word @p->first of its least significant plane */
#define DEFINE_PLANE(count)                                                                        \
	static void add_plane_##count(const struct piece *p, struct near *near,                    \
		uint32_t plane, const uint64_t *bits, uint32_t planes)                             \
	{                                                                                          \
		const size_t stride = (size_t) planes * p->w->words * sizeof *bits;                \
                                                                                                   \
		EACH_##count(DECLARE)                                                              \
		for (uint32_t m = planes; m-- > 0;) {                                              \
			const uint8_t *from = (const uint8_t *) (bits + (size_t) m * p->w->words); \
			const uint8_t *row = near->byte[plane][0];                                 \
			const uint8_t *end = row + (size_t) p->words * WORD_BYTES * ROWS;          \
                                                                                                   \
			EACH_##count(CLEAR)                                                        \
			for (; row < end; row += ROWS, from++) {                                   \
				uint8x16x2_t v = vld1q_u8_x2(row);                                 \
                                                                                                   \
				EACH_##count(COUNT)                                                \
			}                                                                          \
			EACH_##count(WIDEN)                                                        \
		}                                                                                  \
		EACH_##count(STORE)                                                                  \
	}

DEFINE_PLANE(1)
DEFINE_PLANE(4)

/* S of the column whose word @p->first is @bits. */
static int32_t sum_values(const struct piece *p, const uint64_t *bits, uint32_t planes)
{
	uint32_t sum = 0;

	for (uint32_t m = 0; m < planes; m++)
		for (uint32_t k = 0; k < p->words; k++)
			sum += (uint32_t) __builtin_popcountll(bits[(size_t) m * p->w->words + k]) << m;
	return (int32_t) sum;
}

static void multiply_rows(const struct piece *p, struct near *near, const struct kernel_columns *x,
	int32_t *acc, uint32_t acc_stride)
{
	const size_t stride = (size_t) x->planes * p->w->words;
	const uint64_t *bits = x->bits + p->first;

	for (uint32_t n = 0, count; n < x->count; n += count, bits += count * stride) {
		count = x->count - n >= COLUMNS ? COLUMNS : 1;
		for (uint32_t i = 0; i < p->w->planes; i++) {
			if (count == COLUMNS)
				add_plane_4(p, near, i, bits, x->planes);
			else
				add_plane_1(p, near, i, bits, x->planes);
		}
		for (uint32_t c = 0; c < count; c++)
			piece_put(p, sum_values(p, bits + c * stride, x->planes), near->counts[c],
				acc + (size_t) (n + c) * acc_stride);
	}
}

void bitserial_neon(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	struct near *near = scratch;

	for (uint32_t row = 0; row < w->rows; row += ROWS) {
		struct piece p = {.w = w, .scales = &near->scales, .row = row};

		p.rows = w->rows - row < ROWS ? w->rows - row : ROWS;
		while (piece_next(&p)) {
			load_rows(&p, near);
			multiply_rows(&p, near, x, acc + row, acc_stride);
		}
	}
}
