/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/exec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "engine/exec_steps.h"

#define WORKSPACE_ALIGN 64

void workspace_done(struct workspace *w)
{
	free(w->arena);
	free(w->scratch);
	*w = (struct workspace){};
}

static uint8_t *allocate(size_t bytes)
{
	if (!bytes_add(&bytes, bytes, WORKSPACE_ALIGN))
		return NULL;
	return aligned_alloc(WORKSPACE_ALIGN, bytes & ~(size_t) (WORKSPACE_ALIGN - 1));
}

static int reserve_arena(struct workspace *w, size_t bytes)
{
	uint8_t *p;

	if (w->arena && bytes <= w->arena_bytes)
		return 0;
	p = allocate(bytes);
	if (!p)
		return -ENOMEM;
	free(w->arena);
	w->arena = p;
	w->arena_bytes = bytes;
	return 0;
}

int workspace_reserve(struct workspace *w, const struct plan *plan, uint32_t threads)
{
	size_t each = MAX_OF(w->scratch_bytes, bytes_align(plan->scratch_bytes, WORKSPACE_ALIGN));
	size_t all;
	uint8_t *p;
	int r;

	threads = MAX_OF(threads, w->threads);
	r = reserve_arena(w, plan->arena_bytes);
	if (r < 0)
		return r;
	if (w->scratch && each == w->scratch_bytes && threads == w->threads)
		return 0;
	if (!bytes_mul(&all, each, threads))
		return -ENOMEM;
	p = allocate(all);
	if (!p)
		return -ENOMEM;
	free(w->scratch);
	w->scratch = p;
	w->scratch_bytes = each;
	w->threads = threads;
	return 0;
}

void run_requantize(const struct run *r, const int32_t *acc, uint32_t count, uint32_t channels,
	const float *gain, const float *bias, uint32_t repeat, uint8_t *out)
{
	requantize_fn *requantize = r->plan->kernels[KERNEL_REQUANTIZE]->requantize;
	int32_t zero_point = run_output_value(r)->zero_point;

	for (uint32_t i = 0; i < count; i += repeat) {
		uint32_t n = MIN_OF(repeat, count - i) * channels;

		requantize(
			acc, n, gain, bias, zero_point, r->op->clamp_low, r->op->clamp_high, out);
		acc += n;
		out += n;
	}
}

void run_to_float(
	const int32_t *acc, uint32_t count, const float *gain, const float *bias, float *out)
{
	for (uint32_t i = 0; i < count; i++)
		out[i] = (float) acc[i] * gain[i] + bias[i];
}

static void run_step(const struct run *r)
{
	switch (r->op->kind) {
	case OP_INPUT:
		return step_input(r);
	case OP_CONVOLUTION:
		return step_convolution(r);
	case OP_DEPTHWISE:
		return step_depthwise(r);
	case OP_ADD:
		return step_add(r);
	case OP_MAX_POOL:
		return step_max_pool(r);
	case OP_AVERAGE_POOL:
		return step_average_pool(r);
	case OP_CONCAT:
		return step_concat(r);
	case OP_PAD:
		return step_pad(r);
	case OP_SLICE:
		return step_slice(r);
	case OP_RESHAPE:
		return; /* plan_layout() gave both values the same bytes */
	case OP_TABLE:
		return step_table(r);
	case OP_TO_FLOAT:
		return step_to_float(r);
	case OP_SOFTMAX:
		return step_softmax(r);
	case _OP_KIND_MAX:
		return;
	}
}

int exec_step(const struct plan *plan, struct workspace *w, struct threads *threads,
	enum input_type type, const void *input, uint32_t step)
{
	struct run r = {
		.plan = plan,
		.network = plan->model->network,
		.step = &plan->steps[step],
		.op = plan->steps[step].op,
		.arena = w->arena,
		.scratch = w->scratch,
		.scratch_bytes = w->scratch_bytes,
		.threads = threads,
		.type = type,
		.input = input,
	};

	assert(w->arena_bytes >= plan->arena_bytes && w->scratch_bytes >= plan->scratch_bytes);
	assert(w->threads >= threads_count(threads));
	if (type == INPUT_PIXELS && plan->input_pixels_bytes == 0)
		return -EINVAL;
	run_step(&r);
	return 0;
}

int exec_run(const struct plan *plan, struct workspace *w, struct threads *threads,
	enum input_type type, const void *input, float *output)
{
	for (uint32_t i = 0; i < plan->n_steps; i++) {
		int r = exec_step(plan, w, threads, type, input, i);

		if (r < 0)
			return r;
	}
	memcpy(output, exec_value(plan, w, plan->model->network->output), plan->output_bytes);
	return 0;
}

const void *exec_value(const struct plan *plan, const struct workspace *w, uint32_t value)
{
	return w->arena + plan->value_offset[value];
}
