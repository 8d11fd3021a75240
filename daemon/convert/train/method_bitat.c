/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BiTAT, binarization with a task-dependent aggregated transformation (methods B13). Weights of a row are
 * coupled by what their inputs have in common. Layers have their turns from the input to the output, each
 * with binary layers before it: it looks at its inputs, takes the eigenvectors and eigenvalues of their second
 * moment as directions and importances, and is binarised in portions, the most important columns first; what
 * is not binary yet takes up the error, by a transformation that directions and importances make
 * (aggregate.h). The task's loss trains these two during the turn, and scales and latent weights to the end.
 *
 * A reconstruction from the abstract: columns are coupled in runs of about 64, whole kernels; four portions
 * (a half, a quarter, ...); a turn's first LOOK is for the inputs, all turns take TURNS of the run; the
 * gradient goes straight through signs, so that errors count as constant to the weights, not to the
 * transformation; directions stay orthonormal by Gram and Schmidt (QR). In the file there are signs and a
 * scale for each row: the transformation has done its work.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/train/aggregate.h"
#include "convert/train/method.h"

#define RUN 64
#define RUN_MAX 128
#define TURNS 0.6
#define LOOK 0.2
#define REACH 2.5f

/**
 * struct bitat - of one layer
 * @block: columns that are coupled
 * @state: kept; @inputs: vectors that were looked at; @started: the transformation is there; @portions: that
 *	are binary
 * @moment, @v: [columns][block]; @log_s, @order: [columns]
 * @pass, @gradient: [columns][block]
 * @scale, @scale_grad: [rows], trained
 * @learning: the layer has its turn
 */
struct bitat {
	uint32_t block, param;
	struct bitat_state {
		uint64_t inputs;
		uint32_t portions;
		bool started;
	} state;
	double *moment, *v, *log_s;
	float *pass, *gradient, *scale, *scale_grad;
	uint32_t *order;
	bool learning;
};

static size_t size_of(const struct train_layer *l)
{
	return (size_t) l->rows * l->columns;
}

static uint32_t block_of(const struct train_layer *l)
{
	return l->taps > RUN_MAX ? RUN : MIN_OF(l->taps * MAX_OF(RUN / l->taps, 1u), l->columns);
}

static int add_state(struct train_layer *l, struct bitat *b)
{
	size_t square = (size_t) l->columns * b->block;
	int r = train_store_param(l->store, b->scale, b->scale_grad, l->rows, false, 1);

	b->param = (uint32_t) r;
	if (r >= 0)
		r = train_store_block(l->store, &b->state, sizeof b->state);
	if (r >= 0)
		r = train_store_block(l->store, b->moment, (2 * square + l->columns) * sizeof *b->moment);
	if (r >= 0)
		r = train_store_block(l->store, b->pass, square * sizeof *b->pass);
	return r < 0 ? r : train_store_block(l->store, b->order, l->columns * sizeof *b->order);
}

static int bitat_init(struct train_layer *l, struct error *reterr)
{
	struct bitat *b = l->own = calloc(1, sizeof *b);
	size_t square;

	if (!b)
		return -ENOMEM;
	b->block = block_of(l);
	square = (size_t) l->columns * b->block;
	b->moment = calloc(2 * square + l->columns, sizeof *b->moment);
	b->pass = calloc(2 * square, sizeof *b->pass);
	b->scale = calloc(l->rows, 2 * sizeof *b->scale);
	b->order = calloc(l->columns, sizeof *b->order);
	if (!b->moment || !b->pass || !b->scale || !b->order)
		return -ENOMEM;
	b->v = b->moment + square;
	b->log_s = b->v + square;
	b->gradient = b->pass + square;
	b->scale_grad = b->scale + l->rows;
	return add_state(l, b);
}

/* The block that begins at column @first. */
static struct aggregate aggregate_of(const struct train_layer *l, uint32_t first)
{
	const struct bitat *b = l->own;
	size_t at = (size_t) first * b->block;

