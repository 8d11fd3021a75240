/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of a session: n slots, each an input and an output area, in one memfd that the daemon
 * made, allocated and sealed. The client may write any byte at any moment: bytes are only ever
 * data.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/** struct tensor_sizes - of one inference, the same at any width; @pixels_bytes: 0: takes none */
struct tensor_sizes {
	size_t pixels_bytes, floats_bytes, output_bytes;
};

/**
 * struct region - @stride: from slot to slot; @output: inside of a slot; the input begins at 0
 * @id: by which workers know it; used once
 */
struct region {
	uint64_t id;
	int fd;
	uint8_t *map;
	size_t bytes, stride, output;
	uint32_t slots;
};

/**
 * region_layout() - sizes for @slots inferences, no memory yet. Return: 0; -EOVERFLOW when too
 * large
 */
int region_layout(struct region *ret, const struct tensor_sizes *sizes, uint32_t slots);

/**
 * region_open() - the memory of a layout. Return: 0, -ENOMEM or another errno; region_close()
 * undoes it
 */
int region_open(struct region *r, struct error *reterr);
void region_close(struct region *r);

static inline void *region_input(const struct region *r, uint32_t slot)
{
	return r->map + slot * r->stride;
}

static inline float *region_output(const struct region *r, uint32_t slot)
{
	return (float *) (void *) (r->map + slot * r->stride + r->output);
}
