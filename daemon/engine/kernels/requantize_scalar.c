/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

void requantize_scalar(const int32_t *acc, uint32_t count, const float *gain, const float *bias,
	int32_t zero_point, uint8_t low, uint8_t high, uint8_t *out)
{
	float floor_ = (float) (low - zero_point), ceiling = (float) (high - zero_point);

	for (uint32_t i = 0; i < count; i++) {
		float t = (float) acc[i] * gain[i];

		out[i] = round_u8(t + bias[i], floor_, ceiling, zero_point);
	}
}
