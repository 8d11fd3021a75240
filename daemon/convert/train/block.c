/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BRECQ (methods C5; Li et al. 2021): the weights of a residual block are rounded together, each to one of two levels
 * as in AdaRound (quantize/adaround.c), by what the block as a whole gives out for the inputs that it will have. With
 * z^ the block's output and z what the fp32 network says there,
 *
 *	loss = c N |z - z^|^2 / |z - z^0|^2 + lambda sum (1 - |2 h - 1|^beta),  w^ = low + gap h(V)
 *
 * N weights, z^0 with the codes as they were: levels and start are theirs. By Adam, the gradients through the graph of
 * training. Plain squares, as the published code has by default; codes that are no better over all samples go.
 */
#include "convert/train/block.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ITERATIONS 900
#define WARM_UP 180
#define RATE 0.05
#define LAMBDA 0.02
#define SHARE 1e-4 /* c */

/* As the export moved them (graph_ops.c). */
uint32_t *block_order(const struct export *e, uint32_t matrix)
{
	const struct net_node *n = &e->net->nodes[e->matrices[matrix].net_node];
	uint32_t columns = e->matrices[matrix].columns, inputs = columns, taps = 1, *order;

	if (n->kind == NET_LINEAR && net_elements(&e->net->values[n->inputs[0]].shape) == columns)
		return graph_order(e, n->inputs[0]);
	if (n->kind == NET_CONVOLUTION) {
		taps = n->kernel[0] * n->kernel[1];
		inputs = columns / taps;
	}
	order = malloc(columns * sizeof *order);
	for (uint32_t i = 0; order && i < columns; i++)
		order[i] = i % inputs * taps + i / inputs;
	return order;
}

/* The value that alone is known behind node @node and still needed; UINT32_MAX: several are. */
static uint32_t only_value(const struct net *net, uint32_t node)
{
	uint32_t found = UINT32_MAX;

	for (uint32_t i = 0; i <= node; i++) {
		uint32_t value = net->nodes[i].output;
		bool needed = value == net->output;

		for (uint32_t j = node + 1; j < net->n_nodes && !needed; j++)
			for (uint32_t k = 0; k < net->nodes[j].n_inputs; k++)
				needed |= net->nodes[j].inputs[k] == value;
		if (needed && found != UINT32_MAX)
			return UINT32_MAX;
		if (needed)
			found = value;
	}
	return found;
}

bool block_find(struct block *ret, const struct net *net, uint32_t begin, uint32_t end, uint32_t limit)
{
	uint32_t first = begin, last = end;

	while (first > 0 && only_value(net, first - 1) == UINT32_MAX)
		first--;
	while (last < limit && only_value(net, last) == UINT32_MAX)
		last++;
	if (first == 0 || last >= limit)
		return false;
	*ret = (struct block){first, last, only_value(net, first - 1), only_value(net, last)};
	return true;
}

/**
 * struct weight - between two levels
 * @v, @m, @s: what is learned, and Adam's two moments of its gradient
 */
struct weight {
	float low, gap, h, v, m, s;
	uint8_t code_low, code_high;
};

/**
 * struct work - @w, @order: of each matrix from @first on
 */
struct work {
	struct export *e;
	struct train_graph *g;
	const struct block *b;
	const struct block_samples *samples;
	uint32_t first, n;
	struct weight **w;
	uint32_t **order;
	double weights, start;
};

static void work_done(struct work *w)
{
	for (uint32_t i = 0; i < w->n; i++) {
		if (w->w)
			free(w->w[i]);
		if (w->order)
			free(w->order[i]);
	}
	free(w->w);
	free(w->order);
}

static const struct export_matrix *matrix_of(const struct work *w, uint32_t i)
{
	return &w->e->matrices[w->first + i];
}

/* The level next to that of @code on the side of @target. Return: its code, @code itself at the end */
static uint8_t neighbour(struct coded *c, uint32_t row, uint32_t column, float target)
{
	uint8_t *at = &c->codes[(size_t) row * c->columns + column], own = *at, best = own;
	float value = coded_value(c, row, column), nearest = INFINITY;

	for (uint32_t code = 0; code < 1u << c->planes; code++) {
		float level;

		*at = (uint8_t) code;
		level = coded_value(c, row, column);
		if ((target > value ? level > value : level < value) && fabsf(level - value) < nearest) {
			nearest = fabsf(level - value);
			best = (uint8_t) code;
		}
	}
	*at = own;
	return best;
}

