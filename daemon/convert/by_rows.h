/* SPDX-License-Identifier: Apache-2.0 */
/* A matrix a few rows at a time, on all threads, each with the metric of its inputs. */
#pragma once

#include "base/error.h"
#include "convert/quantize/metric.h"
#include "convert/second_moment.h"
#include "engine/threads.h"

/**
 * struct by_rows - what is done with rows @first to before @end
 * @run: on any thread; @m is of these rows' inputs; 0 or negative errno with words
 * @task_rows: how many at a time, where all rows have the same inputs; else those of a group
 */
struct by_rows {
	int (*run)(void *userdata, uint32_t first, uint32_t end, const struct metric *m, struct error *reterr);
	void *userdata;
	uint32_t rows, columns, task_rows;
};

/**
 * by_rows_run() - all rows of @b, with metrics made from @moment
 *
 * Return: 0; -EINVAL with words for a moment that no metric can be made of; -ENOMEM; the failure of the
 * first rows that failed, all others have run.
 */
int by_rows_run(const struct by_rows *b, const struct second_moment *moment, struct threads *threads,
	struct error *reterr);
