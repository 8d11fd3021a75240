/* SPDX-License-Identifier: Apache-2.0 */
/* Small files of the kernel: one number or one word. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

/** sysfs_word() - the first line of @name in @folder. Return: 0 or negative errno */
static inline int sysfs_word(int folder, const char *name, char *ret, size_t size)
{
	_cleanup_close_ int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, ret, size - 1);
	if (n < 0)
		return -errno;
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	return 0;
}

/** sysfs_number() - Return: 0; -ENODATA when it is none, or another errno */
static inline int sysfs_number(int folder, const char *name, double *ret)
{
	char text[64], *end;
	long long value;
	int r = sysfs_word(folder, name, text, sizeof text);

	if (r < 0)
		return r;
	value = strtoll(text, &end, 10);
	if (end == text || *end != '\0')
		return -ENODATA;
	*ret = (double) value;
	return 0;
}
