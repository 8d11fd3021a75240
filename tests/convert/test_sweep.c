/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a sweep on disk: what was appended is found again, what is broken is refused with its line. */
#include "convert/sweep.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/test.h"

static char folder[] = "/tmp/bitshed-sweep-XXXXXX";

static const char *path_of(const char *name)
{
	static char path[256];

	(void) snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static void test_rows_come_back(void)
{
	static const struct sweep_row rows[] = {
		{.method = "fp32", .bits = 32, .top1 = 91.46, .top5 = 99.5, .images = 5000},
		{.method = "gpfq-l1", .bits = 3, .bytes = 123456, .seconds = 1.5, .top1 = 90.125, .top5 = 99,
			.images = 5000, .float_top1 = 90.5, .float_images = 1000},
		{.method = "kmeans", .bits = 1, .bytes = 65536, .seconds = 0.25, .top1 = 10, .top5 = 50,
			.images = 5000},
	};
	_cleanup_(sweep_table_done) struct sweep_table t = {};
	const struct sweep_row *row;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	CU_ASSERT_EQUAL(sweep_read(&t, folder, NULL), 0);
	CU_ASSERT_EQUAL(t.n, 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		CU_ASSERT_EQUAL(sweep_append(folder, &rows[i], NULL), 0);
	CU_ASSERT_EQUAL(sweep_read(&t, folder, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(t.n, 3);
	row = sweep_find(&t, "gpfq-l1", 3);
	CU_ASSERT_PTR_NOT_NULL_FATAL(row);
	CU_ASSERT_TRUE(row->bytes == 123456 && row->top1 == 90.125 && row->float_images == 1000);
	CU_ASSERT_PTR_NULL(sweep_find(&t, "gpfq-l1", 4));
	CU_ASSERT_PTR_NULL(sweep_find(&t, "gpfq", 3));
	CU_ASSERT_EQUAL(sweep_write(&t, folder, "a <network> & more", NULL), 0);
}

static void expect_in(const char *name, const char *words)
{
	char text[16384];
	FILE *f = fopen(path_of(name), "re");
	size_t n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	n = fread(text, 1, sizeof text - 1, f);
	text[n] = 0;
	CU_ASSERT_PTR_NOT_NULL(strstr(text, words));
	fclose(f);
}

static void test_table_and_plot(void)
{
	expect_in("sweep.md", "fp32: top-1 91.46 (95 % interval 90.6");
	expect_in("sweep.md", "| gpfq-l1 | 3 | 121 | 1.5 | 90.50 (1000) | 90.12 |");
	expect_in("sweep.svg", "<title>kmeans, 1 bits: 10.00 %</title>");
	expect_in("sweep.svg", ">a &lt;network&gt; &amp; more</text>");
	expect_in("sweep.svg", "</svg>");
}

static void test_broken_lines_are_named(void)
{
	struct sweep_table t = {};
	struct error e = {};
	FILE *f = fopen(path_of("sweep.csv"), "ae");

	fputs("kmeans,2,12,\n", f);
	fclose(f);
	CU_ASSERT_EQUAL(sweep_read(&t, folder, &e), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "sweep.csv:5: no row"));
	(void) unlink(path_of("sweep.csv"));
	(void) unlink(path_of("sweep.md"));
	(void) unlink(path_of("sweep.svg"));
	(void) rmdir(folder);
}

TEST_MAIN("sweep", TEST(rows_come_back), TEST(table_and_plot), TEST(broken_lines_are_named))
