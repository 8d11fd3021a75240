/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested codes with error compensation (methods C3 with the codes of D4.4-3). Each weight's
 * rounding error is passed on to the columns that come after it, in the proportions that keep the
 * layer's output. Every width makes its own errors, so every width keeps its own copy of the moved
 * weights; the one code of a column is the one that serves all copies best. refine.c then mends
 * what later columns could not.
 */
#include "convert/quantize/gptq.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/fit.h"
#include "convert/quantize/method.h"
#include "convert/quantize/metric.h"
#include "convert/quantize/refine.h"

#define ROUNDS 10

/**
 * struct work - one row
 * @now: [planes][columns], the weights as the errors of that width so far have moved them
 * @group: [planes][group_columns], one group of them while its scales are fitted
 * @prefix: [group_columns], codes of one width
 * @value: [planes][codes], what the prefix of a code means in the present group
 */
struct work {
	const struct coded *c;
	const struct metric *m;
	uint8_t *codes, *prefix;
	double *now, value[BITS_PLANES_MAX][FIT_CODES_MAX], lambda[BITS_PLANES_MAX];
	float *group;
	struct fit *fit;
};

static void work_done(struct work *w)
{
	free(w->prefix);
	free(w->now);
	free(w->group);
	fit_free(w->fit);
}

static int work_init(struct work *w, const struct coded *c, const struct metric *m, bool favour_top)
{
	/* One plane is of little use without training; two gain by this what four hardly lose. */
	static const double importance[] = {.1, 3, 1.5};

	w->c = c;
	w->m = m;
	w->prefix = malloc(c->group_columns);
	w->now = calloc((size_t) c->planes * c->columns, sizeof *w->now);
	w->group = calloc((size_t) c->planes * c->group_columns, sizeof *w->group);
	if (!w->prefix || !w->now || !w->group)
		return -ENOMEM;
	nested_lambda(w->lambda, c->planes, favour_top);
	for (uint32_t p = 0; p < c->planes && p < ARRAY_SIZE(importance); p++)
		w->lambda[p] *= importance[p];
	return fit_new(&w->fit, c->group_columns);
}

/* Scales of every width for the present codes of the group at @begin, each for its own moved
 * weights. */
static void fit_widths(struct work *w, uint32_t begin, uint32_t n)
{
	for (uint32_t p = 1; p <= w->c->planes; p++) {
		double alpha[BITS_PLANES_MAX];

		for (uint32_t t = 0; t < n; t++)
			w->prefix[t] = w->codes[begin + t] >> (w->c->planes - p);
		(void) fit_scales(
			alpha, w->group + (size_t) (p - 1) * w->c->group_columns, w->prefix, n, p);
		for (uint32_t code = 0; code < 1u << w->c->planes; code++) {
			double v = 0;

			for (uint32_t i = 0; i < p; i++)
				v += code >> (w->c->planes - 1 - i) & 1 ? alpha[i] : -alpha[i];
			w->value[p - 1][code] = v;
		}
	}
}

/* The code that serves all widths best; @now: what each width wants. */
static uint32_t best_code(const struct work *w, const double *now)
{
	double smallest = INFINITY;
	uint32_t best = 0;

	for (uint32_t code = 0; code < 1u << w->c->planes; code++) {
		double cost = 0;

		for (uint32_t p = 0; p < w->c->planes; p++) {
			double e = now[p] - w->value[p][code];

			cost += w->lambda[p] * e * e;
		}
		if (cost < smallest) {
			smallest = cost;
			best = code;
		}
	}
	return best;
}

static void fit_group(struct work *w, uint32_t begin, uint32_t n, bool favour_top)
{
	uint32_t planes = w->c->planes, stride = w->c->group_columns;
	float alpha[BITS_PLANES_MAX];

	for (uint32_t p = 0; p < planes; p++)
		for (uint32_t t = 0; t < n; t++)
			w->group[p * stride + t] =
				(float) w->now[(size_t) p * w->c->columns + begin + t];
	nested_fit(w->fit, w->group + (size_t) (planes - 1) * stride, n, planes, favour_top);
	fit_store(w->fit, alpha, w->codes + begin);
	fit_widths(w, begin, n);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t t = 0; t < n; t++) {
			double now[BITS_PLANES_MAX];

			for (uint32_t p = 0; p < planes; p++)
				now[p] = w->group[p * stride + t];
			w->codes[begin + t] = (uint8_t) best_code(w, now);
		}
		fit_widths(w, begin, n);
	}
}

