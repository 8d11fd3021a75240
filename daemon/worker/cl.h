/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One OpenCL device: context, in-order queue, and the programs of the list. Everything here may be called by
 * one thread only, and any call into the driver may crash, hang or lie: that is what the process is for.
 */
#pragma once

#define CL_TARGET_OPENCL_VERSION 120

#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/list.h"
#include "worker/cl_kernels.h"

/** enum cl_sharing - how a buffer gets at memory of ours */
enum cl_sharing {
	CL_SHARING_NONE,     /* one copy of it, when the buffer is made */
	CL_SHARING_HOST_PTR, /* CL_MEM_USE_HOST_PTR, which is that memory and no copy: measured */
	CL_SHARING_IMPORT,   /* the same of cl_arm_import_memory */
	_CL_SHARING_MAX,
};

/**
 * struct cl - one device
 * @n_devices: how many there were to choose from; @first_type: of the first
 * @unified: the driver says that it shares memory with the processor
 * @import: of cl_arm_import_memory, or NULL
 * @local_bytes: of local memory that a work-group may take
 * @programs: by kernel; NULL: not built, or not to be used
 * @banned: by kernel, never to be built or used: it lacks something for it, or is not to be trusted
 * @has: of enum kernel_cl_need
 * @emulates: kernel_cl_emulate() was asked for
 * @tuning, @kernel_tuning: what suits it, as a whole and by kernel
 * @only: tests: of its operation this kernel and no other; KERNEL_CL_ANY
 * @times: of kernels, measured; NULL: none
 * @profiler: a queue that notes when what is on it begins and ends, NULL until it is needed
 * @shares: buffers over memory of planes, whichever plans use them
 * @arena: activations of whatever runs; one for all plans, the largest of them
 * @arena_serial: counts its replacements, so that plans know that theirs has gone
 * @bytes: of all buffers made by cl_buffer_new()
 */
struct cl {
	cl_platform_id platform;
	cl_device_id device;
	cl_context context;
	cl_command_queue queue;
	char platform_name[128], name[128], vendor[128], driver[128], version[128];
	cl_device_type type, first_type;
	uint32_t units, n_devices;
	uint64_t memory_bytes, local_bytes;
	size_t items_max[3], group_max;
	bool unified;
	enum cl_sharing sharing;
	__typeof__(clImportMemoryARM) *import;
	cl_program programs[KERNEL_CL_MAX];
	bool banned[KERNEL_CL_MAX];
	uint32_t has;
	bool emulates;
	struct cl_tuning tuning;
	struct kernel_cl_tuning kernel_tuning[KERNEL_CL_MAX];
	uint32_t only;
	struct cl_times *times;
	cl_command_queue profiler;
	struct list shares;
	cl_mem arena;
	size_t arena_bytes;
	uint64_t arena_serial, bytes;
};

/**
 * cl_open() - find a device and make a context and a queue for it
 * @wanted: part of the name of its platform or itself; NULL or empty: any
 * @nth: of all those; graphics come before accelerators before processors. cl_open() takes the first
 *
 * Return: 0; -ENODEV with words when there is none that can be used; -ENOMEM.
 */
int cl_open_nth(struct cl **ret, const char *wanted, uint32_t nth, struct error *reterr);
int cl_open(struct cl **ret, const char *wanted, struct error *reterr);
struct cl *cl_close(struct cl *cl);
DEFINE_CLEANUP(struct cl *, cl_close)

/** cl_measure_sharing() - find the way that copies nothing */
void cl_measure_sharing(struct cl *cl);

/** cl_sharing_name() - Return: static text for a person */
const char *cl_sharing_name(enum cl_sharing sharing);

/** cl_errno() - Return: -ENOMEM, -ENODEV, -ENOTSUP, else -EIO */
int cl_errno(cl_int code);

/** cl_error() - error_set() with @what and the name of @code. Return: cl_errno() */
int cl_error(struct error *reterr, cl_int code, const char *what);

/** cl_device_text(), cl_platform_text() - a text of the device or platform into @buffer, cleaned of what a terminal would act on */
void cl_device_text(cl_device_id device, cl_device_info what, char *buffer, size_t size);
void cl_platform_text(cl_platform_id platform, cl_platform_info what, char *buffer, size_t size);

/** cl_has_extension() - is it in the device's list, as a whole word? */
bool cl_has_extension(const struct cl *cl, const char *name);

/**
 * struct cl_buffer - @shared: over the caller's memory, which must outlive it
 */
struct cl_buffer {
	cl_mem mem;
	size_t bytes;
	bool shared;
};

/**
 * cl_buffer_new() - a buffer that kernels read
 * @data: what it holds; where the device shares memory with @share it is @data itself
 */
int cl_buffer_new(struct cl *cl, const void *data, size_t bytes, bool share, struct cl_buffer *ret,
	struct error *reterr);
void cl_buffer_done(struct cl *cl, struct cl_buffer *b);

/**
 * cl_share_get() - the buffer over memory of planes, made by the first who asks
 * @data: must live until the last cl_share_put()
 */
int cl_share_get(struct cl *cl, const void *data, size_t bytes, cl_mem *ret, struct error *reterr);
void cl_share_put(struct cl *cl, const void *data);

/** cl_arena_reserve() - at least @bytes. Return: 0 or a negative errno with words, the old one kept */
int cl_arena_reserve(struct cl *cl, size_t bytes, struct error *reterr);
