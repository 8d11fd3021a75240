/* SPDX-License-Identifier: Apache-2.0 */
#include "common.clh"

__kernel void add(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint i = get_global_id(0);
	float a, b;

	if (i >= l->count)
		return;
	a = (float) (arena[l->in_at + i] - l->in_zero) * l->gain[0];
	b = (float) (arena[l->second_at + i] - l->second_zero) * l->gain[1];
	arena[l->out_at + i] = round_u8(a + b, l->low, l->high, l->out_zero);
}
