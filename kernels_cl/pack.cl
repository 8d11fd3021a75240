/* SPDX-License-Identifier: Apache-2.0 */
/* Columns of narrow values to bit planes: an item makes one word of each plane of one column. */
#include "common.clh"
#include "gather.clh"

__kernel void pack(LAUNCH_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	uint word = get_global_id(0), pixel = get_global_id(1), group = get_global_id(2);
	uint pixels = l->out_height * l->out_width;
	__global ulong *out = (__global ulong *) (arena + l->scratch_at);
	uchar values[64];
	struct cursor c;

	if (word >= l->words || pixel >= pixels)
		return;
	cursor_init(&c, l, group);
	cursor_set(&c, l, pixel, word * 64);
	gather_values(arena, &c, word * 64, 64, values);
	out += ((ulong) group * pixels + pixel) * l->activation_planes * l->words + word;
	for (uint m = 0; m < l->activation_planes; m++) {
		ulong bits = 0;

		for (uint t = 0; t < 64; t++)
			bits |= (ulong) (values[t] >> m & 1) << t;
		out[m * l->words] = bits;
	}
}