	return (struct aggregate){.n = MIN_OF(b->block, l->columns - first), .order = b->order + first,
		.v = b->v + at, .log_s = b->log_s + first, .pass = b->pass + at, .gradient = b->gradient + at};
}

static int bitat_inputs(struct train_layer *l, const float *x, uint32_t n)
{
	struct bitat *b = l->own;

	for (uint32_t i = 0; i < n; i++, x += l->columns)
		for (uint32_t first = 0; first < l->columns; first += b->block) {
			uint32_t width = MIN_OF(b->block, l->columns - first);
			double *to = b->moment + (size_t) first * b->block;

			for (uint32_t j = 0; j < width; j++)
				for (uint32_t k = 0; k < width; k++)
					*to++ += (double) x[first + j] * (double) x[first + k];
		}
	b->state.inputs += n;
	return 0;
}

static int start(struct train_layer *l)
{
	struct bitat *b = l->own;
	int r = 0;

	for (uint32_t first = 0; r >= 0 && first < l->columns; first += b->block) {
		struct aggregate a = aggregate_of(l, first);

		r = aggregate_start(&a, b->moment + (size_t) first * b->block);
	}
	for (size_t i = 0; i < size_of(l); i++)
		b->scale[i / l->columns] += fabsf(l->weight[i]) / (float) l->columns;
	b->state.started = true;
	return r;
}

static int bitat_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct bitat *b = l->own;
	double part = m->t / TURNS * l->n_layers - l->index;
	double portion = 1 + floor((part - LOOK) / (1 - LOOK) * AGGREGATE_PORTIONS);
	bool ready = part >= LOOK && b->state.inputs;
	int r = ready && !b->state.started ? start(l) : 0;

	l->look = part >= 0 && !b->state.started;
	b->learning = b->state.started && part < 1;
	if (b->state.started)
		b->state.portions = (uint32_t) fmin(fmax(portion, b->state.portions), AGGREGATE_PORTIONS);
	l->store->params[b->param].frozen = !b->state.started;
	return r;
}

static uint32_t binary_columns(const struct bitat *b, uint32_t n)
{
	return b->state.portions ? aggregate_end(n, b->state.portions - 1) : 0;
}

/* One row of a block, in its order: @u, latent weights as errors move them; @hat, what becomes of them. */
static void run_row(const struct train_layer *l, const struct aggregate *a, const float *weight, float scale,
	float *u, float *hat)
{
	uint32_t binary = binary_columns(l->own, a->n);

	for (uint32_t i = 0; i < a->n; i++)
		u[i] = weight[a->order[i]];
	for (uint32_t i = 0; i < a->n; i++) {
		const float *pass = a->pass + (size_t) i * a->n;
		float error;

		hat[i] = i >= binary ? u[i] : u[i] >= 0 ? scale : -scale;
		error = u[i] - hat[i];
		for (uint32_t k = i + 1; i < binary && k < a->n; k++)
			u[k] += error * pass[k];
	}
}

static void bitat_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct bitat *b = l->own;
	float u[RUN_MAX], values[RUN_MAX];

	if (b->state.portions == 0)
		memcpy(hat, l->weight, size_of(l) * sizeof *hat);
	for (uint32_t first = 0; b->state.portions && first < l->columns; first += b->block) {
		struct aggregate a = aggregate_of(l, first);

		for (uint32_t row = 0; row < l->rows; row++) {
			size_t at = (size_t) row * l->columns + first;

			run_row(l, &a, l->weight + at, b->scale[row], u, values);
			for (uint32_t i = 0; i < a.n; i++)
				hat[at + a.order[i]] = values[i];
		}
	}
}

