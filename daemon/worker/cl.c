/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/cl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PLATFORMS_MAX 16
#define DEVICES_MAX 16

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

/** struct candidates - [n], the most promising first */
struct candidates {
	struct {
		cl_platform_id platform;
		cl_device_id device;
		uint32_t rank;
	} all[DEVICES_MAX];
	uint32_t n;
};

/* Behind its equals: drivers name theirs in an order that does not change. */
static void insert(struct candidates *c, cl_platform_id platform, cl_device_id device)
{
	uint32_t place = c->n, is = rank(device_type(device));

	if (c->n == DEVICES_MAX)
		return;
	for (; place > 0 && c->all[place - 1].rank < is; place--)
		c->all[place] = c->all[place - 1];
	c->all[place].platform = platform;
	c->all[place].device = device;
	c->all[place].rank = is;
	c->n++;
}

/* @reterr: why the last one that was not taken was not */
static void look_at(struct candidates *c, cl_platform_id platform, cl_device_id device,
	const char *wanted, struct error *reterr)
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
	if (missing)
		(void) error_set(reterr, -ENODEV, "%.64s, %.64s: %s", platform_name, name, missing);
	else
		insert(c, platform, device);
}

static int find_devices(struct candidates *ret, const char *wanted, struct error *reterr)
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
			look_at(ret, platforms[p], devices[d], wanted, reterr);
	}
	return ret->n > 0 ? 0 : -ENODEV;
}

static int find_device(struct cl *cl, const char *wanted, uint32_t nth, struct error *reterr)
{
	struct candidates c = {};
	int r = find_devices(&c, wanted, reterr);

	if (r < 0)
		return r;
	if (nth >= c.n)
		return error_set(reterr, -ENODEV, "there are %u devices", c.n);
	cl->platform = c.all[nth].platform;
	cl->device = c.all[nth].device;
	cl->n_devices = c.n;
	cl->first_type = device_type(c.all[0].device);
	return 0;
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
	cl->unified = device_flag(cl->device, CL_DEVICE_HOST_UNIFIED_MEMORY);
	cl->units = (uint32_t) device_number(cl->device, CL_DEVICE_MAX_COMPUTE_UNITS);
	cl->memory_bytes = device_number(cl->device, CL_DEVICE_GLOBAL_MEM_SIZE);
	cl->local_bytes = device_number(cl->device, CL_DEVICE_LOCAL_MEM_SIZE);
	cl->group_max = device_number(cl->device, CL_DEVICE_MAX_WORK_GROUP_SIZE);
	(void) clGetDeviceInfo(cl->device, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof cl->items_max,
		cl->items_max, NULL);
}

bool cl_has_extension(const struct cl *cl, const char *name)
{
	_cleanup_free_ char *all = NULL;
	size_t bytes = 0, n = strlen(name);

	if (clGetDeviceInfo(cl->device, CL_DEVICE_EXTENSIONS, 0, NULL, &bytes) != CL_SUCCESS)
		return false;
	all = calloc(1, bytes + 1);
	if (!all ||
		clGetDeviceInfo(cl->device, CL_DEVICE_EXTENSIONS, bytes, all, NULL) != CL_SUCCESS)
		return false;
	for (const char *p = all; (p = strstr(p, name)); p += n)
		if ((p == all || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

static void tune(struct cl *cl)
{
	const char *const names[] = {cl->name, cl->vendor, cl->platform_name};

	for (enum kernel_cl_need n = 1; kernel_cl_need_name(n); n <<= 1)
		if (cl_has_extension(cl, kernel_cl_need_name(n)))
			cl->has |= n;
	cl_tune(cl, cl_vendor_of(cl->type & CL_DEVICE_TYPE_CPU,
			    (uint32_t) device_number(cl->device, CL_DEVICE_VENDOR_ID), names));
	kernel_cl_probe(cl);
}

int cl_open_nth(struct cl **ret, const char *wanted, uint32_t nth, struct error *reterr)
{
	_cleanup_(cl_closep) struct cl *cl = calloc(1, sizeof *cl);
	cl_int code;
	int r;

	if (!cl)
		return -ENOMEM;
	cl->only = KERNEL_CL_ANY;
	list_init(&cl->shares);
	r = find_device(cl, wanted, nth, reterr);
	if (r < 0)
		return r;
	describe(cl);
	tune(cl);
	cl->context = clCreateContext(NULL, 1, &cl->device, NULL, NULL, &code);
	if (!cl->context)
		return cl_error(reterr, code, "making a context");
	cl->queue = clCreateCommandQueue(cl->context, cl->device, 0, &code);
	if (!cl->queue)
		return cl_error(reterr, code, "making a queue");
	cl_measure_sharing(cl);
	*ret = take_ptr(cl);
	return 0;
}

int cl_open(struct cl **ret, const char *wanted, struct error *reterr)
{
	return cl_open_nth(ret, wanted, 0, reterr);
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
	if (cl->profiler)
		(void) clReleaseCommandQueue(cl->profiler);
	if (cl->queue)
		(void) clReleaseCommandQueue(cl->queue);
	if (cl->context)
		(void) clReleaseContext(cl->context);
	free(cl->times);
	free(cl);
	return NULL;
}
