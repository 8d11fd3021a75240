/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nested fit with error compensation (quantize/gptq.h) on a whole matrix. It weighs all codes against
 * all widths, which is dear beyond four planes, and where nothing is lost: further planes code what the
 * first ones left, on the grid of integers that the matrix will be run with (integer.h), each column's
 * error passed on to the columns after it, at each wider width its own.
 */
#include "convert/calibrated.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/by_rows.h"
#include "convert/integer.h"
#include "convert/quantize/fit.h"
#include "convert/quantize/gptq.h"
#include "convert/quantize/rank_update.h"

#define TASK_ROWS 16
#define ROUNDS 20
/* Of a width against the one with a plane less. */
#define WIDTH_WEIGHT 2.0

/**
 * struct work - @core: the first planes; @c: all planes
 */
struct work {
	const float *weights;
	const struct quantize_options *options;
	struct coded core, *c;
};

static void work_done(struct work *w)
{
	coded_done(&w->core);
}

/* Scales of the narrow widths for the codes as they are. */
static int fit_widths(struct work *w, uint32_t first, uint32_t end, const struct metric *m)
{
	struct coded *c = w->c;
	size_t groups = (size_t) c->rows * c->groups;
	float *alpha[BITS_PLANES_MAX] = {};

	for (uint32_t p = 1; p <= c->alpha_widths; p++)
		alpha[p - 1] = c->alpha_at + groups * (p * (p - 1) / 2) + (size_t) first * c->groups * p;
	return c->alpha_widths > 0 ? gptq_scales(alpha, &w->core, w->weights, first, end, m) : 0;
}

/* The codes of the first planes move up, the planes after them are fitted to what is left. */
static int add_planes(struct work *w, uint32_t row)
{
	struct coded *c = w->c;
	uint32_t more = c->planes - w->core.planes;
	_cleanup_(fit_freep) struct fit *f = NULL;
	_cleanup_free_ float *left = malloc(c->group_columns * sizeof *left);
	int r = left ? fit_new(&f, c->group_columns) : -ENOMEM;

	for (uint32_t g = 0; r >= 0 && g < c->groups; g++) {
		uint32_t begin = g * c->group_columns, n = MIN_OF(c->group_columns, c->columns - begin);
		size_t at = (size_t) row * c->columns + begin, group = (size_t) row * c->groups + g;
		float *alpha = c->alpha + group * c->planes;

		for (uint32_t t = 0; t < n; t++)
			left[t] = w->weights[at + t] - coded_value(&w->core, row, begin + t);
		fit_load(f, left, n);
		fit_alternate(f, more, ROUNDS);
		memcpy(alpha, w->core.alpha + group * w->core.planes, w->core.planes * sizeof *alpha);
		fit_store(f, alpha + w->core.planes, c->codes + at);
		for (uint32_t t = 0; t < n; t++)
			c->codes[at + t] |= (uint8_t) (w->core.codes[at + t] << more);
	}
	return r;
}

/* What the code means at each width from one more than the core's. */
static void decode_widths(const float *alpha, uint32_t planes, uint32_t core, uint32_t code, double *ret)
{
	double sum = 0;

	for (uint32_t i = 0; i < planes; i++) {
		sum += code >> (planes - 1 - i) & 1 ? (double) alpha[i] : -(double) alpha[i];
		if (i >= core)
			ret[i - core] = sum;
	}
}

/* The child of a core code that serves all wider widths best; @now: what each wants. */
static uint32_t best_child(const float *alpha, uint32_t planes, uint32_t core, uint32_t code, const double *now,
	double *ret_values)
{
	uint32_t more = planes - core, kept = code >> more << more, best = kept;
	double smallest = INFINITY, value[BITS_PLANES_MAX];

	for (uint32_t low = 0; low < 1u << more; low++) {
		double cost = 0, weight = 1;

		decode_widths(alpha, planes, core, kept | low, value);
		for (uint32_t k = 0; k < more; k++, weight *= WIDTH_WEIGHT)
			cost += weight * (now[k] - value[k]) * (now[k] - value[k]);
		if (cost < smallest) {
			smallest = cost;
			best = kept | low;
			memcpy(ret_values, value, more * sizeof *value);
		}
	}
	return best;
}

/**
 * struct wider - rows that go together, at the widths beyond the core's
 * @now: [rows][added planes][columns], the weights as the errors of that width so far have moved them
 * @to: [rows * added planes], the same; @factor: [RANK_MAX][rows * added planes]
 */
struct wider {
	double *now, *factor, *to[TASK_ROWS * BITS_PLANES_MAX];
	uint32_t first, n, more;
};

