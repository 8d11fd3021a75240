/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/replacement.h"
#include "support/test.h"

static char folder[] = "/tmp/bitshed-replacement-XXXXXX";
static int folder_fd;

static void put(struct replacement *r, const char *text)
{
	CU_ASSERT_EQUAL_FATAL(replacement_begin(r, folder_fd, "file", 0640), 0);
	CU_ASSERT_EQUAL(fd_write_all(r->fd, text, strlen(text)), 0);
}

static void expect(const char *text)
{
	_cleanup_close_ int fd = openat(folder_fd, "file", O_RDONLY | O_CLOEXEC);
	char is[16] = "";

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_TRUE(read(fd, is, sizeof is - 1) >= 0);
	CU_ASSERT_STRING_EQUAL(is, text);
}

static int names(void)
{
	DIR *d = opendir(folder);
	int n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	(void) closedir(d);
	return n;
}

static void test_start(void)
{
	(void) umask(022);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(folder_fd >= 0);
}

static void test_whole_or_not_at_all(void)
{
	struct replacement r = REPLACEMENT_NONE;
	struct stat st;

	put(&r, "old");
	CU_ASSERT_EQUAL(replacement_finish(&r), 0);
	replacement_done(&r);
	CU_ASSERT_EQUAL(names(), 1);
	CU_ASSERT_EQUAL(fstatat(folder_fd, "file", &st, 0), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0640);

	put(&r, "half");
	CU_ASSERT_EQUAL(names(), 2);
	expect("old");
	replacement_done(&r);
	CU_ASSERT_EQUAL(names(), 1);
	expect("old");

	put(&r, "new");
	CU_ASSERT_EQUAL(replacement_finish(&r), 0);
	replacement_done(&r);
	expect("new");
}

static void test_two_at_once(void)
{
	struct replacement a = REPLACEMENT_NONE, b = REPLACEMENT_NONE;

	put(&a, "a");
	put(&b, "b");
	CU_ASSERT_EQUAL(replacement_finish(&a), 0);
	expect("a");
	CU_ASSERT_EQUAL(replacement_finish(&b), 0);
	expect("b");
	replacement_done(&a);
	replacement_done(&b);
	CU_ASSERT_EQUAL(names(), 1);
}

static void test_refusals(void)
{
	struct replacement r = REPLACEMENT_NONE;

	CU_ASSERT_EQUAL(replacement_begin(&r, folder_fd, "no/such/folder", 0600), -ENOENT);
	replacement_done(&r);
	CU_ASSERT_EQUAL(mkdirat(folder_fd, "taken", 0700), 0);
	CU_ASSERT_EQUAL_FATAL(replacement_begin(&r, folder_fd, "taken", 0600), 0);
	CU_ASSERT_EQUAL(replacement_finish(&r), -EISDIR);
	replacement_done(&r);
	CU_ASSERT_EQUAL(names(), 2);
}

static void test_end(void)
{
	CU_ASSERT_EQUAL(unlinkat(folder_fd, "taken", AT_REMOVEDIR), 0);
	CU_ASSERT_EQUAL(unlinkat(folder_fd, "file", 0), 0);
	(void) close(folder_fd);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
}

TEST_MAIN("replacement", TEST(start), TEST(whole_or_not_at_all), TEST(two_at_once), TEST(refusals), TEST(end))
