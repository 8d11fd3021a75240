/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AdaRound (methods C4; Nagel et al. 2020) for planes: each weight may take the level below or above it, and
 * which is learned from what the layer gives out. With gap g_t between the two,
 *
 *	w^_t = low_t + g_t h(V_t),  h = clip(1.2 sigmoid(V) - 0.1, 0, 1)
 *	loss = e^T H e / scale + lambda sum (1 - |2 h - 1|^beta),  e = w - w^
 *
 * by Adam, beta from 20 to 2 after a warm-up, so that every h ends at 0 or 1; scale makes one gap of error in an
 * average input worth 1. H being all there is to know about the layer's linear output, no sample is looked at
 * again; the activation after it is not seen. Levels are those of the plain alternating fit per group. A row that
 * its nearest levels serve better keeps them.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/cleanup.h"
#include "convert/quantize/codebook.h"
#include "convert/quantize/gptq.h"
#include "convert/quantize/method.h"
#include "convert/quantize/metric.h"

#define ITERATIONS 300
#define WARM_UP 60
#define RATE 0.03
#define LAMBDA 0.02

/**
 * struct weight - one weight of the row: between two levels
 * @v, @m, @s: what is learned, and Adam's two moments of its gradient
 */
struct weight {
	double low, gap, h, v, m, s;
	uint8_t code_low, code_high;
};

struct work {
	struct coded *c;
	const struct metric *metric;
	struct weight *w;
	double *e, *product;
	uint8_t *nearest;
	float *decoded;
	struct fit *fit;
};

static void work_done(struct work *w)
{
	free(w->w);
	free(w->e);
	free(w->product);
	free(w->nearest);
	free(w->decoded);
	fit_free(w->fit);
}

static int work_init(struct work *w)
{
	size_t n = w->c->columns;

	w->w = calloc(n, sizeof *w->w);
	w->e = malloc(n * sizeof *w->e);
	w->product = malloc(n * sizeof *w->product);
	w->nearest = malloc(n);
	w->decoded = malloc(n * sizeof *w->decoded);
	if (!w->w || !w->e || !w->product || !w->nearest || !w->decoded)
		return -ENOMEM;
	return fit_new(&w->fit, w->c->group_columns);
}

static double sigmoid(double v)
{
	return 1 / (1 + exp(-v));
}

/* Between which levels, and where there. */
static void start_weight(struct weight *to, const struct codebook *b, double w)
{
	uint32_t at = 0;
	double part;

	while (at + 2 < b->n && b->value[at + 1] <= w)
		at++;
	*to = (struct weight){.low = b->value[at], .gap = b->value[at + 1] - b->value[at],
		.code_low = b->code[at], .code_high = b->code[at + 1]};
	part = to->gap > 0 ? fmin(fmax((w - to->low) / to->gap, 0.01), 0.99) : 0.5;
	to->v = -log(1.2 / (part + 0.1) - 1);
}

static void start_row(struct work *w, uint32_t row, const float *weights)
{
	struct coded *c = w->c;

	for (uint32_t begin = 0; begin < c->columns; begin += c->group_columns) {
		uint32_t n = MIN_OF(c->group_columns, c->columns - begin);
		struct codebook book;

		codebook_fit(&book, w->fit, weights + begin, n, c->planes,
			c->alpha + ((size_t) row * c->groups + begin / c->group_columns) * c->planes);
		for (uint32_t t = begin; t < begin + n; t++) {
			start_weight(&w->w[t], &book, (double) weights[t]);
			w->nearest[t] = book.code[codebook_nearest(&book, (double) weights[t])];
		}
	}
}

/* w->product = H e for the present h. */
static void forward(struct work *w, const float *weights)
{
	size_t n = w->c->columns;

	for (size_t t = 0; t < n; t++) {
		struct weight *x = &w->w[t];

		x->h = fmin(fmax(1.2 * sigmoid(x->v) - 0.1, 0), 1);
		w->e[t] = (double) weights[t] - x->low - x->gap * x->h;
		w->product[t] = 0;
	}
	for (size_t i = 0; i < n; i++) {
		const double *h = w->metric->h + i * n;
		double e = w->e[i];

		for (size_t t = 0; t < n; t++)
			w->product[t] += h[t] * e;
	}
}

static void backward(struct work *w, uint32_t iteration, double scale)
{
	double part = fmax((double) iteration - WARM_UP, 0) / (ITERATIONS - WARM_UP), beta = 20 - 18 * part;
	double correct_m = 1 - pow(0.9, iteration + 1), correct_s = 1 - pow(0.999, iteration + 1);

	for (size_t t = 0; t < w->c->columns; t++) {
		struct weight *x = &w->w[t];
		double s = sigmoid(x->v), slope = x->h > 0 && x->h < 1 ? 1.2 * s * (1 - s) : 0, d = 2 * x->h - 1;
		double g = -2 * w->product[t] * x->gap / scale;

		if (iteration >= WARM_UP)
			g -= LAMBDA * 2 * beta * pow(fabs(d), beta - 1) * (d < 0 ? -1 : 1);
		g *= slope;
		x->m = 0.9 * x->m + 0.1 * g;
		x->s = 0.999 * x->s + 0.001 * g * g;
		x->v -= RATE * (x->m / correct_m) / (sqrt(x->s / correct_s) + 1e-12);
	}
}

static double row_scale(const struct work *w)
{
	double energy = 0, gap = 0;
	size_t n = w->c->columns;

	for (size_t t = 0; t < n; t++) {
		energy += w->metric->h[t * n + t] / (double) n;
		gap += w->w[t].gap * w->w[t].gap / (double) n;
	}
	return energy * gap;
}

static double row_error(struct work *w, uint32_t row, const float *weights)
{
	for (uint32_t t = 0; t < w->c->columns; t++)
		w->decoded[t] = coded_value(w->c, row, t);
	return metric_error(w->metric, weights, w->decoded);
}

static int run_row(struct work *w, uint32_t row, const float *matrix)
{
	const float *weights = matrix + (size_t) row * w->c->columns;
	uint8_t *codes = w->c->codes + (size_t) row * w->c->columns;
	double scale, learned;
	int r;

	start_row(w, row, weights);
	scale = row_scale(w);
	for (uint32_t i = 0; i < ITERATIONS && scale > 0; i++) {
		forward(w, weights);
		backward(w, i, scale);
	}
	for (uint32_t t = 0; t < w->c->columns; t++)
		codes[t] = w->w[t].v >= 0 ? w->w[t].code_high : w->w[t].code_low;
	r = codebook_finish(w->c, matrix, row, row + 1, w->metric);
	if (r < 0)
		return r;
	learned = row_error(w, row, weights);
	for (uint32_t t = 0; t < w->c->columns; t++) { /* both ways once more, the better stays */
		uint8_t code = codes[t];

		codes[t] = w->nearest[t];
		w->nearest[t] = code;
	}
	r = codebook_finish(w->c, matrix, row, row + 1, w->metric);
	if (r < 0 || row_error(w, row, weights) <= learned)
		return r;
	memcpy(codes, w->nearest, w->c->columns);
	return codebook_finish(w->c, matrix, row, row + 1, w->metric);
}

int adaround_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end, const struct metric *m,
	const struct quantize_options *options, struct error *reterr)
{
	_cleanup_(work_done) struct work w = {.c = c, .metric = m};
	int r = weights_finite(weights + (size_t) first * c->columns, end - first, c->columns, reterr);

	if (r >= 0)
		r = work_init(&w);
	for (uint32_t row = first; r >= 0 && row < end; row++)
		r = run_row(&w, row, weights);
	return r;
}
