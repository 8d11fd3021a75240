/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptors with owners. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/cleanup.h"

static inline void close_fdp(int *fd)
{
	if (*fd >= 0)
		(void) close(*fd);
}

#define _cleanup_close_ _cleanup_(close_fdp)

static inline int take_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

/**
 * fd_read_at() - read exactly @size bytes at @offset
 *
 * Return: 0, -ENODATA when the file ends before, or a negative errno. Any thread.
 */
int fd_read_at(int fd, void *data, size_t size, uint64_t offset);

/** fd_write_all() - write exactly @size bytes at the file's position. Return: 0 or negative errno. */
int fd_write_all(int fd, const void *data, size_t size);
