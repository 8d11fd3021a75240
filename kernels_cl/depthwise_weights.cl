/* SPDX-License-Identifier: Apache-2.0 */
/* The filters of one depthwise convolution, [taps][channels] in scratch until the next launch. */
#include "common.clh"

__kernel void depthwise_weights(LAUNCH_ARGS, PLANE_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	__global const ulong *const plane[LAUNCH_PLANES] = PLANES(l);
	uint row = get_global_id(0), tap = get_global_id(1);
	ulong bit = (ulong) row * l->row_bits + tap;
	uint group = l->scale_groups > 1 ? tap / 64 / l->group_words : 0;
	ulong at = (ulong) row * l->scale_groups + group;
	uint index = 0;
	int sum;

	if (row >= l->rows || tap >= l->kernel_h * l->kernel_w)
		return;
	sum = l->coded_level ? 0 : ((__global const char *) (numbers + l->base_at))[at];
	for (uint i = 0; i < l->planes; i++) {
		uint set = (uint) (plane[i][bit / 64] >> (bit % 64) & 1);

		index = index << 1 | set;
		if (!l->coded_level)
			sum += set ? ((__global const short *) (numbers + l->step_at))[at * l->planes + i] : 0;
	}
	if (l->coded_level)
		sum = ((__global const char *) (numbers + l->level_at))[(ulong) row * l->level_stride + index];
	((__global char *) (arena + l->scratch_at))[(ulong) tap * l->rows + row] = (char) sum;
}
