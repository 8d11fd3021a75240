/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/evaluate_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "engine/kernels/cpu.h"
#include "worker/client.h"

/* Drivers compile for long, and computing is as slow as they are. */
#define BUILD_NSEC (600 * NSEC_PER_SEC)
#define RUN_NSEC (60 * NSEC_PER_SEC)

/** struct evaluate_device - @head: of the model file; @serial: of its plans */
struct evaluate_device {
	struct worker_client worker;
	int head;
	uint64_t serial;
};

struct evaluate_device *evaluate_device_free(struct evaluate_device *d)
{
	if (!d)
		return NULL;
	worker_stop(&d->worker);
	close_fdp(&d->head);
	free(d);
	return NULL;
}

static void hear_tested(const char *kernel, int result, const char *why, void *userdata)
{
	fprintf(stderr, "bitshed-model: kernel %s is left out: %s\n", kernel,
		result == -EILSEQ ? "its numbers are wrong" : why);
}

static int test(struct evaluate_device *d, struct error *reterr)
{
	const struct worker_test all = {.header = worker_header(WORKER_TEST)};
	struct worker_trial trial = {.tested = hear_tested};
	int r = worker_test(&d->worker, &all, BUILD_NSEC, &trial, reterr);

	return worker_is_lost(r) ? error_set(reterr, r, "the worker died at kernel %s", trial.trying) : r;
}

static int greet(struct evaluate_device *d, const char *wanted, struct error *reterr)
{
	struct worker_welcome welcome;
	int r = worker_hello(&d->worker, wanted, 0, BUILD_NSEC, &welcome, reterr);

	if (r >= 0)
		fprintf(stderr, "bitshed-model: %s, %s, driver %s\n", welcome.platform, welcome.device,
			welcome.driver);
	return r;
}

static int read_head(struct evaluate_device *d, const char *model, struct error *reterr)
{
	_cleanup_close_ int fd = open(model, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_set(reterr, -errno, "%s: %s", model, strerror(errno));
	return network_head(&d->head, fd, reterr);
}

int evaluate_device_open(struct evaluate_device **ret, const char *wanted, const char *model, struct error *reterr)
{
	_cleanup_(evaluate_device_freep) struct evaluate_device *d = calloc(1, sizeof *d);
	const char *folder = getenv("BITSHED_LIBEXEC");
	char path[1024];
	int r;

	if (!d)
		return -ENOMEM;
	worker_init(&d->worker);
	d->head = -1;
	(void) snprintf(path, sizeof path, "%s/bitshed-worker", folder ?: BITSHED_LIBEXEC_DIR);
	r = read_head(d, model, reterr);
	if (r >= 0)
		r = worker_start(&d->worker, path, reterr);
	if (r >= 0)
		r = greet(d, wanted, reterr);
	if (r >= 0)
		r = test(d, reterr);
	if (r >= 0)
		*ret = take_ptr(d);
	return r;
}

/** struct batch - items that run together: their inputs one after the other */
struct batch {
	struct worker_job jobs[WORKER_BATCH];
	uint8_t *inputs;
	size_t input_bytes;
	bool pixels;
};

static int fill_batch(struct batch *b, struct samples *samples, struct outputs *out, uint32_t first, uint32_t n)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < n; i++) {
		uint8_t *to = b->inputs + i * b->input_bytes;

		b->jobs[i] = (struct worker_job){
			.input = to, .output = out->values + (size_t) (first + i) * out->classes};
		r = b->pixels ? dataset_pixels(samples->data, first + i, to)
			      : dataset_floats(samples->data, first + i, (float *) (void *) to);
	}
	return r;
}

static int run_all(struct evaluate_device *d, const struct plan *plan, struct samples *samples,
	struct outputs *out, const struct progress *progress, struct error *reterr)
{
	struct batch b = {.pixels = samples->pixels,
		.input_bytes = samples->pixels ? plan->input_pixels_bytes : plan->input_floats_bytes};
	_cleanup_free_ uint8_t *inputs = b.inputs = malloc(WORKER_BATCH * plan->input_floats_bytes);

	if (!inputs)
		return -ENOMEM;
	for (uint32_t i = 0; i < out->count; i += WORKER_BATCH) {
		uint32_t n = MIN_OF(out->count - i, WORKER_BATCH);
		int r = fill_batch(&b, samples, out, i, n);

		if (r < 0)
			return error_set(reterr, r, "an item of the data cannot be read");
		r = worker_run(&d->worker, d->serial, plan, b.pixels ? INPUT_PIXELS : INPUT_FLOATS, b.jobs,
			n, RUN_NSEC, reterr);
		if (r < 0)
			return worker_is_lost(r) ? error_set(reterr, r, "the worker died or hangs") : r;
		progress_step(progress, "evaluating", i + n, out->count);
	}
	return 0;
}

static int load(struct evaluate_device *d, const struct plan *plan, struct error *reterr)
{
	struct worker_loaded loaded;
	int r = worker_reserve(&d->worker, plan, BUILD_NSEC);

	if (r >= 0)
		r = worker_load(&d->worker, ++d->serial, plan, d->head, BUILD_NSEC, &loaded, reterr);
	return worker_is_lost(r) ? error_set(reterr, r, "the worker died over the network") : r;
}

int evaluate_device_outputs(struct evaluate_device *d, struct outputs *ret, struct model *model,
	struct samples *samples, uint32_t limit, const struct progress *progress, struct error *reterr)
{
	uint32_t total = dataset_count(samples->data);
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	_cleanup_(outputs_done) struct outputs out = {.count = limit ? MIN_OF(limit, total) : total};
	uint64_t begin, bytes;
	int r;

	if (samples->pixels && !model->network->input_pixels)
		return error_set(reterr, -EINVAL, "the network takes floats, the data are pictures");
	r = plan_new(&plan, model, cpu_flags(), reterr);
	if (r >= 0)
		r = load(d, plan, reterr);
	if (r < 0)
		return r;
	out.classes = (uint32_t) (plan->output_bytes / sizeof(float));
	out.values = calloc((size_t) out.count * out.classes + 1, sizeof(float));
	begin = clock_now_nsec();
	r = out.values ? run_all(d, plan, samples, &out, progress, reterr) : -ENOMEM;
	out.seconds = (double) (clock_now_nsec() - begin) / (double) NSEC_PER_SEC;
	if (r >= 0)
		r = worker_unload(&d->worker, d->serial, BUILD_NSEC, &bytes);
	if (r < 0)
		return r;
	*ret = out;
	out = (struct outputs){};
	return 0;
}