static float value_of(struct coded *c, uint32_t row, uint32_t column, uint8_t code)
{
	uint8_t *at = &c->codes[(size_t) row * c->columns + column], own = *at;
	float value;

	*at = code;
	value = coded_value(c, row, column);
	*at = own;
	return value;
}

static void start_weight(struct weight *x, struct export_matrix *m, uint32_t row, uint32_t column)
{
	struct coded *c = &m->coded;
	float target = m->weight[(size_t) row * m->columns + column], scale = m->row_scale[row];
	uint8_t own = c->codes[(size_t) row * m->columns + column];
	uint8_t other = neighbour(c, row, column, target / scale);
	float a = value_of(c, row, column, own), b = value_of(c, row, column, other), h;

	*x = (struct weight){.low = fminf(a, b) * scale, .gap = fabsf(a - b) * scale,
		.code_low = a <= b ? own : other, .code_high = a <= b ? other : own};
	if (x->gap > 0) { /* half way from where the weight is to what was chosen */
		h = 0.5f * fminf(fmaxf((target - x->low) / x->gap, 0), 1) + (a > b ? 0.5f : 0);
		x->v = -logf(1.2f / (fminf(fmaxf(h, 0.02f), 0.98f) + 0.1f) - 1);
	}
}

static int work_init(struct work *w)
{
	w->w = calloc(w->n, sizeof *w->w);
	w->order = calloc(w->n, sizeof *w->order);
	if (!w->w || !w->order)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->n; i++) {
		struct export_matrix *m = &w->e->matrices[w->first + i];

		w->order[i] = block_order(w->e, w->first + i);
		w->w[i] = malloc((size_t) m->rows * m->columns * sizeof **w->w);
		if (!w->order[i] || !w->w[i])
			return -ENOMEM;
		for (uint32_t r = 0; r < m->rows; r++)
			for (uint32_t t = 0; t < m->columns; t++)
				start_weight(&w->w[i][(size_t) r * m->columns + t], m, r, t);
		w->weights += (double) m->rows * m->columns;
	}
	return 0;
}

/* What the graph multiplies with: between the levels, or at those of the codes. */
static void put_weights(struct work *w, bool soft)
{
	for (uint32_t i = 0; i < w->n; i++) {
		const struct export_matrix *m = matrix_of(w, i);
		float *hat = w->g->matrices[w->first + i].hat;

		for (uint32_t r = 0; r < m->rows; r++)
			for (uint32_t t = 0; t < m->columns; t++) {
				struct weight *x = &w->w[i][(size_t) r * m->columns + t];
				float h = fminf(fmaxf(1.2f / (1 + expf(-x->v)) - 0.1f, 0), 1);

				x->h = h;
				hat[(size_t) r * m->columns + w->order[i][t]] = soft
					? x->low + x->gap * h : m->row_scale[r] * coded_value(&m->coded, r, t);
			}
	}
}

/* One batch forward. Return: its squared error, and its gradient times @factor where the block ends; or an errno */
static double run(struct work *w, uint32_t batch, float factor, struct error *reterr)
{
	struct train_value *in = &w->g->values[w->b->input], *out = &w->g->values[w->b->output];
	const float *wanted = w->samples->out + (size_t) batch * w->g->batch * out->elements;
	double sum = 0;
	int r;

	memcpy(in->data, w->samples->in + (size_t) batch * w->g->batch * in->elements,
		w->g->batch * in->elements * sizeof *in->data);
	r = train_graph_part(w->g, w->b->first, w->b->last, reterr);
	if (r < 0)
		return r;
	for (size_t i = 0; i < w->g->batch * out->elements; i++) {
		float e = out->data[i] - wanted[i];

		sum += (double) e * (double) e;
		out->grad[i] = factor * e;
	}
	return sum;
}

/* Over all samples, with the codes. */
static double error_of(struct work *w, struct error *reterr)
{
	double sum = 0;

	put_weights(w, false);
	for (uint32_t k = 0; k < w->samples->n / w->g->batch; k++) {
		double e = run(w, k, 0, reterr);

		if (e < 0)
			return e;
		sum += e;
	}
	return sum;
}

