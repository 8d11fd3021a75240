/* SPDX-License-Identifier: Apache-2.0 */
#include "common.clh"

__kernel void input_pixels(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint c = get_global_id(0), at = get_global_id(1);
	uchar p;

	if (c >= l->out_channels || at >= l->count)
		return;
	p = arena[l->in_at + at * l->out_channels + (l->swap ? 2 - c : c)];
	arena[l->out_at + at * l->out_channels + c] = numbers[l->table_at + c * 256 + p];
}
