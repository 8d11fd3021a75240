/* SPDX-License-Identifier: Apache-2.0 */
#include "common.clh"

__kernel void pad(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint c = get_global_id(0), x = get_global_id(1), y = get_global_id(2);
	int ic = (int) c - l->pad_channels, ix = (int) x - l->pad_left, iy = (int) y - l->pad_top;
	int q = l->in_zero;

	if (c >= l->out_channels || x >= l->out_width)
		return;
	if (ic >= 0 && ix >= 0 && iy >= 0 && ic < (int) l->in_channels && ix < (int) l->in_width
		&& iy < (int) l->in_height)
		q = arena[l->in_at + ((uint) iy * l->in_width + (uint) ix) * l->in_channels + (uint) ic];
	arena[l->out_at + (y * l->out_width + x) * l->out_channels + c] = (uchar) q;
}
