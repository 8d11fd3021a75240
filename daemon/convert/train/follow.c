/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two networks side by side: the fp32 one, and the student, in which the matrices so far are quantized. A matrix
 * W gives y in the first, reads x^ in the second, and should give y there, too; channels that the student has no
 * more (prune.h) are in y. The best that it can do with x^, before it is quantized itself, is
 *
 *	W' = argmin E |y - b - W' x^|^2 = W + D (H^ + lambda)^-1,  D = E[(y - b - W x^) x^^T],  H^ = E[x^ x^^T]
 *
 * So a matrix takes back what its inputs show of the errors before it, and is quantized in the metric of the
 * inputs that it will have (methods C4 and C5 take their inputs so; here it is in closed form). With few
 * positions for many columns D is mostly chance: lambda grows with their ratio. Mirrored pictures are further
 * samples: what is asked of them is not what they show, but that both networks say the same.
 */
#include "convert/train/follow.h"

#include <errno.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "convert/quantize/metric.h"
#include "convert/second_moment.h"
#include "convert/train/block.h"
#include "convert/train/graph.h"

#define BATCH 16
#define POSITIONS_MAX 64 /* of one sample */
#define SAMPLES_MAX 256 /* mirrored ones among them: both networks run once for each matrix */
#define BLOCK_BYTES_MAX (512u << 20) /* of samples at both ends of a block */
#define TASK_ROWS 16
/* Of the mean of the diagonal, for each column per position. */
#define RIDGE 4.0

/**
 * struct follow - @teacher, @student: graphs of the same net
 * @learner: with gradients, for blocks; NULL: none are rounded together
 * @begin: the first matrix whose block has not ended yet
 * @n: samples; @sides: 2: mirrored, too
 * @pixels, @chw: one sample
 */
struct follow {
	struct samples *samples;
	struct threads *threads;
	struct train_graph *teacher, *student, *learner;
	uint32_t n, sides, begin;
	uint8_t *pixels;
	float *chw;
};

/**
 * struct inputs - of one matrix
 * @order: [columns], column of the engine to column of the net
 * @m: the matrix; @rows: of one group
 * @x: [BATCH * POSITIONS_MAX][columns], x^ of one group; @off: [BATCH * POSITIONS_MAX][rows], y - b - W x^
 * @product: [max(rows, columns)][columns]
 * @h: [groups][columns][columns]; @d: [groups][rows][columns]
 */
struct inputs {
	const struct export *e;
	const struct export_matrix *m;
	const struct net_node *node;
	uint32_t *order, columns, rows, groups;
	float *x, *off, *product;
	double *h, *d;
	uint64_t positions;
};

static void *follow_close(void *userdata)
{
	struct follow *f = userdata;

	if (!f)
		return NULL;
	train_graph_free(f->teacher);
	train_graph_free(f->student);
	train_graph_free(f->learner);
	free(f->pixels);
	free(f->chw);
	free(f);
	return NULL;
}
DEFINE_CLEANUP(void *, follow_close)

static void inputs_done(struct inputs *in)
{
	free(in->order);
	free(in->x);
	free(in->off);
	free(in->product);
	free(in->h);
	free(in->d);
}

static int inputs_init(struct inputs *in, const struct export *e, uint32_t matrix)
{
	const struct export_matrix *m = &e->matrices[matrix];
	size_t columns = m->columns;

	*in = (struct inputs){.e = e, .m = m, .node = &e->net->nodes[m->net_node], .columns = m->columns,
		.groups = second_moment_groups(e, matrix), .order = block_order(e, matrix)};
	in->rows = m->rows / in->groups;
	in->x = dnn_floats(BATCH * POSITIONS_MAX * columns);
	in->off = dnn_floats((size_t) BATCH * POSITIONS_MAX * in->rows);
	in->product = dnn_floats(MAX_OF(columns, (size_t) in->rows) * columns);
	in->h = calloc(1, second_moment_bytes(e, matrix));
	in->d = calloc((size_t) m->rows * columns, sizeof *in->d);
	return in->order && in->x && in->off && in->product && in->h && in->d ? 0 : -ENOMEM;
}

