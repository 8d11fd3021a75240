/* SPDX-License-Identifier: Apache-2.0 */
#include <arm_neon.h>

#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

struct side {
	float32x4_t gain;
	int16x8_t zero;
};

struct range {
	float32x4_t floor_, ceiling;
	int32x4_t zero;
};

static inline int16x4_t add_4(int16x4_t qa, int16x4_t qb, const struct side *a, const struct side *b,
	const struct range *r)
{
	float32x4_t ta = vmulq_f32(vcvtq_f32_s32(vmovl_s16(qa)), a->gain);
	float32x4_t t = vaddq_f32(ta, vmulq_f32(vcvtq_f32_s32(vmovl_s16(qb)), b->gain));

	/* FMAXNM of NaN and the floor is the floor, as round_u8() has it */
	t = vminnmq_f32(vmaxnmq_f32(t, r->floor_), r->ceiling);
	return vmovn_s32(vaddq_s32(vcvtnq_s32_f32(t), r->zero));
}

static inline int16x8_t centred(const uint8_t *q, const struct side *s)
{
	return vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(vld1_u8(q))), s->zero);
}

void add_neon(const struct kernel_add *p, const uint8_t *a, const uint8_t *b, size_t count,
	uint8_t *out)
{
	struct kernel_add k = *p;
	float floor_ = (float) (k.low - k.zero_out), ceiling = (float) (k.high - k.zero_out);
	struct side sa = {vdupq_n_f32(k.gain_a), vdupq_n_s16((int16_t) k.zero_a)};
	struct side sb = {vdupq_n_f32(k.gain_b), vdupq_n_s16((int16_t) k.zero_b)};
	struct range r = {vdupq_n_f32(floor_), vdupq_n_f32(ceiling), vdupq_n_s32(k.zero_out)};
	size_t i = 0;

	for (; i + 8 <= count; i += 8) {
		int16x8_t qa = centred(a + i, &sa), qb = centred(b + i, &sb);
		int16x4_t low = add_4(vget_low_s16(qa), vget_low_s16(qb), &sa, &sb, &r);
		int16x4_t high = add_4(vget_high_s16(qa), vget_high_s16(qb), &sa, &sb, &r);

		vst1_u8(out + i, vqmovun_s16(vcombine_s16(low, high)));
	}
	for (; i < count; i++) {
		float ta = (float) (a[i] - k.zero_a) * k.gain_a;
		float tb = (float) (b[i] - k.zero_b) * k.gain_b;

		out[i] = round_u8(ta + tb, floor_, ceiling, k.zero_out);
	}
}
