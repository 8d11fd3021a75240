/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "support/test.h"

#define HEAD "a table\nof a test\n"
#define ROWS "1 one\n2 two\n"

static char folder[] = "/tmp/bitshed-table-XXXXXX";
static int folder_fd;

static bool add(void *userdata, char *line)
{
	char *all = userdata;

	(void) strcat(strcat(all, line), ";");
	return strcmp(line, "3 three") != 0;
}

static void expect(int result, const char *head, uint32_t age_max_sec, const char *words)
{
	char all[64] = "";
	struct error why = {};

	CU_ASSERT_EQUAL(table_file_read(folder_fd, "table", head, age_max_sec, add, all, &why), result);
	CU_ASSERT_PTR_NOT_NULL(strstr(result < 0 ? why.text : all, words));
}

static void write_table(const char *rows)
{
	CU_ASSERT_EQUAL(table_file_write(folder_fd, "table", HEAD, rows, 0644), 0);
}

static void test_start(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(folder_fd >= 0);
}

static void test_comes_back(void)
{
	mode_t before = umask(077);
	struct stat st;

	expect(-ENOENT, HEAD, 0, "");
	write_table(ROWS);
	(void) umask(before);
	expect(0, HEAD, 0, "1 one;2 two;");
	CU_ASSERT_EQUAL(fstatat(folder_fd, "table", &st, 0), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0644);
	write_table("");
	expect(0, HEAD, 0, "");
}

static void test_is_of_something_else(void)
{
	write_table(ROWS);
	expect(-EBADMSG, "a table\nof another\n", 0, "not of this device and build");
	expect(-EBADMSG, HEAD "1 one\n2 two\n3 three\n4 four\n5 five\n6 six\n7 seven\n8 eight\n9 nine\n", 0, "not of");
	write_table("1 one\n3 three\n4 four\n");
	expect(-EBADMSG, HEAD, 0, "line 4 is no measurement");
}

static void test_every_byte_counts(void)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	write_table(ROWS);
	fd = openat(folder_fd, "table", O_RDWR | O_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(fd >= 0 && fstat(fd, &st) == 0);
	for (off_t i = 0; i < st.st_size; i++) {
		char was, is;

		CU_ASSERT_EQUAL_FATAL(pread(fd, &was, 1, i), 1);
		is = was ^ 1;
		CU_ASSERT_EQUAL_FATAL(pwrite(fd, &is, 1, i), 1);
		expect(-EBADMSG, HEAD, 0, "it");
		CU_ASSERT_EQUAL_FATAL(pwrite(fd, &was, 1, i), 1);
	}
	expect(0, HEAD, 0, "1 one;2 two;");
	for (off_t n = st.st_size - 1; n >= 0; n--) {
		CU_ASSERT_EQUAL_FATAL(ftruncate(fd, n), 0);
		expect(-EBADMSG, HEAD, 0, "it");
	}
}

static void test_grows_old(void)
{
	const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000}};

	write_table(ROWS);
	expect(0, HEAD, 3600, "1 one;2 two;");
	CU_ASSERT_EQUAL(utimensat(folder_fd, "table", times, 0), 0);
	expect(-ENOENT, HEAD, 3600, "");
	expect(0, HEAD, 0, "1 one;2 two;");
}

static void test_is_no_file(void)
{
	CU_ASSERT_EQUAL(unlinkat(folder_fd, "table", 0), 0);
	CU_ASSERT_EQUAL(mkfifoat(folder_fd, "table", 0600), 0);
	expect(-EBADMSG, HEAD, 0, "no file of a table");
	CU_ASSERT_EQUAL(unlinkat(folder_fd, "table", 0), 0);
	CU_ASSERT_EQUAL(symlinkat("/dev/null", folder_fd, "table"), 0);
	expect(-ELOOP, HEAD, 0, "");
	CU_ASSERT_EQUAL(unlinkat(folder_fd, "table", 0), 0);
}

static void test_end(void)
{
	(void) close(folder_fd);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
}

TEST_MAIN("table_file", TEST(start), TEST(comes_back), TEST(is_of_something_else), TEST(every_byte_counts),
	TEST(grows_old), TEST(is_no_file), TEST(end))
