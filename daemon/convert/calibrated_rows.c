/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/calibrated_rows.h"

#include <errno.h>

#include "convert/quantize/gptq.h"

#define TASK_ROWS 8

/**
 * struct work - @metric: of all rows; NULL: each task makes that of its group
 * @r, @errors: of the tasks, the first failure stays
 */
struct work {
	const struct quantizer *q;
	const float *weights;
	const struct second_moment *moment;
	const struct quantize_options *options;
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

static void run_task(void *userdata, uint32_t task, uint32_t thread)
{
	struct work *w = userdata;
	_cleanup_(metric_freep) struct metric *own = NULL;
	uint32_t columns = w->c->columns, first = task * w->task_rows;

	if (!w->metric)
		w->r[task] = metric_new(&own, w->moment->h + (size_t) task * columns * columns, columns,
			&w->errors[task]);
	if (w->r[task] >= 0)
		w->r[task] = w->q->rows(w->c, w->weights, first, MIN_OF(first + w->task_rows, w->c->rows),
			own ?: w->metric, w->options, &w->errors[task]);
}

static int run_tasks(struct work *w, struct threads *threads, struct error *reterr)
{
	uint32_t tasks = (w->c->rows - 1) / w->task_rows + 1;

	w->r = calloc(tasks, sizeof *w->r);
	w->errors = calloc(tasks, sizeof *w->errors);
	if (!w->r || !w->errors)
		return -ENOMEM;
	threads_run(threads, run_task, w, tasks);
	for (uint32_t i = 0; i < tasks; i++)
		if (w->r[i] < 0) {
			if (reterr)
				*reterr = w->errors[i];
			return w->r[i];
		}
	return 0;
}

int calibrated_rows(struct coded *ret, const struct quantizer *q, const float *weights, uint32_t rows,
	uint32_t columns, const struct second_moment *m, const struct quantize_options *options,
	struct threads *threads, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {};
	_cleanup_(work_done) struct work w = {.q = q, .weights = weights, .moment = m, .options = options,
		.c = &c, .task_rows = m->groups > 1 ? rows / m->groups : TASK_ROWS};
	uint32_t group_columns = q->grid ? columns : options->group_columns;
	int r = coded_allocate(&c, CODING_SUM, rows, columns, group_columns, options->planes, false, reterr);

	if (r < 0)
		return r;
	if (q->grid) {
		c.offset = calloc((size_t) rows * c.groups, sizeof *c.offset);
		if (!c.offset)
			return -ENOMEM;
	}
	if (m->groups == 1)
		r = metric_new(&w.metric, m->h, columns, reterr);
	if (r >= 0)
		r = run_tasks(&w, threads, reterr);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct coded){};
	return 0;
}

int calibrated_importance(float **ret, uint32_t rows, uint32_t columns, const struct second_moment *m)
{
	float *importance = malloc((size_t) rows * columns * sizeof *importance);

	if (!importance)
		return -ENOMEM;
	for (uint32_t r = 0; r < rows; r++) {
		const double *h = m->h + (size_t) (r / (rows / m->groups)) * columns * columns;

		for (uint32_t t = 0; t < columns; t++)
			importance[(size_t) r * columns + t] = (float) h[(size_t) t * columns + t];
	}
	*ret = importance;
	return 0;
}
