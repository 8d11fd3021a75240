/* SPDX-License-Identifier: Apache-2.0 */
#include "common.clh"

__kernel void to_float(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint i = get_global_id(0);

	if (i < l->count)
		((__global float *) (arena + l->out_at))[i] =
			(float) (arena[l->in_at + i] - l->in_zero) * l->gain[0];
}
