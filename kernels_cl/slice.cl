/* SPDX-License-Identifier: Apache-2.0 */
#include "common.clh"

__kernel void slice(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint c = get_global_id(0), x = get_global_id(1), y = get_global_id(2), from, to;

	if (c >= l->out_channels || x >= l->out_width)
		return;
	from = ((l->begin[0] + y * l->step[0]) * l->in_width + l->begin[1] + x * l->step[1]) * l->in_channels
	       + l->begin[2] + c * l->step[2];
	to = (y * l->out_width + x) * l->out_channels + c;
	for (uint b = 0; b < l->element_bytes; b++)
		arena[l->out_at + to * l->element_bytes + b] = arena[l->in_at + from * l->element_bytes + b];
}
