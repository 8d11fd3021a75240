/* SPDX-License-Identifier: Apache-2.0 */
#include "base/replacement.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/fd.h"

#define TRIES 8

static int try_begin(struct replacement *r, int folder, const char *path, mode_t mode)
{
	_cleanup_free_ char *temporary = NULL;
	unsigned int drawn;

	if (getrandom(&drawn, sizeof drawn, 0) != (ssize_t) sizeof drawn)
		return -errno;
	if (asprintf(&temporary, "%s.%08x", path, drawn) < 0) {
		temporary = NULL;
		return -ENOMEM;
	}
	r->fd = openat(folder, temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (r->fd < 0)
		return -errno;
	r->folder = folder;
	r->path = path;
	r->temporary = take_ptr(temporary);
	return 0;
}

int replacement_begin(struct replacement *r, int folder, const char *path, mode_t mode)
{
	int k = -EEXIST;

	for (int i = 0; i < TRIES && k == -EEXIST; i++)
		k = try_begin(r, folder, path, mode);
	return k;
}

int replacement_finish(struct replacement *r)
{
	if (fsync(r->fd) < 0 || renameat(r->folder, r->temporary, r->folder, r->path) < 0)
		return -errno;
	free(r->temporary);
	r->temporary = NULL;
	return 0;
}

void replacement_done(struct replacement *r)
{
	if (r->temporary)
		(void) unlinkat(r->folder, r->temporary, 0);
	free(r->temporary);
	close_fdp(&r->fd);
	*r = (struct replacement) REPLACEMENT_NONE;
}