/* Chooses the added planes of one row again in columns @begin .. @end - 1; every width passes its own error on. */
static void compensate(struct work *w, const struct wider *x, uint32_t i, uint32_t begin, uint32_t end,
	const struct metric *m)
{
	struct coded *c = w->c;
	uint32_t row = x->first + i, more = x->more;
	uint8_t *codes = c->codes + (size_t) row * c->columns;
	double *const *to = x->to + (size_t) i * more;

	for (uint32_t t = begin; t < end; t++) {
		const float *alpha =
			c->alpha + ((size_t) row * c->groups + t / c->group_columns) * c->planes;
		const double *u = m->u + (size_t) t * c->columns;
		double *factor = x->factor + ((size_t) (t - begin) * x->n + i) * more;
		double wanted[BITS_PLANES_MAX], value[BITS_PLANES_MAX];

		for (uint32_t k = 0; k < more; k++)
			wanted[k] = to[k][t];
		codes[t] = (uint8_t) best_child(alpha, c->planes, w->core.planes, codes[t], wanted, value);
		for (uint32_t k = 0; k < more; k++) {
			double error = (wanted[k] - value[k]) / u[t];

			factor[k] = -error;
			for (uint32_t j = t + 1; j < end; j++)
				to[k][j] -= error * u[j];
		}
	}
}

static void compensate_rows(struct work *w, struct wider *x, const struct metric *m)
{
	uint32_t columns = w->c->columns, n_to = x->n * x->more;
	struct rank_update u = {.to = x->to, .n_to = n_to, .factor = x->factor, .stride = columns, .end = columns};

	for (uint32_t i = 0; i < n_to; i++) {
		x->to[i] = x->now + (size_t) i * columns;
		for (uint32_t t = 0; t < columns; t++)
			x->to[i][t] = (double) w->weights[(size_t) (x->first + i / x->more) * columns + t];
	}
	for (uint32_t begin = 0; begin < columns; begin += RANK_MAX) {
		u.first = MIN_OF(begin + RANK_MAX, columns);
		u.rank = (uint32_t) u.first - begin;
		u.from = m->u + (size_t) begin * columns;
		for (uint32_t i = 0; i < x->n; i++)
			compensate(w, x, i, begin, (uint32_t) u.first, m);
		rank_update(&u);
	}
}

static int widen_rows(struct work *w, uint32_t first, uint32_t end, const struct metric *m)
{
	uint32_t more = w->c->planes - w->core.planes;
	_cleanup_free_ double *now = malloc((size_t) TASK_ROWS * more * w->c->columns * sizeof *now);
	_cleanup_free_ double *factor = malloc((size_t) RANK_MAX * TASK_ROWS * more * sizeof *factor);
	struct wider x = {.now = now, .factor = factor, .first = first, .more = more};
	int r = now && factor ? 0 : -ENOMEM;

	for (uint32_t row = first; r >= 0 && row < end; row++) {
		r = add_planes(w, row);
		integer_scales(w->c, row);
	}
	for (; r >= 0 && x.first < end; x.first += x.n) {
		x.n = MIN_OF(end - x.first, (uint32_t) TASK_ROWS);
		compensate_rows(w, &x, m);
	}
	return r;
}

static void copy_rows(struct work *w, uint32_t first, uint32_t end)
{
	struct coded *c = w->c;
	size_t scales = (size_t) c->groups * c->planes;

	memcpy(c->codes + (size_t) first * c->columns, w->core.codes + (size_t) first * c->columns,
		(size_t) (end - first) * c->columns);
	memcpy(c->alpha + first * scales, w->core.alpha + first * scales,
		(end - first) * scales * sizeof *c->alpha);
}

static int run_rows(void *userdata, uint32_t first, uint32_t end, const struct metric *m, struct error *reterr)
{
	struct work *w = userdata;
	struct quantize_options o = *w->options;
	int r;

	o.planes = w->core.planes;
	r = gptq_rows(&w->core, w->weights, first, end, m, &o, reterr);
	if (r >= 0)
		r = fit_widths(w, first, end, m);
	if (r < 0)
		return r;
	if (w->core.planes < w->c->planes)
		return widen_rows(w, first, end, m);
	copy_rows(w, first, end);
	return 0;
}

static int allocate(struct work *w, uint32_t rows, uint32_t columns, struct error *reterr)
{
	uint32_t planes = w->options->planes, core = MIN_OF(planes, CALIBRATED_WIDTHS);
	uint32_t group_columns = w->options->group_columns;
	struct coded *c = w->c;
	int r = coded_allocate(c, CODING_SUM, rows, columns, group_columns, planes, false, reterr);

	if (r >= 0)
		r = coded_allocate(&w->core, CODING_SUM, rows, columns, group_columns, core, false, reterr);
	if (r < 0)
		return r;
	c->alpha_widths = planes > core ? core : planes - 1;
	c->alpha_at = calloc((size_t) rows * c->groups * (c->alpha_widths * (c->alpha_widths + 1) / 2) + 1,
		sizeof *c->alpha_at);
	return c->alpha_at ? 0 : -ENOMEM;
}

int calibrated_matrix(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct second_moment *m, const struct quantize_options *options,
	struct threads *threads, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {};
	_cleanup_(work_done) struct work w = {.weights = weights, .options = options, .c = &c};
	struct by_rows b = {.run = run_rows, .userdata = &w, .rows = rows, .columns = columns,
		.task_rows = TASK_ROWS};
	int r = allocate(&w, rows, columns, reterr);

	if (r >= 0)
		r = by_rows_run(&b, m, threads, reterr);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct coded){};
	return 0;
}
