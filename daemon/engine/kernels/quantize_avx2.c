/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

struct range {
	__m256 factor, floor_, ceiling;
	__m256i zero;
};

static inline __m256i quantize_8(const float *in, const struct range *r)
{
	__m256 t = _mm256_mul_ps(_mm256_loadu_ps(in), r->factor);

	t = _mm256_and_ps(t, _mm256_cmp_ps(t, t, _CMP_ORD_Q));
	t = _mm256_min_ps(_mm256_max_ps(t, r->floor_), r->ceiling);
	return _mm256_add_epi32(_mm256_cvtps_epi32(t), r->zero);
}

void quantize_avx2(const float *in, uint32_t count, float factor, int32_t zero_point, uint8_t *out)
{
	const float low = -(float) zero_point;
	struct range r = {_mm256_set1_ps(factor), _mm256_set1_ps(low), _mm256_set1_ps(low + 255.0f),
		_mm256_set1_epi32(zero_point)};
	uint32_t i = 0;

	for (; i + 16 <= count; i += 16) {
		/* packing works within halves: put the quarters in order in between */
		__m256i ab = _mm256_permute4x64_epi64(
			_mm256_packs_epi32(quantize_8(in + i, &r), quantize_8(in + i + 8, &r)), 0xd8);

		_mm_storeu_si128((__m128i *) (out + i),
			_mm_packus_epi16(_mm256_castsi256_si128(ab), _mm256_extracti128_si256(ab, 1)));
	}
	for (; i < count; i++) {
		float t = in[i] * factor;

		out[i] = round_u8(t == t ? t : 0.0f, low, low + 255.0f, zero_point);
	}
}
