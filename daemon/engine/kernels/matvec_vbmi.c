/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One or two columns times five to eight planes of level coding. Eight words of each plane are turned
 * around so that a register has one word of all planes, then its bytes, then its bits: that is 64
 * indexes, which VPERMI2B looks up in the 256 levels of the row.
 */
#include <immintrin.h>
#include <stdbool.h>

#include "engine/kernels/rows.h"

#define ROWS_AHEAD 4 /* of short rows of many planes, that a processor guesses too late */
#define BLOCK_WORDS 8

bool matvec_vbmi_fits(const struct kernel_matrix *w)
{
	return w->level && w->planes > 4;
}

#define ZIP(a, b, lo, hi)                                                                          \
	do {                                                                                       \
		__m512i zip_a = a, zip_b = b;                                                      \
		lo = _mm512_unpacklo_epi64(zip_a, zip_b);                                          \
		hi = _mm512_unpackhi_epi64(zip_a, zip_b);                                          \
	} while (0)

/* A square of 8 times 8 words, turned around in place. */
static inline void turn_words(__m512i v[8])
{
	__m512i t[8];

#pragma GCC unroll 4
	for (uint32_t i = 0; i < 8; i += 2)
		ZIP(v[i], v[i + 1], t[i], t[i + 1]);
#pragma GCC unroll 2
	for (uint32_t odd = 0; odd < 2; odd++) {
		__m512i a = _mm512_shuffle_i32x4(t[odd], t[2 + odd], 0x44);
		__m512i b = _mm512_shuffle_i32x4(t[4 + odd], t[6 + odd], 0x44);
		__m512i c = _mm512_shuffle_i32x4(t[odd], t[2 + odd], 0xee);
		__m512i d = _mm512_shuffle_i32x4(t[4 + odd], t[6 + odd], 0xee);

		v[odd] = _mm512_shuffle_i32x4(a, b, 0x88);
		v[2 + odd] = _mm512_shuffle_i32x4(a, b, 0xdd);
		v[4 + odd] = _mm512_shuffle_i32x4(c, d, 0x88);
		v[6 + odd] = _mm512_shuffle_i32x4(c, d, 0xdd);
	}
}

/* A word of 8 planes, the least significant one last, to 64 indexes. */
static inline __m512i indexes(__m512i words)
{
	const __m512i bytes = _mm512_set_epi64(0x3f372f271f170f07, 0x3e362e261e160e06, 0x3d352d251d150d05,
		0x3c342c241c140c04, 0x3b332b231b130b03, 0x3a322a221a120a02, 0x3931292119110901, 0x3830282018100800);

	return _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64((long long) UINT64_C(0x8040201008040201)),
		_mm512_permutexvar_epi8(bytes, words), 0);
}

/* struct levels - of one row */
struct levels {
	__m512i part[4];
};

static inline struct levels load_levels(const struct kernel_matrix *w, uint32_t row)
{
	const int8_t *level = w->level + (size_t) row * w->level_stride;
	const uint32_t count = 1u << w->planes;
	struct levels l;

#pragma GCC unroll 4
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t left = count > 64 * i ? count - 64 * i : 0;

		l.part[i] = _mm512_maskz_loadu_epi8(left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1,
			level + (size_t) 64 * i);
	}
	return l;
}

static inline __m512i look_up(const struct levels *l, __m512i index)
{
	__m512i low = _mm512_permutex2var_epi8(l->part[0], index, l->part[1]);

	return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(index),
		_mm512_permutex2var_epi8(l->part[2], index, l->part[3]));
}

static int32_t multiply_row(const struct kernel_matrix *w, uint32_t row, const uint8_t *q)
{
	const size_t at = (size_t) row * w->words;
	const struct levels l = load_levels(w, row);
	const size_t ahead = (size_t) ROWS_AHEAD * w->words;
	__m512i sum = _mm512_setzero_si512();

	for (uint32_t k = 0; k < w->words; k += BLOCK_WORDS) {
		uint32_t left = w->words - k < BLOCK_WORDS ? w->words - k : BLOCK_WORDS;
		__mmask8 mask = (__mmask8) ((1u << left) - 1);
		__m512i v[8];

		for (uint32_t i = 0; i < w->planes; i++)
			_mm_prefetch(w->plane[i] + at + k + ahead, _MM_HINT_T0);
		for (uint32_t i = 0; i < 8; i++)
			v[i] = i + w->planes < 8 ? _mm512_setzero_si512()
						 : _mm512_maskz_loadu_epi64(mask, w->plane[i + w->planes - 8] + at + k);
		turn_words(v);
		for (uint32_t i = 0; i < left; i++)
			sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(q + (size_t) (k + i) * 64),
				look_up(&l, indexes(v[i])));
	}
	return _mm512_reduce_add_epi32(sum);
}

void matvec_vbmi(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	for (uint32_t n = 0; n < x->count; n++)
		for (uint32_t r = 0; r < w->rows; r++)
			acc[(size_t) n * acc_stride + r] = multiply_row(w, r, x->u8 + (size_t) n * w->words * 64);
}
