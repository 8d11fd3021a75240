/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 64 values at once. A byte below the upper bits of 2^23 is a float already, 2^23 more than the byte, and
 * taking away 2^23 and the zero point is exact: nothing is converted on the way in. Unpacking works within
 * lanes, as does the packing that follows, which puts all in order again.
 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

#define VALUES 64
#define FLOAT_BITS 0x4b00 /* upper half of 2^23 */

/* struct operand - @offset: 2^23 and the zero point */
struct operand {
	__m512 offset, gain;
};

struct sum {
	struct operand a, b;
	__m512 ceiling;
	__m512i zero_point, low;
};

/* Four numbers of each lane, from four of 16 bits; @upper: the upper four. */
static inline __m512 scaled(const struct operand *o, __m512i halves, bool upper)
{
	const __m512i bits = _mm512_set1_epi16(FLOAT_BITS);
	__m512i v = upper ? _mm512_unpackhi_epi16(halves, bits) : _mm512_unpacklo_epi16(halves, bits);

	return _mm512_mul_ps(_mm512_sub_ps(_mm512_castsi512_ps(v), o->offset), o->gain);
}

static inline __m512i add_4(const struct sum *s, __m512i a, __m512i b, bool upper)
{
	__m512 t = _mm512_add_ps(scaled(&s->a, a, upper), scaled(&s->b, b, upper));

	/* as requantize_avx512: of NaN and a bound the second operand, and the packing does the rest */
	return _mm512_cvtps_epi32(_mm512_min_ps(s->ceiling, t));
}

static inline __m512i add_8(const struct sum *s, __m512i a, __m512i b)
{
	__m512i v = _mm512_packs_epi32(add_4(s, a, b, false), add_4(s, a, b, true));

	return _mm512_adds_epi16(v, s->zero_point);
}

static inline __m512i add_16(const struct sum *s, __m512i a, __m512i b)
{
	const __m512i zero = _mm512_setzero_si512();
	__m512i low = add_8(s, _mm512_unpacklo_epi8(a, zero), _mm512_unpacklo_epi8(b, zero));
	__m512i high = add_8(s, _mm512_unpackhi_epi8(a, zero), _mm512_unpackhi_epi8(b, zero));

	return _mm512_max_epu8(_mm512_packus_epi16(low, high), s->low);
}

static inline struct operand operand_of(int32_t zero_point, float gain)
{
	return (struct operand){_mm512_set1_ps((float) (8388608 + zero_point)), _mm512_set1_ps(gain)};
}

void add_avx512(const struct kernel_add *p, const uint8_t *a, const uint8_t *b, size_t count,
	uint8_t *out)
{
	const struct sum s = {operand_of(p->zero_a, p->gain_a), operand_of(p->zero_b, p->gain_b),
		_mm512_set1_ps((float) (p->high - p->zero_out)), _mm512_set1_epi16((int16_t) p->zero_out),
		_mm512_set1_epi8((char) p->low)};
	size_t i = 0;
	__mmask64 rest;

	for (; i + VALUES <= count; i += VALUES)
		_mm512_storeu_si512(out + i, add_16(&s, _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i)));
	rest = (UINT64_C(1) << (count - i)) - 1;
	if (rest)
		_mm512_mask_storeu_epi8(out + i, rest, add_16(&s, _mm512_maskz_loadu_epi8(rest, a + i),
							       _mm512_maskz_loadu_epi8(rest, b + i)));
}
