/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which row of kernels_cl.inc multiplies a layer fastest on a device, as the device itself has measured it: by event
 * profiling, inside whole runs of a network.
 *
 *	cl_times_read()		what an earlier worker has found, for this device and driver and these sources
 *	cl_times_measure()	times the rows that a plan could have and that no time is known of
 *	cl_times_write()	keeps them beside the compiled programs, for a month
 *	cl_times_pick()		the fastest row; what has not been measured goes by kernel_cl_pick_product()
 *
 * All rows give the same bits: a wrong time costs time, never an answer.
 */
#pragma once

#include "engine/plan.h"
#include "worker/cl_launches.h"

/** struct cl_shape - what makes two products equally fast; @rows: of one group */
struct cl_shape {
	uint32_t op, rows, words, group_words, planes, level, bits, groups, pixels;
};

struct cl_time {
	struct cl_shape shape;
	uint32_t kernel;
	uint64_t nsec;
};

#define CL_TIMES_MAX 2048

/** struct cl_times - @rows: [n]; @trial: a row that is taken wherever it can be, while it is measured */
struct cl_times {
	struct cl_time rows[CL_TIMES_MAX];
	uint32_t n, trial;
};

/** cl_times_read() - what cannot be read is not there. Return: 0 or -ENOMEM */
int cl_times_read(struct cl_times **ret, const struct cl *cl, const char *folder);

/** cl_times_write() - whole or not at all. Return: 0 or negative errno, which costs time and nothing else */
int cl_times_write(const struct cl_times *t, const struct cl *cl, const char *folder);

/** cl_shape_of() - Return: false when the launch is no product */
bool cl_shape_of(const struct cl_launch *l, struct cl_shape *ret);

/** cl_times_set() - the least time of a shape by a kernel so far; a full table stays as it is */
void cl_times_set(struct cl_times *t, const struct cl_shape *shape, uint32_t kernel, uint64_t nsec);

/** cl_times_pick() - Return: index of what can be used, or KERNEL_CL_ANY when nothing was measured */
uint32_t cl_times_pick(const struct cl *cl, const struct cl_shape *shape);

/**
 * cl_times_measure() - for all products of @plan; @cl has times
 * @nsec: end after about this time
 *
 * Return: how many times were new, or a negative errno of the driver with words.
 */
int cl_times_measure(struct cl *cl, struct plan *plan, uint64_t nsec, struct error *reterr);
