/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

struct range {
	__m256 floor_, ceiling;
	__m256i zero;
};

static inline __m256i requantize_8(const int32_t *acc, const float *gain, const float *bias,
	const struct range *r)
{
	__m256 t = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *) acc));

	t = _mm256_add_ps(_mm256_mul_ps(t, _mm256_loadu_ps(gain)), _mm256_loadu_ps(bias));
	/* of NaN and a bound, these give their second operand, as round_u8() does */
	t = _mm256_min_ps(_mm256_max_ps(t, r->floor_), r->ceiling);
	return _mm256_add_epi32(_mm256_cvtps_epi32(t), r->zero);
}

void requantize_avx2(const int32_t *acc, uint32_t count, const float *gain, const float *bias,
	int32_t zero_point, uint8_t low, uint8_t high, uint8_t *out)
{
	float floor_ = (float) (low - zero_point), ceiling = (float) (high - zero_point);
	struct range r = {_mm256_set1_ps(floor_), _mm256_set1_ps(ceiling), _mm256_set1_epi32(zero_point)};
	uint32_t i = 0;

	for (; i + 16 <= count; i += 16) {
		__m256i a = requantize_8(acc + i, gain + i, bias + i, &r);
		__m256i b = requantize_8(acc + i + 8, gain + i + 8, bias + i + 8, &r);
		/* packing works within halves: put the quarters in order in between */
		__m256i ab = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);

		_mm_storeu_si128((__m128i *) (out + i),
			_mm_packus_epi16(_mm256_castsi256_si128(ab), _mm256_extracti128_si256(ab, 1)));
	}
	for (; i < count; i++) {
		float t = (float) acc[i] * gain[i];

		out[i] = round_u8(t + bias[i], floor_, ceiling, zero_point);
	}
}
