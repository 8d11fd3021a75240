/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides are planes (engine/kernels/bitserial_scalar.c has the formula). An item takes one row and a run of
 * COLUMNS packed columns, whose words lie in a line: compilers like the loop as it stands.
 */
#ifndef COLUMNS
#define COLUMNS 4
#endif
#include "common.clh"
#include "popcount.clh"

/* sum over activation planes of 2^m * popcount(w & plane m), @n words; without @w of the column alone */
static inline int count_bits(__global const ulong *w, __global const ulong *d, uint n, uint planes,
	uint words)
{
	int sum = 0;

	for (uint m = 0; m < planes; m++) {
		ulong c = 0;

		for (uint k = 0; k < n; k++)
			c += count_word(w[k] & d[(ulong) m * words + k]);
		sum += (int) c << m;
	}
	return sum;
}

static inline int count_column(__global const ulong *d, uint n, uint planes, uint words)
{
	int sum = 0;

	for (uint m = 0; m < planes; m++) {
		ulong c = 0;

		for (uint k = 0; k < n; k++)
			c += count_word(d[(ulong) m * words + k]);
		sum += (int) c << m;
	}
	return sum;
}

static inline int multiply(__global const struct launch *l, __global const uchar *numbers,
	__global const ulong *const *plane, uint row, __global const ulong *column)
{
	int sum = 0;

	for (uint g = 0; g < l->scale_groups; g++) {
		uint first = g * l->group_words, n = min(l->group_words, l->words - first);
		ulong at = (ulong) row * l->scale_groups + g;
		__global const short *step =
			(__global const short *) (numbers + l->step_at) + at * l->planes;
		int base = ((__global const char *) (numbers + l->base_at))[at];

		for (uint i = 0; i < l->planes; i++)
			sum += step[i]
			       * count_bits(plane[i] + (ulong) row * l->words + first, column + first, n,
				       l->activation_planes, l->words);
		sum += base * count_column(column + first, n, l->activation_planes, l->words);
	}
	return sum;
}

__kernel void bitserial(LAUNCH_ARGS, PLANE_ARGS)
{
	__global const struct launch *l = launches + launch_index;
	__global const ulong *const plane[LAUNCH_PLANES] = PLANES(l);
	uint row = get_global_id(0), group = get_global_id(2);
	uint first = get_global_id(1) * COLUMNS, pixels = l->out_height * l->out_width;
	ulong column_words = (ulong) l->activation_planes * l->words;
	__global const ulong *bits = (__global const ulong *) (arena + l->scratch_at);

	if (row >= l->rows)
		return;
	row += group * l->rows;
	for (uint n = first; n < min(first + COLUMNS, pixels); n++)
		store_sum(arena, l, numbers, row, n * l->out_channels + row,
			multiply(l, numbers, plane, row,
				bits + ((ulong) group * pixels + n) * column_words));
}
