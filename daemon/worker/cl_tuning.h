/* SPDX-License-Identifier: Apache-2.0 */
/* Whose device it is, and which numbers its kernels get: kernels_cl/kernels_cl.inc and tuning.inc. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cl;

enum cl_vendor {
	CL_VENDOR_OTHER,
#define VENDOR_CL(name_, ...) CL_VENDOR_##name_,
#define TUNING_CL(...)
#include "kernels_cl/tuning.inc"
#undef VENDOR_CL
#undef TUNING_CL
	_CL_VENDOR_MAX,
};

#define KERNEL_CL_NEVER UINT32_MAX

/**
 * struct kernel_cl_tuning - how one kernel is built and started on one device
 * @columns: output pixels that an item or group takes
 * @columns_min: with fewer, @planes_max: with more planes another row is better
 * @group_rows: that a group works on together; 0: each item has one of its own
 * @local: work-group that it likes
 */
struct kernel_cl_tuning {
	uint32_t columns, columns_min, planes_max, group_rows;
	uint32_t local[3];
};

/**
 * struct cl_tuning - of one device
 * @vendor: whose numbers are used
 * @tile_bytes: of local memory for a tile of columns
 * @popcount_bits: at once
 */
struct cl_tuning {
	enum cl_vendor vendor;
	size_t tile_bytes;
	uint32_t popcount_bits;
};

/** cl_vendor_of() - @names: of device, vendor and platform */
enum cl_vendor cl_vendor_of(bool processor, uint32_t id, const char *const names[3]);
const char *cl_vendor_name(enum cl_vendor vendor);

/** cl_tune() - the numbers of all kernels for @vendor, inside of what the device has */
void cl_tune(struct cl *cl, enum cl_vendor vendor);
