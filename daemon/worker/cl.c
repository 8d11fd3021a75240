/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/cl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/memfd.h"

#define PLATFORMS_MAX 16
#define DEVICES_MAX 16
#define SHARE_BYTES ((size_t) 8 * 1024 * 1024)

/* clang-format off */
static const struct {
	cl_int code;
	const char *name;
	int number;
} codes[] = {
	{CL_DEVICE_NOT_FOUND,                "no device",                      ENODEV},
	{CL_DEVICE_NOT_AVAILABLE,            "the device is not available",    ENODEV},
	{CL_COMPILER_NOT_AVAILABLE,          "there is no compiler",           ENOTSUP},
	{CL_MEM_OBJECT_ALLOCATION_FAILURE,   "no memory for a buffer",         ENOMEM},
	{CL_OUT_OF_RESOURCES,                "out of resources",               ENOMEM},
	{CL_OUT_OF_HOST_MEMORY,              "out of host memory",             ENOMEM},
	{CL_BUILD_PROGRAM_FAILURE,           "the program cannot be built",    EIO},
	{CL_INVALID_BUFFER_SIZE,             "a buffer is too large",          ENOMEM},
	{CL_INVALID_BINARY,                  "invalid binary",                 EIO},
	{CL_INVALID_KERNEL_NAME,             "the kernel is not there",        EIO},
	{CL_INVALID_KERNEL_ARGS,             "invalid kernel arguments",       EIO},
	{CL_INVALID_WORK_GROUP_SIZE,         "invalid work-group size",        EIO},
	{CL_INVALID_COMMAND_QUEUE,           "invalid queue",                  ENODEV},
	{CL_INVALID_CONTEXT,                 "invalid context",                ENODEV},
	{-1001 /* of the ICD loader */,      "no OpenCL driver is installed",  ENODEV},
};
/* clang-format on */

int cl_errno(cl_int code)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].code == code)
			return -codes[i].number;
	return -EIO;
}

int cl_error(struct error *reterr, cl_int code, const char *what)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].code == code)
			return error_set(reterr, -codes[i].number, "%s: %s", what, codes[i].name);
	return error_set(reterr, -EIO, "%s: OpenCL error %d", what, code);
}

static void clean(char *text, size_t size)
{
	text[size - 1] = '\0';
	for (char *p = text; *p; p++)
		if ((unsigned char) *p < ' ' || (unsigned char) *p >= 127)
			*p = ' ';
}

void cl_device_text(cl_device_id device, cl_device_info what, char *buffer, size_t size)
{
	memset(buffer, 0, size);
	(void) clGetDeviceInfo(device, what, size - 1, buffer, NULL);
	clean(buffer, size);
}

void cl_platform_text(cl_platform_id platform, cl_platform_info what, char *buffer, size_t size)
{
	memset(buffer, 0, size);
	(void) clGetPlatformInfo(platform, what, size - 1, buffer, NULL);
	clean(buffer, size);
}

static bool device_flag(cl_device_id device, cl_device_info what)
{
	cl_bool v = CL_FALSE;

	return clGetDeviceInfo(device, what, sizeof v, &v, NULL) == CL_SUCCESS && v == CL_TRUE;
}

static uint64_t device_number(cl_device_id device, cl_device_info what)
{
	uint64_t v = 0;

	(void) clGetDeviceInfo(device, what, sizeof v, &v, NULL);
	return v;
}

static cl_device_type device_type(cl_device_id device)
{
	return (cl_device_type) device_number(device, CL_DEVICE_TYPE);
}

/* What no kernel of ours can do without. Return: NULL, or what is missing */
static const char *device_lacks(cl_device_id device)
{
	char version[128];
	unsigned int major = 0, minor = 0;

	if (!device_flag(device, CL_DEVICE_AVAILABLE))
		return "it is not available";
	if (!device_flag(device, CL_DEVICE_COMPILER_AVAILABLE))
		return "it has no compiler";
	if (!device_flag(device, CL_DEVICE_ENDIAN_LITTLE))
		return "it is big-endian";
	if ((device_number(device, CL_DEVICE_SINGLE_FP_CONFIG) & CL_FP_ROUND_TO_NEAREST) == 0)
		return "its floats are not rounded to nearest";
	cl_device_text(device, CL_DEVICE_VERSION, version, sizeof version);
	if (sscanf(version, "OpenCL %u.%u", &major, &minor) != 2 || major < 1 ||
		(major == 1 && minor < 2))
		return "it is older than OpenCL 1.2";
	return NULL;
}