/* Sample @index / sides into place @at of the student's batch, NHWC. */
static int load_sample(struct follow *f, uint32_t index, uint32_t at)
{
	struct shape s = f->samples->shape;
	uint64_t item = (uint64_t) (index / f->sides) * dataset_count(f->samples->data) / f->n;
	float *to = train_graph_input(f->student) + at * samples_elements(f->samples);
	const float *from = f->chw;
	bool mirror = index % f->sides;
	int r = samples_chw(f->samples, (uint32_t) item, f->pixels, f->chw);

	for (uint32_t c = 0; r >= 0 && c < s.channels; c++)
		for (uint32_t y = 0; y < s.height; y++)
			for (uint32_t x = 0; x < s.width; x++)
				to[((size_t) y * s.width + (mirror ? s.width - 1 - x : x)) * s.channels + c] = *from++;
	return r;
}

/* The student before node @before, the teacher behind node @behind. */
static int run_batch(struct follow *f, uint32_t before, uint32_t behind, uint32_t first, uint32_t n, struct error *reterr)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < n; i++)
		r = load_sample(f, first + i, i);
	if (r < 0)
		return error_set(reterr, r, "the calibration data cannot be read");
	memcpy(train_graph_input(f->teacher), train_graph_input(f->student),
		n * samples_elements(f->samples) * sizeof(float));
	r = train_graph_pass(f->teacher, behind, reterr);
	return r < 0 ? r : train_graph_reach(f->student, before, reterr);
}

/* What output element @at of a convolution reads, in the engine's order. @from: one sample, NHWC. */
static void gather_window(const struct inputs *in, const float *from, uint32_t group, size_t at, float *to)
{
	const struct net_node *n = in->node;
	const struct net_shape *s = &in->e->net->values[n->inputs[0]].shape;
	size_t width_out = in->e->net->values[n->output].shape.dims[2];
	size_t channels = s->dims[0] / n->groups, height = s->dims[1], width = s->dims[2];

	for (uint32_t ky = 0; ky < n->kernel[0]; ky++)
		for (uint32_t kx = 0; kx < n->kernel[1]; kx++, to += channels) {
			size_t row = at / width_out * n->stride[0] + (size_t) ky * n->dilation[0] - n->pads[0];
			size_t column = at % width_out * n->stride[1] + (size_t) kx * n->dilation[1] - n->pads[1];

			/* Left of the image wraps around to far right of it. */
			if (row < height && column < width)
				memcpy(to, from + (row * width + column) * s->dims[0] + group * channels,
					channels * sizeof *to);
			else
				memset(to, 0, channels * sizeof *to);
		}
}

/**
 * struct grid - the positions of a sample's output that are looked at
 * @all: there are; @each: of one sample
 */
struct grid {
	size_t all, each;
};

static struct grid grid_of(const struct inputs *in)
{
	const struct net_shape *out = &in->e->net->values[in->node->output].shape;
	size_t elements = net_elements(&in->e->net->values[in->node->inputs[0]].shape);
	size_t all = in->node->kind == NET_CONVOLUTION ? (size_t) out->dims[1] * out->dims[2] : elements / in->columns;

	return (struct grid){all, MIN_OF(all, (size_t) POSITIONS_MAX)};
}

/* Another grid for each sample: together they see the whole image. */
static size_t grid_at(const struct grid *g, size_t k, uint32_t sample)
{
	return (k * g->all / g->each + sample) % g->all;
}

/* x^ of @n samples from @first on. */
static void gather_inputs(const struct inputs *in, const struct train_graph *student, uint32_t group, uint32_t first,
	uint32_t n)
{
	size_t elements = net_elements(&in->e->net->values[in->node->inputs[0]].shape);
	struct grid grid = grid_of(in);
	float *to = in->x;

	for (uint32_t s = 0; s < n; s++) {
		const float *from = student->values[in->node->inputs[0]].data + s * elements;

		for (size_t k = 0; k < grid.each; k++, to += in->columns) {
			size_t at = grid_at(&grid, k, first + s);

			if (in->node->kind == NET_CONVOLUTION)
				gather_window(in, from, group, at, to);
			else
				for (uint32_t t = 0; t < in->columns; t++)
					to[t] = from[at * in->columns + in->order[t]];
		}
	}
}

