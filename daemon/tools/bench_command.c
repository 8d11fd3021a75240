/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bitshed-model bench: how fast a network is at each width. All widths and numbers of threads take
 * turns in short bursts, so that ratios mean something on a machine that is doing other things too.
 */
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "engine/exec.h"
#include "engine/kernels/cpu.h"
#include "engine/lower.h"
#include "engine/tune.h"
#include "tools/tool.h"
#include "tools/tune_cache.h"

#define CASES_MAX 64
#define POOLS_MAX 8
#define BURST 3 /* runs that count, after one that warms up */
#define ROUNDS_MIN 2
#define RUNS_MAX 300

static int bench_main(int argc, char **argv);

const struct command command_bench = {
	.name = "bench",
	.summary = "time of one inference at each width",
	.run = bench_main,
	.help = "bitshed-model bench NET.gguf [OPTIONS...]\n"
		"\n"
		"Times one inference at each width, and prints medians. Widths and numbers of threads take turns.\n"
		"\n"
		"  --bits LIST     like 4,3,2.5 (all whole widths)\n"
		"  --threads LIST  like 1,2 (1, and as many as there are processors for it)\n"
		"  --seconds N     in all, roughly (5)\n"
		"  --layers        each operation, too\n"
		"  --cache FOLDER  with measured times of kernels, see tune\n"
		"  --json          for programs\n",
};

static const struct option options[] = {
	{"bits", required_argument, NULL, 'b'},
	{"threads", required_argument, NULL, 't'},
	{"seconds", required_argument, NULL, 's'},
	{"layers", no_argument, NULL, 'l'},
	{"cache", required_argument, NULL, 'c'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{},
};

struct arguments {
	const char *bits, *threads, *cache;
	uint32_t seconds;
	bool layers, json;
};

/* struct timed - one width on one number of threads; @nsec: [runs][steps + 1], the sum last */
struct timed {
	double bits;
	struct plan *plan;
	struct threads *pool; /* of the bench */
	uint64_t *nsec;
	uint32_t runs;
};

struct bench {
	const struct arguments *a;
	struct network *network;
	struct threads *pools[POOLS_MAX];
	struct timed cases[CASES_MAX];
	uint32_t n_pools, n;
	struct workspace space;
	void *input;
	enum input_type type;
};

static void bench_done(struct bench *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		(void) plan_unref(b->cases[i].plan);
		free(b->cases[i].nsec);
	}
	workspace_done(&b->space);
	for (uint32_t i = 0; i < b->n_pools; i++)
		(void) threads_free(b->pools[i]);
	free(b->input);
	(void) network_unref(b->network);
}

static int make_pools(struct bench *b, struct error *reterr)
{
	float counts[POOLS_MAX] = {1, (float) threads_available()};
	uint32_t n = counts[1] > 1 ? 2 : 1;

	if (b->a->threads)
		n = tool_floats(b->a->threads, counts, POOLS_MAX);
	if (n == 0)
		return error_set(reterr, -EINVAL, "--threads takes numbers like 1,2");
	for (uint32_t i = 0; i < n; i++) {
		int r;

		if (!(counts[i] >= 1 && counts[i] <= THREADS_MAX) || counts[i] != (float) (uint32_t) counts[i])
			return error_set(reterr, -EINVAL, "--threads %g: from 1 to %d", (double) counts[i],
				THREADS_MAX);
		r = threads_new(&b->pools[i], (uint32_t) counts[i]);
		if (r < 0)
			return r;
		b->n_pools++;
	}
	return 0;
}

static int add_case(struct bench *b, struct plan *plan, double bits, struct threads *pool)
{
	struct timed *t = &b->cases[b->n];

	if (b->n == CASES_MAX)
		return -E2BIG;
	*t = (struct timed){.bits = bits, .plan = plan_ref(plan), .pool = pool};
	b->n++;
	t->nsec = calloc((size_t) RUNS_MAX * (plan->n_steps + 1), sizeof *t->nsec);
	return t->nsec ? workspace_reserve(&b->space, plan, threads_count(pool)) : -ENOMEM;
}

