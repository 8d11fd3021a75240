/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/by_rows.h"

#include <errno.h>

#include "base/cleanup.h"

/**
 * struct work - @metric: of all rows; NULL: each task makes that of its group
 * @r, @errors: of the tasks
 */
struct work {
	const struct by_rows *b;
	const struct second_moment *moment;
	struct metric *metric;
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
	const struct by_rows *b = w->b;
	_cleanup_(metric_freep) struct metric *own = NULL;
	uint32_t n = b->columns, first = task * w->task_rows, end = MIN_OF(first + w->task_rows, b->rows);

	if (!w->metric)
		w->r[task] = metric_new(&own, w->moment->h + (size_t) task * n * n, n, NULL,
			&w->errors[task]);
	if (w->r[task] >= 0)
		w->r[task] = b->run(b->userdata, first, end, own ?: w->metric, &w->errors[task]);
}

int by_rows_run(const struct by_rows *b, const struct second_moment *moment, struct threads *threads,
	struct error *reterr)
{
	_cleanup_(work_done) struct work w = {.b = b, .moment = moment,
		.task_rows = moment->groups > 1 ? b->rows / moment->groups : b->task_rows};
	uint32_t tasks = (b->rows - 1) / w.task_rows + 1;
	int r = moment->groups > 1 ? 0 : metric_new(&w.metric, moment->h, b->columns, threads, reterr);

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
	return 0;
}
