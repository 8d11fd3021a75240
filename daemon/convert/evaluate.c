/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the integer engine and of the fp32 interpreter over a data set, and what they are worth. */
#include "convert/evaluate.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "engine/exec.h"

/* Samples of one task: enough to forget the cost of handing it out. */
#define CHUNK 8

void outputs_done(struct outputs *o)
{
	free(o->values);
	o->values = NULL;
}

/**
 * struct lane - one thread's memory
 */
struct lane {
	struct workspace workspace;
	struct reference *reference;
	uint8_t *pixels;
	float *input;
};

struct run {
	struct plan *plan;     /* the engine, */
	const struct net *net; /* or else the interpreter */
	struct samples *samples;
	struct outputs *out;
	struct lane *lanes;
	uint32_t n_lanes, done;
	int r;
	const struct progress *progress;
};

static void run_done(struct run *run)
{
	for (uint32_t i = 0; run->lanes && i < run->n_lanes; i++) {
		workspace_done(&run->lanes[i].workspace);
		reference_free(run->lanes[i].reference);
		free(run->lanes[i].pixels);
		free(run->lanes[i].input);
	}
	free(run->lanes);
	plan_unref(run->plan);
}

static int lane_init(struct run *run, struct lane *l)
{
	size_t n = samples_elements(run->samples);

	l->pixels = malloc(n);
	l->input = malloc(n * sizeof *l->input);
	if (!l->pixels || !l->input)
		return -ENOMEM;
	return run->plan ? workspace_reserve(&l->workspace, run->plan, 1)
			 : reference_new(&l->reference, run->net);
}

static int run_model(struct run *run, struct lane *l, uint32_t i, float *out)
{
	bool pixels = run->samples->pixels;
	int r = pixels ? dataset_pixels(run->samples->data, i, l->pixels)
		       : dataset_floats(run->samples->data, i, l->input);

	if (r < 0)
		return r;
	return exec_run(run->plan, &l->workspace, NULL, pixels ? INPUT_PIXELS : INPUT_FLOATS,
		pixels ? (const void *) l->pixels : l->input, out);
}

static int run_net(struct run *run, struct lane *l, uint32_t i, float *out)
{
	int r = samples_chw(run->samples, i, l->pixels, l->input);

	if (r < 0)
		return r;
	reference_run(l->reference, l->input);
	memcpy(out, reference_value(l->reference, run->net->output), run->out->classes * sizeof *out);
	return 0;
}

static void run_chunk(void *userdata, uint32_t task, uint32_t thread)
{
	struct run *run = userdata;
	struct lane *l = &run->lanes[thread];
	uint32_t end = MIN_OF((task + 1) * CHUNK, run->out->count);

	for (uint32_t i = task * CHUNK; i < end; i++) {
		float *out = run->out->values + (size_t) i * run->out->classes;
		int r = run->plan ? run_model(run, l, i, out) : run_net(run, l, i, out);

		if (r < 0) {
			__atomic_store_n(&run->r, r, __ATOMIC_RELAXED);
			return;
		}
		progress_step(run->progress, run->plan ? "evaluating" : "fp32 reference",
			__atomic_add_fetch(&run->done, 1, __ATOMIC_RELAXED), run->out->count);
	}
}

static int run_all(struct run *run, uint32_t limit, struct threads *threads, struct error *reterr)
{
	uint32_t total = dataset_count(run->samples->data);
	uint64_t start;
	int r = 0;

	run->out->count = limit ? MIN_OF(limit, total) : total;
	run->out->values = calloc((size_t) run->out->count * run->out->classes + 1, sizeof(float));
	run->n_lanes = threads ? threads_count(threads) : 1;
	run->lanes = calloc(run->n_lanes, sizeof *run->lanes);
	if (!run->out->values || !run->lanes)
		return -ENOMEM;
	for (uint32_t i = 0; r >= 0 && i < run->n_lanes; i++)
		r = lane_init(run, &run->lanes[i]);
	if (r < 0)
		return r;
	start = clock_now_nsec();
	threads_run(threads, run_chunk, run, (run->out->count + CHUNK - 1) / CHUNK);
	run->out->seconds = (double) (clock_now_nsec() - start) / (double) NSEC_PER_SEC;
	if (run->r < 0)
		return error_set(reterr, run->r, "an item of the data cannot be read");
	return 0;
}

