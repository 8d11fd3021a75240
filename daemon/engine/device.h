/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device computes plans. What a caller sees is the same for each: make it, make plans for it, run
 * them. Behind it stands a table of functions, one table per kind; the processor is device_cpu.c.
 *
 *	device_plan()		any thread, while another one is in device_run()
 *	device_set_threads()	likewise, one at a time; the next device_run() uses the new
 *				number, a running one keeps its own
 *	device_run()		any thread; callers take turns, a second one waits until the first
 *				is done. A thread that must not wait (the loop) runs only while it
 *				knows that the device is idle
 */
#pragma once

#include <pthread.h>

#include "engine/exec.h"

struct device;

/**
 * struct device_ops - one kind of device; what device.c has checked is not checked again
 * @name: "cpu"; as users write it
 * @plan: as device_plan()
 * @reserve, @run: as device_reserve() and device_run(); never called twice at once
 * @set_threads: as device_set_threads(); 1 <= @threads <= DEVICE_THREADS_MAX.
 *	NULL: not a choice of ours, -ENOTSUP
 * @threads: how many the next run uses
 * @describe: words for a person into @buffer, always terminated
 * @free: nobody is in @run any more
 */
struct device_ops {
	const char *name;
	int (*plan)(struct device *d, struct model *model, struct plan **ret, struct error *reterr);
	int (*reserve)(struct device *d, struct workspace *w, const struct plan *plan);
	int (*run)(struct device *d, struct workspace *w, const struct plan *plan,
		enum input_type type, const void *input, float *output);
	int (*set_threads)(struct device *d, uint32_t threads);
	uint32_t (*threads)(const struct device *d);
	void (*describe)(const struct device *d, char *buffer, size_t size);
	void (*free)(struct device *d);
};

/**
 * struct device - first member of each kind's own struct
 * @turn: held by whoever is in @reserve or @run
 */
struct device {
	const struct device_ops *ops;
	pthread_mutex_t turn;
};

/** device_init() - for the kinds' constructors */
void device_init(struct device *d, const struct device_ops *ops);

#define DEVICE_THREADS_MAX THREADS_MAX

/**
 * device_cpu_new() - the processor
 * @threads: 1 .. DEVICE_THREADS_MAX, or 0: as many as processors that this process may use
 *
 * Return: 0, -EINVAL, -ENOMEM, -EAGAIN when the system gives no more threads.
 */
int device_cpu_new(struct device **ret, uint32_t threads);
struct device *device_free(struct device *d);
DEFINE_CLEANUP(struct device *, device_free)

/** device_name() - "cpu". Return: static text */
const char *device_name(const struct device *d);

/** device_describe() - "2 threads, avx2 avx512". Return: @buffer */
const char *device_describe(const struct device *d, char *buffer, size_t size);

/** device_plan() - make @model ready for @d; the plan refers to it. Return: as plan_new() */
int device_plan(struct device *d, struct model *model, struct plan **ret, struct error *reterr);

/**
 * device_reserve() - make room, so that device_run() need not
 *
 * Return: 0 or -ENOMEM, @w as it was. Thread: the owner of @w; waits like device_run().
 */
int device_reserve(struct device *d, struct workspace *w, const struct plan *plan);

/**
 * device_run() - one inference
 * @w: zeroed or used before, with any plan; nobody else uses it now
 * @plan: made by device_plan() of this device
 * @type, @input, @output: as exec_run(); neither has to be aligned beyond its type
 *
 * Grows @w where it is too small for @plan, and allocates nothing otherwise.
 * Return: 0; -EINVAL when the network does not take this type of input; -ENOMEM.
 */
int device_run(struct device *d, struct workspace *w, const struct plan *plan, enum input_type type,
	const void *input, float *output);

/**
 * device_set_threads() - from the next run on
 * @threads: 1 .. DEVICE_THREADS_MAX, or 0 for all processors
 *
 * Return: 0; -EINVAL, -ENOTSUP, -ENOMEM or -EAGAIN, the old number kept.
 */
int device_set_threads(struct device *d, uint32_t threads);
uint32_t device_threads(const struct device *d);
