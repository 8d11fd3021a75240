/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"

int file_map(struct file_map *ret, const char *path, struct error *reterr)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;

		return error_set(reterr, r, "%.100s: %s", name, strerrordesc_np(-r));
	}
	if (!S_ISREG(st.st_mode))
		return error_set(reterr, -EINVAL, "%.100s: not a regular file", name);
	if (st.st_size == 0)
		return error_set(reterr, -ENODATA, "%.100s: the file is empty", name);
	p = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED) {
		int r = -errno;

		return error_set(reterr, r, "%.100s: %s", name, strerrordesc_np(-r));
	}
	*ret = (struct file_map){.data = p, .size = (size_t) st.st_size};
	return 0;
}

void file_unmap(struct file_map *m)
{
	if (m->data)
		(void) munmap((void *) (uintptr_t) m->data, m->size);
	*m = (struct file_map){0};
}
