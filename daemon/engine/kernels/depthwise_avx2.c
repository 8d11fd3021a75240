/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 8 channels of 4 pixels at once, so that each weight is loaded once for four. VPMADDWD multiplies
 * 32-bit lanes here: the upper half of a u8 is zero, so only the product of the lower halves counts.
 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

#define CHANNELS 8

struct filter {
	const int8_t *weights;
	const uint8_t *const *taps;
	uint32_t n_taps, channels, pixel_stride;
};

static inline __m256i product(const uint8_t *q, __m256i w)
{
	return _mm256_madd_epi16(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) q)), w);
}

static inline __m256i weights_at(const struct filter *f, uint32_t tap, uint32_t channel)
{
	return _mm256_cvtepi8_epi32(_mm_loadl_epi64(
		(const __m128i *) (f->weights + (size_t) tap * f->channels + channel)));
}

static void pixels_4(const struct filter *f, size_t x, uint32_t channel, int32_t *acc)
{
	__m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
	int32_t *out = acc + x * f->channels + channel;

	for (uint32_t i = 0; i < f->n_taps; i++) {
		const uint8_t *q = f->taps[i] + x * f->pixel_stride + channel;
		__m256i w = weights_at(f, i, channel);

		s0 = _mm256_add_epi32(s0, product(q, w));
		s1 = _mm256_add_epi32(s1, product(q + f->pixel_stride, w));
		s2 = _mm256_add_epi32(s2, product(q + 2 * (size_t) f->pixel_stride, w));
		s3 = _mm256_add_epi32(s3, product(q + 3 * (size_t) f->pixel_stride, w));
	}
	_mm256_storeu_si256((__m256i *) out, s0);
	_mm256_storeu_si256((__m256i *) (out + f->channels), s1);
	_mm256_storeu_si256((__m256i *) (out + 2 * (size_t) f->channels), s2);
	_mm256_storeu_si256((__m256i *) (out + 3 * (size_t) f->channels), s3);
}

static void pixels_1(const struct filter *f, size_t x, uint32_t channel, int32_t *acc)
{
	__m256i sum = _mm256_setzero_si256();

	for (uint32_t i = 0; i < f->n_taps; i++)
		sum = _mm256_add_epi32(sum, product(f->taps[i] + x * f->pixel_stride + channel,
						    weights_at(f, i, channel)));
	_mm256_storeu_si256((__m256i *) (acc + x * f->channels + channel), sum);
}

static void one_channel(const struct filter *f, size_t x, uint32_t channel, int32_t *acc)
{
	int32_t sum = 0;

	for (uint32_t i = 0; i < f->n_taps; i++)
		sum += f->weights[(size_t) i * f->channels + channel] *
		       f->taps[i][x * f->pixel_stride + channel];
	acc[x * f->channels + channel] = sum;
}

void depthwise_avx2(const int8_t *weights, uint32_t n_taps, uint32_t channels,
	const uint8_t *const *taps, uint32_t pixel_stride, uint32_t count, int32_t *acc)
{
	struct filter f = {weights, taps, n_taps, channels, pixel_stride};
	uint32_t c = 0, x;

	for (; c + CHANNELS <= channels; c += CHANNELS) {
		for (x = 0; x + 4 <= count; x += 4)
			pixels_4(&f, x, c, acc);
		for (; x < count; x++)
			pixels_1(&f, x, c, acc);
	}
	for (; c < channels; c++)
		for (x = 0; x < count; x++)
			one_channel(&f, x, c, acc);
}
