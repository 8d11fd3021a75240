/* SPDX-License-Identifier: Apache-2.0 */
/* All calibration samples between two steps of a plan at once: an arena for each. */
#pragma once

#include "convert/sample.h"
#include "engine/exec.h"
#include "engine/plan.h"

/**
 * struct bench - @inputs: [n_samples], each input_bytes: pixels or NHWC floats, as exec_run() takes them
 * @arenas: [n_samples], each arena_bytes; @spaces: one per thread, for its scratch
 * @gain, @bias: room for the rows of any matrix
 */
struct bench {
	struct threads *threads;
	uint32_t n_threads, n_samples;
	bool pixels;
	uint8_t *inputs, *arenas;
	size_t input_bytes, arena_bytes;
	struct workspace *spaces;
	float *gain, *bias;
};

void bench_done(struct bench *b);

/**
 * bench_init() - load @limit of @samples, spread evenly, as calibrate_samples() does
 * @rows: of the largest matrix
 */
int bench_init(struct bench *b, struct samples *samples, uint32_t limit, uint32_t rows,
	struct threads *threads, struct error *reterr);

/** bench_reserve() - room to run @plan. Return: 0 or -ENOMEM */
int bench_reserve(struct bench *b, const struct plan *plan);

/** bench_space() - the workspace of one sample, with the scratch of one thread; owned by the bench */
struct workspace bench_space(const struct bench *b, uint32_t sample, uint32_t thread);