static void code_column(struct work *w, uint32_t column)
{
	const double *u = w->m->u + (size_t) column * w->m->columns;
	double now[BITS_PLANES_MAX];
	uint32_t code;

	for (uint32_t p = 0; p < w->c->planes; p++)
		now[p] = w->now[(size_t) p * w->c->columns + column];
	code = best_code(w, now);
	w->codes[column] = (uint8_t) code;
	for (uint32_t p = 0; p < w->c->planes; p++) {
		double *to = w->now + (size_t) p * w->c->columns;
		double error = (now[p] - w->value[p][code]) / u[column];

		for (uint32_t j = column + 1; j < w->c->columns; j++)
			to[j] -= error * u[j];
	}
}

static void run_pass(struct work *w, const float *weights, bool favour_top)
{
	for (uint32_t p = 0; p < w->c->planes; p++)
		for (uint32_t i = 0; i < w->c->columns; i++)
			w->now[(size_t) p * w->c->columns + i] = weights[i];
	for (uint32_t begin = 0; begin < w->c->columns; begin += w->c->group_columns) {
		uint32_t n = MIN_OF(w->c->group_columns, w->c->columns - begin);

		fit_group(w, begin, n, favour_top);
		for (uint32_t t = 0; t < n; t++)
			code_column(w, begin + t);
	}
}

int gptq_scales(float *alpha, const struct coded *c, const float *weights, uint32_t first,
	uint32_t end, const struct metric *m, uint32_t planes)
{
	_cleanup_(equations_done) struct equations e = {0};
	int r = equations_init(&e, c, planes);

	if (r < 0)
		return r;
	for (uint32_t row = first; row < end; row++) {
		size_t at = (size_t) row * c->columns;

		equations_make(&e, c, c->codes + at, weights + at, m);
		equations_solve(&e, planes);
		for (uint32_t i = 0; i < c->groups * planes; i++)
			*alpha++ = (float) e.x[i];
	}
	return 0;
}

void gptq_turn_negative(struct coded *c, uint32_t row)
{
	for (uint32_t t = 0; t < c->columns; t++) {
		const float *alpha =
			c->alpha + ((size_t) row * c->groups + t / c->group_columns) * c->planes;

		for (uint32_t i = 0; i < c->planes; i++)
			if (alpha[i] < 0)
				c->codes[(size_t) row * c->columns + t] ^=
					(uint8_t) (1u << (c->planes - 1 - i));
	}
	for (size_t i = 0; i < (size_t) c->groups * c->planes; i++)
		c->alpha[(size_t) row * c->groups * c->planes + i] =
			fabsf(c->alpha[(size_t) row * c->groups * c->planes + i]);
}

int gptq_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end,
	const struct metric *m, const struct quantize_options *options, struct error *reterr)
{
	_cleanup_(work_done) struct work w = {0};
	_cleanup_(refine_done) struct refine refine = {0};
	int r;

	r = weights_finite(weights + (size_t) first * c->columns, end - first, c->columns, reterr);
	if (r < 0)
		return r;
	r = work_init(&w, c, m, options->favour_top);
	if (r < 0)
		return r;
	r = refine_init(&refine, c);
	if (r < 0)
		return r;
	for (uint32_t row = first; row < end; row++) {
		size_t at = (size_t) row * c->columns;

		w.codes = c->codes + at;
		run_pass(&w, weights + at, options->favour_top);
		refine_row(&refine, c, w.codes, weights + at, m);
	}
	r = gptq_scales(c->alpha + (size_t) first * c->groups * c->planes, c, weights, first, end,
		m, c->planes);
	if (r < 0)
		return r;
	for (uint32_t row = first; row < end; row++)
		gptq_turn_negative(c, row);
	return 0;
}

int quantize_gptq(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const double *second_moment, const struct quantize_options *options, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {0};
	_cleanup_(metric_freep) struct metric *m = NULL;
	int r;

	r = coded_allocate(&c, CODING_SUM, rows, columns, options->group_columns, options->planes,
		false, reterr);
	if (r < 0)
		return r;
	r = metric_new(&m, second_moment, columns, reterr);
	if (r < 0)
		return r;
	r = gptq_rows(&c, weights, 0, rows, m, options, reterr);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct coded){0};
	return 0;
}
