/* SPDX-License-Identifier: Apache-2.0 */
/* The plans that the daemon has sent, by its numbers. */
#pragma once

#include "base/list.h"
#include "worker/cl_plan.h"
#include "worker/protocol.h"

/** struct models - of one device; @cache: folder of measured times, NULL: none */
struct models {
	struct cl *cl;
	const char *cache;
	struct list plans;
	uint32_t n;
};

#define MODELS_PLANS_MAX 64

void models_init(struct models *m, struct cl *cl, const char *cache);
void models_done(struct models *m);

/**
 * models_load() - a network at a width, from descriptors alone
 * @fds: [n], stay the caller's; the head of the file, numbers, then planes as @load describes them
 * @ret_run_nsec: one inference of it, measured; @ret_batch_nsec: one of WORKER_BATCH together
 *
 * Return: 0; -EPERM when a plane is not sealed or not of its size; -EBADMSG; -EEXIST; -ENOTSUP; -ENOMEM;
 * another errno of the driver, all with words.
 */
int models_load(struct models *m, const struct worker_load *load, const int *fds, uint32_t n,
	uint64_t *ret_run_nsec, uint64_t *ret_batch_nsec, struct error *reterr);

/** models_unload() - planes that no other plan needs are let go, with their buffers */
void models_unload(struct models *m, uint64_t plan);

/** models_find() - Return: the plan, or NULL */
struct cl_plan *models_find(const struct models *m, uint64_t plan);
