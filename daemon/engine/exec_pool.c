/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: one output line per task. */
#include <string.h>

#include "engine/exec_steps.h"
#include "engine/kernels/round.h"

#define BYTES_PER_NSEC 8

/* The part of a window that lies inside of the image, along one axis. Windows have no dilation. */
struct reach {
	int64_t begin, end;
};

static struct reach find_reach(
	uint32_t out, uint32_t stride, uint32_t pad, uint32_t taps, uint32_t size)
{
	int64_t begin = (int64_t) out * stride - pad;

	return (struct reach){MAX_OF(begin, 0), MIN_OF(begin + taps, (int64_t) size)};
}

static int64_t reach_count(struct reach r)
{
	return MAX_OF(r.end - r.begin, 0);
}

static struct reach find_lines(const struct run *r, uint32_t oy)
{
	return find_reach(oy, r->op->stride_h, r->op->pad_top, r->op->kernel_h,
		run_input_value(r, 0)->shape.height);
}

static struct reach find_pixels(const struct run *r, uint32_t ox)
{
	return find_reach(ox, r->op->stride_w, r->op->pad_left, r->op->kernel_w,
		run_input_value(r, 0)->shape.width);
}

static void run_pool(const struct run *r, threads_fn *fn)
{
	const struct shape *out = &run_output_value(r)->shape;

	run_tasks(r, fn, (void *) r, out->height,
		shape_elements(*out) * r->op->kernel_h * r->op->kernel_w / BYTES_PER_NSEC);
}

/* The first of several lines or pixels is copied, the others are compared with it. */
static void max_into(const struct run *r, const uint8_t *from, size_t step, int64_t n,
	uint32_t count, uint8_t *to)
{
	memcpy(to, from, count);
	for (int64_t i = 1; i < n; i++)
		r->plan->kernels[KERNEL_MAX]->max(from + (size_t) i * step, count, to);
}

static void clamp_line(const struct op *op, uint8_t *line, size_t n)
{
	if (op->clamp_low == 0 && op->clamp_high == UINT8_MAX)
		return;
	for (size_t i = 0; i < n; i++)
		line[i] = MIN_OF(MAX_OF(line[i], op->clamp_low), op->clamp_high);
}

/* Over the lines first: long runs of neighbours. A window outside of the image gives the zero
 * point. */
static void max_task(void *userdata, uint32_t oy, uint32_t thread)
{
	const struct run *r = userdata;
	const struct shape in = run_input_value(r, 0)->shape, out = run_output_value(r)->shape;
	const size_t line = (size_t) in.width * in.channels,
		     out_line = (size_t) out.width * out.channels;
	const struct reach lines = find_lines(r, oy);
	uint8_t *highest = run_scratch(r, thread);
	uint8_t *to = (uint8_t *) run_output(r) + oy * out_line;

	memset(to, run_output_value(r)->zero_point, out_line);
	if (reach_count(lines) == 0)
		return clamp_line(r->op, to, out_line);
	max_into(r, (const uint8_t *) run_input(r, 0) + (size_t) lines.begin * line, line,
		reach_count(lines), (uint32_t) line, highest);
	for (uint32_t ox = 0; ox < out.width; ox++) {
		const struct reach pixels = find_pixels(r, ox);

		if (reach_count(pixels) > 0)
			max_into(r, highest + (size_t) pixels.begin * in.channels, in.channels,
				reach_count(pixels), in.channels, to + (size_t) ox * in.channels);
	}
	clamp_line(r->op, to, out_line);
}

void step_max_pool(const struct run *r)
{
	run_pool(r, max_task);
}

/* Sum of all pixels of a window, zero points included. */
static void sum_window(const struct run *r, struct reach lines, struct reach pixels, int32_t *acc)
{
	const struct shape in = run_input_value(r, 0)->shape;

	memset(acc, 0, in.channels * sizeof *acc);
	for (int64_t y = lines.begin; y < lines.end; y++)
		for (int64_t x = pixels.begin; x < pixels.end; x++)
			r->plan->kernels[KERNEL_SUM]->sum_rows(
				(const uint8_t *) run_input(r, 0) +
					((size_t) y * in.width + (size_t) x) * in.channels,
				in.channels, acc);
}

static void average_u8(
	const struct run *r, const int32_t *acc, int32_t zeros, float factor, uint8_t *out)
{
	const struct value *v = run_output_value(r);
	const float low = (float) (r->op->clamp_low - v->zero_point);
	const float high = (float) (r->op->clamp_high - v->zero_point);

	for (uint32_t c = 0; c < v->shape.channels; c++)
		out[c] = round_u8((float) (acc[c] - zeros) * factor, low, high, v->zero_point);
}

static void average_pixel(
	const struct run *r, struct reach lines, struct reach pixels, size_t at, int32_t *acc)
{
	const struct op *op = r->op;
	const struct value *v = run_output_value(r);
	int32_t inside = (int32_t) (reach_count(lines) * reach_count(pixels));
	int32_t n = op->count_padding ? (int32_t) (op->kernel_h * op->kernel_w) : inside;
	int32_t zeros = inside * run_input_value(r, 0)->zero_point;
	float factor = op->gain[0] / (float) MAX_OF(n, 1);

	sum_window(r, lines, pixels, acc);
	if (v->element == ELEMENT_U8) {
		average_u8(r, acc, zeros, factor, (uint8_t *) run_output(r) + at);
		return;
	}
	for (uint32_t c = 0; c < v->shape.channels; c++)
		((float *) run_output(r))[at + c] = (float) (acc[c] - zeros) * factor;
}

static void average_task(void *userdata, uint32_t oy, uint32_t thread)
{
	const struct run *r = userdata;
	const struct shape out = run_output_value(r)->shape;
	const struct reach lines = find_lines(r, oy);

	for (uint32_t ox = 0; ox < out.width; ox++)
		average_pixel(r, lines, find_pixels(r, ox),
			((size_t) oy * out.width + ox) * out.channels,
			(int32_t *) run_scratch(r, thread));
}

void step_average_pool(const struct run *r)
{
	run_pool(r, average_task);
}
