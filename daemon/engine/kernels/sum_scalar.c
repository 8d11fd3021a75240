/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/rows.h"

void sum_scalar(const uint8_t *in, uint32_t count, int32_t *acc)
{
	for (uint32_t i = 0; i < count; i++)
		acc[i] += in[i];
}
