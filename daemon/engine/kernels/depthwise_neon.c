/* SPDX-License-Identifier: Apache-2.0 */
/* 8 channels of 2 pixels at once, by widening multiplication. */
#include <arm_neon.h>

#include "engine/kernels/rows.h"

#define CHANNELS 8

struct filter {
	const int8_t *weights;
	const uint8_t *const *taps;
	uint32_t n_taps, channels, pixel_stride;
};

static inline int16x8_t values(const uint8_t *q)
{
	return vreinterpretq_s16_u16(vmovl_u8(vld1_u8(q)));
}

static void pixels_2(const struct filter *f, size_t x, uint32_t channel, int32_t *acc)
{
	int32x4_t a0 = vdupq_n_s32(0), a1 = a0, b0 = a0, b1 = a0;
	int32_t *out = acc + x * f->channels + channel;

	for (uint32_t i = 0; i < f->n_taps; i++) {
		const uint8_t *q = f->taps[i] + x * f->pixel_stride + channel;
		int16x8_t w = vmovl_s8(vld1_s8(f->weights + (size_t) i * f->channels + channel));
		int16x8_t qa = values(q), qb = values(q + f->pixel_stride);

		a0 = vmlal_s16(a0, vget_low_s16(qa), vget_low_s16(w));
		a1 = vmlal_high_s16(a1, qa, w);
		b0 = vmlal_s16(b0, vget_low_s16(qb), vget_low_s16(w));
		b1 = vmlal_high_s16(b1, qb, w);
	}
	vst1q_s32(out, a0);
	vst1q_s32(out + 4, a1);
	vst1q_s32(out + f->channels, b0);
	vst1q_s32(out + f->channels + 4, b1);
}

static void pixels_1(const struct filter *f, size_t x, uint32_t channel, int32_t *acc)
{
	int32x4_t a0 = vdupq_n_s32(0), a1 = a0;
	int32_t *out = acc + x * f->channels + channel;

	for (uint32_t i = 0; i < f->n_taps; i++) {
		int16x8_t w = vmovl_s8(vld1_s8(f->weights + (size_t) i * f->channels + channel));
		int16x8_t q = values(f->taps[i] + x * f->pixel_stride + channel);

		a0 = vmlal_s16(a0, vget_low_s16(q), vget_low_s16(w));
		a1 = vmlal_high_s16(a1, q, w);
	}
	vst1q_s32(out, a0);
	vst1q_s32(out + 4, a1);
}

static void one_channel(const struct filter *f, size_t x, uint32_t channel, int32_t *acc)
{
	int32_t sum = 0;

	for (uint32_t i = 0; i < f->n_taps; i++)
		sum += f->weights[(size_t) i * f->channels + channel] *
		       f->taps[i][x * f->pixel_stride + channel];
	acc[x * f->channels + channel] = sum;
}

void depthwise_neon(const int8_t *weights, uint32_t n_taps, uint32_t channels,
	const uint8_t *const *taps, uint32_t pixel_stride, uint32_t count, int32_t *acc)
{
	struct filter f = {weights, taps, n_taps, channels, pixel_stride};
	uint32_t c = 0, x;

	for (; c + CHANNELS <= channels; c += CHANNELS) {
		for (x = 0; x + 2 <= count; x += 2)
			pixels_2(&f, x, c, acc);
		for (; x < count; x++)
			pixels_1(&f, x, c, acc);
	}
	for (; c < channels; c++)
		for (x = 0; x < count; x++)
			one_channel(&f, x, c, acc);
}
