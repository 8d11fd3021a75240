/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of threads that sleep until there is work. The caller of threads_run() is one of them. */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct threads;

/** @thread: 0..threads_count()-1, for per-thread scratch; @task: 0..n_tasks-1, each run exactly once */
typedef void threads_fn(void *userdata, uint32_t task, uint32_t thread);

/** threads_new() - @count >= 1 threads in all, the caller included. Return: 0 or negative errno */
int threads_new(struct threads **ret, uint32_t count);
struct threads *threads_free(struct threads *t);
DEFINE_CLEANUP(struct threads *, threads_free)

uint32_t threads_count(const struct threads *t);

/** threads_run() - run all tasks and return; one caller at a time; t may be NULL: all on this thread */
void threads_run(struct threads *t, threads_fn *fn, void *userdata, uint32_t n_tasks);
