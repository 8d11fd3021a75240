/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time of one inference per width and number of threads, and with --steps where it goes.
 *
 *	bench_network [resnet18 | resnet20 | MODEL.gguf] [--bits 8,4,2,1] [--threads 1,2]
 *		[--mask FLAGS] [--steps]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/exec.h"
#include "engine/kernels/cpu.h"
#include "engine/lower.h"
#include "support/graph.h"

#define RUNS_MAX 400
#define RUNS_MIN 5
#define WIDTHS_MAX 16

struct options {
	const char *network;
	double bits[WIDTHS_MAX], threads[WIDTHS_MAX];
	uint32_t n_bits, n_threads, mask;
	bool steps;
};

/* A model and what it was made from: a drawn graph, or a file. */
struct subject {
	struct graph *graph;
	struct model *model;
};

static int compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

/* Median of runs that take about @msec together, in nanoseconds. */
static uint64_t time_plan(const struct plan *plan, struct workspace *w, struct threads *threads,
	const void *input, float *output, uint32_t msec, uint64_t *ret_least)
{
	uint64_t times[RUNS_MAX], end = clock_now_nsec() + msec * NSEC_PER_MSEC;
	uint32_t n = 0;

	(void) exec_run(plan, w, threads, INPUT_FLOATS, input, output);
	do {
		uint64_t begin = clock_now_nsec();

		(void) exec_run(plan, w, threads, INPUT_FLOATS, input, output);
		times[n++] = clock_now_nsec() - begin;
	} while (n < RUNS_MAX && (n < RUNS_MIN || clock_now_nsec() < end));
	qsort(times, n, sizeof times[0], compare_times);
	*ret_least = times[0];
	return times[n / 2];
}

static void print_step(const struct plan *plan, uint32_t i, uint64_t nsec, uint64_t all)
{
	const struct step *s = &plan->steps[i];
	const struct value *v = &plan->model->network->values[s->op->output];

	printf("  %3u %-12s %4ux%-4ux%-5u %ux%u  tile %3u block %3u  %9.1f us %5.1f %%", i,
		op_kind_name(s->op->kind), v->shape.height, v->shape.width, v->shape.channels,
		s->op->kernel_h, s->op->kernel_w, s->columns_per_tile, s->rows_per_block,
		(double) nsec * 1e-3, 100.0 * (double) nsec / (double) all);
	if (s->op->kind == OP_CONVOLUTION)
		printf("  %6.1f GMAC/s %s%s",
			(double) s->matrix.rows *
				plan->model->network->matrices[s->op->matrix].columns *
				v->shape.height * v->shape.width / (double) nsec,
			s->kernel->name, s->direct ? ", direct" : "");
	printf("\n");
}

/* Each step by itself, on what the others left in memory. */
static void print_steps(const struct plan *plan, struct workspace *w, struct threads *threads,
	const void *input, float *output, uint64_t all)
{
	for (uint32_t i = 0; i < plan->n_steps; i++) {
		struct plan one = *plan;
		uint64_t least;

		one.steps = &plan->steps[i];
		one.n_steps = 1;
		print_step(plan, i, time_plan(&one, w, threads, input, output, 20, &least), all);
	}
}

static int bench_plan(const struct options *o, const struct plan *plan, double bits)
{
	_cleanup_(workspace_done) struct workspace w = {};
	_cleanup_free_ float *input = calloc(1, plan->input_floats_bytes);
	_cleanup_free_ float *output = calloc(1, plan->output_bytes);

	if (!input || !output)
		return -ENOMEM;
	for (size_t i = 0; i < plan->input_floats_bytes / sizeof *input; i++)
		input[i] = (float) (i * 7919 % 257) / 64.0f - 2.0f;
	for (uint32_t i = 0; i < o->n_threads; i++) {
		_cleanup_(threads_freep) struct threads *t = NULL;
		uint64_t median, least;
		int r = threads_new(&t, (uint32_t) o->threads[i]);

		if (r >= 0)
			r = workspace_reserve(&w, plan, threads_count(t));
		if (r < 0)
			return r;
		median = time_plan(plan, &w, t, input, output, 500, &least);
		printf("%5.2f %8u %12.3f %12.3f %12zu %12zu\n", bits, threads_count(t),
			(double) median * 1e-6, (double) least * 1e-6, plan->arena_bytes,
			plan->scratch_bytes);
		if (o->steps)
			print_steps(plan, &w, t, input, output, median);
	}
	return 0;
}

