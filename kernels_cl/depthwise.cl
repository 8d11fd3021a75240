/* SPDX-License-Identifier: Apache-2.0 */
/* Channels are neighbours in memory and in the work-group. */
#include "common.clh"

__kernel void depthwise(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	__global const char *weights = (__global const char *) (arena + l->scratch_at);
	uint c = get_global_id(0), ox = get_global_id(1), oy = get_global_id(2);
	int sum = 0;

	if (c >= l->out_channels || ox >= l->out_width)
		return;
	for (uint i = 0; i < l->kernel_h; i++) {
		int y = (int) (oy * l->stride_h + i * l->dilation_h) - l->pad_top;

		for (uint j = 0; j < l->kernel_w; j++) {
			int x = (int) (ox * l->stride_w + j * l->dilation_w) - l->pad_left;
			int q = l->in_zero;

			if (y >= 0 && x >= 0 && y < (int) l->in_height && x < (int) l->in_width)
				q = arena[l->in_at + ((ulong) y * l->in_width + (uint) x) * l->in_channels + c];
			sum += weights[(i * l->kernel_w + j) * l->rows + c] * q;
		}
	}
	store_sum(arena, l, numbers, c, (oy * l->out_width + ox) * l->out_channels + c, sum);
}
