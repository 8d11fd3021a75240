/* SPDX-License-Identifier: Apache-2.0 */
/* The list of OpenCL kernels, kernels_cl/kernels_cl.inc: what they are, and their programs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "worker/cl_tuning.h"

struct cl;

enum kernel_cl_op {
	KERNEL_CL_INPUT_PIXELS,
	KERNEL_CL_INPUT_FLOATS,
	KERNEL_CL_MATMUL,
	KERNEL_CL_PACK,
	KERNEL_CL_MATMUL_BITS,
	KERNEL_CL_DEPTHWISE_WEIGHTS,
	KERNEL_CL_DEPTHWISE,
	KERNEL_CL_ADD,
	KERNEL_CL_MAX_POOL,
	KERNEL_CL_AVERAGE_POOL,
	KERNEL_CL_CONCAT,
	KERNEL_CL_PAD,
	KERNEL_CL_SLICE,
	KERNEL_CL_TABLE,
	KERNEL_CL_TO_FLOAT,
	KERNEL_CL_SOFTMAX,
	_KERNEL_CL_OP_MAX,
};

enum kernel_cl_args {
	KERNEL_CL_NONE,
	KERNEL_CL_PLANES, /* eight planes */
	/* and local memory for a tile of columns: */
	KERNEL_CL_VALUES, /* their values */
	KERNEL_CL_TABLES, /* and partial sums of them, which serve sum coding only */
	KERNEL_CL_BITS,	  /* packed columns */
};

/* What a device may have, one bit each. */
enum kernel_cl_need {
	KERNEL_CL_NOTHING = 0,
	KERNEL_CL_KHR_DOT = 1 << 0,   /* cl_khr_integer_dot_product */
	KERNEL_CL_ARM_DOT = 1 << 1,   /* cl_arm_integer_dot_product_int8 */
	KERNEL_CL_SUBGROUPS = 1 << 2, /* cl_khr_subgroups */
};

#define KERNEL_CL_MAX 32
#define KERNEL_CL_ANY UINT32_MAX

/**
 * struct kernel_cl - one row of the list
 * @tuning: for a device of which nothing better is known
 * @source: OpenCL C, nothing left to include
 */
struct kernel_cl {
	const char *name;
	enum kernel_cl_op op;
	enum kernel_cl_args args;
	enum kernel_cl_need needs;
	struct kernel_cl_tuning tuning;
	const char *source;
};

extern const struct kernel_cl kernel_cl_table[];
extern const uint32_t kernel_cl_count;

/** kernel_cl_find() - Return: index, or KERNEL_CL_ANY */
uint32_t kernel_cl_find(const char *name);

/** kernel_cl_probe() - bans the rows that @cl lacks something for, and those that never suit it */
void kernel_cl_probe(struct cl *cl);

/**
 * kernel_cl_emulate() - allow all rows, with what the device lacks in plain C: not to be fast but to be
 * checked. Before anything is built
 */
void kernel_cl_emulate(struct cl *cl);

/** kernel_cl_need_name() - the extension, or NULL */
const char *kernel_cl_need_name(enum kernel_cl_need need);

/** struct kernel_cl_product - what the rows of an op differ in. @level: level coding, not sum coding */
struct kernel_cl_product {
	uint64_t pixels;
	uint32_t planes;
	bool level;
};

/** kernel_cl_takes() - can the row do this at all? */
bool kernel_cl_takes(const struct kernel_cl *k, const struct kernel_cl_product *p);

/** kernel_cl_pick_product() - the best row for it of what is built. Return: index, or KERNEL_CL_ANY */
uint32_t kernel_cl_pick_product(
	const struct cl *cl, enum kernel_cl_op op, const struct kernel_cl_product *p);

/** kernel_cl_pick() - for so many output pixels, whatever the matrix. Return: as above */
uint32_t kernel_cl_pick(const struct cl *cl, enum kernel_cl_op op, uint64_t pixels);

/**
 * kernel_cl_build() - the program of one row, from the cache or from source
 * @cache: folder, or NULL
 * @ret_cached: may be NULL
 *
 * Return: 0; a negative errno with the beginning of what the compiler says.
 */
int kernel_cl_build(
	struct cl *cl, uint32_t index, const char *cache, bool *ret_cached, struct error *reterr);

/** kernel_cl_save() - into the cache, when everything that the driver compiles late has been used */
void kernel_cl_save(struct cl *cl, uint32_t index, const char *cache);