static int subject_open(struct subject *s, const char *path, double bits, struct error *e)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = network_open(&n, fd, e);
	(void) close(fd);
	return r < 0 ? r : model_build(&s->model, n, bits, e);
}

static int subject_make(struct subject *s, const struct options *o, double bits, struct error *e)
{
	bool large = strcmp(o->network, "resnet18") == 0;

	if (!large && strcmp(o->network, "resnet20") != 0)
		return subject_open(s, o->network, bits, e);
	s->graph = malloc(sizeof *s->graph);
	if (!s->graph)
		return -ENOMEM;
	(large ? graph_resnet18 : graph_resnet20)(s->graph, (uint32_t) bits);
	s->model = &s->graph->model;
	return 0;
}

static void subject_done(struct subject *s)
{
	if (!s->graph) {
		s->model = model_unref(s->model);
		return;
	}
	graph_done(s->graph);
	free(s->graph);
}

static int bench_width(const struct options *o, double bits, struct error *e)
{
	_cleanup_(subject_done) struct subject s = {};
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	int r = subject_make(&s, o, bits, e);

	if (r >= 0)
		r = plan_new(&plan, s.model, o->mask & cpu_flags(), e);
	if (r >= 0)
		r = bench_plan(o, plan, s.model->bits > 0 ? s.model->bits : bits);
	return r;
}

static uint32_t parse_list(const char *text, double *list)
{
	uint32_t n = 0;
	char *end;

	for (; n < WIDTHS_MAX; text = end + 1) {
		list[n] = strtod(text, &end);
		if (end == text || !(list[n] >= 1.0 && list[n] <= THREADS_MAX))
			return 0;
		n++;
		if (*end != ',')
			break;
	}
	return *end == '\0' ? n : 0;
}

static bool parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {{"bits", required_argument, NULL, 'b'},
		{"threads", required_argument, NULL, 't'}, {"mask", required_argument, NULL, 'm'},
		{"steps", no_argument, NULL, 's'}, {}};
	int c;

	*o = (struct options){
		.network = "resnet20", .bits = {8, 4, 2, 1}, .n_bits = 4, .mask = UINT32_MAX};
	o->threads[o->n_threads++] = 1;
	if (threads_available() > 1)
		o->threads[o->n_threads++] = threads_available();
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'b')
			o->n_bits = parse_list(optarg, o->bits);
		else if (c == 't')
			o->n_threads = parse_list(optarg, o->threads);
		else if (c == 'm')
			o->mask = (uint32_t) strtoul(optarg, NULL, 0);
		else if (c == 's')
			o->steps = true;
		else
			return false;
	}
	if (optind < argc)
		o->network = argv[optind];
	return o->n_bits > 0 && o->n_threads > 0;
}

int main(int argc, char **argv)
{
	struct options o;
	struct error e = {};
	int r = 0;

	if (!parse(&o, argc, argv)) {
		fprintf(stderr,
			"usage: %s [resnet18|resnet20|MODEL] [--bits LIST] [--threads LIST] "
			"[--mask FLAGS]"
			" [--steps]\n",
			argv[0]);
		return 2;
	}
	printf("%5s %8s %12s %12s %12s %12s\n", "bits", "threads", "median ms", "least ms",
		"arena bytes", "scratch");
	for (uint32_t i = 0; i < o.n_bits && r >= 0; i++)
		r = bench_width(&o, o.bits[i], &e);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", o.network, error_text(&e, r));
	return r < 0;
}