/* y - b at the same positions. The student's bias: what its lost channels add on average is in it. */
static void gather_outputs(const struct inputs *in, const struct train_graph *teacher, uint32_t group, uint32_t first,
	uint32_t n)
{
	const struct train_value *y = &teacher->values[in->node->output];
	uint32_t rows = teacher->net->nodes[in->m->net_node].outputs, begin = group * in->rows;
	struct grid grid = grid_of(in);
	float *to = in->off;

	for (uint32_t s = 0; s < n; s++)
		for (size_t k = 0; k < grid.each; k++) {
			const float *from = y->data + s * y->elements + grid_at(&grid, k, first + s) * rows;

			for (uint32_t i = begin; i < begin + in->rows; i++)
				*to++ = from[in->node->kept ? in->node->kept[i] : i] - in->m->bias[i];
		}
}

/* @to += a^T x, a: [n][rows] */
static int add_product(const struct inputs *in, const float *a, uint32_t rows, size_t n, double *to,
	struct error *reterr)
{
	dnnl_dim_t c = in->columns, r = rows;
	int error = dnn_errno(dnnl_sgemm('T', 'N', r, c, (dnnl_dim_t) n, 1, a, r, in->x, c, 0, in->product, c),
		"product", reterr);

	for (size_t i = 0; error >= 0 && i < (size_t) r * (size_t) c; i++)
		to[i] += (double) in->product[i];
	return error;
}

/* in->off -= W x^ */
static int subtract_output(const struct inputs *in, uint32_t group, size_t n, struct error *reterr)
{
	const float *weight = in->m->weight + (size_t) group * in->rows * in->columns;
	dnnl_dim_t c = in->columns, r = in->rows;

	return dnn_errno(dnnl_sgemm('N', 'T', (dnnl_dim_t) n, r, c, -1, in->x, c, weight, c, 1, in->off, r),
		"product", reterr);
}

static int accumulate(const struct follow *f, struct inputs *in, uint32_t first, uint32_t n, struct error *reterr)
{
	size_t square = (size_t) in->columns * in->columns, count = grid_of(in).each * n;
	int r = 0;

	for (uint32_t g = 0; r >= 0 && g < in->groups; g++) {
		gather_inputs(in, f->student, g, first, n);
		gather_outputs(in, f->teacher, g, first, n);
		r = subtract_output(in, g, count, reterr);
		if (r >= 0)
			r = add_product(in, in->x, in->columns, count, in->h + g * square, reterr);
		if (r >= 0)
			r = add_product(in, in->off, in->rows, count, in->d + (size_t) g * in->rows * in->columns,
				reterr);
	}
	in->positions += count;
	return r;
}

/**
 * struct move - W' of one group
 * @weight, @d: [rows][columns], of the group; @metric: of H^ + lambda
 * @scratch: [threads][columns]
 */
struct move {
	float *weight;
	uint32_t rows;
	const double *d;
	const struct metric *metric;
	double *scratch;
};

/* row += d H^-1, H^-1 = U^T U; @b: [columns] */
static void move_row(const struct move *m, float *row, const double *d, double *b)
{
	size_t n = m->metric->columns;
	const double *u = m->metric->u;

	for (size_t i = 0; i < n; i++) {
		b[i] = 0;
		for (size_t j = i; j < n; j++)
			b[i] += u[i * n + j] * d[j];
	}
	for (size_t i = 0; i < n; i++)
		for (size_t j = i; j < n; j++)
			row[j] += (float) (u[i * n + j] * b[i]);
}

