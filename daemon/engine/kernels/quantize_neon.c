/* SPDX-License-Identifier: Apache-2.0 */
#include <arm_neon.h>

#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

struct range {
	float32x4_t floor_, ceiling;
	int32x4_t zero;
	float factor;
};

static inline int16x4_t quantize_4(const float *in, const struct range *r)
{
	float32x4_t t = vmulq_n_f32(vld1q_f32(in), r->factor);
	uint32x4_t number = vceqq_f32(t, t);

	t = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(t), number));
	t = vminnmq_f32(vmaxnmq_f32(t, r->floor_), r->ceiling);
	return vmovn_s32(vaddq_s32(vcvtnq_s32_f32(t), r->zero));
}

void quantize_neon(const float *in, uint32_t count, float factor, int32_t zero_point, uint8_t *out)
{
	const float low = -(float) zero_point;
	struct range r = {vdupq_n_f32(low), vdupq_n_f32(low + 255.0f), vdupq_n_s32(zero_point), factor};
	uint32_t i = 0;

	for (; i + 8 <= count; i += 8)
		vst1_u8(out + i,
			vqmovun_s16(vcombine_s16(quantize_4(in + i, &r), quantize_4(in + i + 4, &r))));
	for (; i < count; i++) {
		float t = in[i] * factor;

		out[i] = round_u8(t == t ? t : 0.0f, low, low + 255.0f, zero_point);
	}
}
