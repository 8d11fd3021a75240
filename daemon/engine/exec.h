/* SPDX-License-Identifier: Apache-2.0 */
/* Runs plans. */
#pragma once

#include "engine/plan.h"

/**
 * struct workspace - memory for one request at a time; grows to the largest plan it has served
 * @threads: there is scratch for so many
 * @threads_max: a run uses at most so many, of its owner; 0: all
 */
struct workspace {
	uint8_t *arena, *scratch;
	size_t arena_bytes, scratch_bytes; /* scratch: per thread */
	uint32_t threads, threads_max;
};

void workspace_done(struct workspace *w);

/** workspace_reserve() - make room for @plan on @threads threads. Return: 0 or -ENOMEM, old room kept */
int workspace_reserve(struct workspace *w, const struct plan *plan, uint32_t threads);

enum input_type {
	INPUT_PIXELS, /* u8 RGB, NHWC, plan->input_pixels_bytes */
	INPUT_FLOATS, /* f32, NHWC, plan->input_floats_bytes, already preprocessed */
};

/**
 * exec_run() - one inference
 * @w: reserved for @plan and @threads
 * @threads: may be NULL: this thread alone
 * @input: may be changed by a hostile client while it is read: only ever data
 * @output: plan->output_bytes of float32
 *
 * Allocates nothing. The result depends on @plan and @input only, not on kernels or threads.
 * Return: 0, or -EINVAL when the network does not take pixels. Thread: the owner of @w.
 */
int exec_run(const struct plan *plan, struct workspace *w, struct threads *threads,
	enum input_type type, const void *input, float *output);

/**
 * exec_step() - step @step of exec_run() alone, for those who look between two steps
 *
 * All steps in their order, in one arena, leave the network's output at exec_value(). Else as exec_run().
 */
int exec_step(const struct plan *plan, struct workspace *w, struct threads *threads,
	enum input_type type, const void *input, uint32_t step);

/** exec_value() - after exec_run(): a value's bytes, if no later value has reused them; for tests */
const void *exec_value(const struct plan *plan, const struct workspace *w, uint32_t value);
