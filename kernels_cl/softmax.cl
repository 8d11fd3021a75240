/* SPDX-License-Identifier: Apache-2.0 */
/* One pixel per item: the order of the sum is part of the arithmetic. */
#include "common.clh"

/* as kernel_exp() of engine/kernels/kernel.c, step by step */
static inline float exp_steps(float x)
{
	float n, r, p;

	if (!(x > -87.0f))
		return 0.0f;
	n = x * 1.44269504f + ROUND_SHIFT;
	n = n - ROUND_SHIFT;
	r = x - n * 0.693359375f;
	r = r - n * -2.12194440e-4f;
	p = 0x1.6c16c2p-10f;
	p = p * r + 0x1.111112p-7f;
	p = p * r + 0x1.555556p-5f;
	p = p * r + 0x1.555556p-3f;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	return p * as_float((uint) ((int) n + 127) << 23);
}

__kernel void softmax(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint pixel = get_global_id(0);
	__global const float *in = (__global const float *) (arena + l->in_at);
	__global float *out = (__global float *) (arena + l->out_at);
	float top, sum = 0.0f;

	if (pixel >= l->count)
		return;
	in += (ulong) pixel * l->out_channels;
	out += (ulong) pixel * l->out_channels;
	top = in[0];
	for (uint i = 1; i < l->out_channels; i++)
		top = in[i] > top ? in[i] : top;
	for (uint i = 0; i < l->out_channels; i++) {
		float e = exp_steps(in[i] - top);

		out[i] = e;
		sum += e;
	}
	for (uint i = 0; i < l->out_channels; i++)
		out[i] = divide(out[i], sum);
}
