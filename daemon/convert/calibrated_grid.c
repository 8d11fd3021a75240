/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain int8 with error compensation (methods C3 on the grid of integer.h): what a column loses to rounding
 * is passed on to the columns after it, in the proportions that keep the layer's output.
 */
#include <errno.h>
#include <math.h>

#include "convert/calibrated.h"
#include "convert/integer.h"
#include "convert/quantize/metric.h"

#define TASK_ROWS 16
#define WEIGHT_MAX 127
#define ZERO_CODE 128

/**
 * struct work - @metric: of all rows; NULL: each task makes that of its group
 * @r, @errors: of the tasks
 */
struct work {
	const float *weights, *row_scale;
	const struct second_moment *moment;
	struct metric *metric;
	struct coded *c;
	uint32_t task_rows;
	int *r;
	struct error *errors;
};

static void work_done(struct work *w)
{
	(void) metric_free(w->metric);
	free(w->r);
	free(w->errors);
}

/* @now: [columns], scratch: the weights as the errors so far have moved them */
static void round_row(const struct work *w, uint32_t row, const struct metric *m, double *now)
{
	uint32_t n = w->c->columns;
	const float *weights = w->weights + (size_t) row * n;
	uint8_t *codes = w->c->codes + (size_t) row * n;
	double scale = (double) w->row_scale[row] / WEIGHT_MAX;

	for (uint32_t t = 0; t < n; t++)
		now[t] = weights[t];
	for (uint32_t t = 0; t < n; t++) {
		const double *u = m->u + (size_t) t * n;
		double q = fmin(fmax(rint(now[t] / scale), -WEIGHT_MAX), WEIGHT_MAX);
		double error = (now[t] - q * scale) / u[t];

		codes[t] = (uint8_t) ((int) q + ZERO_CODE);
		for (uint32_t j = t + 1; j < n; j++)
			now[j] -= error * u[j];
	}
}

static void run_task(void *userdata, uint32_t task, uint32_t thread)
{
	struct work *w = userdata;
	uint32_t n = w->c->columns, first = task * w->task_rows;
	uint32_t end = MIN_OF(first + w->task_rows, w->c->rows);
	_cleanup_(metric_freep) struct metric *own = NULL;
	_cleanup_free_ double *now = malloc(n * sizeof *now);

	w->r[task] = now ? 0 : -ENOMEM;
	if (now && !w->metric)
		w->r[task] = metric_new(&own, w->moment->h + (size_t) task * n * n, n, &w->errors[task]);
	for (uint32_t row = first; w->r[task] >= 0 && row < end; row++)
		round_row(w, row, own ?: w->metric, now);
}

int calibrated_grid(struct coded *ret, float *row_scale, const float *weights, uint32_t rows,
	uint32_t columns, const struct second_moment *m, struct threads *threads, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {};
	_cleanup_(work_done) struct work w = {.weights = weights, .row_scale = row_scale, .moment = m,
		.c = &c, .task_rows = m->groups > 1 ? rows / m->groups : TASK_ROWS};
	uint32_t tasks = (rows - 1) / w.task_rows + 1;
	int r = integer_grid(&c, row_scale, weights, rows, columns);

	if (r >= 0 && m->groups == 1)
		r = metric_new(&w.metric, m->h, columns, reterr);
	if (r < 0)
		return r;
	w.r = calloc(tasks, sizeof *w.r);
	w.errors = calloc(tasks, sizeof *w.errors);
	if (!w.r || !w.errors)
		return -ENOMEM;
	threads_run(threads, run_task, &w, tasks);
	for (uint32_t i = 0; i < tasks; i++)
		if (w.r[i] < 0) {
			if (reterr)
				*reterr = w.errors[i];
			return w.r[i];
		}
	*ret = c;
	c = (struct coded){};
	return 0;
}
