/* SPDX-License-Identifier: Apache-2.0 */
/* The list of OpenCL kernels, kernels_cl/kernels_cl.inc: what they are, and their programs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

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
	KERNEL_CL_PLANES,	/* eight planes */
	KERNEL_CL_PLANES_LOCAL, /* and local memory for a tile of columns */
};

#define KERNEL_CL_MAX 32
#define KERNEL_CL_ANY UINT32_MAX

/**
 * struct kernel_cl - one row of the list
 * @columns: output pixels that an item or group takes; @columns_min: fewer are better left to another row
 * @local: work-group that it likes
 * @source: OpenCL C, nothing left to include
 */
struct kernel_cl {
	const char *name;
	enum kernel_cl_op op;
	enum kernel_cl_args args;
	uint32_t columns, columns_min;
	uint32_t local[3];
	const char *source;
};

extern const struct kernel_cl kernel_cl_table[];
extern const uint32_t kernel_cl_count;

/** kernel_cl_find() - Return: index, or KERNEL_CL_ANY */
uint32_t kernel_cl_find(const char *name);

/** kernel_cl_pick() - for so many output pixels, of what is built. Return: index, or KERNEL_CL_ANY */
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