/* To the scale of a row and, of a layer that has its turn, the transformation. Return: the scale's */
static double row_gradient(const struct train_layer *l, const struct aggregate *a, const float *grad,
	const float *u, const float *hat, float factor)
{
	const struct bitat *b = l->own;
	uint32_t binary = binary_columns(b, a->n);
	double sum = 0;

	for (uint32_t i = 0; i < binary; i++) {
		const float *pass = a->pass + (size_t) i * a->n;
		float *to = a->gradient + (size_t) i * a->n, error = factor * (u[i] - hat[i]), behind = 0;

		for (uint32_t k = i + 1; k < a->n; k++)
			behind += pass[k] * grad[a->order[k]];
		for (uint32_t k = i + 1; b->learning && k < a->n; k++)
			to[k] += error * grad[a->order[k]];
		sum += (double) ((grad[a->order[i]] - behind) * (hat[i] >= 0 ? 1.0f : -1.0f));
	}
	return sum;
}

static void bitat_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	struct bitat *b = l->own;
	float u[RUN_MAX], hat[RUN_MAX], factor = 1 / sqrtf((float) l->rows * (float) b->block);

	method_straight(l, grad);
	for (uint32_t first = 0; b->state.portions && first < l->columns; first += b->block) {
		struct aggregate a = aggregate_of(l, first);

		for (uint32_t row = 0; row < l->rows; row++) {
			size_t at = (size_t) row * l->columns + first;

			run_row(l, &a, l->weight + at, b->scale[row], u, hat);
			b->scale_grad[row] += (float) row_gradient(l, &a, grad + at, u, hat, factor) /
				sqrtf((float) l->columns);
		}
	}
}

/* Latent weights stay where a sign can still change. */
static void clip(struct train_layer *l)
{
	const struct bitat *b = l->own;

	for (size_t i = 0; i < size_of(l); i++) {
		float most = REACH * b->scale[i / l->columns];

		l->weight[i] = fminf(fmaxf(l->weight[i], -most), most);
	}
}

static int bitat_stepped(struct train_layer *l, const struct train_moment *m)
{
	struct bitat *b = l->own;
	int r = 0;

	for (uint32_t row = 0; b->state.started && row < l->rows; row++)
		b->scale[row] = fmaxf(b->scale[row], 1e-8f);
	if (b->state.portions == AGGREGATE_PORTIONS)
		clip(l);
	for (uint32_t first = 0; r >= 0 && b->learning && first < l->columns; first += b->block) {
		struct aggregate a = aggregate_of(l, first);

		r = aggregate_learn(&a, (double) m->rate);
	}
	return r;
}

static int bitat_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct bitat *b = l->own;
	_cleanup_free_ float *hat = malloc(size_of(l) * sizeof *hat);
	int r;

	if (b->state.portions < AGGREGATE_PORTIONS)
		return error_set(reterr, -EINVAL,
			"too few steps for every layer to have its turn: give more --epochs");
	r = hat ? coded_allocate(ret, CODING_SUM, l->rows, l->columns, l->columns, 1, false, reterr) : -ENOMEM;
	if (r < 0)
		return r;
	bitat_weights(l, 1, hat);
	memcpy(ret->alpha, b->scale, l->rows * sizeof *ret->alpha);
	for (size_t i = 0; i < size_of(l); i++)
		ret->codes[i] = hat[i] >= 0;
	return 0;
}

static void bitat_done(struct train_layer *l)
{
	struct bitat *b = l->own;

	if (!b)
		return;
	free(b->moment);
	free(b->pass);
	free(b->scale);
	free(b->order);
	free(b);
}

const struct train_method train_bitat = {
	.name = "bitat",
	.help = "one plane, layer after layer, weights make up for errors of others (BiTAT)",
	.planes_min = 1,
	.planes_max = 1,
	.planes_default = 1,
	.init = bitat_init,
	.prepare = bitat_prepare,
	.inputs = bitat_inputs,
	.weights = bitat_weights,
	.gradient = bitat_gradient,
	.stepped = bitat_stepped,
	.codes = bitat_codes,
	.done = bitat_done,
};
