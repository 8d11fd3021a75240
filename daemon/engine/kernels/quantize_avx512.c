/* SPDX-License-Identifier: Apache-2.0 */
/* 64 values at once; what is not a number becomes zero by a mask. */
#include <immintrin.h>

#include "engine/kernels/rows.h"

#define VALUES 64

struct steps {
	__m512 factor, floor_, ceiling;
	__m512i zero_point;
};

static inline __m512i round_16(const struct steps *s, const float *in, __mmask16 mask)
{
	__m512 t = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, in), s->factor);

	t = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(t, t, _CMP_ORD_Q), t);
	return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(t, s->floor_), s->ceiling));
}

static inline void quantize_64(const struct steps *s, const float *in, __mmask64 mask, uint8_t *out)
{
	/* packing works within lanes: dword l * 4 + i holds values 16 i + 4 l .. + 3 */
	const __m512i order =
		_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	__m512i ab = _mm512_packs_epi32(round_16(s, in, (__mmask16) mask),
		round_16(s, in + 16, (__mmask16) (mask >> 16)));
	__m512i cd = _mm512_packs_epi32(round_16(s, in + 32, (__mmask16) (mask >> 32)),
		round_16(s, in + 48, (__mmask16) (mask >> 48)));
	__m512i all = _mm512_packus_epi16(
		_mm512_add_epi16(ab, s->zero_point), _mm512_add_epi16(cd, s->zero_point));

	_mm512_mask_storeu_epi8(out, mask, _mm512_permutexvar_epi32(order, all));
}

void quantize_avx512(const float *in, uint32_t count, float factor, int32_t zero_point, uint8_t *out)
{
	const float low = -(float) zero_point;
	const struct steps s = {_mm512_set1_ps(factor), _mm512_set1_ps(low), _mm512_set1_ps(low + 255.0f),
		_mm512_set1_epi16((int16_t) zero_point)};
	uint32_t i = 0;

	for (; i + VALUES <= count; i += VALUES)
		quantize_64(&s, in + i, UINT64_MAX, out + i);
	if (i < count)
		quantize_64(&s, in + i, (UINT64_C(1) << (count - i)) - 1, out + i);
}
