/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution as a matrix product: the pixels under the taps of one output pixel become one column,
 * [kernel_h][kernel_w][channel]. Only ever for the few output pixels of one task, in scratch.
 */
#include <string.h>

#include "engine/exec_steps.h"

static void gather_tap_line(const struct gather *g, const uint8_t *line, int64_t x, uint8_t *to)
{
	const size_t c = g->group_channels;

	for (uint32_t i = 0; i < g->op->kernel_w; i++, x += g->op->dilation_w, to += c) {
		if (x < 0 || x >= g->image.width)
			memset(to, g->zero_point, c);
		else
			copy_short(to, line + (size_t) x * g->image.channels + g->first_channel, c);
	}
}

/* Taps that are apart: of some channels only, or dilated. */
static void gather_apart(const struct gather *g, int64_t y, int64_t x, uint32_t count, uint8_t *out)
{
	const size_t tap_line = (size_t) g->op->kernel_w * g->group_channels;
	const size_t line_bytes = (size_t) g->image.width * g->image.channels;

	for (uint32_t i = 0; i < count; i++, x += g->op->stride_w, out += g->stride) {
		uint8_t *to = out;

		memset(to + g->stride - BITS_PER_WORD, 0, BITS_PER_WORD);
		for (uint32_t j = 0; j < g->op->kernel_h; j++, to += tap_line) {
			int64_t line = y + (int64_t) j * g->op->dilation_h;

			if (line < 0 || line >= g->image.height)
				memset(to, g->zero_point, tap_line);
			else
				gather_tap_line(g, g->data + (size_t) line * line_bytes, x, to);
		}
	}
}

static void gather_neighbours(const struct gather *g, int64_t y, int64_t x, uint32_t count, uint8_t *out)
{
	const size_t channels = g->image.channels;
	const struct kernel_gather all = {
		.image = g->data,
		.lines = g->image.height,
		.taps = g->op->kernel_h,
		.tap_step = g->op->dilation_h,
		.line_bytes = g->image.width * channels,
		.tap_bytes = g->op->kernel_w * channels,
		.step = g->op->stride_w * channels,
		.stride = g->stride,
		.outside = g->zero_point,
	};

	g->kernel->gather(&all, y, x * (int64_t) channels, count, out);
}

/* What the taps leave of the last word of a column stays zero: no weight is there. */
void gather_columns(const struct gather *g, uint64_t first, uint32_t count, uint8_t *out)
{
	const struct op *op = g->op;
	const bool neighbours = op->dilation_w == 1 && g->group_channels == g->image.channels;
	uint64_t oy = first / g->out_width;
	uint32_t ox = (uint32_t) (first % g->out_width), n;

	for (; count > 0; count -= n, out += n * g->stride, ox = 0, oy++) {
		int64_t y = (int64_t) oy * op->stride_h - op->pad_top;
		int64_t x = (int64_t) ox * op->stride_w - op->pad_left;

		n = MIN_OF(count, g->out_width - ox);
		(neighbours ? gather_neighbours : gather_apart)(g, y, x, n, out);
	}
}
