/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

void add_scalar(const struct kernel_add *p, const uint8_t *a, const uint8_t *b, size_t count,
	uint8_t *out)
{
	/* copies, because @out might otherwise change them in the compiler's eyes */
	struct kernel_add k = *p;
	float floor_ = (float) (k.low - k.zero_out), ceiling = (float) (k.high - k.zero_out);

	for (size_t i = 0; i < count; i++) {
		float ta = (float) (a[i] - k.zero_a) * k.gain_a;
		float tb = (float) (b[i] - k.zero_b) * k.gain_b;

		out[i] = round_u8(ta + tb, floor_, ceiling, k.zero_out);
	}
}