static uint32_t rank(cl_device_type type)
{
	return type & CL_DEVICE_TYPE_GPU ? 3 : type & CL_DEVICE_TYPE_ACCELERATOR ? 2 : 1;
}

static bool matches(const char *wanted, const char *platform, const char *device)
{
	return !wanted || !wanted[0] || strstr(platform, wanted) || strstr(device, wanted);
}

/* Keeps the best one in @cl. @reterr: why the last one that was not taken was not */
static void look_at(struct cl *cl, cl_platform_id platform, cl_device_id device, const char *wanted,
	struct error *reterr)
{
	char platform_name[128], name[128];
	const char *missing;

	cl_platform_text(platform, CL_PLATFORM_NAME, platform_name, sizeof platform_name);
	cl_device_text(device, CL_DEVICE_NAME, name, sizeof name);
	if (!matches(wanted, platform_name, name)) {
		(void) error_set(reterr, -ENODEV, "no device is called \"%.64s\"", wanted);
		return;
	}
	missing = device_lacks(device);
	if (missing) {
		(void) error_set(reterr, -ENODEV, "%.64s, %.64s: %s", platform_name, name, missing);
		return;
	}
	if (cl->device && rank(device_type(device)) <= rank(device_type(cl->device)))
		return;
	cl->platform = platform;
	cl->device = device;
}

static int find_device(struct cl *cl, const char *wanted, struct error *reterr)
{
	cl_platform_id platforms[PLATFORMS_MAX];
	cl_uint n_platforms = 0, n_devices;
	cl_int code = clGetPlatformIDs(PLATFORMS_MAX, platforms, &n_platforms);

	if (code != CL_SUCCESS)
		return cl_error(reterr, code, "looking for drivers");
	(void) error_set(reterr, -ENODEV, "the drivers know no device");
	for (cl_uint p = 0; p < MIN_OF(n_platforms, PLATFORMS_MAX); p++) {
		cl_device_id devices[DEVICES_MAX];

		n_devices = 0;
		if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, DEVICES_MAX, devices,
			    &n_devices) != CL_SUCCESS)
			continue;
		for (cl_uint d = 0; d < MIN_OF(n_devices, DEVICES_MAX); d++)
			look_at(cl, platforms[p], devices[d], wanted, reterr);
	}
	return cl->device ? 0 : -ENODEV;
}

static void describe(struct cl *cl)
{
	cl_platform_text(
		cl->platform, CL_PLATFORM_NAME, cl->platform_name, sizeof cl->platform_name);
	cl_device_text(cl->device, CL_DEVICE_NAME, cl->name, sizeof cl->name);
	cl_device_text(cl->device, CL_DEVICE_VENDOR, cl->vendor, sizeof cl->vendor);
	cl_device_text(cl->device, CL_DRIVER_VERSION, cl->driver, sizeof cl->driver);
	cl_device_text(cl->device, CL_DEVICE_VERSION, cl->version, sizeof cl->version);
	cl->type = device_type(cl->device);
	cl->units = (uint32_t) device_number(cl->device, CL_DEVICE_MAX_COMPUTE_UNITS);
	cl->memory_bytes = device_number(cl->device, CL_DEVICE_GLOBAL_MEM_SIZE);
	cl->local_bytes = device_number(cl->device, CL_DEVICE_LOCAL_MEM_SIZE);
	cl->group_max = device_number(cl->device, CL_DEVICE_MAX_WORK_GROUP_SIZE);
	(void) clGetDeviceInfo(cl->device, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof cl->items_max,
		cl->items_max, NULL);
}

static uint64_t private_bytes(void)
{
	char line[256];
	uint64_t kib = 0;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (f)
		(void) fclose(f);
	return kib * 1024;
}

/*
 * The specification lets a driver copy what a buffer is laid over, and the same pointer comes back when it is
 * mapped either way. So: lay one over shared memory, use it, and look whether this process has grown.
 */
