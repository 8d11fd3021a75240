/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested codes with error compensation (methods C3 with the codes of C2). Each weight's rounding error is
 * passed on to the columns that come after it, in the proportions that keep the layer's output. What a pass
 * for a wide width could not mend, because the codes of the narrow ones were given, refine.c does.
 */
#include "convert/quantize/gptq.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/fit.h"
#include "convert/quantize/method.h"
#include "convert/quantize/metric.h"
#include "convert/quantize/refine.h"

#define FIRST_PLANES 2
#define ROUNDS 20

/**
 * struct work - one row
 * @codes: of the row; during a pass the columns still to come hold the codes of the pass before
 * @now: the weights as the errors so far have moved them
 * @group, @trial: one group's weights and codes while its scales are fitted
 */
struct work {
	const struct coded *c;
	const struct metric *m;
	uint8_t *codes, *trial;
	double *now;
	float *group;
	struct fit *fit;
};

static void work_done(struct work *w)
{
	free(w->trial);
	free(w->now);
	free(w->group);
	fit_free(w->fit);
}

static int work_init(struct work *w, const struct coded *c, const struct metric *m)
{
	w->c = c;
	w->m = m;
	w->trial = malloc(c->group_columns);
	w->now = calloc(c->columns, sizeof *w->now);
	w->group = calloc(c->group_columns, sizeof *w->group);
	if (!w->trial || !w->now || !w->group)
		return -ENOMEM;
	return fit_new(&w->fit, c->group_columns);
}

static double code_value(uint32_t code, const double *alpha, uint32_t planes)
{
	double v = 0;

	for (uint32_t i = 0; i < planes; i++)
		v += code >> (planes - 1 - i) & 1 ? alpha[i] : -alpha[i];
	return v;
}

/* The nearest of @n codes from @first on. */
static uint32_t nearest_code(double w, uint32_t first, uint32_t n, const double *alpha, uint32_t planes)
{
	double smallest = INFINITY;
	uint32_t best = first;

	for (uint32_t code = first; code < first + n; code++) {
		double distance = fabs(w - code_value(code, alpha, planes));

		if (distance < smallest) {
			smallest = distance;
			best = code;
		}
	}
	return best;
}

/* Scales for one more plane on fixed parents: the better child and least squares in turn (methods D4.4-2). */
static void fit_children(struct work *w, double *alpha, const uint8_t *parents, uint32_t n, uint32_t planes)
{
	double last = INFINITY, error, mean = 0;

	(void) fit_scales(alpha, w->group, parents, n, planes - 1);
	for (uint32_t t = 0; t < n; t++)
		mean += fabs(w->group[t] - code_value(parents[t], alpha, planes - 1)) / n;
	alpha[planes - 1] = mean;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t t = 0; t < n; t++)
			w->trial[t] = (uint8_t) nearest_code(w->group[t], 2u * parents[t], 2, alpha, planes);
		error = fit_scales(alpha, w->group, w->trial, n, planes);
		if (!(error < last))
			return;
		last = error;
	}
}

static void fit_group(struct work *w, double *alpha, uint32_t begin, uint32_t n, uint32_t planes)
{
	for (uint32_t t = 0; t < n; t++)
		w->group[t] = (float) w->now[begin + t];
	if (planes > FIRST_PLANES) {
		fit_children(w, alpha, w->codes + begin, n, planes);
		return;
	}
	fit_load(w->fit, w->group, n);
	fit_alternate(w->fit, planes, ROUNDS);
	memcpy(alpha, fit_state(w->fit)->alpha[planes], planes * sizeof *alpha);
}

static void code_column(struct work *w, uint32_t column, const double *alpha, uint32_t planes)
{
	const double *u = w->m->u + (size_t) column * w->m->columns;
	bool first = planes <= FIRST_PLANES;
	uint32_t code = nearest_code(w->now[column], first ? 0 : 2u * w->codes[column],
		first ? 1u << planes : 2, alpha, planes);
	double error = (w->now[column] - code_value(code, alpha, planes)) / u[column];

	w->codes[column] = (uint8_t) code;
	for (uint32_t j = column + 1; j < w->m->columns; j++)
		w->now[j] -= error * u[j];
}

static void run_pass(struct work *w, const float *weights, uint32_t planes)
{
	double alpha[BITS_PLANES_MAX];

	for (uint32_t i = 0; i < w->c->columns; i++)
		w->now[i] = weights[i];
	for (uint32_t begin = 0; begin < w->c->columns; begin += w->c->group_columns) {
		uint32_t n = MIN_OF(w->c->group_columns, w->c->columns - begin);

		fit_group(w, alpha, begin, n, planes);
		for (uint32_t t = 0; t < n; t++)
			code_column(w, begin + t, alpha, planes);
	}
}

int gptq_scales(float *alpha, const struct coded *c, const float *weights, uint32_t first, uint32_t end,
	const struct metric *m, uint32_t planes)
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

/* Plane i of a group with a negative scale is turned over, so that all scales are magnitudes. */
static void turn_negative(struct coded *c, uint32_t row)
{
	for (uint32_t t = 0; t < c->columns; t++) {
		const float *alpha = c->alpha + ((size_t) row * c->groups + t / c->group_columns) * c->planes;

		for (uint32_t i = 0; i < c->planes; i++)
			if (alpha[i] < 0)
				c->codes[(size_t) row * c->columns + t] ^= (uint8_t) (1u << (c->planes - 1 - i));
	}
	for (size_t i = 0; i < (size_t) c->groups * c->planes; i++)
		c->alpha[(size_t) row * c->groups * c->planes + i] =
			fabsf(c->alpha[(size_t) row * c->groups * c->planes + i]);
}

int gptq_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end, const struct metric *m,
	struct error *reterr)
{
	_cleanup_(work_done) struct work w = {0};
	_cleanup_(refine_done) struct refine refine = {0};
	int r;

	r = weights_finite(weights + (size_t) first * c->columns, end - first, c->columns, reterr);
	if (r < 0)
		return r;
	r = work_init(&w, c, m);
	if (r < 0)
		return r;
	r = refine_init(&refine, c);
	if (r < 0)
		return r;
	for (uint32_t row = first; row < end; row++) {
		size_t at = (size_t) row * c->columns;

		w.codes = c->codes + at;
		run_pass(&w, weights + at, MIN_OF(c->planes, (uint32_t) FIRST_PLANES));
		for (uint32_t planes = FIRST_PLANES + 1; planes <= c->planes; planes++)
			run_pass(&w, weights + at, planes);
		refine_row(&refine, c, w.codes, weights + at, m);
	}
	r = gptq_scales(c->alpha + (size_t) first * c->groups * c->planes, c, weights, first, end, m, c->planes);
	if (r < 0)
		return r;
	for (uint32_t row = first; row < end; row++)
		turn_negative(c, row);
	return 0;
}

int quantize_gptq(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const double *second_moment, const struct quantize_options *options, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {0};
	_cleanup_(metric_freep) struct metric *m = NULL;
	int r;

	r = coded_allocate(&c, CODING_SUM, rows, columns, options->group_columns, options->planes, false,
		reterr);
	if (r < 0)
		return r;
	r = metric_new(&m, second_moment, columns, reterr);
	if (r < 0)
		return r;
	r = gptq_rows(&c, weights, 0, rows, m, reterr);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct coded){0};
	return 0;
}
