/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memfd.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "support/test.h"

static void test_size_is_sealed(void)
{
	_cleanup_close_ int fd = -1;
	void *map = NULL;

	CU_ASSERT_EQUAL_FATAL(memfd_new(&fd, &map, "test", 8192), 0);
	CU_ASSERT_EQUAL(ftruncate(fd, 4096), -1);
	CU_ASSERT_EQUAL(ftruncate(fd, 16384), -1);
	CU_ASSERT_EQUAL(memfd_seal_read_only(fd), -EBUSY);
	(void) munmap(map, 8192);
	CU_ASSERT_EQUAL(memfd_seal_read_only(fd), 0);
	CU_ASSERT_EQUAL(write(fd, "x", 1), -1);
	CU_ASSERT_PTR_EQUAL(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
}

static void test_read_at_says_when_short(void)
{
	_cleanup_close_ int fd = -1;
	char buffer[16];

	CU_ASSERT_EQUAL_FATAL(memfd_new(&fd, NULL, "test", 8), 0);
	CU_ASSERT_EQUAL(fd_read_at(fd, buffer, 8, 0), 0);
	CU_ASSERT_EQUAL(fd_read_at(fd, buffer, 8, 4), -ENODATA);
}

TEST_MAIN("memfd", TEST(size_is_sealed), TEST(read_at_says_when_short))