static int add_width(struct bench *b, double bits, struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *m = NULL;
	_cleanup_(plan_unrefp) struct plan *p = NULL;
	int r = model_build(&m, b->network, bits, reterr);

	if (r >= 0)
		r = plan_new(&p, m, cpu_flags(), reterr);
	for (uint32_t i = 0; i < b->n_pools && r >= 0; i++)
		r = add_case(b, p, bits, b->pools[i]);
	return r == -E2BIG ? error_set(reterr, r, "more than %d widths times threads", CASES_MAX) : r;
}

/* As a client would give it: pixels, if the network takes them. */
static int make_input(struct bench *b)
{
	const struct plan *p = b->cases[0].plan;
	size_t n = p->input_floats_bytes / sizeof(float);
	uint8_t *pixels;
	float *floats;

	b->type = p->input_pixels_bytes ? INPUT_PIXELS : INPUT_FLOATS;
	b->input = malloc(p->input_floats_bytes);
	if (!b->input)
		return -ENOMEM;
	pixels = b->input;
	floats = b->input;
	for (size_t i = 0; i < n; i++)
		if (b->type == INPUT_PIXELS)
			pixels[i] = (uint8_t) (i * 7919 % 257);
		else
			floats[i] = (float) (i * 7919 % 257) / 64.0f - 2.0f;
	return 0;
}

static int run_once(struct bench *b, struct timed *t, uint64_t *nsec)
{
	uint32_t n = t->plan->n_steps;
	uint64_t begin = clock_now_nsec(), before = begin, now = begin;

	for (uint32_t i = 0; i < n; i++, before = now) {
		int r = exec_step(t->plan, &b->space, t->pool, b->type, b->input, i);

		if (r < 0)
			return r;
		now = clock_now_nsec();
		nsec[i] = now - before;
	}
	nsec[n] = now - begin;
	return 0;
}

/* The first run's place is that of the next one, which writes over it. */
static int run_burst(struct bench *b, struct timed *t)
{
	int r = 0;

	for (uint32_t i = 0; i <= BURST && t->runs < RUNS_MAX && r >= 0; i++) {
		r = run_once(b, t, t->nsec + (size_t) t->runs * (t->plan->n_steps + 1));
		t->runs += i > 0;
	}
	return r;
}

