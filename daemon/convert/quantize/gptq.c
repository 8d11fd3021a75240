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
#include "convert/quantize/rank_update.h"
#include "convert/quantize/refine.h"

#define ROUNDS 10

/**
 * struct work - rows that go together
 * @codes: [rows][columns]
 * @now: [rows][planes][columns], the weights as the errors of that width so far have moved them
 * @to: [rows * planes], the same; @factor: [RANK_MAX][rows * planes], errors for the columns after a block
 * @group: [planes][group_columns], one group of a row while its scales are fitted
 * @prefix: [group_columns], codes of one width
 * @value: [rows][planes][codes], what the prefix of a code means in the present group
 */
struct work {
	const struct coded *c;
	const struct metric *m;
	uint8_t *codes, *prefix;
	double *now, **to, *factor, *value, lambda[BITS_PLANES_MAX];
	float *group;
	struct fit *fit;
};

static void work_done(struct work *w)
{
	free(w->prefix);
	free(w->now);
	free(w->to);
	free(w->factor);
	free(w->value);
	free(w->group);
	fit_free(w->fit);
}

static int work_init(struct work *w, const struct coded *c, uint32_t rows, const struct metric *m,
	bool favour_top)
{
	/* One plane is of little use without training; two gain by this what four hardly lose. */
	static const double importance[] = {.1, 3, 1.5};
	size_t n = (size_t) rows * c->planes;

	w->c = c;
	w->m = m;
	w->prefix = malloc(c->group_columns);
	w->now = calloc(n * c->columns, sizeof *w->now);
	w->to = calloc(n, sizeof *w->to);
	w->factor = calloc(n * RANK_MAX, sizeof *w->factor);
	w->value = calloc(n << c->planes, sizeof *w->value);
	w->group = calloc((size_t) c->planes * c->group_columns, sizeof *w->group);
	if (!w->prefix || !w->now || !w->to || !w->factor || !w->value || !w->group)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		w->to[i] = w->now + i * c->columns;
	nested_lambda(w->lambda, c->planes, favour_top);
	for (uint32_t p = 0; p < c->planes && p < ARRAY_SIZE(importance); p++)
		w->lambda[p] *= importance[p];
	return fit_new(&w->fit, c->group_columns);
}

static double *row_values(const struct work *w, uint32_t row)
{
	return w->value + ((size_t) row * w->c->planes << w->c->planes);
}

/* Scales of every width for the present codes of the group at @begin, each for its own moved
 * weights. */
static void fit_widths(struct work *w, uint32_t row, const uint8_t *codes, uint32_t n)
{
	double *value = row_values(w, row);

	for (uint32_t p = 1; p <= w->c->planes; p++) {
		double alpha[BITS_PLANES_MAX];

		for (uint32_t t = 0; t < n; t++)
			w->prefix[t] = codes[t] >> (w->c->planes - p);
		(void) fit_scales(
			alpha, w->group + (size_t) (p - 1) * w->c->group_columns, w->prefix, n, p);
		for (uint32_t code = 0; code < 1u << w->c->planes; code++, value++) {
			double v = 0;

			for (uint32_t i = 0; i < p; i++)
				v += code >> (w->c->planes - 1 - i) & 1 ? alpha[i] : -alpha[i];
			*value = v;
		}
	}
}

/* The code that serves all widths best; @now: what each width wants. */
static uint32_t best_code(const struct work *w, const double *value, const double *now)
{
	double smallest = INFINITY;
	uint32_t best = 0;

	for (uint32_t code = 0; code < 1u << w->c->planes; code++) {
		double cost = 0;

		for (uint32_t p = 0; p < w->c->planes; p++) {
			double e = now[p] - value[(p << w->c->planes) + code];

			cost += w->lambda[p] * e * e;
		}
		if (cost < smallest) {
			smallest = cost;
			best = code;
		}
	}
	return best;
}

static void fit_group(struct work *w, uint32_t row, uint32_t begin, uint32_t n, bool favour_top)
{
	uint32_t planes = w->c->planes, stride = w->c->group_columns;
	uint8_t *codes = w->codes + (size_t) row * w->c->columns + begin;
	float alpha[BITS_PLANES_MAX];

	for (uint32_t p = 0; p < planes; p++)
		for (uint32_t t = 0; t < n; t++)
			w->group[p * stride + t] = (float) w->to[row * planes + p][begin + t];
	nested_fit(w->fit, w->group + (size_t) (planes - 1) * stride, n, planes, favour_top);
	fit_store(w->fit, alpha, codes);
	fit_widths(w, row, codes, n);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t t = 0; t < n; t++) {
			double now[BITS_PLANES_MAX];

			for (uint32_t p = 0; p < planes; p++)
				now[p] = w->group[p * stride + t];
			codes[t] = (uint8_t) best_code(w, row_values(w, row), now);
		}
		fit_widths(w, row, codes, n);
	}
}