static void move_task(void *userdata, uint32_t task, uint32_t thread)
{
	const struct move *m = userdata;
	size_t n = m->metric->columns;

	for (uint32_t row = task * TASK_ROWS; row < MIN_OF((task + 1) * TASK_ROWS, m->rows); row++)
		move_row(m, m->weight + row * n, m->d + row * n, m->scratch + thread * n);
}

static void add_ridge(double *h, size_t n, uint64_t positions)
{
	double mean = 0;

	for (size_t i = 0; i < n; i++)
		mean += h[i * n + i] / (double) n;
	for (size_t i = 0; i < n; i++)
		h[i * n + i] += RIDGE * mean * (double) n / (double) positions;
}

static int move_weights(const struct follow *f, const struct inputs *in, struct export_matrix *to,
	struct error *reterr)
{
	size_t n = in->columns, square = n * n;
	_cleanup_free_ double *h = malloc(square * sizeof *h);
	_cleanup_free_ double *scratch = malloc(threads_count(f->threads) * n * sizeof *scratch);
	struct move m = {.rows = in->rows, .scratch = scratch};
	int r = h && scratch ? 0 : -ENOMEM;

	for (uint32_t g = 0; r >= 0 && g < in->groups; g++) {
		_cleanup_(metric_freep) struct metric *metric = NULL;

		memcpy(h, in->h + g * square, square * sizeof *h);
		add_ridge(h, n, in->positions);
		r = metric_new(&metric, h, in->columns, f->threads, reterr);
		if (r < 0)
			break;
		m.weight = to->weight + (size_t) g * m.rows * n;
		m.d = in->d + (size_t) g * m.rows * n;
		m.metric = metric;
		threads_run(f->threads, move_task, &m, (m.rows - 1) / TASK_ROWS + 1);
	}
	return r;
}

static int follow_inputs(void *userdata, struct export *e, uint32_t matrix, struct second_moment *ret,
	struct error *reterr)
{
	struct follow *f = userdata;
	_cleanup_(inputs_done) struct inputs in = {};
	uint32_t all = f->n * f->sides, node = e->matrices[matrix].net_node;
	int r = inputs_init(&in, e, matrix);

	for (uint32_t first = 0; r >= 0 && first < all; first += BATCH) {
		uint32_t n = MIN_OF((uint32_t) BATCH, all - first);

		r = run_batch(f, node, node, first, n, reterr);
		if (r >= 0)
			r = accumulate(f, &in, first, n, reterr);
	}
	if (r >= 0)
		r = move_weights(f, &in, &e->matrices[matrix], reterr);
	if (r < 0)
		return r;
	for (size_t i = 0; i < second_moment_bytes(e, matrix) / sizeof *in.h; i++)
		in.h[i] /= (double) in.positions;
	*ret = (struct second_moment){.groups = in.groups, .h = take_ptr(in.h)};
	return 0;
}

/* The student goes on with what the matrix has become. */
static int put_matrix(const struct follow *f, const struct export *e, uint32_t matrix)
{
	const struct export_matrix *m = &e->matrices[matrix];
	_cleanup_free_ uint32_t *order = block_order(e, matrix);
	float *hat = f->student->matrices[matrix].hat;

	if (!order)
		return -ENOMEM;
	for (uint32_t r = 0; r < m->rows; r++)
		for (uint32_t t = 0; t < m->columns; t++)
			hat[(size_t) r * m->columns + order[t]] = m->row_scale[r] * coded_value(&m->coded, r, t);
	return 0;
}

static void block_samples_done(struct block_samples *s)
{
	free(s->in);
	free(s->out);
}

