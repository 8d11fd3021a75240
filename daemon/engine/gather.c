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

/* @n: bytes of one tap line; where it is a constant, the moves are laid out one after the other */
static inline __attribute__((always_inline)) void copy_columns(const struct gather *g,
	const uint8_t *from, uint32_t count, size_t n, uint8_t *to)
{
	const size_t step = (size_t) g->op->stride_w * g->image.channels;
	const size_t line = (size_t) g->image.width * g->image.channels * g->op->dilation_h;
	const uint32_t lines = g->op->kernel_h;
	const size_t stride = g->stride;

	for (uint32_t i = 0; i < count; i++, from += step, to += stride) {
		const uint8_t *tap = from;
		uint8_t *out = to;

		memset(to + stride - BITS_PER_WORD, 0, BITS_PER_WORD);
		for (uint32_t j = 0; j < lines; j++, tap += line, out += n)
			run_copy(out, tap, n);
	}
}

/* Nothing of these columns of one line lies outside: the case of nearly all. */
static void gather_inside(const struct gather *g, int64_t y, int64_t x, uint32_t count, uint8_t *to)
{
	const size_t n = (size_t) g->op->kernel_w * g->group_channels;
	const uint8_t *from = g->data + ((size_t) y * g->image.width + (size_t) x) * g->image.channels;

	switch (n) {
	case 48:
		return copy_columns(g, from, count, 48, to);
	case 96:
		return copy_columns(g, from, count, 96, to);
	case 192:
		return copy_columns(g, from, count, 192, to);
	default:
		return copy_columns(g, from, count, n, to);
	}
}

/* From @x on, how many of up to @count columns of a line have all taps inside of the image? */
static uint32_t count_inside(const struct gather *g, int64_t y, int64_t x, uint32_t count)
{
	int64_t room = (int64_t) g->image.width - g->op->kernel_w - x;

	if (!is_inside(g, y, x))
		return 0;
	return (uint32_t) MIN_OF(room / g->op->stride_w + 1, (int64_t) count);
}

/* What the taps leave of the last word of a column stays zero: no weight is there. */
void gather_columns(const struct gather *g, uint64_t first, uint32_t count, uint8_t *out)
{
	const struct op *op = g->op;
	const bool runs = op->dilation_w == 1 && g->group_channels == g->image.channels;
	uint64_t oy = first / g->out_width;
	uint32_t ox = (uint32_t) (first % g->out_width), n;

	for (; count > 0; count -= n, out += n * g->stride) {
		int64_t y = (int64_t) oy * op->stride_h - op->pad_top;
		int64_t x = (int64_t) ox * op->stride_w - op->pad_left;

		n = runs ? count_inside(g, y, x, MIN_OF(count, g->out_width - ox)) : 0;
		if (n > 0) {
			gather_inside(g, y, x, n, out);
		} else {
			n = 1;
			memset(out + g->stride - BITS_PER_WORD, 0, BITS_PER_WORD);
			gather_column(g, y, x, runs, out);
		}
		ox += n;
		if (ox == g->out_width) {
			ox = 0;
			oy++;
		}
	}
}
