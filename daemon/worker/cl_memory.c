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
#define MARK 0x5a

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

/** struct probe - the same memory twice: as planes are mapped, and to write to */
struct probe {
	const uint8_t *seen;
	uint8_t *written;
};

static bool read_last(struct cl *cl, cl_mem mem, uint8_t expected)
{
	uint8_t last = (uint8_t) ~expected;

	return clEnqueueReadBuffer(cl->queue, mem, CL_TRUE, SHARE_BYTES - 1, 1, &last, 0, NULL, NULL) ==
		       CL_SUCCESS &&
	       last == expected;
}

/*
 * Does the device read what lies there, from where it lies? What is written after the buffer was made is in it, and
 * the process has not grown by a copy.
 */
static bool try_sharing(struct cl *cl, const struct probe *p)
{
	uint64_t before = private_bytes();
	cl_mem mem;
	bool shares;

	p->written[SHARE_BYTES - 1] = MARK;
	mem = lay_over(cl, p->seen, SHARE_BYTES);
	if (!mem)
		return false;
	shares = read_last(cl, mem, MARK);
	p->written[SHARE_BYTES - 1] = MARK + 1;
	shares = shares && read_last(cl, mem, MARK + 1) && private_bytes() < before + SHARE_BYTES / 2;
	(void) clReleaseMemObject(mem);
	return shares;
}

static void probe_done(struct probe *p)
{
	if (p->seen)
		(void) munmap((void *) p->seen, SHARE_BYTES);
	if (p->written)
		(void) munmap(p->written, SHARE_BYTES);
}

static bool probe_init(struct probe *p)
{
	_cleanup_close_ int fd = -1;
	void *seen, *written;

	if (memfd_new(&fd, &written, "probe", SHARE_BYTES) < 0)
		return false;
	p->written = written;
	seen = mmap(NULL, SHARE_BYTES, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (seen == MAP_FAILED)
		return false;
	p->seen = seen;
	return true;
}

/*
 * The specification lets a driver copy what a buffer is laid over, and the same pointer comes back when it is
 * mapped either way. So: try. The way of the specification goes first; the extension of Arm's drivers is for those
 * that copy there.
 */
void cl_measure_sharing(struct cl *cl)
{
	_cleanup_(probe_done) struct probe p = {};

	if (!cl->unified || !probe_init(&p))
		return;
	find_import(cl);
	for (uint32_t way = CL_SHARING_HOST_PTR; way < _CL_SHARING_MAX; way++) {
		cl->sharing = (enum cl_sharing) way;
		if (try_sharing(cl, &p))
			break;
		cl->sharing = CL_SHARING_NONE;
	}
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
