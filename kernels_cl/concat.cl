/* SPDX-License-Identifier: Apache-2.0 */
/* One part of a concatenation. */
#include "common.clh"

__kernel void concat(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint c = get_global_id(0), at = get_global_id(1);

	if (c >= l->in_channels || at >= l->count)
		return;
	arena[l->out_at + at * l->out_channels + l->first_channel + c] =
		numbers[l->table_at + arena[l->in_at + at * l->in_channels + c]];
}
