/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

struct side {
	__m256 gain;
	__m256i zero;
};

struct range {
	__m256 floor_, ceiling;
	__m256i zero;
};

static inline __m256 scaled(const uint8_t *q, const struct side *s)
{
	__m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) q));

	return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(v, s->zero)), s->gain);
}

static inline __m256i add_8(const uint8_t *qa, const uint8_t *qb, const struct side *a,
	const struct side *b, const struct range *r)
{
	__m256 t = _mm256_add_ps(scaled(qa, a), scaled(qb, b));

	/* of NaN and a bound, these give their second operand, as round_u8() does */
	t = _mm256_min_ps(_mm256_max_ps(t, r->floor_), r->ceiling);
	return _mm256_add_epi32(_mm256_cvtps_epi32(t), r->zero);
}

void add_avx2(const struct kernel_add *p, const uint8_t *a, const uint8_t *b, size_t count,
	uint8_t *out)
{
	struct kernel_add k = *p;
	float floor_ = (float) (k.low - k.zero_out), ceiling = (float) (k.high - k.zero_out);
	struct side sa = {_mm256_set1_ps(k.gain_a), _mm256_set1_epi32(k.zero_a)};
	struct side sb = {_mm256_set1_ps(k.gain_b), _mm256_set1_epi32(k.zero_b)};
	struct range r = {_mm256_set1_ps(floor_), _mm256_set1_ps(ceiling), _mm256_set1_epi32(k.zero_out)};
	size_t i = 0;

	for (; i + 16 <= count; i += 16) {
		__m256i low = add_8(a + i, b + i, &sa, &sb, &r);
		__m256i high = add_8(a + i + 8, b + i + 8, &sa, &sb, &r);
		/* packing works within halves: put the quarters in order in between */
		__m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);

		_mm_storeu_si128((__m128i *) (out + i), _mm_packus_epi16(_mm256_castsi256_si128(both),
			_mm256_extracti128_si256(both, 1)));
	}
	for (; i < count; i++) {
		float ta = (float) (a[i] - k.zero_a) * k.gain_a;
		float tb = (float) (b[i] - k.zero_b) * k.gain_b;

		out[i] = round_u8(ta + tb, floor_, ceiling, k.zero_out);
	}
}
