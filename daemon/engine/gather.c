/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution as a matrix product: the pixels under the taps of one output pixel become one column,
 * [kernel_h][kernel_w][channel]. Only ever for the few output pixels of one task, in scratch.
 */
#include <string.h>

#include "engine/exec_steps.h"

/* One tap line whose taps are neighbours in memory: left of the image, inside, right of it. */
static void gather_run(const struct gather *g, const uint8_t *line, int64_t x, uint8_t *to)
{
	const int64_t taps = g->op->kernel_w, width = g->image.width;
	const int64_t inside = MAX_OF(MIN_OF(-x, taps), 0);
	const int64_t outside = MAX_OF(MIN_OF(width - x, taps), inside);
	const size_t c = g->group_channels;

	memset(to, g->zero_point, (size_t) inside * c);
	if (outside > inside)
		run_copy(to + (size_t) inside * c, line + (size_t) (x + inside) * c,
			(size_t) (outside - inside) * c);
	memset(to + (size_t) outside * c, g->zero_point, (size_t) (taps - outside) * c);
}

static void gather_taps(const struct gather *g, const uint8_t *line, int64_t x, uint8_t *to)
{
	const size_t c = g->group_channels;

	for (uint32_t i = 0; i < g->op->kernel_w; i++, x += g->op->dilation_w, to += c) {
		if (x < 0 || x >= g->image.width)
			memset(to, g->zero_point, c);
		else
			run_copy(to, line + (size_t) x * g->image.channels + g->first_channel, c);
	}
}

static bool is_inside(const struct gather *g, int64_t y, int64_t x)
{
	const struct op *op = g->op;

	return y >= 0 && x >= 0 &&
	       y + (int64_t) (op->kernel_h - 1) * op->dilation_h < g->image.height &&
	       x + (int64_t) op->kernel_w <= g->image.width;
}

static void gather_column(const struct gather *g, int64_t y, int64_t x, bool runs, uint8_t *to)
{
	const size_t tap_line = (size_t) g->op->kernel_w * g->group_channels;
	const size_t line_bytes = (size_t) g->image.width * g->image.channels;

	for (uint32_t i = 0; i < g->op->kernel_h; i++, y += g->op->dilation_h, to += tap_line) {
		if (y < 0 || y >= g->image.height)
			memset(to, g->zero_point, tap_line);
		else if (runs)
			gather_run(g, g->data + (size_t) y * line_bytes, x, to);
		else
			gather_taps(g, g->data + (size_t) y * line_bytes, x, to);
	}
}

/* Nothing of the column lies outside: the case of nearly every column. */
static void gather_inside(const struct gather *g, int64_t y, int64_t x, uint8_t *to)
{
	const size_t tap_line = (size_t) g->op->kernel_w * g->group_channels;
	const size_t line_bytes = (size_t) g->image.width * g->image.channels;
	const uint8_t *from = g->data + (size_t) y * line_bytes + (size_t) x * g->image.channels;

	for (uint32_t i = 0; i < g->op->kernel_h; i++) {
		run_copy(to, from, tap_line);
		to += tap_line;
		from += line_bytes * g->op->dilation_h;
	}
}

/* What the taps leave of the last word of a column stays zero: no weight is there. */
void gather_columns(const struct gather *g, uint64_t first, uint32_t count, uint8_t *out)
{
	const struct op *op = g->op;
	const bool runs = op->dilation_w == 1 && g->group_channels == g->image.channels;
	uint64_t oy = first / g->out_width;
	uint32_t ox = (uint32_t) (first % g->out_width);

	for (uint32_t i = 0; i < count; i++, out += g->stride) {
		int64_t y = (int64_t) oy * op->stride_h - op->pad_top;
		int64_t x = (int64_t) ox * op->stride_w - op->pad_left;

		memset(out + g->stride - BITS_PER_WORD, 0, BITS_PER_WORD);
		if (runs && is_inside(g, y, x))
			gather_inside(g, y, x, out);
		else
			gather_column(g, y, x, runs, out);
		if (++ox == g->out_width) {
			ox = 0;
			oy++;
		}
	}
}
