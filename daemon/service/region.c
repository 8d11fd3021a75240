/* SPDX-License-Identifier: Apache-2.0 */
#include "service/region.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/memfd.h"

/* Kernels read whole vectors; and two slots never share a cache line. */
#define SLOT_ALIGN 64
#define REGION_ALIGN 4096
#define REGION_BYTES_MAX (SIZE_MAX / 4)

int region_layout(struct region *ret, const struct tensor_sizes *sizes, uint32_t slots)
{
	struct region r = {.fd = -1, .slots = slots};
	size_t input = MAX_OF(sizes->pixels_bytes, sizes->floats_bytes);

	if (input > REGION_BYTES_MAX || sizes->output_bytes > REGION_BYTES_MAX)
		return -EOVERFLOW;
	r.output = bytes_align(input, SLOT_ALIGN);
	r.stride = r.output + bytes_align(sizes->output_bytes, SLOT_ALIGN);
	if (!bytes_mul(&r.bytes, r.stride, slots) || r.bytes > REGION_BYTES_MAX)
		return -EOVERFLOW;
	r.bytes = bytes_align(r.bytes, REGION_ALIGN);
	*ret = r;
	return 0;
}

int region_open(struct region *r, struct error *reterr)
{
	void *map;
	int k;

	k = memfd_new(&r->fd, &map, "bitshed-session", r->bytes);
	if (k == -ENOSPC)
		k = -ENOMEM;
	if (k < 0)
		return error_set(reterr, k, "no memory for a session of %zu bytes", r->bytes);
	r->map = map;
	/* The client gets this descriptor: no seals of its own. */
	if (fcntl(r->fd, F_ADD_SEALS, F_SEAL_SEAL) < 0) {
		k = -errno;
		region_close(r);
		return error_set(reterr, k, "cannot seal the memory of a session");
	}
	return 0;
}

void region_close(struct region *r)
{
	if (r->map)
		(void) munmap(r->map, r->bytes);
	if (r->fd >= 0)
		(void) close(r->fd);
	r->map = NULL;
	r->fd = -1;
}
