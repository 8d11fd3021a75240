/* SPDX-License-Identifier: Apache-2.0 */
#include "common.clh"

__kernel void max_pool(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint c = get_global_id(0), ox = get_global_id(1), oy = get_global_id(2);
	int x0 = (int) (ox * l->stride_w) - l->pad_left, y0 = (int) (oy * l->stride_h) - l->pad_top;
	int x1 = min(x0 + (int) l->kernel_w, (int) l->in_width);
	int y1 = min(y0 + (int) l->kernel_h, (int) l->in_height);
	int highest = -1;

	if (c >= l->out_channels || ox >= l->out_width)
		return;
	for (int y = max(y0, 0); y < y1; y++)
		for (int x = max(x0, 0); x < x1; x++)
			highest = max(highest,
				(int) arena[l->in_at + ((uint) y * l->in_width + (uint) x) * l->in_channels + c]);
	if (highest < 0)
		highest = l->out_zero;
	arena[l->out_at + (oy * l->out_width + ox) * l->out_channels + c] =
		(uchar) min(max(highest, l->low), l->high);
}
