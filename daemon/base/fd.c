/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <errno.h>

int fd_read_at(int fd, void *data, size_t size, uint64_t offset)
{
	uint8_t *p = data;

	while (size > 0) {
		ssize_t n = pread(fd, p, MIN_OF(size, (size_t) 1 << 30), (off_t) offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		offset += (size_t) n;
		size -= (size_t) n;
	}
	return 0;
}

int fd_write_all(int fd, const void *data, size_t size)
{
	const uint8_t *p = data;

	while (size > 0) {
		ssize_t n = write(fd, p, MIN_OF(size, (size_t) 1 << 30));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t) n;
	}
	return 0;
}
