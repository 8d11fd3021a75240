/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few samples go through the interpreter at once, one per lane; then each matrix takes what it reads from
 * every lane in their order. So sums of floats do not depend on how many threads there are.
 */
#include "convert/second_moment.h"

#include <errno.h>
#include <string.h>

#define LANES 8
#define POSITIONS_MAX 64 /* of one sample */
#define DOT_PARTS 16

struct lane {
	struct reference *reference;
	uint8_t *pixels;
	float *input;
	int r;
};

/**
 * struct run - @x: [n_matrices], transposed inputs of one sample and group, [columns][positions]
 * @order: [n_matrices], of the inputs of fully connected matrices, or NULL
 * @first: sample of lane 0; @lanes_used: fewer at the end
 */
struct run {
	const struct export *e;
	struct second_moment *moments;
	const bool *wanted;
	struct samples *samples;
	float **x;
	uint32_t **order, first, lanes_used, n;
	struct lane lanes[LANES];
};

void second_moment_done(struct second_moment *m)
{
	free(m->h);
	*m = (struct second_moment){};
}

static const struct net_node *node_of(const struct export *e, uint32_t matrix)
{
	return &e->net->nodes[e->matrices[matrix].net_node];
}

uint32_t second_moment_groups(const struct export *e, uint32_t matrix)
{
	const struct net_node *n = node_of(e, matrix);

	return n->kind == NET_CONVOLUTION ? n->groups : 1;
}

uint64_t second_moment_bytes(const struct export *e, uint32_t matrix)
{
	uint64_t columns = e->matrices[matrix].columns;

	return second_moment_groups(e, matrix) * columns * columns * sizeof(double);
}

static void run_done(struct run *run)
{
	for (uint32_t i = 0; i < LANES; i++) {
		reference_free(run->lanes[i].reference);
		free(run->lanes[i].pixels);
		free(run->lanes[i].input);
	}
	for (uint32_t i = 0; i < run->e->n_matrices; i++) {
		free(run->x ? run->x[i] : NULL);
		free(run->order ? run->order[i] : NULL);
	}
	free(run->x);
	free(run->order);
}

static int matrix_init(struct run *run, uint32_t i)
{
	const struct export *e = run->e;
	const struct net_node *n = node_of(e, i);
	uint32_t columns = e->matrices[i].columns;

	run->moments[i].groups = second_moment_groups(e, i);
	run->moments[i].h = calloc(1, second_moment_bytes(e, i));
	run->x[i] = malloc((size_t) columns * POSITIONS_MAX * sizeof **run->x);
	if (!run->moments[i].h || !run->x[i])
		return -ENOMEM;
	if (n->kind == NET_CONVOLUTION || net_elements(&e->net->values[n->inputs[0]].shape) != columns)
		return 0;
	run->order[i] = graph_order(e, n->inputs[0]);
	return run->order[i] ? 0 : -ENOMEM;
}

static int run_init(struct run *run)
{
	size_t elements = samples_elements(run->samples);
	int r = 0;

	run->x = calloc(run->e->n_matrices, sizeof *run->x);
	run->order = calloc(run->e->n_matrices, sizeof *run->order);
	if (!run->x || !run->order)
		return -ENOMEM;
	for (uint32_t i = 0; r >= 0 && i < run->e->n_matrices; i++)
		r = run->wanted[i] ? matrix_init(run, i) : 0;
	for (uint32_t i = 0; r >= 0 && i < LANES; i++) {
		struct lane *l = &run->lanes[i];

		l->pixels = malloc(elements);
		l->input = malloc(elements * sizeof *l->input);
		r = l->pixels && l->input ? reference_new(&l->reference, run->e->net) : -ENOMEM;
	}
	return r;
}

static void run_lane(void *userdata, uint32_t task, uint32_t thread)
{
	struct run *run = userdata;
	struct lane *l = &run->lanes[task];
	uint64_t at = run->first + task, total = dataset_count(run->samples->data);

	l->r = samples_chw(run->samples, (uint32_t) (at * total / run->n), l->pixels, l->input);
	if (l->r >= 0)
		reference_run(l->reference, l->input);
}

/* What one output element of a convolution reads, as one column of @x. */
static void gather_window(const struct net_node *n, const struct net_shape *s, const float *in,
	uint32_t channels, size_t y, size_t x, size_t step, float *to)
{
	size_t height = s->dims[1], width = s->dims[2];

	for (uint32_t ky = 0; ky < n->kernel[0]; ky++)
		for (uint32_t kx = 0; kx < n->kernel[1]; kx++) {
			size_t row = y * n->stride[0] + (size_t) ky * n->dilation[0] - n->pads[0];
			size_t column = x * n->stride[1] + (size_t) kx * n->dilation[1] - n->pads[1];
			/* Left of the image wraps around to far right of it. */
			bool inside = row < height && column < width;

			for (uint32_t c = 0; c < channels; c++, to += step)
				*to = inside ? in[(c * height + row) * width + column] : 0;
		}
}

