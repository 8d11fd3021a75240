/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/rows.h"

void table_scalar(const uint8_t table[256], const uint8_t *in, size_t count, uint8_t *out)
{
	for (size_t i = 0; i < count; i++)
		out[i] = table[in[i]];
}
