/* SPDX-License-Identifier: Apache-2.0 */
/* All of a model file but its planes, kept where nobody can change it. */
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "base/memfd.h"
#include "engine/gguf.h"
#include "engine/model.h"

#define COPY_STEP ((size_t) 256 << 10)

static int copy_range(int to, int from, uint64_t offset, uint64_t bytes, void *buffer)
{
	int r;

	while (bytes > 0) {
		size_t step = MIN_OF(bytes, COPY_STEP);

		r = fd_read_at(from, buffer, step, offset);
		if (r < 0)
			return r;
		if (pwrite(to, buffer, step, (off_t) offset) != (ssize_t) step)
			return errno ? -errno : -EIO;
		offset += step;
		bytes -= step;
	}
	return 0;
}

/* Tensors are sorted by offset: what lies before the first is the header and its padding. */
static int copy_parts(int to, int from, const struct gguf *g)
{
	_cleanup_free_ void *buffer = malloc(COPY_STEP);
	uint64_t header = g->n_tensors > 0 ? g->tensors[0].offset : g->file_bytes;
	int r;

	if (!buffer)
		return -ENOMEM;
	r = copy_range(to, from, 0, MIN_OF(header, GGUF_HEADER_MAX), buffer);
	for (uint32_t i = 0; r >= 0 && i < g->n_tensors; i++)
		if (strncmp(g->tensors[i].name, "planes.", strlen("planes.")) != 0)
			r = copy_range(to, from, g->tensors[i].offset, g->tensors[i].bytes, buffer);
	return r;
}

int network_head(int *ret, int fd, struct error *reterr)
{
	_cleanup_(gguf_done) struct gguf g = {0};
	_cleanup_close_ int head = -1;
	int r;

	r = gguf_read(&g, fd, reterr);
	if (r >= 0)
		r = memfd_new_sparse(&head, "bitshed-head", g.file_bytes);
	if (r >= 0)
		r = copy_parts(head, fd, &g);
	if (r >= 0)
		r = memfd_seal_read_only(head);
	if (r < 0)
		return r == -ENODATA ? error_set(reterr, -EBADMSG, "the file shrank while it was read") : r;
	*ret = take_fd(&head);
	return 0;
}
