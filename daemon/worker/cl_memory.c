/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers: over memory of ours where that is no copy, and which is found out by trying. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/memfd.h"
#include "worker/cl.h"

#define SHARE_BYTES ((size_t) 8 * 1024 * 1024)
#define PROBE_BYTES probe_bytes(_CL_SHARING_MAX - 1)

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

static void find_import(struct cl *cl)
{
	void *function;

	if (!cl_has_extension(cl, "cl_arm_import_memory"))
		return;
	function = clGetExtensionFunctionAddressForPlatform(cl->platform, "clImportMemoryARM");
	memcpy(&cl->import, &function, sizeof function);
}

/* Return: NULL when it has to be copied */
static cl_mem lay_over(struct cl *cl, const void *data, size_t bytes)
{
	static const cl_import_properties_arm host[] = {
		CL_IMPORT_TYPE_ARM, CL_IMPORT_TYPE_HOST_ARM, 0};
	cl_int code = CL_INVALID_HOST_PTR;
	cl_mem mem = NULL;

	switch (cl->sharing) {
	case CL_SHARING_HOST_PTR:
		return clCreateBuffer(cl->context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, bytes,
			(void *) data, &code);
	case CL_SHARING_IMPORT:
		if (cl->import)
			mem = cl->import(
				cl->context, CL_MEM_READ_ONLY, host, (void *) data, bytes, &code);
		return code == CL_SUCCESS ? mem : NULL;
	case CL_SHARING_NONE:
	case _CL_SHARING_MAX:
		break;
	}
	return NULL;
}

/* More for each way than for the one before: what a driver has kept of an earlier copy is no room for the next. */
static size_t probe_bytes(enum cl_sharing way)
{
	return SHARE_BYTES << (way - CL_SHARING_HOST_PTR);
}

static uint8_t mark_of(enum cl_sharing way)
{
	return (uint8_t) (0x5a + way);
}

/* Does the device read what lies there, and from where it lies? */
static bool try_sharing(struct cl *cl, const uint8_t *map)
{
	size_t bytes = probe_bytes(cl->sharing);
	uint64_t before = private_bytes();
	cl_mem mem = lay_over(cl, map, bytes);
	uint8_t last = 0;
	bool shares;
	cl_int code;

	if (!mem)
		return false;
	code = clEnqueueReadBuffer(cl->queue, mem, CL_TRUE, bytes - 1, 1, &last, 0, NULL, NULL);
	shares = code == CL_SUCCESS && last == mark_of(cl->sharing) &&
		 private_bytes() < before + SHARE_BYTES / 2;
	(void) clReleaseMemObject(mem);
	return shares;
}

static int make_probe(int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	uint8_t *bytes;
	void *map;
	int r = memfd_new(&fd, &map, "probe", PROBE_BYTES);

	if (r < 0)
		return r;
	bytes = map;
	for (uint32_t way = CL_SHARING_HOST_PTR; way < _CL_SHARING_MAX; way++)
		bytes[probe_bytes((enum cl_sharing) way) - 1] = mark_of((enum cl_sharing) way);
	(void) munmap(map, PROBE_BYTES);
	r = memfd_seal_read_only(fd);
	if (r >= 0)
		*ret_fd = take_fd(&fd);
	return r;
}

/*
 * The specification lets a driver copy what a buffer is laid over, and the same pointer comes back when it is
 * mapped either way. So: lay one over shared memory as planes are, use it, and look whether this process has
 * grown. The way of the specification goes first; the extension of Arm's drivers is for those that copy there.
 */
void cl_measure_sharing(struct cl *cl)
{
	_cleanup_close_ int fd = -1;
	void *map;

	if (!cl->unified || make_probe(&fd) < 0)
		return;
	map = mmap(NULL, PROBE_BYTES, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		return;
	find_import(cl);
	for (uint32_t way = CL_SHARING_HOST_PTR; way < _CL_SHARING_MAX; way++) {
		cl->sharing = (enum cl_sharing) way;
		if (try_sharing(cl, map))
			break;
		cl->sharing = CL_SHARING_NONE;
	}
	(void) munmap(map, PROBE_BYTES);
}

const char *cl_sharing_name(enum cl_sharing sharing)
{
	switch (sharing) {
	case CL_SHARING_NONE:
		return "copies memory";
	case CL_SHARING_HOST_PTR:
		return "shares memory";
	case CL_SHARING_IMPORT:
		return "shares imported memory";
	case _CL_SHARING_MAX:
		break;
	}
	return NULL;
}

int cl_buffer_new(struct cl *cl, const void *data, size_t bytes, bool share, struct cl_buffer *ret,
	struct error *reterr)
{
	cl_mem mem = share ? lay_over(cl, data, bytes) : NULL;
	cl_int code;

	share = mem != NULL;
	if (!mem)
		mem = clCreateBuffer(cl->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, bytes,
			(void *) data, &code);
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
