/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed infer: read an input, ask once or many times, print the best classes. */
#include <errno.h>
#include <string.h>

#include "cmd.h"

/* Index of the @rank-th largest, -1 when there is none; the lower index first among equals. */
static long ranked(const float *v, size_t n, const long *taken, size_t rank)
{
	long best = -1;

	for (size_t i = 0; i < n; i++) {
		bool used = false;

		for (size_t j = 0; j < rank; j++)
			used |= taken[j] == (long) i;
		if (!used && (best < 0 || v[i] > v[best]))
			best = (long) i;
	}
	return best;
}

static void print_class_json(const struct bitshed_model *m, const float *output, long i, bool first)
{
	printf("%s{\"index\":%ld,\"value\":%.9g", first ? "" : ",", i, (double) output[i]);
	if ((size_t) i < m->n_labels) {
		printf(",\"label\":");
		json_string(m->labels[i]);
	}
	(void) putchar('}');
}

static void print_top(
	struct command *c, const struct bitshed_model *m, const float *output, size_t n)
{
	long taken[64];
	size_t top = c->top < 64 ? c->top : 64;

	for (size_t i = 0; i < top && i < n; i++) {
		taken[i] = ranked(output, n, taken, i);
		if (taken[i] < 0)
			break; /* nothing but NaN */
		if (c->json)
			print_class_json(m, output, taken[i], i == 0);
		else
			printf("%10.4f  %s%s%ld\n", (double) output[taken[i]],
				(size_t) taken[i] < m->n_labels ? m->labels[taken[i]] : "class",
				(size_t) taken[i] < m->n_labels ? "  #" : " ", taken[i]);
	}
}

static void print_result(struct command *c, const struct bitshed_model *m, const float *output,
	size_t n, const struct bitshed_result *r)
{
	char run[16], queued[16];

	if (!c->json) {
		print_top(c, m, output, n);
		printf("%.3g bits on %s by %s, computed in %s after waiting %s\n", r->bits,
			r->device, r->rule, time_text(run, r->run_nsec),
			time_text(queued, r->queue_nsec));
		return;
	}
	printf("{\"model\":");
	json_string(m->name);
	printf(",\"bits\":%.9g,\"device\":", r->bits);
	json_string(r->device);
	printf(",\"rule\":");
	json_string(r->rule);
	printf(",\"queue_nsec\":%llu,\"run_nsec\":%llu,\"top\":[",
		(unsigned long long) r->queue_nsec, (unsigned long long) r->run_nsec);
	print_top(c, m, output, n);
	printf("]}\n");
}

static int infer_bus(struct command *c, const struct bitshed_model *m,
	const struct bitshed_options *o, const void *input, size_t size, struct bitshed_error *e)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < c->repeat; i++) {
		_cleanup_(cmd_freep) float *output = NULL;
		struct bitshed_result result;
		size_t n;

		r = bitshed_infer(c->bus, m->name, input, size, o, &output, &n, &result, e);
		if (r >= 0)
			print_result(c, m, output, n, &result);
	}
	return r;
}

static int infer_session(struct command *c, const struct bitshed_model *m,
	const struct bitshed_options *o, const void *input, size_t size, struct bitshed_error *e)
{
	struct bitshed_session *s = NULL;
	struct bitshed_result result;
	int r = bitshed_session_open(&s, c->bus, m->name, 1, e);

	if (r < 0)
		return r;
	if (size != bitshed_session_input_bytes(s, o->input)) {
		(void) snprintf(e->text, sizeof e->text, "the model takes %zu bytes, not %zu",
			bitshed_session_input_bytes(s, o->input), size);
		r = -EMSGSIZE;
	} else {
		memcpy(bitshed_session_input(s, 0), input, size);
	}
	for (uint32_t i = 0; r >= 0 && i < c->repeat; i++) {
		r = bitshed_session_infer(s, 0, o, &result, e);
		if (r >= 0)
			print_result(c, m, bitshed_session_output(s, 0),
				bitshed_session_output_count(s), &result);
	}
	(void) bitshed_session_close(s);
	return r;
}

int cmd_infer(struct command *c)
{
	const char *name = c->arguments[0];
	struct bitshed_error e = {};
	struct bitshed_model *m = NULL;
	_cleanup_(cmd_freep) void *input = NULL;
	struct bitshed_options o = {.min_bits = c->min_bits,
		.deadline_ms = c->deadline_ms,
		.priority = c->priority,
		.device = c->device,
		.input = c->input};
	size_t size;
	int r = bitshed_get_model(c->bus, &m, name, &e);

	if (r < 0)
		return complain(c, r, &e, name);
	if (strcmp(m->state, "loading") == 0) {
		bitshed_model_free(m);
		m = NULL;
		r = bitshed_wait_ready(c->bus, name, -1, &e);
		if (r >= 0)
			r = bitshed_get_model(c->bus, &m, name, &e);
		if (r < 0)
			return complain(c, r, &e, name);
	}
	r = input_read(c->arguments[1], m, &o.input, &input, &size);
	if (r == 0) {
		r = (c->session ? infer_session : infer_bus)(c, m, &o, input, size, &e);
		r = r < 0 ? complain(c, r, &e, name) : 0;
	}
	bitshed_model_free(m);
	return r;
}
