/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions on the OpenCL device beside the same on the processor: the engine's best rows on all threads, and
 * the portable C compiled for this machine at -O3, one thread, its columns gathered beforehand. Then networks.
 *
 *	bench_opencl [RUNS [cpu|wall [KERNEL|networks]]]
 *
 * Every row of the list that can do a shape is there, those too that need what the device lacks (in plain C, so no
 * measure of a device that has it); the one that the device would be given is marked.
 *
 * With "cpu" by processor time of all threads, which a busy machine disturbs less: then the device's is for two or more
 * threads what the portable C has for one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/kernels/cpu.h"
#include "bench/native.h"
#include "support/graph.h"
#include "worker/cl_plan.h"

#define COLUMNS_MAX 64

struct shape_row {
	const char *name;
	uint32_t size, channels, rows, kernel, planes, activation_bits;
};

static const struct shape_row rows[] = {
	{"56x56x64, 3x3, 64", 56, 64, 64, 3, 4, 8},
	{"14x14x256, 3x3, 256", 14, 256, 256, 3, 4, 8},
	{"32x32x16, 3x3, 16", 32, 16, 16, 3, 4, 8},
	{"14x14x256, 3x3, 256", 14, 256, 256, 3, 1, 8},
	{"1x1x2048, 1000", 1, 2048, 1000, 1, 4, 8},
	{"14x14x256, 3x3, 256", 14, 256, 256, 3, 2, 2},
	{"56x56x64, 3x3, 64", 56, 64, 64, 3, 1, 1},
};

static struct cl *cl;
static uint32_t runs = 10;
static const char *only; /* kernel */
static bool emulates;

static clockid_t clock_used = CLOCK_MONOTONIC;

static uint64_t now(void)
{
	struct timespec t;

	(void) clock_gettime(clock_used, &t);
	return (uint64_t) t.tv_sec * NSEC_PER_SEC + (uint64_t) t.tv_nsec;
}

static void die(const char *what, const struct error *e)
{
	fprintf(stderr, "bench_opencl: %s: %s\n", what, e->text);
	exit(1);
}

static uint64_t best(uint64_t a, uint64_t begin)
{
	return MIN_OF(a, now() - begin);
}

static uint64_t time_device(const struct plan *plan, const void *input, float *output)
{
	_cleanup_(cl_plan_freep) struct cl_plan *p = NULL;
	uint64_t nsec = UINT64_MAX;
	struct error e = {};

	if (cl_plan_new(&p, cl, (struct plan *) plan, &e) < 0)
		die("plan", &e);
	for (uint32_t i = 0; i <= runs; i++) {
		uint64_t begin = now();

		if (cl_plan_run(p, INPUT_PIXELS, input, output, &e) < 0)
			die("run", &e);
		nsec = i == 0 ? nsec : best(nsec, begin);
	}
	return nsec;
}

static uint64_t time_processor(
	const struct plan *plan, struct threads *threads, const void *input, float *output)
{
	_cleanup_(workspace_done) struct workspace w = {};
	uint64_t nsec = UINT64_MAX;

	if (workspace_reserve(&w, plan, threads_count(threads)) < 0)
		abort();
	for (uint32_t i = 0; i <= runs; i++) {
		uint64_t begin = now();

		(void) exec_run(plan, &w, threads, INPUT_PIXELS, input, output);
		nsec = best(nsec, begin);
	}
	return nsec;
}

/* The portable row alone, for as many columns as the convolution has. */
static uint64_t time_native(
	const struct kernel_matrix *w, uint32_t columns, uint32_t activation_bits)
{
	size_t bytes = (size_t) COLUMNS_MAX * w->words * BITS_PER_WORD;
	uint8_t *x = aligned_alloc(64, bytes);
	int32_t *acc = aligned_alloc(64, COLUMNS_MAX * w->rows * sizeof *acc + 64);
	uint64_t nsec = UINT64_MAX;

	memset(x, 3, bytes);
	for (uint32_t i = 0; i < MAX_OF(runs / 4, 2); i++) {
		uint64_t begin = now();

		for (uint32_t at = 0; at < columns; at += COLUMNS_MAX) {
			struct kernel_columns c = {.count = MIN_OF(COLUMNS_MAX, columns - at),
				.u8 = x,
				.bits = (uint64_t *) x,
				.planes = activation_bits};

			if (activation_bits <= 4)
				bitserial_native(w, &c, acc, w->rows, NULL);
			else
				decode_native(w, &c, acc, w->rows, NULL);
		}
		nsec = best(nsec, begin);
	}
	free(x);
	free(acc);
	return nsec;
}

