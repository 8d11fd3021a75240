/* SPDX-License-Identifier: Apache-2.0 */
#include "common.clh"

__kernel void average_pool(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint c = get_global_id(0), ox = get_global_id(1), oy = get_global_id(2);
	uint at = (oy * l->out_width + ox) * l->out_channels + c;
	int x0 = (int) (ox * l->stride_w) - l->pad_left, y0 = (int) (oy * l->stride_h) - l->pad_top;
	int x1 = min(x0 + (int) l->kernel_w, (int) l->in_width);
	int y1 = min(y0 + (int) l->kernel_h, (int) l->in_height);
	int inside, n, sum = 0;
	float t;

	if (c >= l->out_channels || ox >= l->out_width)
		return;
	x0 = max(x0, 0);
	y0 = max(y0, 0);
	inside = max(x1 - x0, 0) * max(y1 - y0, 0);
	n = l->count_padding ? (int) (l->kernel_h * l->kernel_w) : inside;
	for (int y = y0; y < y1; y++)
		for (int x = x0; x < x1; x++)
			sum += arena[l->in_at + ((uint) y * l->in_width + (uint) x) * l->in_channels + c];
	t = (float) (sum - inside * l->in_zero) * divide(l->gain[0], (float) max(n, 1));
	if (l->out_f32)
		((__global float *) (arena + l->out_at))[at] = t;
	else
		arena[l->out_at + at] = round_u8(t, l->low, l->high, l->out_zero);
}