/* Return: how many positions there are in run->x[matrix], each @step after the one before */
static size_t gather(const struct run *run, uint32_t matrix, uint32_t lane, uint32_t group)
{
	const struct net_node *n = node_of(run->e, matrix);
	const struct net_shape *in = &run->e->net->values[n->inputs[0]].shape;
	const struct net_shape *out = &run->e->net->values[n->output].shape;
	const float *from = reference_value(run->lanes[lane].reference, n->inputs[0]);
	bool image = n->kind == NET_CONVOLUTION;
	uint32_t columns = run->e->matrices[matrix].columns, channels = image ? in->dims[0] / n->groups : 0;
	size_t all = image ? (size_t) out->dims[1] * out->dims[2] : net_elements(in) / columns;
	size_t positions = MIN_OF(all, (size_t) POSITIONS_MAX);
	float *to = run->x[matrix];

	if (image)
		from += (size_t) group * channels * in->dims[1] * in->dims[2];
	for (size_t k = 0; k < positions; k++) {
		/* Another grid for each sample: together they see the whole image. */
		size_t at = (k * all / positions + run->first + lane) % all;

		if (image)
			gather_window(n, in, from, channels, at / out->dims[2], at % out->dims[2],
				positions, to + k);
		for (uint32_t t = 0; !image && t < columns; t++)
			to[t * positions + k] =
				from[at * columns + (run->order[matrix] ? run->order[matrix][t] : t)];
	}
	return positions;
}

static double dot(const float *a, const float *b, size_t n)
{
	float part[DOT_PARTS] = {0}, sum = 0;
	size_t i = 0;

	for (; i + DOT_PARTS <= n; i += DOT_PARTS)
		for (size_t j = 0; j < DOT_PARTS; j++)
			part[j] += a[i + j] * b[i + j];
	for (; i < n; i++)
		part[i % DOT_PARTS] += a[i] * b[i];
	for (size_t j = 0; j < DOT_PARTS; j++)
		sum += part[j];
	return (double) sum;
}

/* The upper triangle of one matrix, from all lanes. */
static void accumulate(void *userdata, uint32_t task, uint32_t thread)
{
	struct run *run = userdata;
	size_t columns = run->e->matrices[task].columns;
	const float *x;

	if (!run->wanted[task])
		return;
	x = run->x[task];
	for (uint32_t lane = 0; lane < run->lanes_used; lane++)
		for (uint32_t g = 0; g < run->moments[task].groups; g++) {
			double *h = run->moments[task].h + g * columns * columns;
			size_t n = gather(run, task, lane, g);

			for (size_t i = 0; i < columns; i++)
				for (size_t j = i; j < columns; j++)
					h[i * columns + j] += dot(x + i * n, x + j * n, n);
		}
}

/* The sum becomes a mean; its scale does not matter to those who read it, its size might. */
static void finish(struct second_moment *m, size_t columns, uint32_t n)
{
	for (uint32_t g = 0; g < m->groups; g++) {
		double *h = m->h + g * columns * columns;

		for (size_t i = 0; i < columns; i++)
			for (size_t j = i; j < columns; j++) {
				h[i * columns + j] /= n;
				h[j * columns + i] = h[i * columns + j];
			}
	}
}

int second_moments(struct second_moment *ret, const bool *wanted, const struct export *e,
	struct samples *samples, uint32_t limit, struct threads *threads,
	const struct progress *progress, struct error *reterr)
{
	_cleanup_(run_done) struct run run = {.e = e, .moments = ret, .wanted = wanted,
		.samples = samples, .n = MIN_OF(limit, dataset_count(samples->data))};
	int r = run_init(&run);

	if (r < 0)
		return r;
	for (; run.first < run.n; run.first += LANES) {
		run.lanes_used = MIN_OF(LANES, run.n - run.first);
		threads_run(threads, run_lane, &run, run.lanes_used);
		for (uint32_t i = 0; i < run.lanes_used; i++)
			if (run.lanes[i].r < 0)
				return error_set(reterr, run.lanes[i].r,
					"the calibration data cannot be read");
		threads_run(threads, accumulate, &run, e->n_matrices);
		progress_step(progress, "looking at inputs", run.first + run.lanes_used, run.n);
	}
	for (uint32_t i = 0; i < e->n_matrices; i++)
		if (wanted[i])
			finish(&ret[i], e->matrices[i].columns, run.n);
	return 0;
}
