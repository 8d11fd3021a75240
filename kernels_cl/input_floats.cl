/* SPDX-License-Identifier: Apache-2.0 */
#include "common.clh"

__kernel void input_floats(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint i = get_global_id(0);
	float t;

	if (i >= l->count)
		return;
	t = ((__global const float *) (arena + l->in_at))[i] * l->gain[0];
	/* not a number counts as zero */
	t = t == t ? t : 0.0f;
	arena[l->out_at + i] = round_u8(t, 0, 255, l->out_zero);
}
