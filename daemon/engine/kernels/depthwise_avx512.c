/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16 channels of 4 pixels at once, so that each weight is loaded once for four. VPMADDWD multiplies
 * 32-bit lanes here: the upper half of a u8 is zero, so only the product of the lower halves counts.
 */
#include <immintrin.h>

#include "engine/kernels/rows.h"

#define CHANNELS 16

struct filter {
	const int8_t *weights;
	const uint8_t *const *taps;
	uint32_t n_taps, channels, pixel_stride;
};

static inline __m512i product(const uint8_t *q, __mmask16 mask, __m512i w)
{
	return _mm512_madd_epi16(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, q)), w);
}

static inline __m512i weights_at(const struct filter *f, uint32_t tap, uint32_t channel, __mmask16 mask)
{
	return _mm512_cvtepi8_epi32(
		_mm_maskz_loadu_epi8(mask, f->weights + (size_t) tap * f->channels + channel));
}

static void pixels_4(const struct filter *f, size_t x, uint32_t channel, __mmask16 mask, int32_t *acc)
{
	__m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
	int32_t *out = acc + x * f->channels + channel;

	for (uint32_t i = 0; i < f->n_taps; i++) {
		const uint8_t *q = f->taps[i] + x * f->pixel_stride + channel;
		__m512i w = weights_at(f, i, channel, mask);

		s0 = _mm512_add_epi32(s0, product(q, mask, w));
		s1 = _mm512_add_epi32(s1, product(q + f->pixel_stride, mask, w));
		s2 = _mm512_add_epi32(s2, product(q + 2 * (size_t) f->pixel_stride, mask, w));
		s3 = _mm512_add_epi32(s3, product(q + 3 * (size_t) f->pixel_stride, mask, w));
	}
	_mm512_mask_storeu_epi32(out, mask, s0);
	_mm512_mask_storeu_epi32(out + f->channels, mask, s1);
	_mm512_mask_storeu_epi32(out + 2 * (size_t) f->channels, mask, s2);
	_mm512_mask_storeu_epi32(out + 3 * (size_t) f->channels, mask, s3);
}

static void pixels_1(const struct filter *f, size_t x, uint32_t channel, __mmask16 mask, int32_t *acc)
{
	__m512i sum = _mm512_setzero_si512();

	for (uint32_t i = 0; i < f->n_taps; i++)
		sum = _mm512_add_epi32(sum, product(f->taps[i] + x * f->pixel_stride + channel, mask,
						    weights_at(f, i, channel, mask)));
	_mm512_mask_storeu_epi32(acc + x * f->channels + channel, mask, sum);
}

void depthwise_avx512(const int8_t *weights, uint32_t n_taps, uint32_t channels,
	const uint8_t *const *taps, uint32_t pixel_stride, uint32_t count, int32_t *acc)
{
	struct filter f = {weights, taps, n_taps, channels, pixel_stride};

	for (uint32_t c = 0; c < channels; c += CHANNELS) {
		uint32_t left = channels - c, x = 0;
		__mmask16 mask = (__mmask16) (left >= CHANNELS ? 0xffff : (1u << left) - 1);

		for (; x + 4 <= count; x += 4)
			pixels_4(&f, x, c, mask, acc);
		for (; x < count; x++)
			pixels_1(&f, x, c, mask, acc);
	}
}
