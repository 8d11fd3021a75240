/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 64 values at once, so that they leave by one store. Only the ceiling is held in float: what is NaN
 * or below all integers becomes the smallest one, and the packing keeps that lowest.
 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

#define VALUES 64

struct steps {
	__m512 ceiling;
	__m512i zero_point, low;
};

static inline __m512i round_16(const struct steps *s, const int32_t *acc, const float *gain,
	const float *bias, __mmask16 mask)
{
	__m512 t = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask, acc));

	t = _mm512_mul_ps(t, _mm512_maskz_loadu_ps(mask, gain));
	t = _mm512_add_ps(t, _mm512_maskz_loadu_ps(mask, bias));
	/* of NaN and a bound, the second operand */
	return _mm512_cvtps_epi32(_mm512_min_ps(s->ceiling, t));
}

static inline void store_64(const struct steps *s, __m512i a, __m512i b, __m512i c, __m512i d,
	__mmask64 mask, uint8_t *out)
{
	/* packing works within lanes: dword l * 4 + i holds values 16 i + 4 l .. + 3 */
	const __m512i order =
		_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	__m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), s->zero_point);
	__m512i cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), s->zero_point);
	__m512i all = _mm512_max_epu8(_mm512_packus_epi16(ab, cd), s->low);

	_mm512_mask_storeu_epi8(out, mask, _mm512_permutexvar_epi32(order, all));
}

static inline void requantize_64(const struct steps *s, const int32_t *acc, const float *gain,
	const float *bias, __mmask64 mask, uint8_t *out)
{
	store_64(s, round_16(s, acc, gain, bias, (__mmask16) mask),
		round_16(s, acc + 16, gain + 16, bias + 16, (__mmask16) (mask >> 16)),
		round_16(s, acc + 32, gain + 32, bias + 32, (__mmask16) (mask >> 32)),
		round_16(s, acc + 48, gain + 48, bias + 48, (__mmask16) (mask >> 48)), mask, out);
}

void requantize_avx512(const int32_t *acc, uint32_t count, const float *gain, const float *bias,
	int32_t zero_point, uint8_t low, uint8_t high, uint8_t *out)
{
	const struct steps s = {_mm512_set1_ps((float) (high - zero_point)),
		_mm512_set1_epi16((int16_t) zero_point), _mm512_set1_epi8((char) low)};
	uint32_t i = 0;

	for (; i + VALUES <= count; i += VALUES)
		requantize_64(&s, acc + i, gain + i, bias + i, UINT64_MAX, out + i);
	if (i < count)
		requantize_64(&s, acc + i, gain + i, bias + i,
			(UINT64_C(1) << (count - i)) - 1, out + i);
}
