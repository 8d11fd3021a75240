/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a convolution's input with padding around them, so that no tap lies outside. */
#include <string.h>

#include "engine/exec_steps.h"

/* One input line, @y may lie outside of the image. */
static void pad_line(const struct run *r, const struct lines *l, int64_t y, uint8_t *to)
{
	const struct value *in = run_input_value(r, 0);
	const int64_t width = in->shape.width, left = r->op->pad_left;
	const int64_t inside = MIN_OF(left, (int64_t) l->width);
	const int64_t end = MAX_OF(MIN_OF(width + left, (int64_t) l->width), inside);
	const size_t n = l->channels;
	const uint8_t *from;

	if (y < 0 || y >= in->shape.height) {
		memset(to, in->zero_point, l->width * n);
		return;
	}
	from = (const uint8_t *) run_input(r, 0) +
	       (size_t) y * in->shape.width * in->shape.channels + l->channel;
	memset(to, in->zero_point, (size_t) inside * n);
	if (n == in->shape.channels)
		memcpy(to + (size_t) inside * n, from, (size_t) (end - inside) * n);
	else
		for (int64_t x = inside; x < end; x++, from += in->shape.channels)
			copy_short(to + (size_t) x * n, from, n);
	memset(to + (size_t) end * n, in->zero_point, (l->width - (size_t) end) * n);
}

void pad_lines(const struct run *r, struct lines l, uint8_t *to)
{
	const uint32_t count = plan_reached_lines(r->op, l.lines);
	const int64_t y = (int64_t) l.line * r->op->stride_h - r->op->pad_top;

	for (uint32_t i = 0; i < count; i++)
		pad_line(r, &l, y + i, to + i * l.width * l.channels);
}
