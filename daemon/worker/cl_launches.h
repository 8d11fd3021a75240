/* SPDX-License-Identifier: Apache-2.0 */
/* From steps to launches: numbers only, no call into the driver. */
#pragma once

#include "engine/plan.h"
#include "kernels_cl/launch.h"
#include "worker/cl.h"

/** struct cl_memory - memory of planes: one memfd of the model, or what a test has */
struct cl_memory {
	const void *data;
	size_t bytes;
};

/**
 * struct cl_launch - one launch
 * @kernel: row of the list
 * @numbers: what the kernel reads of it
 * @global: work-items; @local: of them, per group
 * @local_bytes: of local memory
 * @planes: [numbers.planes], where each plane lies
 */
struct cl_launch {
	uint32_t kernel;
	struct launch numbers;
	size_t global[3], local[3], local_bytes;
	struct cl_memory planes[LAUNCH_PLANES];
};

/**
 * struct cl_launches - all of a plan
 * @launches: [n]; the input is there twice, of pixels and of floats: a request runs one of them
 * @numbers: scales and tables of all steps, one after the other; owned
 * @input_at: into the arena, where the input is put; @arena_bytes: with it and scratch
 */
struct cl_launches {
	struct cl_launch *launches;
	uint32_t n, room;
	uint8_t *numbers;
	size_t numbers_bytes, numbers_room, input_at, arena_bytes;
};

/** cl_launches_make() - Return: 0; -ENOTSUP with words; -ENOMEM; cl_launches_done() in any case */
int cl_launches_make(struct cl_launches *ret, const struct cl *cl, const struct plan *plan,
	struct error *reterr);
void cl_launches_done(struct cl_launches *l);
