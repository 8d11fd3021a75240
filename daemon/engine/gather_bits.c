/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Columns of bits. The taps of neighbours overlap, so a pixel is in as many columns as there are taps: where
 * pixels are whole words, the image is turned into bit planes first, padding included, and columns are then
 * gathered as words, an eighth of the bytes and no border to look at.
 */
#include <string.h>

#include "engine/exec_steps.h"

#define BYTES_PER_NSEC 16

struct packing {
	const struct run *r;
	struct packed shape;
	uint64_t *to;
};

static uint64_t *packed_line(const struct packing *p, uint32_t plane, uint32_t line)
{
	return p->to + ((size_t) plane * p->shape.lines + line) * p->shape.width * p->shape.words;
}

static void fill(uint64_t *to, size_t words, bool set)
{
	memset(to, set ? 0xff : 0, words * sizeof *to);
}

/* One line of the image: padding holds the zero point, as anywhere. */
static void pack_line(void *userdata, uint32_t line, uint32_t thread)
{
	const struct packing *p = userdata;
	const struct value *in = run_input_value(p->r, 0);
	const struct op *op = p->r->op;
	const uint32_t words = p->shape.words, y = line - op->pad_top;
	const uint32_t middle = in->shape.width * words, left = op->pad_left * words;
	const bool inside = line >= op->pad_top && y < in->shape.height;
	uint64_t *bits = (uint64_t *) run_scratch(p->r, thread);

	if (inside)
		p->r->step->pack->pack((const uint8_t *) run_input(p->r, 0) + (size_t) y * middle * BITS_PER_WORD,
			middle, p->shape.planes, bits);
	for (uint32_t m = 0; m < p->shape.planes; m++) {
		const bool set = in->zero_point >> m & 1;
		uint64_t *to = packed_line(p, m, line);

		if (!inside) {
			fill(to, (size_t) p->shape.width * words, set);
			continue;
		}
		fill(to, left, set);
		memcpy(to + left, bits + (size_t) m * middle, middle * sizeof *bits);
		fill(to + left + middle, (size_t) op->pad_right * words, set);
	}
}

void pack_image(const struct run *r)
{
	const struct shape *in = &run_input_value(r, 0)->shape;
	struct packing p = {
		.r = r,
		.shape = plan_packed(r->op, in),
		.to = (uint64_t *) (r->arena + r->plan->packed_at),
	};

	run_tasks(r, pack_line, &p, p.shape.lines, shape_elements(*in) / BYTES_PER_NSEC);
}

/* @bytes: of the words under one line of taps; where it is a constant, a few plain moves */
static inline __attribute__((always_inline)) uint8_t *copy_taps(
	const struct packed *s, const struct op *op, const uint64_t *from, size_t bytes, uint8_t *out)
{
	const size_t line = (size_t) s->width * s->words * op->dilation_h;

	for (uint32_t m = 0; m < s->planes; m++, from += (size_t) s->lines * s->width * s->words) {
		const uint64_t *tap = from;

		for (uint32_t i = 0; i < op->kernel_h; i++, tap += line, out += bytes)
			copy_short(out, (const uint8_t *) tap, bytes);
	}
	return out;
}

void gather_bits(const struct run *r, uint64_t first, uint32_t count, uint64_t *bits)
{
	const struct packed s = plan_packed(r->op, &run_input_value(r, 0)->shape);
	const struct op *op = r->op;
	const uint64_t *image = (const uint64_t *) (r->arena + r->plan->packed_at);
	const uint32_t width = run_output_value(r)->shape.width;
	const size_t bytes = (size_t) op->kernel_w * s.words * sizeof *bits;
	uint8_t *out = (uint8_t *) bits;

	for (uint64_t pixel = first; pixel < first + count; pixel++) {
		size_t y = pixel / width * op->stride_h, x = pixel % width * op->stride_w;
		const uint64_t *from = image + (y * s.width + x) * s.words;

		if (bytes == 24)
			out = copy_taps(&s, op, from, 24, out);
		else if (bytes == 48)
			out = copy_taps(&s, op, from, 48, out);
		else
			out = copy_taps(&s, op, from, bytes, out);
	}
}
