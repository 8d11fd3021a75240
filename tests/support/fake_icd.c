/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OpenCL driver that goes wrong when it is told to: the machine's real one, with some entries of its table
 * of functions replaced. Loaded like any driver, by a folder in OCL_ICD_VENDORS.
 *
 *	BITSHED_FAKE_REAL	the real driver's library
 *	BITSHED_FAKE_CONTROL	a file, read at every call: "FAULT N": one call in N goes wrong in that way
 *	BITSHED_FAKE_MEMORY	"real"; "copy": of what a buffer is laid over; "import": cl_arm_import_memory does not;
 *				"import-missing", "import-fails", "import-lies": it says that it would
 */
#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS

#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <CL/cl_icd.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static cl_icd_dispatch real;
static void *library;
static unsigned int state;

EXPORT CL_API_ENTRY cl_int CL_API_CALL clIcdGetPlatformIDsKHR(
	cl_uint n, cl_platform_id *platforms, cl_uint *ret_n);
EXPORT CL_API_ENTRY void *CL_API_CALL clGetExtensionFunctionAddress(const char *name);
EXPORT CL_API_ENTRY cl_int CL_API_CALL clGetPlatformInfo(
	cl_platform_id platform, cl_platform_info what, size_t size, void *value, size_t *ret_size);

/* Is it time for this fault? */
static int due(const char *fault)
{
	char text[64] = "", name[32];
	unsigned int n = 0;
	const char *file = getenv("BITSHED_FAKE_CONTROL");
	int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;

	if (fd >= 0)
		(void) close(fd);
	if (size <= 0 || sscanf(text, "%31s %u", name, &n) != 2 || n == 0 ||
		strcmp(name, fault) != 0)
		return 0;
	if (state == 0)
		state = (unsigned int) time(NULL) ^ (unsigned int) getpid();
	return (unsigned int) rand_r(&state) % n == 0;
}

static CL_API_ENTRY cl_int CL_API_CALL fake_build(cl_program program, cl_uint n,
	const cl_device_id *devices, const char *options,
	void(CL_CALLBACK *notify)(cl_program, void *), void *data)
{
	if (due("abort-build"))
		abort();
	return real.clBuildProgram(program, n, devices, options, notify, data);
}

static CL_API_ENTRY cl_int CL_API_CALL fake_enqueue(cl_command_queue queue, cl_kernel kernel,
	cl_uint dims, const size_t *offset, const size_t *global, const size_t *local, cl_uint n,
	const cl_event *wait, cl_event *event)
{
	if (due("abort-enqueue"))
		abort();
	if (due("exit"))
		_exit(3);
	while (due("hang"))
		for (;;)
			(void) pause();
	if (due("memory"))
		return CL_OUT_OF_RESOURCES;
	if (due("lost"))
		return CL_DEVICE_NOT_AVAILABLE;
	return real.clEnqueueNDRangeKernel(
		queue, kernel, dims, offset, global, local, n, wait, event);
}

static CL_API_ENTRY cl_int CL_API_CALL fake_read(cl_command_queue queue, cl_mem buffer,
	cl_bool blocking, size_t offset, size_t size, void *to, cl_uint n, const cl_event *wait,
	cl_event *event)
{
	cl_int code =
		real.clEnqueueReadBuffer(queue, buffer, blocking, offset, size, to, n, wait, event);

	if (code == CL_SUCCESS && blocking && size > 1 && due("wrong"))
		((unsigned char *) to)[size / 2] ^= 4;
	return code;
}

static int memory_is(const char *behaviour)
{
	const char *wanted = getenv("BITSHED_FAKE_MEMORY");

	return wanted && strncmp(wanted, behaviour, strlen(behaviour)) == 0;
}

static CL_API_ENTRY cl_mem CL_API_CALL fake_buffer(
	cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *code)
{
	if ((memory_is("copy") || memory_is("import")) && (flags & CL_MEM_USE_HOST_PTR))
		flags = (flags & ~(cl_mem_flags) CL_MEM_USE_HOST_PTR) | CL_MEM_COPY_HOST_PTR;
	return real.clCreateBuffer(context, flags, size, host, code);
}

