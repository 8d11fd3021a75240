/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides are planes (engine/kernels/bitserial_scalar.c has the formula). A work-group takes some rows and COLUMNS
 * packed columns, a block of whose words its items bring into local memory:
 *
 *	tile	[word][activation plane][column]
 *
 * The base of a group of scales is what a plane of ones would add.
 */
#ifndef COLUMNS
#define COLUMNS 8
#endif
#include "common.clh"
#include "popcount.clh"
#include "each_column.clh"

static inline void bring_words(__global const uchar *arena, __global const struct launch *l,
	uint group, uint first, uint word, uint words, __local ulong *tile)
{
	uint pixels = l->out_height * l->out_width, planes = l->activation_planes;
	__global const ulong *bits = (__global const ulong *) (arena + l->scratch_at);

	for (uint i = get_local_id(0); i < words * planes * COLUMNS; i += get_local_size(0)) {
		uint n = i % COLUMNS, m = i / COLUMNS % planes, k = word + i / COLUMNS / planes;
		ulong column = (ulong) group * pixels + first + n;

		tile[i] = first + n < pixels ? bits[(column * planes + m) * l->words + k] : 0;
	}
}

#define ADD_COUNT(n) sum[n] += (count_word(w & d[n]) << m) * add;

/* One word of weights with all columns. */
static inline void add_word(
	__local const ulong *d, uint activation_planes, ulong w, int add, int *sum)
{
	for (uint m = 0; m < activation_planes; m++, d += COLUMNS) {
		EACH_COLUMN(ADD_COUNT)
	}
}

static inline void multiply_block(__global const struct launch *l, __global const uchar *numbers,
	__global const ulong *const *plane, uint row, uint word, uint words,
	__local const ulong *d, int *sum)
{
	for (uint k = 0; k < words; k++, d += l->activation_planes * COLUMNS) {
		ulong at = (ulong) row * l->scale_groups + (word + k) / l->group_words;
		__global const short *step =
			(__global const short *) (numbers + l->step_at) + at * l->planes;

		add_word(d, l->activation_planes, ~0ul, ((__global const char *) (numbers + l->base_at))[at],
			sum);
		for (uint i = 0; i < l->planes; i++)
			add_word(d, l->activation_planes, plane[i][(ulong) row * l->words + word + k],
				step[i], sum);
	}
}

__kernel void bitserial_tile(LAUNCH_ARGS, PLANE_ARGS, __local uchar16 *tile)
{
	__global const struct launch *l = launches + launch_index;
	uint row = get_global_id(0), group = get_global_id(2);
	uint first = get_group_id(1) * COLUMNS, pixels = l->out_height * l->out_width;
	__local ulong *d = (__local ulong *) tile;
	int sum[COLUMNS];

	for (uint n = 0; n < COLUMNS; n++)
		sum[n] = 0;
	for (uint word = 0; word < l->words; word += l->block_words) {
		uint words = min(l->block_words, l->words - word);

		barrier(CLK_LOCAL_MEM_FENCE);
		bring_words(arena, l, group, first, word, words, d);
		barrier(CLK_LOCAL_MEM_FENCE);
		if (row < l->rows) {
			__global const ulong *const plane[LAUNCH_PLANES] = PLANES(l);

			multiply_block(l, numbers, plane, group * l->rows + row, word, words, d, sum);
		}
	}
	if (row >= l->rows)
		return;
	row += group * l->rows;
	for (uint n = 0; n < min(pixels - first, (uint) COLUMNS); n++)
		store_sum(arena, l, numbers, row, (first + n) * l->out_channels + row, sum[n]);
}
