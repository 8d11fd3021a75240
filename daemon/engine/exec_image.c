/* SPDX-License-Identifier: Apache-2.0 */
/* Steps that take each value by itself, or just move them. A task is a run of values or a line. */
#include <string.h>

#include "engine/exec_steps.h"

#define CHUNK (16 * 1024)
#define BYTES_PER_NSEC 4

static void run_chunks(const struct run *r, threads_fn *fn)
{
	uint64_t n = shape_elements(run_output_value(r)->shape);

	run_tasks(r, fn, (void *) r, (n + CHUNK - 1) / CHUNK, n / BYTES_PER_NSEC);
}

static void run_lines(const struct run *r, threads_fn *fn)
{
	const struct shape *out = &run_output_value(r)->shape;

	run_tasks(r, fn, (void *) r, out->height, shape_elements(*out) / BYTES_PER_NSEC);
}

static uint64_t chunk_count(const struct run *r, uint64_t first)
{
	return MIN_OF(CHUNK, shape_elements(run_output_value(r)->shape) - first);
}

static void *output_line(const struct run *r, uint32_t y)
{
	const struct value *v = run_output_value(r);
	size_t bytes = v->element == ELEMENT_F32 ? sizeof(float) : 1;

	return (uint8_t *) run_output(r) + (size_t) y * v->shape.width * v->shape.channels * bytes;
}

/* Each byte of the input is read once: a client may be writing to it. */
static void pixels_task(void *userdata, uint32_t y, uint32_t thread)
{
	const struct run *r = userdata;
	const struct shape s = run_output_value(r)->shape;
	const uint8_t *from = (const uint8_t *) r->input + (size_t) y * s.width * s.channels;
	const bool swap = r->network->input_bgr && s.channels == 3;
	uint8_t *to = output_line(r, y);

	for (uint32_t x = 0; x < s.width; x++, from += s.channels, to += s.channels)
		for (uint32_t c = 0; c < s.channels; c++)
			to[c] = r->op->table[c][from[swap ? 2 - c : c]];
}

static void floats_task(void *userdata, uint32_t task, uint32_t thread)
{
	const struct run *r = userdata;
	const struct value *v = run_output_value(r);
	const uint64_t first = (uint64_t) task * CHUNK, n = chunk_count(r, first);

	r->plan->kernels[KERNEL_QUANTIZE]->quantize((const float *) r->input + first, (uint32_t) n,
		1.0f / v->scale, v->zero_point, (uint8_t *) run_output(r) + first);
}

void step_input(const struct run *r)
{
	if (r->type == INPUT_PIXELS)
		run_lines(r, pixels_task);
	else
		run_chunks(r, floats_task);
}

static void add_task(void *userdata, uint32_t task, uint32_t thread)
{
	const struct run *r = userdata;
	const uint64_t first = (uint64_t) task * CHUNK;
	const struct kernel_add p = {
		.gain_a = r->op->gain[0],
		.gain_b = r->op->gain[1],
		.zero_a = run_input_value(r, 0)->zero_point,
		.zero_b = run_input_value(r, 1)->zero_point,
		.zero_out = run_output_value(r)->zero_point,
		.low = r->op->clamp_low,
		.high = r->op->clamp_high,
	};

	r->plan->kernels[KERNEL_ADD]->add(&p, (const uint8_t *) run_input(r, 0) + first,
		(const uint8_t *) run_input(r, 1) + first, chunk_count(r, first),
		(uint8_t *) run_output(r) + first);
}

void step_add(const struct run *r)
{
	run_chunks(r, add_task);
}

static void table_task(void *userdata, uint32_t task, uint32_t thread)
{
	const struct run *r = userdata;
	const uint64_t first = (uint64_t) task * CHUNK;

	r->plan->kernels[KERNEL_TABLE]->table(r->op->table[0],
		(const uint8_t *) run_input(r, 0) + first, chunk_count(r, first),
		(uint8_t *) run_output(r) + first);
}

void step_table(const struct run *r)
{
	run_chunks(r, table_task);
}

static bool table_changes_nothing(const uint8_t table[256])
{
	for (uint32_t i = 0; i < 256; i++)
		if (table[i] != i)
			return false;
	return true;
}

static void copy_pixels(const uint8_t *from, size_t from_step, uint8_t *to, size_t to_step,
	uint32_t n, size_t bytes)
{
	for (uint32_t x = 0; x < n; x++, from += from_step, to += to_step)
		memcpy(to, from, bytes);
}