static bool measure_sharing(struct cl *cl)
{
	_cleanup_close_ int fd = -1;
	struct cl_buffer b;
	uint64_t before;
	uint8_t last = 0;
	bool shares = false;
	void *map;

	if (!device_flag(cl->device, CL_DEVICE_HOST_UNIFIED_MEMORY) ||
		memfd_new(&fd, NULL, "probe", SHARE_BYTES) < 0 || memfd_seal_read_only(fd) < 0)
		return false;
	map = mmap(NULL, SHARE_BYTES, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		return false;
	before = private_bytes();
	if (cl_buffer_new(cl, map, SHARE_BYTES, true, &b, NULL) >= 0) {
		cl_int code = clEnqueueReadBuffer(
			cl->queue, b.mem, CL_TRUE, SHARE_BYTES - 1, 1, &last, 0, NULL, NULL);

		shares = code == CL_SUCCESS && b.shared &&
			 private_bytes() < before + SHARE_BYTES / 2;
		cl_buffer_done(cl, &b);
	}
	(void) munmap(map, SHARE_BYTES);
	return shares;
}

int cl_open(struct cl **ret, const char *wanted, struct error *reterr)
{
	_cleanup_(cl_closep) struct cl *cl = calloc(1, sizeof *cl);
	cl_int code;
	int r;

	if (!cl)
		return -ENOMEM;
	cl->only = KERNEL_CL_ANY;
	list_init(&cl->shares);
	r = find_device(cl, wanted, reterr);
	if (r < 0)
		return r;
	describe(cl);
	cl->context = clCreateContext(NULL, 1, &cl->device, NULL, NULL, &code);
	if (!cl->context)
		return cl_error(reterr, code, "making a context");
	cl->queue = clCreateCommandQueue(cl->context, cl->device, 0, &code);
	if (!cl->queue)
		return cl_error(reterr, code, "making a queue");
	cl->shares_memory = true; /* to be tried */
	cl->shares_memory = measure_sharing(cl);
	*ret = take_ptr(cl);
	return 0;
}

struct cl *cl_close(struct cl *cl)
{
	if (!cl)
		return NULL;
	if (cl->arena)
		(void) clReleaseMemObject(cl->arena);
	for (uint32_t i = 0; i < KERNEL_CL_MAX; i++)
		if (cl->programs[i])
			(void) clReleaseProgram(cl->programs[i]);
	if (cl->queue)
		(void) clReleaseCommandQueue(cl->queue);
	if (cl->context)
		(void) clReleaseContext(cl->context);
	free(cl);
	return NULL;
}

int cl_buffer_new(struct cl *cl, const void *data, size_t bytes, bool share, struct cl_buffer *ret,
	struct error *reterr)
{
	cl_mem_flags flags = CL_MEM_READ_ONLY;
	cl_int code = CL_INVALID_HOST_PTR;
	cl_mem mem = NULL;

	share = share && cl->shares_memory;
	if (share)
		mem = clCreateBuffer(
			cl->context, flags | CL_MEM_USE_HOST_PTR, bytes, (void *) data, &code);
	if (!mem) {
		share = false;
		mem = clCreateBuffer(
			cl->context, flags | CL_MEM_COPY_HOST_PTR, bytes, (void *) data, &code);
	}
	if (!mem)
		return cl_error(reterr, code, "making a buffer");
	*ret = (struct cl_buffer){mem, bytes, share};
	cl->bytes += bytes;
	return 0;
}

void cl_buffer_done(struct cl *cl, struct cl_buffer *b)
{
	if (!b->mem)
		return;
	(void) clReleaseMemObject(b->mem);
	cl->bytes -= b->bytes;
	*b = (struct cl_buffer){};
}

struct share {
	struct list link;
	const void *data;
	uint32_t refs;
	struct cl_buffer buffer;
};

static struct share *find_share(struct cl *cl, const void *data)
{
	list_for_each(l, &cl->shares) if (list_entry(l, struct share, link)->data ==
					  data) return list_entry(l, struct share, link);
	return NULL;
}

int cl_share_get(struct cl *cl, const void *data, size_t bytes, cl_mem *ret, struct error *reterr)
{
	struct share *s = find_share(cl, data);
	int r;

	if (!s) {
		s = calloc(1, sizeof *s);
		if (!s)
			return -ENOMEM;
		r = cl_buffer_new(cl, data, bytes, true, &s->buffer, reterr);
		if (r < 0) {
			free(s);
			return r;
		}
		s->data = data;
		list_append(&cl->shares, &s->link);
	}
	s->refs++;
	*ret = s->buffer.mem;
	return 0;
}

void cl_share_put(struct cl *cl, const void *data)
{
	struct share *s = find_share(cl, data);

	if (!s || --s->refs > 0)
		return;
	list_remove(&s->link);
	cl_buffer_done(cl, &s->buffer);
	free(s);
}

int cl_arena_reserve(struct cl *cl, size_t bytes, struct error *reterr)
{
	cl_int code;
	cl_mem mem;

	if (cl->arena && bytes <= cl->arena_bytes)
		return 0;
	mem = clCreateBuffer(cl->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
	if (!mem)
		return cl_error(reterr, code, "making room for activations");
	if (cl->arena)
		(void) clReleaseMemObject(cl->arena);
	cl->arena = mem;
	cl->arena_bytes = bytes;
	cl->arena_serial++;
	return 0;
}
