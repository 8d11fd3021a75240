/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/rows.h"

void max_scalar(const uint8_t *in, uint32_t count, uint8_t *out)
{
	for (uint32_t i = 0; i < count; i++)
		out[i] = in[i] > out[i] ? in[i] : out[i];
}