/* One line of part @i to its channels, @to is where they begin. */
static void concat_part(const struct run *r, uint32_t i, uint32_t y, uint8_t *to)
{
	const struct shape in = run_input_value(r, i)->shape;
	const size_t step = run_output_value(r)->shape.channels;
	const uint8_t *from =
		(const uint8_t *) run_input(r, i) + (size_t) y * in.width * in.channels;

	if (table_changes_nothing(r->op->table[i])) {
		copy_pixels(from, in.channels, to, step, in.width, in.channels);
		return;
	}
	for (uint32_t x = 0; x < in.width; x++, from += in.channels, to += step)
		r->plan->kernels[KERNEL_TABLE]->table(r->op->table[i], from, in.channels, to);
}

static void concat_task(void *userdata, uint32_t y, uint32_t thread)
{
	const struct run *r = userdata;
	uint8_t *to = output_line(r, y);

	for (uint32_t i = 0; i < r->op->n_inputs; i++) {
		concat_part(r, i, y, to);
		to += run_input_value(r, i)->shape.channels;
	}
}

void step_concat(const struct run *r)
{
	run_lines(r, concat_task);
}

static void pad_task(void *userdata, uint32_t y, uint32_t thread)
{
	const struct run *r = userdata;
	const struct op *op = r->op;
	const struct shape in = run_input_value(r, 0)->shape, out = run_output_value(r)->shape;
	uint8_t *to = output_line(r, y);

	memset(to, run_input_value(r, 0)->zero_point, (size_t) out.width * out.channels);
	if (y < op->pad_top || y - op->pad_top >= in.height)
		return;
	copy_pixels((const uint8_t *) run_input(r, 0) +
			    (size_t) (y - op->pad_top) * in.width * in.channels,
		in.channels, to + (size_t) op->pad_left * out.channels + op->pad_channels_before,
		out.channels, in.width, in.channels);
}

void step_pad(const struct run *r)
{
	run_lines(r, pad_task);
}

static void slice_task(void *userdata, uint32_t y, uint32_t thread)
{
	const struct run *r = userdata;
	const struct op *op = r->op;
	const struct value *v = run_output_value(r);
	const struct shape in = run_input_value(r, 0)->shape, out = v->shape;
	const size_t bytes = v->element == ELEMENT_F32 ? sizeof(float) : 1;
	const size_t line = (size_t) op->begin[0] + (size_t) y * op->step[0];
	uint8_t *to = output_line(r, y);

	for (uint32_t x = 0; x < out.width; x++, to += out.channels * bytes) {
		size_t pixel = line * in.width + op->begin[1] + (size_t) x * op->step[1];
		const uint8_t *from = (const uint8_t *) run_input(r, 0) +
				      (pixel * in.channels + op->begin[2]) * bytes;

		if (op->step[2] == 1)
			memcpy(to, from, out.channels * bytes);
		else
			copy_pixels(from, op->step[2] * bytes, to, bytes, out.channels, bytes);
	}
}

void step_slice(const struct run *r)
{
	run_lines(r, slice_task);
}

static void to_float_task(void *userdata, uint32_t task, uint32_t thread)
{
	const struct run *r = userdata;
	const struct value *in = run_input_value(r, 0);
	const uint64_t first = (uint64_t) task * CHUNK, n = chunk_count(r, first);
	const uint8_t *from = (const uint8_t *) run_input(r, 0) + first;
	float *to = (float *) run_output(r) + first;

	for (uint64_t i = 0; i < n; i++)
		to[i] = (float) (from[i] - in->zero_point) * in->scale;
}

void step_to_float(const struct run *r)
{
	run_chunks(r, to_float_task);
}

static void softmax_task(void *userdata, uint32_t y, uint32_t thread)
{
	const struct run *r = userdata;
	const struct shape s = run_output_value(r)->shape;
	const float *from = (const float *) run_input(r, 0) + (size_t) y * s.width * s.channels;
	float *to = output_line(r, y);

	for (uint32_t x = 0; x < s.width; x++, from += s.channels, to += s.channels)
		r->plan->kernels[KERNEL_SOFTMAX]->softmax(from, s.channels, to);
}

void step_softmax(const struct run *r)
{
	run_lines(r, softmax_task);
}