int evaluate_outputs(struct outputs *ret, struct model *model, struct samples *samples, uint32_t limit,
	struct threads *threads, const struct progress *progress, struct error *reterr)
{
	struct outputs out = {};
	_cleanup_(run_done) struct run run = {.samples = samples, .out = &out, .progress = progress};
	int r;

	if (samples->pixels && !model->network->input_pixels)
		return error_set(reterr, -EINVAL, "the network takes floats, the data are pictures");
	r = plan_new(&run.plan, model, cpu_flags(), reterr);
	if (r < 0)
		return r;
	out.classes = (uint32_t) (run.plan->output_bytes / sizeof(float));
	r = run_all(&run, limit, threads, reterr);
	if (r < 0) {
		outputs_done(&out);
		return r;
	}
	*ret = out;
	return 0;
}

int evaluate_reference(struct outputs *ret, const struct net *net, struct samples *samples,
	uint32_t limit, struct threads *threads, const struct progress *progress,
	struct error *reterr)
{
	struct outputs out = {.classes = (uint32_t) net_elements(&net->values[net->output].shape)};
	_cleanup_(run_done) struct run run = {
		.net = net, .samples = samples, .out = &out, .progress = progress};
	int r = run_all(&run, limit, threads, reterr);

	if (r < 0) {
		outputs_done(&out);
		return r;
	}
	*ret = out;
	return 0;
}

void outputs_top(const float *values, uint32_t classes, uint32_t n, uint32_t *ret)
{
	for (uint32_t have = 0, i = 0; i < classes; i++) {
		uint32_t at = have < n ? have++ : n;

		while (at > 0 && values[i] > values[ret[at - 1]]) {
			if (at < n)
				ret[at] = ret[at - 1];
			at--;
		}
		if (at < n)
			ret[at] = i;
	}
}

uint32_t evaluate_accuracy(const struct outputs *o, const struct samples *samples, int label_offset,
	double *ret_top1, double *ret_top5)
{
	uint32_t top[5], n = MIN_OF(5, o->classes), known = 0, first = 0, among = 0;

	for (uint32_t i = 0; i < o->count; i++) {
		int label = dataset_label(samples->data, i);

		if (label < 0)
			continue;
		known++;
		outputs_top(o->values + (size_t) i * o->classes, o->classes, n, top);
		for (uint32_t j = 0; j < n; j++)
			if (top[j] == (uint32_t) (label + label_offset)) {
				among++;
				first += j == 0;
			}
	}
	*ret_top1 = known ? 100.0 * first / known : 0;
	*ret_top5 = known ? 100.0 * among / known : 0;
	return known;
}

int evaluate_label_offset(uint32_t classes, const struct dataset *data)
{
	if (classes != 1001)
		return 0;
	for (uint32_t i = 0; i < dataset_count(data); i++)
		if (dataset_label(data, i) >= 1000)
			return 0;
	return 1;
}

void evaluate_agreement(const struct outputs *o, const struct outputs *reference, double *ret_percent,
	double *ret_snr)
{
	uint32_t same = 0, count = MIN_OF(o->count, reference->count);
	double signal = 0, noise = 0;

	for (uint32_t i = 0; i < count; i++) {
		const float *a = o->values + (size_t) i * o->classes;
		const float *b = reference->values + (size_t) i * o->classes;
		uint32_t top_a = 0, top_b = 0;

		outputs_top(a, o->classes, 1, &top_a);
		outputs_top(b, o->classes, 1, &top_b);
		same += top_a == top_b;
		for (uint32_t j = 0; j < o->classes; j++) {
			signal += (double) b[j] * b[j];
			noise += ((double) a[j] - b[j]) * ((double) a[j] - b[j]);
		}
	}
	*ret_percent = count ? 100.0 * same / count : 0;
	*ret_snr = noise > 0 ? 10 * log10(signal / noise) : INFINITY;
}
