/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of one launch of one kernel, the same text for C and OpenCL C: 32-bit members only, so that
 * both lay it out alike. A plan's launches lie one after the other in a buffer; a kernel gets its index.
 * What a kernel does not need is zero.
 */
#ifndef BITSHED_LAUNCH_H
#define BITSHED_LAUNCH_H

#if defined(__OPENCL_C_VERSION__) || defined(__OPENCL_VERSION__)
typedef uint launch_u32;
typedef int launch_i32;
#else
#include <stdint.h>
typedef uint32_t launch_u32;
typedef int32_t launch_i32;
#endif

#define LAUNCH_PLANES 8

/*
 * @in_at, @second_at, @out_at, @scratch_at: bytes into the arena
 * @in_zero, @second_zero, @out_zero: zero points
 * @out_f32: the output is float32, not u8
 * @element_bytes: of SLICE
 * @count: elements, where the shape does not matter
 * @rows: of one group; @groups: of a grouped convolution, one matrix product each
 * @words, @scale_groups, @group_words, @planes, @level_stride: as struct kernel_matrix has them
 * @columns: real values of a column; @row_bits: of a depthwise filter
 * @activation_planes: of packed columns
 * @block_words: words of a column that are in local memory at once
 * @plane_at: words into each plane's buffer
 * @step_at, @base_at, @level_at, @gain_at, @bias_at, @table_at: bytes into the numbers
 * @coded_level: level coding, not sum coding
 * @gain: of ADD and AVERAGE_POOL; of TO_FLOAT the scale; of the input 1 / scale
 * @first_channel: CONCAT: where the part's channels begin in the output
 */
struct launch {
	launch_u32 in_at, in_height, in_width, in_channels;
	launch_u32 out_at, out_height, out_width, out_channels;
	launch_u32 second_at, scratch_at, table_at, count;
	launch_i32 in_zero, second_zero, out_zero, low, high;
	launch_u32 out_f32, element_bytes;
	launch_u32 kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
	launch_i32 pad_top, pad_left, pad_channels;
	launch_u32 count_padding, swap, first_channel;
	launch_u32 begin[3], step[3];
	launch_u32 groups, rows, words, scale_groups, group_words, planes, columns, row_bits;
	launch_u32 activation_planes, block_words, coded_level, level_stride;
	launch_u32 step_at, base_at, level_at, gain_at, bias_at;
	launch_u32 plane_at[LAUNCH_PLANES];
	float gain[2];
};

#endif
