/* SPDX-License-Identifier: Apache-2.0 */
/* All calibration samples between two steps of a plan at once: an arena for each. */
#include "convert/bench.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define ARENAS_BYTES_MAX (UINT64_C(1) << 30)

void bench_done(struct bench *b)
{
	for (uint32_t i = 0; b->spaces && i < b->n_threads; i++)
		workspace_done(&b->spaces[i]);
	free(b->spaces);
	free(b->inputs);
	free(b->arenas);
	free(b->gain);
	free(b->bias);
	*b = (struct bench){};
}

static int load(struct bench *b, struct samples *samples, uint32_t limit)
{
	uint64_t total = dataset_count(samples->data);
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < b->n_samples; i++) {
		uint32_t at = (uint32_t) (i * total / limit);
		uint8_t *to = b->inputs + i * b->input_bytes;

		r = b->pixels ? dataset_pixels(samples->data, at, to)
			      : dataset_floats(samples->data, at, (float *) (void *) to);
	}
	return r;
}

int bench_init(struct bench *b, struct samples *samples, uint32_t limit, uint32_t rows,
	struct threads *threads, struct error *reterr)
{
	size_t n = samples_elements(samples);
	int r;

	*b = (struct bench){.threads = threads, .n_threads = threads ? threads_count(threads) : 1,
		.n_samples = limit, .pixels = samples->pixels,
		.input_bytes = n * (samples->pixels ? 1 : sizeof(float))};
	b->inputs = malloc(b->input_bytes * b->n_samples + 1);
	b->spaces = calloc(b->n_threads, sizeof *b->spaces);
	b->gain = malloc(rows * sizeof *b->gain);
	b->bias = malloc(rows * sizeof *b->bias);
	if (!b->inputs || !b->spaces || !b->gain || !b->bias)
		return -ENOMEM;
	r = load(b, samples, limit);
	return r < 0 ? error_set(reterr, r, "the calibration data cannot be read") : 0;
}

int bench_reserve(struct bench *b, const struct plan *plan)
{
	size_t each = bytes_align(plan->arena_bytes, 64), all;

	for (uint32_t i = 0; i < b->n_threads; i++) {
		int r = workspace_reserve(&b->spaces[i], plan, 1);

		if (r < 0)
			return r;
	}
	if (each <= b->arena_bytes)
		return 0;
	b->n_samples = (uint32_t) MIN_OF(b->n_samples, MAX_OF(ARENAS_BYTES_MAX / each, 1));
	if (!bytes_mul(&all, each, b->n_samples))
		return -ENOMEM;
	free(b->arenas);
	b->arenas = aligned_alloc(64, all);
	b->arena_bytes = b->arenas ? each : 0;
	return b->arenas ? 0 : -ENOMEM;
}

struct workspace bench_space(const struct bench *b, uint32_t sample, uint32_t thread)
{
	struct workspace w = b->spaces[thread];

	w.arena = b->arenas + sample * b->arena_bytes;
	w.arena_bytes = b->arena_bytes;
	return w;
}