static void step_weight(struct weight *x, double gradient, uint32_t iteration)
{
	double part = fmax((double) iteration - WARM_UP, 0) / (ITERATIONS - WARM_UP), beta = 20 - 18 * part;
	double s = 1 / (1 + exp(-(double) x->v)), h = (double) x->h, d = 2 * h - 1, g = gradient * (double) x->gap;

	if (iteration >= WARM_UP)
		g -= LAMBDA * 2 * beta * pow(fabs(d), beta - 1) * (d < 0 ? -1 : 1);
	g *= h > 0 && h < 1 ? 1.2 * s * (1 - s) : 0;
	x->m = (float) (0.9 * (double) x->m + 0.1 * g);
	x->s = (float) (0.999 * (double) x->s + 0.001 * g * g);
	x->v -= (float) (RATE * ((double) x->m / (1 - pow(0.9, iteration + 1))) /
		(sqrt((double) x->s / (1 - pow(0.999, iteration + 1))) + 1e-12));
}

static int step(struct work *w, uint32_t iteration, struct error *reterr)
{
	uint32_t batches = w->samples->n / w->g->batch;
	/* Of one batch, as if it were all of them. */
	float factor = (float) (2 * SHARE * w->weights * batches / w->start);
	double e;
	int r;

	put_weights(w, true);
	e = run(w, iteration % batches, factor, reterr);
	r = e < 0 ? (int) e : train_graph_part_backward(w->g, w->b->first, w->b->last, reterr);
	for (uint32_t i = 0; r >= 0 && i < w->n; i++) {
		const struct export_matrix *m = matrix_of(w, i);
		const float *grad = w->g->matrices[w->first + i].grad;

		for (size_t k = 0; k < (size_t) m->rows * m->columns; k++)
			step_weight(&w->w[i][k],
				(double) grad[k / m->columns * m->columns + w->order[i][k % m->columns]], iteration);
	}
	return r;
}

/* Codes by the sides that were learned; again: as they were. */
static void swap_codes(struct work *w, uint8_t *const *codes)
{
	for (uint32_t i = 0; i < w->n; i++)
		for (size_t k = 0; k < (size_t) matrix_of(w, i)->rows * matrix_of(w, i)->columns; k++) {
			uint8_t *at = &matrix_of(w, i)->coded.codes[k], code = *at;

			*at = codes[i][k];
			codes[i][k] = code;
		}
}

static int learn(struct work *w, uint8_t **codes, struct error *reterr)
{
	double now;
	int r = 0;

	w->start = error_of(w, reterr);
	if (w->start <= 0)
		return (int) w->start;
	for (uint32_t i = 0; r >= 0 && i < ITERATIONS; i++)
		r = step(w, i, reterr);
	for (uint32_t i = 0; r >= 0 && i < w->n; i++) {
		size_t n = (size_t) matrix_of(w, i)->rows * matrix_of(w, i)->columns;

		codes[i] = malloc(n);
		if (!codes[i])
			return -ENOMEM;
		for (size_t k = 0; k < n; k++)
			codes[i][k] = w->w[i][k].v >= 0 ? w->w[i][k].code_high : w->w[i][k].code_low;
	}
	if (r < 0)
		return r;
	swap_codes(w, codes);
	now = error_of(w, reterr);
	if (now >= 0 && now < w->start)
		return 1;
	swap_codes(w, codes);
	return now < 0 ? (int) now : 0;
}

int block_round(struct export *e, uint32_t first, uint32_t last, const struct block *b, struct train_graph *g,
	const struct block_samples *samples, struct error *reterr)
{
	_cleanup_(work_done) struct work w = {.e = e, .g = g, .b = b, .samples = samples, .first = first,
		.n = last - first + 1};
	uint8_t **codes;
	int r;

	for (uint32_t i = first; i <= last; i++)
		if (e->matrices[i].coded.coding != CODING_SUM || samples->n < g->batch)
			return 0;
	r = work_init(&w);
	codes = calloc(w.n, sizeof *codes);
	if (r >= 0)
		r = codes ? learn(&w, codes, reterr) : -ENOMEM;
	for (uint32_t i = 0; codes && i < w.n; i++)
		free(codes[i]);
	free(codes);
	return r;
}
