/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan of the engine (engine/plan.h) on a device: the same steps in the same order, the same places in
 * the arena, each step as one launch of a kernel or two.
 */
#pragma once

#include "engine/exec.h"
#include "worker/cl.h"

struct cl_plan;
struct cl_launches;

/**
 * cl_plan_new() - make @plan ready for @cl: buffers over its planes, one kernel object per launch
 * @plan: a reference is taken; made by plan_new() of this process
 *
 * Return: 0; -ENOTSUP with words when a kernel for a step is missing or the network is too large; -ENOMEM;
 * another errno of the driver.
 */
int cl_plan_new(struct cl_plan **ret, struct cl *cl, struct plan *plan, struct error *reterr);
struct cl_plan *cl_plan_free(struct cl_plan *p);
DEFINE_CLEANUP(struct cl_plan *, cl_plan_free)

/** struct cl_item - one inference: where its input is, and where its output goes */
struct cl_item {
	const void *input;
	float *output;
};

/**
 * cl_plan_run() - one inference, as exec_run(); cl_plan_run_all(): @n of them, without a pause between them
 *
 * Return: 0; -EINVAL when the network takes no pixels; a negative errno of the driver with words.
 */
int cl_plan_run(struct cl_plan *p, enum input_type type, const void *input, float *output,
	struct error *reterr);
int cl_plan_run_all(struct cl_plan *p, enum input_type type, const struct cl_item *items, uint32_t n,
	struct error *reterr);

/**
 * cl_plan_profile() - one run on whatever the input's place holds, timed by the device
 * @nsec: [n], of each launch: lowered to what it took; 0 before the first run
 *
 * Return: 0; a negative errno of the driver with words.
 */
int cl_plan_profile(struct cl_plan *p, uint64_t *nsec, struct error *reterr);

/** cl_plan_launches() - what it runs */
const struct cl_launches *cl_plan_launches(const struct cl_plan *p);

/** cl_plan_engine() - the plan that it was made of */
const struct plan *cl_plan_engine(const struct cl_plan *p);

/** cl_plan_uses() - is this kernel of the list in it? */
bool cl_plan_uses(const struct cl_plan *p, uint32_t kernel);
