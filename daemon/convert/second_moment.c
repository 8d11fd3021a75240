/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few samples go through the interpreter at once, one per lane; then each block of rows of each H takes what
 * the matrix reads from every lane in their order. So sums do not depend on how many threads there are.
 */
#include "convert/second_moment.h"

#include <errno.h>
#include <string.h>

#include "convert/quantize/rank_update.h"

#define LANES 8
#define POSITIONS_MAX 64 /* of one sample */
#define BLOCK_ROWS 512 /* of H, that a task sums up */
#define STRIP_ROWS 64

struct lane {
	struct reference *reference;
	uint8_t *pixels;
	float *input;
	int r;
};

/**
 * struct block - rows of one H from @first on: the work of one task
 */
struct block {
	uint32_t matrix, first;
};

/**
 * struct run - @x: [threads], inputs of one sample and group, [positions][columns]
 * @order: [n_matrices], of the inputs of fully connected matrices, or NULL
 * @first: sample of lane 0; @lanes_used: fewer at the end
 */
struct run {
	const struct export *e;
	struct second_moment *moments;
	struct samples *samples;
	double **x;
	struct block *blocks;
	uint32_t **order, n_threads, n_blocks, first, lanes_used, n;
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
	for (uint32_t i = 0; run->x && i < run->n_threads; i++)
		free(run->x[i]);
	for (uint32_t i = 0; run->order && i < run->e->n_matrices; i++)
		free(run->order[i]);
	free(run->x);
	free(run->order);
	free(run->blocks);
}

static int add_blocks(struct run *run, uint32_t matrix)
{
	uint32_t columns = run->e->matrices[matrix].columns, n = (columns - 1) / BLOCK_ROWS + 1;
	struct block *blocks = reallocarray(run->blocks, run->n_blocks + n, sizeof *blocks);

	if (!blocks)
		return -ENOMEM;
	run->blocks = blocks;
	for (uint32_t i = 0; i < n; i++)
		blocks[run->n_blocks++] = (struct block){.matrix = matrix, .first = i * BLOCK_ROWS};
	return 0;
}

static int matrix_init(struct run *run, uint32_t i)
{
	const struct export *e = run->e;
	const struct net_node *n = node_of(e, i);
	uint32_t columns = e->matrices[i].columns;

	run->moments[i].groups = second_moment_groups(e, i);
	run->moments[i].h = calloc(1, second_moment_bytes(e, i));
	if (!run->moments[i].h)
		return -ENOMEM;
	if (n->kind == NET_CONVOLUTION || net_elements(&e->net->values[n->inputs[0]].shape) != columns)
		return add_blocks(run, i);
	run->order[i] = graph_order(e, n->inputs[0]);
	return run->order[i] ? add_blocks(run, i) : -ENOMEM;
}

static int lanes_init(struct run *run)
{
	size_t elements = samples_elements(run->samples);
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < LANES; i++) {
		struct lane *l = &run->lanes[i];

		l->pixels = malloc(elements);
		l->input = malloc(elements * sizeof *l->input);
		r = l->pixels && l->input ? reference_new(&l->reference, run->e->net) : -ENOMEM;
	}
	return r;
}

