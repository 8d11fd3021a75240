/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of depthwise convolutions from planes to int8, 64 of them at once. */
#pragma once

#include <immintrin.h>

#include "engine/kernels/plain_avx512.h"
#include "engine/kernels/rows.h"

/* Up to 64 filters of up to 16 taps, as bits: a plane of them is two registers. */
struct filters {
	__m512i low[BITS_PLANES_MAX], high[BITS_PLANES_MAX];
};

static inline __mmask64 all_filters(const struct kernel_matrix *w)
{
	return w->rows >= 64 ? UINT64_MAX : (UINT64_C(1) << w->rows) - 1;
}

static inline void load_filters(struct filters *f, const struct kernel_matrix *w)
{
	const __mmask64 all = all_filters(w);

	for (uint32_t i = 0; i < w->planes; i++) {
		f->low[i] = _mm512_maskz_loadu_epi16((__mmask32) all, w->plane[i]);
		f->high[i] = _mm512_maskz_loadu_epi16(
			(__mmask32) (all >> 32), (const uint16_t *) w->plane[i] + 32);
	}
}

/* Which filters have bit @tap of plane @plane set. */
static inline __mmask64 filters_with(const struct filters *f, uint32_t plane, uint32_t tap)
{
	const __m512i bit = _mm512_set1_epi16((int16_t) (1u << tap));

	return _mm512_kunpackd(
		_mm512_test_epi16_mask(f->high[plane], bit), _mm512_test_epi16_mask(f->low[plane], bit));
}

/* What each plane adds to each filter; of levels that are numbers, to its index. */
static inline void load_steps(const struct kernel_matrix *w, __m512i step[BITS_PLANES_MAX], __m512i *base)
{
	_Alignas(64) int8_t bytes[BITS_PLANES_MAX][64] = {};

	*base = _mm512_setzero_si512();
	if (!w->level) {
		*base = _mm512_maskz_loadu_epi8(all_filters(w), w->base);
		for (uint32_t r = 0; r < w->rows; r++)
			for (uint32_t i = 0; i < w->planes; i++)
				bytes[i][r] = (int8_t) w->step[(size_t) r * w->planes + i];
	}
	for (uint32_t i = 0; i < w->planes; i++)
		step[i] = w->level ? _mm512_set1_epi8((char) (1u << (w->planes - 1 - i))) :
				     _mm512_load_si512(bytes[i]);
}

static inline bool all_plain(const struct kernel_matrix *w)
{
	const uint32_t tables = w->level_stride ? w->rows : 1;

	for (uint32_t r = 0; r < tables; r++)
		if (w->planes != 8 || !is_plain(w->level + (size_t) r * w->level_stride))
			return false;
	return true;
}

/* depthwise_decode(), all filters at once where they are of the most frequent kind. */
static inline void filters_decode(
	const struct kernel_matrix *w, uint32_t row_bits, uint32_t taps, int8_t *weights)
{
	__m512i step[BITS_PLANES_MAX], base;
	struct filters f;

	if (row_bits != 16 || w->groups > 1 || w->rows > 64 || (w->level && !all_plain(w)))
		return depthwise_decode(w, row_bits, taps, weights);
	load_filters(&f, w);
	load_steps(w, step, &base);
	for (uint32_t t = 0; t < taps; t++) {
		__m512i v = base;

		for (uint32_t i = 0; i < w->planes; i++)
			v = _mm512_mask_add_epi8(v, filters_with(&f, i, t), v, step[i]);
		_mm512_mask_storeu_epi8(weights + (size_t) t * w->rows,
			all_filters(w), w->level ? plain_weights(v) : v);
	}
}