static int run_all(struct bench *b)
{
	uint64_t end = clock_now_nsec() + b->a->seconds * NSEC_PER_SEC;

	for (uint32_t round = 0; round < RUNS_MAX / BURST; round++) {
		if (round >= ROUNDS_MIN && clock_now_nsec() >= end)
			break;
		for (uint32_t i = 0; i < b->n; i++) {
			int r = run_burst(b, &b->cases[i]);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

/* @step: n_steps for the sum. Return: nanoseconds */
static double median(const struct timed *t, uint32_t step)
{
	uint64_t times[RUNS_MAX];

	for (uint32_t i = 0; i < t->runs; i++)
		times[i] = t->nsec[(size_t) i * (t->plan->n_steps + 1) + step];
	qsort(times, t->runs, sizeof times[0], compare_times);
	return (double) times[t->runs / 2];
}

static uint64_t plane_bytes(const struct model *m)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < m->network->n_matrices; i++) {
		const struct matrix *x = &m->network->matrices[i];

		bytes += bits_words((uint64_t) x->rows * x->row_bits) * sizeof(uint64_t) * m->layers[i].planes;
	}
	return bytes;
}

static void print_layers(const struct timed *t, bool json)
{
	const struct plan *p = t->plan;

	for (uint32_t i = 0; i < p->n_steps; i++) {
		const struct step *s = &p->steps[i];
		const struct shape *out = &p->model->network->values[s->op->output].shape;
		const char *kernel = s->kernel ? s->kernel->name : "";

		if (json)
			printf("%s{\"operation\":\"%s\",\"output\":[%u,%u,%u],\"planes\":%u,\"kernel\":\"%s\","
			       "\"median_us\":%.2f}",
				i ? "," : "", op_kind_name(s->op->kind), out->height, out->width, out->channels,
				s->matrix.planes, kernel, median(t, i) * 1e-3);
		else
			printf("  %4u  %-12s  %4ux%-4ux%-5u  %-17s %10.1f us  %5.1f %%\n", i,
				op_kind_name(s->op->kind), out->height, out->width, out->channels, kernel,
				median(t, i) * 1e-3, 100 * median(t, i) / median(t, p->n_steps));
	}
}

static void print_text(const struct bench *b)
{
	printf(" bits  threads  median ms  images/s  plane bytes  runs\n");
	for (uint32_t i = 0; i < b->n; i++) {
		const struct timed *t = &b->cases[i];
		double nsec = median(t, t->plan->n_steps);

		printf("%5g  %7u  %9.3f  %8.1f  %11llu  %4u\n", t->bits, threads_count(t->pool), nsec * 1e-6,
			1e9 / nsec, (unsigned long long) plane_bytes(t->plan->model), t->runs);
		if (b->a->layers)
			print_layers(t, false);
	}
}

static void print_json(const struct bench *b)
{
	char flags[128];

	printf("{\"network\":");
	json_string(b->network->name);
	printf(",\"processor\":\"%s\",\"tuned\":%s,\"rows\":[", cpu_flags_text(cpu_flags(), flags, sizeof flags),
		tune_used() ? "true" : "false");
	for (uint32_t i = 0; i < b->n; i++) {
		const struct timed *t = &b->cases[i];
		double nsec = median(t, t->plan->n_steps);

		printf("%s{\"bits\":%g,\"threads\":%u,\"median_ms\":%.4f,\"images_per_second\":%.1f,"
		       "\"plane_bytes\":%llu,\"runs\":%u",
			i ? "," : "", t->bits, threads_count(t->pool), nsec * 1e-6, 1e9 / nsec,
			(unsigned long long) plane_bytes(t->plan->model), t->runs);
		if (b->a->layers) {
			printf(",\"layers\":[");
			print_layers(t, true);
			printf("]");
		}
		printf("}");
	}
	printf("]}\n");
}

static int bench_file(struct bench *b, const char *path, struct error *reterr)
{
	float widths[WIDTHS_MAX];
	int r = tool_network(&b->network, path, reterr), count;

	if (r >= 0)
		r = make_pools(b, reterr);
	if (r < 0)
		return r;
	count = r = tool_widths(b->network, b->a->bits, widths, WIDTHS_MAX, reterr);
	for (int i = 0; i < count && r >= 0; i++)
		r = add_width(b, (double) widths[i], reterr);
	if (r >= 0)
		r = make_input(b);
	return r < 0 ? r : run_all(b);
}

static bool parse_option(struct arguments *a, int option)
{
	switch (option) {
	case 'b':
		a->bits = optarg;
		return true;
	case 't':
		a->threads = optarg;
		return true;
	case 'c':
		a->cache = optarg;
		return true;
	case 's':
		return tool_number(optarg, 0, 3600, &a->seconds);
	case 'l':
		a->layers = true;
		return true;
	case 'j':
		a->json = true;
		return true;
	default:
		return false;
	}
}

static int bench_main(int argc, char **argv)
{
	struct arguments a = {.seconds = 5};
	_cleanup_(bench_done) struct bench b = {.a = &a};
	struct error error = {};
	int option, r;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == 'h')
			return tool_help(&command_bench);
		if (!parse_option(&a, option))
			return tool_usage(&command_bench, "unknown option, or no such value");
	}
	if (optind + 1 != argc)
		return tool_usage(&command_bench, "give one model file");
	if (a.cache)
		tune_cache_use(a.cache);
	r = bench_file(&b, argv[optind], &error);
	if (r < 0)
		return tool_fail(&command_bench, &error, r);
	if (a.json)
		print_json(&b);
	else
		print_text(&b);
	return EXIT_SUCCESS;
}
