/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested codes with error compensation (methods C3 with the codes of C2). Each weight's rounding error is
 * passed on to the columns that come after it, in the proportions that keep the layer's output.
 */
#include "convert/quantize/gptq.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "convert/quantize/fit.h"
#include "convert/quantize/method.h"
#include "convert/quantize/metric.h"

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

/**
 * struct equations - least squares for the scales of one row: A^T H A x = A^T H w
 * @n: unknowns, groups * planes; column u of A is plane u % planes inside group u / planes, else 0
 * @product: [n][columns], (H A) transposed
 * @matrix: [n][n], overwritten by its factor; @x: right side, then the answer
 */
struct equations {
	uint32_t n, planes;
	double *product, *matrix, *x;
};

static void equations_done(struct equations *e)
{
	free(e->product);
	free(e->matrix);
	free(e->x);
}

static int equations_init(struct equations *e, const struct coded *c, uint32_t planes)
{
	size_t n = (size_t) c->groups * planes, size;

	e->n = (uint32_t) n;
	e->planes = planes;
	if (!bytes_mul(&size, n, c->columns) || n > UINT16_MAX)
		return -ENOMEM;
	e->product = calloc(size, sizeof *e->product);
	e->matrix = calloc(n * n, sizeof *e->matrix);
	e->x = calloc(n, sizeof *e->x);
	return e->product && e->matrix && e->x ? 0 : -ENOMEM;
}

static double plane_sign(const struct coded *c, const uint8_t *codes, uint32_t column, uint32_t plane)
{
	return codes[column] >> (c->planes - 1 - plane) & 1 ? 1 : -1;
}

static void make_equations(struct equations *e, const struct coded *c, const uint8_t *codes,
	const float *weights, const struct metric *m)
{
	uint32_t columns = c->columns;

	memset(e->product, 0, (size_t) e->n * columns * sizeof *e->product);
	for (uint32_t t = 0; t < columns; t++)
		for (uint32_t i = 0; i < e->planes; i++) {
			double sign = plane_sign(c, codes, t, i), *to;

			to = e->product + (size_t) (t / c->group_columns * e->planes + i) * columns;
			for (uint32_t j = 0; j < columns; j++)
				to[j] += sign * m->h[(size_t) t * columns + j];
		}
	memset(e->matrix, 0, (size_t) e->n * e->n * sizeof *e->matrix);
	for (uint32_t v = 0; v < e->n; v++) {
		const double *from = e->product + (size_t) v * columns;

		e->x[v] = 0;
		for (uint32_t t = 0; t < columns; t++) {
			e->x[v] += from[t] * weights[t];
			for (uint32_t i = 0; i < e->planes; i++)
				e->matrix[(size_t) v * e->n + t / c->group_columns * e->planes + i] +=
					plane_sign(c, codes, t, i) * from[t];
		}
	}
}

/* Cholesky in place; a column that depends on earlier ones gets 0. */
static void solve_equations(struct equations *e)
{
	size_t n = e->n;
	double *l = e->matrix;

	for (size_t i = 0; i < n; i++) {
		double whole = l[i * n + i];

		for (size_t j = 0; j <= i; j++) {
			double rest = l[i * n + j];

			for (size_t k = 0; k < j; k++)
				rest -= l[i * n + k] * l[j * n + k];
			if (j < i)
				l[i * n + j] = l[j * n + j] > 0 ? rest / l[j * n + j] : 0;
			else
				l[i * n + i] = rest > 1e-9 * whole ? sqrt(rest) : 0;
		}
		for (size_t k = 0; k < i; k++)
			e->x[i] -= l[i * n + k] * e->x[k];
		e->x[i] = l[i * n + i] > 0 ? e->x[i] / l[i * n + i] : 0;
	}
	for (size_t i = n; i-- > 0;) {
		for (size_t k = i + 1; k < n; k++)
			e->x[i] -= l[k * n + i] * e->x[k];
		e->x[i] = l[i * n + i] > 0 ? e->x[i] / l[i * n + i] : 0;
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

		make_equations(&e, c, c->codes + at, weights + at, m);
		solve_equations(&e);
		for (uint32_t i = 0; i < e.n; i++)
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
	int r;

	r = weights_finite(weights + (size_t) first * c->columns, end - first, c->columns, reterr);
	if (r < 0)
		return r;
	r = work_init(&w, c, m);
	if (r < 0)
		return r;
	for (uint32_t row = first; row < end; row++) {
		size_t at = (size_t) row * c->columns;

		w.codes = c->codes + at;
		run_pass(&w, weights + at, MIN_OF(c->planes, (uint32_t) FIRST_PLANES));
		for (uint32_t planes = FIRST_PLANES + 1; planes <= c->planes; planes++)
			run_pass(&w, weights + at, planes);
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
