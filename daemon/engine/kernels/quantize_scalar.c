/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

void quantize_scalar(const float *in, uint32_t count, float factor, int32_t zero_point, uint8_t *out)
{
	float low = -(float) zero_point;

	for (uint32_t i = 0; i < count; i++) {
		float t = in[i] * factor;

		t = t == t ? t : 0.0f;
		out[i] = round_u8(t, low, low + 255.0f, zero_point);
	}
}
