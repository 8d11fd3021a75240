/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan is a model made ready for one device: a kernel for each step, a place in memory for each
 * value. Immutable, counted. exec_run() may run the same plan on many threads at once, each with its
 * own workspace.
 */
#pragma once

#include <stdatomic.h>

#include "engine/kernels/kernel.h"
#include "engine/model.h"
#include "engine/threads.h"

/**
 * struct step - one op with its kernel
 * @kernel: for OP_CONVOLUTION and the like; the row of kernels.inc that runs it
 * @columns_per_tile: output pixels per task
 * @scratch_bytes: what one thread needs
 */
struct step {
	const struct op *op;
	const struct kernel *kernel;
	uint32_t columns_per_tile;
	size_t scratch_bytes;
};

struct plan {
	atomic_uint refs;
	struct model *model;
	struct step *steps;
	uint32_t n_steps;
	size_t *value_offset; /* [n_values], into the workspace's arena; multiples of 64 */
	size_t arena_bytes, scratch_bytes;
	size_t input_pixels_bytes, input_floats_bytes, output_bytes;
};

/**
 * plan_new() - choose kernels and lay out memory
 * @cpu: CPU_* flags that may be used (kernels/cpu.h)
 *
 * Return: 0, -ENOTSUP with words when no kernel fits, -ENOMEM. Any thread.
 */
int plan_new(struct plan **ret, struct model *model, uint32_t cpu, struct error *reterr);
struct plan *plan_ref(struct plan *p);
struct plan *plan_unref(struct plan *p);
DEFINE_CLEANUP(struct plan *, plan_unref)

/** plan_layout() - offsets of values by lifetime, first fit; in plan_memory.c. Return: 0 or -ENOMEM */
int plan_layout(struct plan *plan);
