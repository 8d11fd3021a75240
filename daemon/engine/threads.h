/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of threads that sleep until there is work. The caller of threads_run() is one of them. */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct threads;

#define THREADS_MAX 256

/** threads_available() - processors worth a thread by affinity, kind and quota, see processors.h. Return: 1 .. THREADS_MAX */
uint32_t threads_available(void);

/** @task: 0..n_tasks-1, each run exactly once; @thread: 0..threads_count()-1, for its scratch */
typedef void threads_fn(void *userdata, uint32_t task, uint32_t thread);

/**
 * threads_new() - @count threads in all, the caller included; 1 starts none
 * @count: 1 .. THREADS_MAX
 *
 * The threads run where the calling thread may run, there on the large processors if those are enough, with
 * all signals blocked.
 * Return: 0, -EINVAL, -ENOMEM, or -EAGAIN when the system gives no more threads.
 */
int threads_new(struct threads **ret, uint32_t count);
struct threads *threads_free(struct threads *t);
DEFINE_CLEANUP(struct threads *, threads_free)

/** threads_count() - Return: how many work, see threads_limit(); 1 for NULL */
uint32_t threads_count(const struct threads *t);

/**
 * threads_limit() - from the next threads_run() on, only so many of them work
 * @limit: 1 .. the count of threads_new(); 0 or more than there are: all
 *
 * Thread: whoever calls threads_run(), between two calls.
 */
void threads_limit(struct threads *t, uint32_t limit);

/**
 * threads_run() - run all tasks, in any order, and return when the last one is done
 * @t: may be NULL: all on this thread, which is then thread 0
 *
 * Any thread may call, one at a time; whoever calls sees what all tasks wrote.
 */
void threads_run(struct threads *t, threads_fn *fn, void *userdata, uint32_t n_tasks);
