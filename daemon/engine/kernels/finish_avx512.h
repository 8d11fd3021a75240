/* SPDX-License-Identifier: Apache-2.0 */
/* Sums to bytes while they are still in registers: requantize_fn for 16 of them. */
#pragma once

#include <immintrin.h>

#include "engine/kernels/kernel.h"

/* struct finish - what all rows of a product have in common */
struct finish {
	__m512 floor, ceiling;
	__m512i zero_point;
};

static inline struct finish finish_of(const struct kernel_output *o)
{
	return (struct finish){_mm512_set1_ps((float) (o->low - o->zero_point)),
		_mm512_set1_ps((float) (o->high - o->zero_point)), _mm512_set1_epi32(o->zero_point)};
}

/* Return: numbers from low to high. */
static inline __m512i finish_16(const struct finish *f, __m512i sum, __m512 gain, __m512 bias)
{
	__m512 t = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), gain), bias);

	/* of NaN and a bound, the second operand */
	t = _mm512_min_ps(_mm512_max_ps(t, f->floor), f->ceiling);
	return _mm512_add_epi32(_mm512_cvtps_epi32(t), f->zero_point);
}

/* @mask: which of them exist */
static inline void finish_store(__mmask16 mask, __m512i bytes, uint8_t *out)
{
	_mm_mask_storeu_epi8(out, mask, _mm512_cvtepi32_epi8(bytes));
}