static CL_API_ENTRY cl_mem CL_API_CALL fake_import(cl_context context, cl_mem_flags flags,
	const cl_import_properties_arm *properties, void *memory, size_t size, cl_int *code)
{
	if (memory_is("import-fails") || !properties || properties[0] != CL_IMPORT_TYPE_ARM ||
		properties[1] != CL_IMPORT_TYPE_HOST_ARM) {
		*code = CL_INVALID_OPERATION;
		return NULL;
	}
	if (memory_is("import-lies"))
		return real.clCreateBuffer(context, flags, size, NULL, code);
	return real.clCreateBuffer(context, flags | CL_MEM_USE_HOST_PTR, size, memory, code);
}

static CL_API_ENTRY void *CL_API_CALL fake_address(cl_platform_id platform, const char *name)
{
	if (strcmp(name, "clImportMemoryARM") == 0)
		return memory_is("import") && !memory_is("import-missing") ? (void *) fake_import : NULL;
	return real.clGetExtensionFunctionAddressForPlatform(platform, name);
}

static CL_API_ENTRY cl_int CL_API_CALL fake_info(
	cl_device_id device, cl_device_info what, size_t size, void *value, size_t *ret_size)
{
	static const char more[] = " cl_arm_import_memory cl_arm_import_memory_host";
	cl_int code = real.clGetDeviceInfo(device, what, size, value, ret_size);
	size_t length;

	if (what != CL_DEVICE_EXTENSIONS || !memory_is("import") || code != CL_SUCCESS)
		return code;
	if (ret_size)
		*ret_size += sizeof more - 1;
	length = value ? strlen(value) : 0;
	if (value && length + sizeof more <= size)
		memcpy((char *) value + length, more, sizeof more);
	return code;
}

/* Every object of the driver begins with a pointer to this one table. */
static void replace(cl_icd_dispatch *table)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE);
	char *begin = (char *) ((size_t) table / page * page);

	if (mprotect(begin, (size_t) ((char *) (table + 1) - begin), PROT_READ | PROT_WRITE) < 0)
		return;
	real = *table;
	table->clBuildProgram = fake_build;
	table->clEnqueueNDRangeKernel = fake_enqueue;
	table->clEnqueueReadBuffer = fake_read;
	table->clCreateBuffer = fake_buffer;
	table->clGetDeviceInfo = fake_info;
	table->clGetExtensionFunctionAddressForPlatform = fake_address;
}

static void *real_function(const char *name)
{
	if (!library)
		library = dlopen(getenv("BITSHED_FAKE_REAL") ?: "", RTLD_NOW | RTLD_LOCAL);
	return library ? dlsym(library, name) : NULL;
}

/* A driver may export its functions or hand them out. */
static void *real_extension(const char *name)
{
	void *(CL_API_CALL * get)(const char *);
	void *direct = real_function(name);

	*(void **) &get = real_function("clGetExtensionFunctionAddress");
	return direct ? direct : get ? get(name) : NULL;
}

cl_int clIcdGetPlatformIDsKHR(cl_uint n, cl_platform_id *platforms, cl_uint *ret_n)
{
	cl_int(CL_API_CALL * get)(cl_uint, cl_platform_id *, cl_uint *);
	cl_int code;

	*(void **) &get = real_extension("clIcdGetPlatformIDsKHR");
	if (!get)
		return CL_PLATFORM_NOT_FOUND_KHR;
	code = get(n, platforms, ret_n);
	if (code == CL_SUCCESS && platforms && n > 0 && !real.clBuildProgram)
		replace(*(cl_icd_dispatch **) platforms[0]);
	return code;
}

cl_int clGetPlatformInfo(
	cl_platform_id platform, cl_platform_info what, size_t size, void *value, size_t *ret_size)
{
	cl_int(CL_API_CALL * get)(cl_platform_id, cl_platform_info, size_t, void *, size_t *);

	*(void **) &get = real_extension("clGetPlatformInfo");
	return get ? get(platform, what, size, value, ret_size) : CL_INVALID_PLATFORM;
}

void *clGetExtensionFunctionAddress(const char *name)
{
	if (strcmp(name, "clIcdGetPlatformIDsKHR") == 0)
		return (void *) clIcdGetPlatformIDsKHR;
	if (strcmp(name, "clGetPlatformInfo") == 0)
		return (void *) clGetPlatformInfo;
	return real_extension(name);
}
