/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/round.h"
#include "engine/kernels/rows.h"

void add_scalar(const struct kernel_add *p, const uint8_t *a, const uint8_t *b, size_t count,
	uint8_t *out)
{
	float floor_ = (float) (p->low - p->zero_out), ceiling = (float) (p->high - p->zero_out);

	for (size_t i = 0; i < count; i++) {
		float ta = (float) (a[i] - p->zero_a) * p->gain_a;
		float tb = (float) (b[i] - p->zero_b) * p->gain_b;

		out[i] = round_u8(ta + tb, floor_, ceiling, p->zero_out);
	}
}
