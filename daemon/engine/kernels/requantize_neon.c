/* SPDX-License-Identifier: Apache-2.0 */
#include <arm_neon.h>

#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

struct range {
	float32x4_t floor_, ceiling;
	int32x4_t zero;
};

static inline int16x4_t requantize_4(const int32_t *acc, const float *gain, const float *bias,
	const struct range *r)
{
	float32x4_t t = vcvtq_f32_s32(vld1q_s32(acc));

	t = vaddq_f32(vmulq_f32(t, vld1q_f32(gain)), vld1q_f32(bias));
	/* FMAXNM of NaN and the floor is the floor, as round_u8() has it */
	t = vminnmq_f32(vmaxnmq_f32(t, r->floor_), r->ceiling);
	return vmovn_s32(vaddq_s32(vcvtnq_s32_f32(t), r->zero));
}

void requantize_neon(const int32_t *acc, uint32_t count, const float *gain, const float *bias,
	int32_t zero_point, uint8_t low, uint8_t high, uint8_t *out)
{
	float floor_ = (float) (low - zero_point), ceiling = (float) (high - zero_point);
	struct range r = {vdupq_n_f32(floor_), vdupq_n_f32(ceiling), vdupq_n_s32(zero_point)};
	uint32_t i = 0;

	for (; i + 8 <= count; i += 8)
		vst1_u8(out + i, vqmovun_s16(vcombine_s16(requantize_4(acc + i, gain + i, bias + i, &r),
					 requantize_4(acc + i + 4, gain + i + 4, bias + i + 4, &r))));
	for (; i < count; i++) {
		float t = (float) acc[i] * gain[i];

		out[i] = round_u8(t + bias[i], floor_, ceiling, zero_point);
	}
}
