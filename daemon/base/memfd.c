/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static int memfd_open(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	/* Kernels before 6.3 refuse the flag. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

int memfd_new(int *ret_fd, void **ret_map, const char *name, size_t size)
{
	_cleanup_close_ int fd = -1;
	void *map = NULL;

	fd = memfd_open(name);
	if (fd < 0)
		return fd;
	if (fallocate(fd, 0, 0, (off_t) size) < 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	if (ret_map) {
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			return -errno;
		*ret_map = map;
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

int memfd_seal_read_only(int fd)
{
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	return 0;
}

int memfd_new_sparse(int *ret_fd, const char *name, size_t size)
{
	_cleanup_close_ int fd = memfd_open(name);

	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t) size) < 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

static bool is_sealed(int fd, size_t size, int wanted)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || (seals & wanted) != wanted || fstat(fd, &st) < 0)
		return false;
	return st.st_size >= 0 && (size_t) st.st_size == size;
}

bool memfd_is_read_only(int fd, size_t size)
{
	return is_sealed(fd, size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

bool memfd_is_sized(int fd, size_t size)
{
	return is_sealed(fd, size, F_SEAL_SHRINK | F_SEAL_GROW);
}