static int gather_block(struct follow *f, const struct block *b, struct block_samples *ret, struct error *reterr)
{
	size_t in = f->student->values[b->input].elements, out = f->teacher->values[b->output].elements;
	size_t most = BLOCK_BYTES_MAX / ((in + out) * sizeof(float));

	ret->n = (uint32_t) MIN_OF((size_t) f->n * f->sides, most) / BATCH * BATCH;
	ret->in = malloc(ret->n * in * sizeof *ret->in + 1);
	ret->out = malloc(ret->n * out * sizeof *ret->out + 1);
	if (!ret->in || !ret->out)
		return -ENOMEM;
	for (uint32_t first = 0; first < ret->n; first += BATCH) {
		int r = run_batch(f, b->first, b->last, first, BATCH, reterr);

		if (r < 0)
			return r;
		memcpy(ret->in + first * in, f->student->values[b->input].data, BATCH * in * sizeof *ret->in);
		memcpy(ret->out + first * out, f->teacher->values[b->output].data, BATCH * out * sizeof *ret->out);
	}
	return 0;
}

/* The matrices from f->begin to @matrix, when a block of several ends with it. */
static int finish_block(struct follow *f, struct export *e, uint32_t matrix, struct error *reterr)
{
	_cleanup_(block_samples_done) struct block_samples samples = {};
	uint32_t begin = f->begin, limit = e->net->n_nodes;
	struct block b;
	int r;

	if (matrix + 1 < e->n_matrices)
		limit = e->matrices[matrix + 1].net_node;
	if (!block_find(&b, e->net, e->matrices[begin].net_node, e->matrices[matrix].net_node, limit)) {
		if (begin == 0) /* what reads the input is no block */
			f->begin = matrix + 1;
		return 0;
	}
	f->begin = matrix + 1;
	if (begin == matrix)
		return 0;
	r = gather_block(f, &b, &samples, reterr);
	if (r >= 0)
		r = block_round(e, begin, matrix, &b, f->learner, &samples, reterr);
	for (uint32_t i = begin; r > 0 && i <= matrix; i++)
		r = put_matrix(f, e, i) < 0 ? -ENOMEM : 1;
	return r < 0 ? r : 0;
}

static int follow_quantized(void *userdata, struct export *e, uint32_t matrix, struct error *reterr)
{
	struct follow *f = userdata;
	int r = put_matrix(f, e, matrix);

	return r < 0 || !f->learner ? r : finish_block(f, e, matrix, reterr);
}

static int open_graphs(struct export_follow *ret, const struct net *net, const struct net *teacher, bool blocks,
	struct samples *samples, uint32_t limit, struct threads *threads, struct error *reterr)
{
	_cleanup_(follow_closep) void *userdata = calloc(1, sizeof(struct follow));
	uint32_t n = MIN_OF(MIN_OF(limit, (uint32_t) SAMPLES_MAX), dataset_count(samples->data));
	struct follow *f = userdata;
	int r;

	if (!f)
		return -ENOMEM;
	*f = (struct follow){.samples = samples, .threads = threads, .n = n,
		.sides = samples->pixels && 2 * n <= SAMPLES_MAX ? 2 : 1,
		.pixels = malloc(samples_elements(samples)),
		.chw = malloc(samples_elements(samples) * sizeof *f->chw)};
	if (!f->pixels || !f->chw)
		return -ENOMEM;
	omp_set_num_threads((int) threads_count(threads));
	r = train_graph_new(&f->teacher, teacher, BATCH, 1, NULL, false, reterr);
	if (r >= 0)
		r = train_graph_new(&f->student, net, BATCH, 1, NULL, false, reterr);
	if (r >= 0 && blocks)
		r = train_graph_new(&f->learner, net, BATCH, 1, NULL, true, reterr);
	if (r < 0)
		return r;
	*ret = (struct export_follow){.inputs = follow_inputs, .quantized = follow_quantized, .close = follow_close,
		.userdata = take_ptr(userdata)};
	return 0;
}

int follow_open(struct export_follow *ret, const struct net *net, const struct net *teacher, struct samples *samples,
	uint32_t limit, struct threads *threads, struct error *reterr)
{
	return open_graphs(ret, net, teacher, false, samples, limit, threads, reterr);
}

int follow_open_blocks(struct export_follow *ret, const struct net *net, const struct net *teacher,
	struct samples *samples, uint32_t limit, struct threads *threads, struct error *reterr)
{
	return open_graphs(ret, net, teacher, true, samples, limit, threads, reterr);
}
