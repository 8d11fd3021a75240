/* SPDX-License-Identifier: Apache-2.0 */
/* What exec.c and the files of its steps share. One function per op; it runs the step and returns.
 */
#pragma once

#include <string.h>

#include "engine/exec.h"
#include "engine/kernels/copy.h"

/**
 * struct run - one exec_run(), on the caller's stack
 * @scratch: of all threads, each @scratch_bytes after the last one
 */
struct run {
	const struct plan *plan;
	const struct network *network;
	const struct step *step;
	const struct op *op;
	uint8_t *arena, *scratch;
	size_t scratch_bytes;
	struct threads *threads;
	enum input_type type;
	const void *input;
};

static inline const struct value *run_value(const struct run *r, uint32_t value)
{
	return &r->network->values[value];
}

static inline void *run_data(const struct run *r, uint32_t value)
{
	return r->arena + r->plan->value_offset[value];
}

static inline const struct value *run_input_value(const struct run *r, uint32_t i)
{
	return run_value(r, r->op->inputs[i]);
}

static inline const void *run_input(const struct run *r, uint32_t i)
{
	return run_data(r, r->op->inputs[i]);
}

static inline const struct value *run_output_value(const struct run *r)
{
	return run_value(r, r->op->output);
}

static inline void *run_output(const struct run *r)
{
	return run_data(r, r->op->output);
}

static inline uint8_t *run_scratch(const struct run *r, uint32_t thread)
{
	return r->scratch + thread * r->scratch_bytes;
}

/** run_threads() - who shall share @work, about how many nanoseconds one thread takes for it */
static inline struct threads *run_threads(const struct run *r, uint64_t work)
{
	return work < r->plan->work_min ? NULL : r->threads;
}

static inline void run_tasks(
	const struct run *r, threads_fn *fn, void *userdata, uint64_t n_tasks, uint64_t work)
{
	threads_run(run_threads(r, work), fn, userdata, (uint32_t) n_tasks);
}

/**
 * run_requantize() - many short rows of sums with the same gains, as few calls
 * @acc: [count][channels]; @gain, @bias: [channels * repeat], the same @repeat times over
 */
void run_requantize(const struct run *r, const int32_t *acc, uint32_t count, uint32_t channels,
	const float *gain, const float *bias, uint32_t repeat, uint8_t *out);

/** run_to_float() - out[i] = acc[i] * gain[i] + bias[i], what follows a product that ends a network
 */
void run_to_float(
	const int32_t *acc, uint32_t count, const float *gain, const float *bias, float *out);

void step_input(const struct run *r);
void step_convolution(const struct run *r);
void step_depthwise(const struct run *r);
void step_add(const struct run *r);
void step_max_pool(const struct run *r);
void step_average_pool(const struct run *r);
void step_concat(const struct run *r);
void step_pad(const struct run *r);
void step_slice(const struct run *r);
void step_table(const struct run *r);
void step_to_float(const struct run *r);
void step_softmax(const struct run *r);

/**
 * struct gather - where the columns of a convolution come from
 * @kernel: for taps that are neighbours in memory
 * @channels: of one pixel; @first_channel, @group_channels: of this group
 * @stride: bytes from one column to the next; beyond the taps it is filled with zeros
 */
struct gather {
	const struct kernel *kernel;
	const struct op *op;
	struct shape image;
	const uint8_t *data;
	uint32_t first_channel, group_channels;
	uint32_t out_width;
	size_t stride;
	uint8_t zero_point;
};

/**
 * struct lines - output lines [line, line + lines), of these channels of the input
 * @width: of an input line with padding, in pixels
 */
struct lines {
	uint32_t channel, channels, line, lines;
	size_t width;
};

/** pad_lines() - what the taps of @l reach, [plan_reached_lines()][width][channels]; in exec_lines.c */
void pad_lines(const struct run *r, struct lines l, uint8_t *to);

/** pack_image() - the input of a convolution to bit planes, padded; see struct packed */
void pack_image(const struct run *r);

/** gather_bits() - columns @first .. @first + @count from what pack_image() left, [count][planes][words] */
void gather_bits(const struct run *r, uint64_t first, uint32_t count, uint64_t *bits);

/** gather_columns() - columns @first .. @first + @count of the output's pixels into @out */
void gather_columns(const struct gather *g, uint64_t first, uint32_t count, uint8_t *out);