/* @factor: [planes], the errors; the columns up to @end make up for them at once */
static void code_column(struct work *w, uint32_t row, uint32_t column, uint32_t end, double *factor)
{
	const double *u = w->m->u + (size_t) column * w->m->columns, *value = row_values(w, row);
	double now[BITS_PLANES_MAX], **to = w->to + (size_t) row * w->c->planes;
	uint32_t code;

	for (uint32_t p = 0; p < w->c->planes; p++)
		now[p] = to[p][column];
	code = best_code(w, value, now);
	w->codes[(size_t) row * w->c->columns + column] = (uint8_t) code;
	for (uint32_t p = 0; p < w->c->planes; p++) {
		double error = (now[p] - value[(p << w->c->planes) + code]) / u[column];

		factor[p] = -error;
		for (uint32_t j = column + 1; j < end; j++)
			to[p][j] -= error * u[j];
	}
}

/* Columns @begin .. @end - 1, inside one group; the ones after them hear of it all at once. */
static void code_block(struct work *w, uint32_t rows, uint32_t begin, uint32_t end)
{
	uint32_t n_to = rows * w->c->planes;
	struct rank_update u = {.to = w->to, .n_to = n_to, .rank = end - begin, .factor = w->factor,
		.from = w->m->u + (size_t) begin * w->m->columns, .stride = w->m->columns, .first = end,
		.end = w->m->columns};

	for (uint32_t row = 0; row < rows; row++)
		for (uint32_t t = begin; t < end; t++)
			code_column(w, row, t, end,
				w->factor + (size_t) (t - begin) * n_to + row * w->c->planes);
	rank_update(&u);
}

static void run_pass(struct work *w, uint32_t rows, const float *weights, bool favour_top)
{
	const struct coded *c = w->c;

	for (uint32_t i = 0; i < rows * c->planes; i++)
		for (uint32_t t = 0; t < c->columns; t++)
			w->to[i][t] = (double) weights[(size_t) (i / c->planes) * c->columns + t];
	for (uint32_t begin = 0; begin < c->columns; begin += c->group_columns) {
		uint32_t end = MIN_OF(begin + c->group_columns, c->columns);

		for (uint32_t row = 0; row < rows; row++)
			fit_group(w, row, begin, end - begin, favour_top);
		for (uint32_t t = begin; t < end; t += RANK_MAX)
			code_block(w, rows, t, MIN_OF(t + RANK_MAX, end));
	}
}

static void store_scales(float *to, struct equations *e, uint32_t planes)
{
	equations_solve(e, planes);
	for (uint32_t i = 0; i < e->groups * planes; i++)
		to[i] = (float) e->x[i];
}

int gptq_scales(float *const *alpha, const struct coded *c, const float *weights, uint32_t first,
	uint32_t end, const struct metric *m)
{
	_cleanup_(equations_free_rows) struct equations *e = NULL;
	uint32_t planes = c->planes;
	int r;

	while (planes > 0 && !alpha[planes - 1])
		planes--;
	r = equations_new_rows(&e, c, planes);
	for (uint32_t row = first, rows; r >= 0 && row < end; row += rows) {
		size_t at = (size_t) row * c->columns;

		rows = MIN_OF(end - row, (uint32_t) ROWS_TOGETHER);
		equations_make(e, rows, c, c->codes + at, weights + at, m);
		for (uint32_t i = 0; i < rows; i++)
			for (uint32_t p = 1; p <= planes; p++)
				if (alpha[p - 1])
					store_scales(alpha[p - 1] + (size_t) (row + i - first) * c->groups * p,
						&e[i], p);
	}
	return r;
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
	float *alpha[BITS_PLANES_MAX] = {};
	uint32_t together = MIN_OF(end - first, (uint32_t) ROWS_TOGETHER);
	int r;

	r = weights_finite(weights + (size_t) first * c->columns, end - first, c->columns, reterr);
	if (r < 0)
		return r;
	r = work_init(&w, c, together, m, options->favour_top);
	if (r >= 0)
		r = refine_init(&refine, c, together);
	if (r < 0)
		return r;
	for (uint32_t row = first; row < end; row += together) {
		size_t at = (size_t) row * c->columns;
		uint32_t rows = MIN_OF(end - row, together);

		w.codes = c->codes + at;
		run_pass(&w, rows, weights + at, options->favour_top);
		refine_rows(&refine, rows, c, w.codes, weights + at, m);
	}
	alpha[c->planes - 1] = c->alpha + (size_t) first * c->groups * c->planes;
	r = gptq_scales(alpha, c, weights, first, end, m);
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
	r = metric_new(&m, second_moment, columns, NULL, reterr);
	if (r < 0)
		return r;
	r = gptq_rows(&c, weights, 0, rows, m, options, reterr);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct coded){0};
	return 0;
}