static int run_init(struct run *run, const bool *wanted)
{
	const struct export *e = run->e;
	size_t columns = 0;
	int r = 0;

	run->x = calloc(run->n_threads, sizeof *run->x);
	run->order = calloc(e->n_matrices, sizeof *run->order);
	if (!run->x || !run->order)
		return -ENOMEM;
	for (uint32_t i = 0; r >= 0 && i < e->n_matrices; i++) {
		columns = wanted[i] ? MAX_OF(columns, (size_t) e->matrices[i].columns) : columns;
		r = wanted[i] ? matrix_init(run, i) : 0;
	}
	for (uint32_t i = 0; r >= 0 && i < run->n_threads; i++) {
		run->x[i] = malloc((columns + 1) * POSITIONS_MAX * sizeof **run->x);
		r = run->x[i] ? 0 : -ENOMEM;
	}
	return r < 0 ? r : lanes_init(run);
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

/* What one output element of a convolution reads. */
static void gather_window(const struct net_node *n, const struct net_shape *s, const float *in,
	uint32_t channels, size_t y, size_t x, double *to)
{
	size_t height = s->dims[1], width = s->dims[2];

	for (uint32_t ky = 0; ky < n->kernel[0]; ky++)
		for (uint32_t kx = 0; kx < n->kernel[1]; kx++) {
			size_t row = y * n->stride[0] + (size_t) ky * n->dilation[0] - n->pads[0];
			size_t column = x * n->stride[1] + (size_t) kx * n->dilation[1] - n->pads[1];
			/* Left of the image wraps around to far right of it. */
			bool inside = row < height && column < width;

			for (uint32_t c = 0; c < channels; c++, to++)
				*to = inside ? (double) in[(c * height + row) * width + column] : 0;
		}
}

/* Return: how many positions there are in @to, [positions][columns] */
static size_t gather(const struct run *run, double *to, uint32_t matrix, uint32_t lane, uint32_t group)
{
	const struct net_node *n = node_of(run->e, matrix);
	const struct net_shape *in = &run->e->net->values[n->inputs[0]].shape;
	const struct net_shape *out = &run->e->net->values[n->output].shape;
	const float *from = reference_value(run->lanes[lane].reference, n->inputs[0]);
	bool image = n->kind == NET_CONVOLUTION;
	uint32_t columns = run->e->matrices[matrix].columns, channels = image ? in->dims[0] / n->groups : 0;
	size_t all = image ? (size_t) out->dims[1] * out->dims[2] : net_elements(in) / columns;
	size_t positions = MIN_OF(all, (size_t) POSITIONS_MAX);

	if (image)
		from += (size_t) group * channels * in->dims[1] * in->dims[2];
	for (size_t k = 0; k < positions; k++, to += columns) {
		/* Another grid for each sample: together they see the whole image. */
		size_t at = (k * all / positions + run->first + lane) % all;

		if (image)
			gather_window(n, in, from, channels, at / out->dims[2], at % out->dims[2], to);
		for (uint32_t t = 0; !image && t < columns; t++)
			to[t] = (double) from[at * columns + (run->order[matrix] ? run->order[matrix][t] : t)];
	}
	return positions;
}

/* Rows from @first on of one H, right of the diagonal. */
static void add_strip(double *h, const double *x, size_t positions, size_t columns, size_t first)
{
	double factor[POSITIONS_MAX * STRIP_ROWS], *to[STRIP_ROWS];
	size_t rows = MIN_OF((size_t) STRIP_ROWS, columns - first);
	struct rank_update u = {.to = to, .n_to = (uint32_t) rows, .rank = (uint32_t) positions, .factor = factor,
		.from = x, .stride = columns, .first = first, .end = columns};

	for (size_t i = 0; i < rows; i++)
		to[i] = h + (first + i) * columns;
	for (size_t k = 0; k < positions; k++)
		memcpy(factor + k * rows, x + k * columns + first, rows * sizeof *factor);
	rank_update(&u);
}

/* One block, from all lanes. */
static void accumulate(void *userdata, uint32_t task, uint32_t thread)
{
	struct run *run = userdata;
	const struct block *b = &run->blocks[task];
	struct second_moment *m = &run->moments[b->matrix];
	size_t columns = run->e->matrices[b->matrix].columns, end = MIN_OF((size_t) b->first + BLOCK_ROWS, columns);
	double *x = run->x[thread];

	for (uint32_t lane = 0; lane < run->lanes_used; lane++)
		for (uint32_t g = 0; g < m->groups; g++) {
			size_t n = gather(run, x, b->matrix, lane, g);

			for (size_t first = b->first; first < end; first += STRIP_ROWS)
				add_strip(m->h + g * columns * columns, x, n, columns, first);
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
	_cleanup_(run_done) struct run run = {.e = e, .moments = ret, .samples = samples,
		.n_threads = threads_count(threads), .n = MIN_OF(limit, dataset_count(samples->data))};
	int r = run_init(&run, wanted);

	if (r < 0)
		return r;
	for (; run.first < run.n; run.first += LANES) {
		run.lanes_used = MIN_OF(LANES, run.n - run.first);
		threads_run(threads, run_lane, &run, run.lanes_used);
		for (uint32_t i = 0; i < run.lanes_used; i++)
			if (run.lanes[i].r < 0)
				return error_set(reterr, run.lanes[i].r,
					"the calibration data cannot be read");
		threads_run(threads, accumulate, &run, run.n_blocks);
		progress_step(progress, "looking at inputs", run.first + run.lanes_used, run.n);
	}
	for (uint32_t i = 0; i < e->n_matrices; i++)
		if (wanted[i])
			finish(&ret[i], e->matrices[i].columns, run.n);
	return 0;
}
