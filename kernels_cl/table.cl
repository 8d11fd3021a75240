/* SPDX-License-Identifier: Apache-2.0 */
/* The output may lie where the input lies. */
#include "common.clh"

__kernel void table(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint i = get_global_id(0);

	if (i < l->count)
		arena[l->out_at + i] = numbers[l->table_at + arena[l->in_at + i]];
}