static void bench_shape(const struct shape_row *s, struct threads *threads)
{
	uint32_t pad = s->kernel / 2, columns = s->size * s->size;
	double ops = 2.0 * columns * s->rows * s->kernel * s->kernel * s->channels;
	enum kernel_cl_op op = s->activation_bits <= 4 ? KERNEL_CL_MATMUL_BITS : KERNEL_CL_MATMUL;
	struct kernel_cl_product product = {.pixels = columns, .planes = s->planes};
	uint32_t picked = kernel_cl_pick_product(cl, op, &product);
	uint64_t device, processor, native;
	struct plan *plan = NULL;
	struct graph g;
	uint8_t *input;
	float *output;
	uint32_t in;

	graph_init(&g, 1);
	g.planes = s->planes;
	g.plain = true;
	in = graph_input(&g, s->size, s->size, s->channels);
	in = s->activation_bits < 8 ? graph_table(&g, in, s->activation_bits) : in;
	(void) graph_convolution(&g, in, s->rows,
		(struct graph_window){.height = s->kernel,
			.width = s->kernel,
			.top = pad,
			.left = pad,
			.bottom = pad,
			.right = pad,
			.activation_bits = s->activation_bits});
	if (plan_new(&plan, &g.model, cpu_flags(), NULL) < 0)
		abort();
	input = calloc(1, plan->input_pixels_bytes);
	output = malloc(plan->output_bytes + 1);
	processor = time_processor(plan, threads, input, output);
	native = time_native(&plan->steps[plan->n_steps - 1].matrix, columns, s->activation_bits);
	printf("%s w%u a%u  engine %.1f Gop/s  portable C %.1f\n", s->name, s->planes,
		s->activation_bits, ops / (double) processor, ops / (double) native);
	if (emulates)
		kernel_cl_emulate(cl);
	for (uint32_t i = 0; i < kernel_cl_count; i++) {
		if (kernel_cl_table[i].op != op || cl->banned[i] ||
			(only && strcmp(kernel_cl_table[i].name, only) != 0))
			continue;
		cl->only = i;
		device = time_device(plan, input, output);
		printf("  %-16s%s %7.1f Gop/s, %.2f of portable C\n", kernel_cl_table[i].name,
			i == picked ? "*" : " ", ops / (double) device,
			(double) native / (double) device);
	}
	cl->only = KERNEL_CL_ANY;
	kernel_cl_probe(cl);
	(void) plan_unref(plan);
	graph_done(&g);
	free(input);
	free(output);
}

static void bench_network(
	const char *name, void (*make)(struct graph *, uint32_t), struct threads *threads)
{
	struct plan *plan = NULL;
	struct graph g;
	uint8_t *input;
	float *output;

	graph_init(&g, 1);
	make(&g, 4);
	if (plan_new(&plan, &g.model, cpu_flags(), NULL) < 0)
		abort();
	input = calloc(1, plan->input_pixels_bytes);
	output = malloc(plan->output_bytes);
	printf("%-22s device %.2f ms, engine %.2f ms\n", name,
		(double) time_device(plan, input, output) / 1e6,
		(double) time_processor(plan, threads, input, output) / 1e6);
	(void) plan_unref(plan);
	graph_done(&g);
	free(input);
	free(output);
}

int main(int argc, char **argv)
{
	struct threads *threads = NULL;
	struct error e = {};

	if (argc > 1)
		runs = MAX_OF((uint32_t) atoi(argv[1]), 1);
	if (argc > 2 && strcmp(argv[2], "cpu") == 0)
		clock_used = CLOCK_PROCESS_CPUTIME_ID;
	if (argc > 3)
		only = argv[3];
	if (cl_open(&cl, NULL, &e) < 0) {
		printf("SKIP: %s\n", e.text);
		return 77;
	}
	emulates = !only || kernel_cl_find(only) != KERNEL_CL_ANY;
	if (emulates)
		kernel_cl_emulate(cl);
	for (uint32_t i = 0; i < kernel_cl_count; i++)
		if (!cl->banned[i] && kernel_cl_build(cl, i, NULL, NULL, &e) < 0)
			die(kernel_cl_table[i].name, &e);
	kernel_cl_probe(cl);
	if (threads_new(&threads, threads_available()) < 0)
		return 1;
	printf("%s, %u units; the engine on %u threads\n", cl->name, cl->units,
		threads_count(threads));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		bench_shape(&rows[i], threads);
	if (only && strcmp(only, "networks") != 0)
		return 0;
	bench_network("resnet20", graph_resnet20, threads);
	bench_network("resnet18", graph_resnet18, threads);
	(void) threads_free(threads);
	return 0;
}
