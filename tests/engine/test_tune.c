/* SPDX-License-Identifier: Apache-2.0 */
/* What is measured changes which kernels run, never what comes out; and a bad file changes nothing. */
#include "engine/tune.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sha256.h"
#include "engine/exec.h"
#include "engine/kernels/cpu.h"
#include "engine/lower.h"
#include "support/network.h"
#include "support/test.h"

#define INPUT (8 * 8 * 3)
#define CLASSES 10

static const struct kernel *kernel_of(const char *name)
{
	for (uint32_t i = 0; i < kernel_count; i++)
		if (strcmp(kernel_table[i].name, name) == 0)
			return &kernel_table[i];
	CU_FAIL_FATAL("no such kernel");
	return NULL;
}

static const struct kernel *scalar(void)
{
	return kernel_of("decode_scalar");
}

static struct tune *table_of(const struct tune_shape *shapes, uint32_t n, const struct kernel *k, uint64_t nsec)
{
	struct tune *t = tune_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	for (uint32_t i = 0; i < n; i++)
		CU_ASSERT_EQUAL(tune_set(t, &shapes[i], k, nsec), 0);
	return t;
}

static void test_rows_are_found_again(void)
{
	_cleanup_(tune_freep) struct tune *t = tune_new();
	struct tune_shape s = {.words = 3};

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	for (uint32_t i = 0; i < TUNE_ROWS_MAX; i++) {
		s.rows = i * 7919 % TUNE_ROWS_MAX;
		CU_ASSERT_EQUAL(tune_set(t, &s, scalar(), s.rows), 0);
	}
	CU_ASSERT_EQUAL(t->n, TUNE_ROWS_MAX);
	for (s.rows = 0; s.rows < TUNE_ROWS_MAX; s.rows++) {
		const struct tune_row *row = tune_find(t, &s, scalar());

		CU_ASSERT_PTR_NOT_NULL_FATAL(row);
		CU_ASSERT_EQUAL(row->nsec, s.rows);
		CU_ASSERT_PTR_NULL(tune_find(t, &s, kernel_of("table_scalar")));
	}
	CU_ASSERT_EQUAL(tune_set(t, &s, scalar(), 1), -ENOSPC);
	s.rows = 5;
	CU_ASSERT_EQUAL(tune_set(t, &s, scalar(), 1), 0);
	CU_ASSERT_EQUAL(tune_find(t, &s, scalar())->nsec, 1);
	CU_ASSERT_PTR_NULL(tune_find(NULL, &s, scalar()));
}

static void test_the_fastest_that_fits_is_picked(void)
{
	struct kernel_matrix w = {.rows = 64, .words = 4, .groups = 2, .group_words = 2, .planes = 2};
	struct tune_shape s = tune_shape(&w, 30, 8, 1);
	_cleanup_(tune_freep) struct tune *t = table_of(&s, 1, scalar(), 100);
	uint32_t cpu = cpu_flags();

	CU_ASSERT_PTR_EQUAL(tune_pick(t, cpu, &w, 30, 8, 1), scalar());
	CU_ASSERT_PTR_EQUAL(tune_pick(t, cpu, &w, 31, 8, 1), kernel_pick_product(cpu, &w, 31, 8));
	CU_ASSERT_PTR_EQUAL(tune_pick(NULL, cpu, &w, 30, 8, 1), kernel_pick_product(cpu, &w, 30, 8));
	/* Faster, they say: one multiplies nothing, one needs packed values, the others another processor. */
	for (uint32_t i = 0; i < kernel_count; i++)
		if (kernel_table[i].op != KERNEL_MATMUL || kernel_table[i].needs)
			CU_ASSERT_EQUAL(tune_set(t, &s, &kernel_table[i], i), 0);
	CU_ASSERT_PTR_EQUAL(tune_pick(t, 0, &w, 30, 8, 1), scalar());
}

static void run(struct network *n, double bits, const struct tune *t, float output[CLASSES],
	const struct kernel *want, uint32_t *ret_used)
{
	_cleanup_(model_unrefp) struct model *m = NULL;
	_cleanup_(plan_unrefp) struct plan *p = NULL;
	_cleanup_(workspace_done) struct workspace w = {};
	uint8_t pixels[INPUT];

	for (uint32_t i = 0; i < INPUT; i++)
		pixels[i] = (uint8_t) (i * 7919 % 251);
	CU_ASSERT_EQUAL_FATAL(model_build(&m, n, bits, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(plan_new_tuned(&p, m, cpu_flags(), t, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(p->input_pixels_bytes, INPUT);
	CU_ASSERT_EQUAL_FATAL(p->output_bytes, CLASSES * sizeof(float));
	for (uint32_t i = 0; want && i < p->n_steps; i++)
		*ret_used += p->steps[i].kernel == want;
	CU_ASSERT_EQUAL_FATAL(workspace_reserve(&w, p, 1), 0);
	CU_ASSERT_EQUAL(exec_run(p, &w, NULL, INPUT_PIXELS, pixels, output), 0);
}

/* Every row wherever it fits, made the fastest on paper. */
static void check_each_kernel(struct network *n, const struct tune *measured, double bits)
{
	float expected[CLASSES], output[CLASSES];
	uint32_t used = 0;

	run(n, bits, NULL, expected, NULL, NULL);
	run(n, bits, measured, output, NULL, NULL);
	CU_ASSERT_EQUAL(memcmp(expected, output, sizeof output), 0);
	for (uint32_t i = 0; i < kernel_count; i++) {
		_cleanup_(tune_freep) struct tune *t = tune_new();

		CU_ASSERT_PTR_NOT_NULL_FATAL(t);
		for (uint32_t j = 0; j < measured->n; j++)
			CU_ASSERT_EQUAL(tune_set(t, &measured->rows[j].shape, &kernel_table[i], 1), 0);
		run(n, bits, t, output, &kernel_table[i], &used);
		CU_ASSERT_EQUAL(memcmp(expected, output, sizeof output), 0);
	}
	CU_ASSERT(used > 0);
}

static void test_answers_stay_the_same(void)
{
	for (uint32_t activation_bits = 2; activation_bits <= 8; activation_bits += 6) {
		_cleanup_(network_unrefp) struct network *n = test_network_open(
			&(struct test_network_options){.seed = 5, .activation_bits = activation_bits});
		_cleanup_(tune_freep) struct tune *t = tune_new();

		CU_ASSERT_PTR_NOT_NULL_FATAL(t);
		for (double bits = 4; bits >= 1; bits -= 1.5)
			CU_ASSERT(tune_network(t, n, bits, cpu_flags(), 0, NULL) > 0);
		CU_ASSERT_EQUAL(tune_network(t, n, 4, cpu_flags(), 0, NULL), 0);
		for (uint32_t i = 0; i < t->n; i++) {
			CU_ASSERT(t->rows[i].nsec > 0 && t->rows[i].nsec < UINT64_MAX);
			CU_ASSERT_FALSE(t->rows[i].kernel->needs & ~cpu_flags());
		}
		for (double bits = 4; bits >= 1; bits -= 1.5)
			check_each_kernel(n, t, bits);
	}
}

struct folder {
	char path[64];
	int fd;
};

static void folder_make(struct folder *f)
{
	(void) snprintf(f->path, sizeof f->path, "/tmp/bitshed-tune-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(f->path));
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CU_ASSERT_FATAL(f->fd >= 0);
}

/* Return: how many files there were; the name of the last */
static uint32_t folder_list(const struct folder *f, char name[64], bool remove)
{
	DIR *d = opendir(f->path);
	uint32_t n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		(void) snprintf(name, 64, "%.63s", e->d_name);
		if (remove)
			CU_ASSERT_EQUAL(unlinkat(f->fd, e->d_name, 0), 0);
	}
	(void) closedir(d);
	return n;
}

static void folder_remove(struct folder *f)
{
	char name[64];

	(void) folder_list(f, name, true);
	(void) close(f->fd);
	CU_ASSERT_EQUAL(rmdir(f->path), 0);
}

static void put(const struct folder *f, const char *name, const void *data, size_t size)
{
	int fd = openat(f->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(write(fd, data, size), (ssize_t) size);
	(void) close(fd);
}

static void refuse(const struct folder *f, const char *why)
{
	struct error error = {};
	struct tune *t = NULL;

	CU_ASSERT_EQUAL(tune_read(&t, f->fd, &error), -EBADMSG);
	CU_ASSERT_PTR_NULL(t);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, why));
}

static void test_a_table_is_kept(void)
{
	static const struct tune_shape shapes[] = {{64, 4, 2, 3, 0, 8, 100, 1},
		{UINT32_MAX, 1, 1, 8, 1, 2, 0, 7}};
	_cleanup_(tune_freep) struct tune *t = table_of(shapes, 2, scalar(), UINT64_MAX - 1);
	_cleanup_(tune_freep) struct tune *again = NULL;
	struct folder f;
	char name[64];

	folder_make(&f);
	CU_ASSERT_EQUAL(tune_read(&again, f.fd, NULL), -ENOENT);
	CU_ASSERT_EQUAL(tune_write(t, f.fd, NULL), 0);
	CU_ASSERT_EQUAL(tune_write(t, f.fd, NULL), 0);
	CU_ASSERT_EQUAL(folder_list(&f, name, false), 1);
	CU_ASSERT_EQUAL_FATAL(tune_read(&again, f.fd, NULL), 0);
	CU_ASSERT_EQUAL(again->n, 2);
	CU_ASSERT_EQUAL(memcmp(again->rows, t->rows, 2 * sizeof t->rows[0]), 0);
	folder_remove(&f);
}

/* Any byte that is another, any end that comes early: refused, in words. */
static void test_broken_files_are_refused(void)
{
	static const struct tune_shape shape = {64, 4, 2, 3, 0, 8, 100, 1};
	_cleanup_(tune_freep) struct tune *t = table_of(&shape, 1, scalar(), 12345);
	char name[64], text[1024];
	struct folder f;
	ssize_t size;
	int fd;

	folder_make(&f);
	CU_ASSERT_EQUAL(tune_write(t, f.fd, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(folder_list(&f, name, false), 1);
	fd = openat(f.fd, name, O_RDONLY | O_CLOEXEC);
	size = read(fd, text, sizeof text);
	(void) close(fd);
	CU_ASSERT_FATAL(size > 0 && size < (ssize_t) sizeof text);
	for (ssize_t i = 0; i < size; i++) {
		text[i] ^= 1;
		put(&f, name, text, (size_t) size);
		refuse(&f, name);
		text[i] ^= 1;
		put(&f, name, text, (size_t) i);
		refuse(&f, name);
	}
	text[0] = 'B';
	put(&f, name, text, (size_t) size);
	refuse(&f, "not of this device and build");
	CU_ASSERT_EQUAL(unlinkat(f.fd, name, 0), 0);
	CU_ASSERT_EQUAL(mkfifoat(f.fd, name, 0600), 0);
	refuse(&f, "no file of a table");
	folder_remove(&f);
}

/* With a checksum that is right: whoever made the file can count, and still says nothing of sense. */
static void refuse_row(const struct folder *f, const char *name, const char *head, const char *row)
{
	char text[2048], hex[65];
	int size = snprintf(text, sizeof text, "%s%s", head, row);

	sha256_hex((const uint8_t *) text, (size_t) size, hex);
	size += snprintf(text + size, sizeof text - (size_t) size, "sha256 %s\n", hex);
	put(f, name, text, (size_t) size);
	refuse(f, "line 4 is no measurement");
}

static void test_senseless_rows_are_refused(void)
{
	static const char *const rows[] = {"x\n", "1 2 3 4 5 6 7 8 9\n", "1 2 3 4 5 6 7 8 9 none\n",
		"1 2 3 4 5 6 7 -8 9 decode_scalar\n", "4294967296 2 3 4 5 6 7 8 9 decode_scalar\n",
		"1 2 3 4 5 6 7 8 18446744073709551616 decode_scalar\n", "1 2 3 4 5 6 7 8 9 \n"};
	_cleanup_(tune_freep) struct tune *t = tune_new();
	char name[64], head[1024] = "";
	struct folder f;
	int fd;

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	folder_make(&f);
	CU_ASSERT_EQUAL(tune_write(t, f.fd, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(folder_list(&f, name, false), 1);
	fd = openat(f.fd, name, O_RDONLY | O_CLOEXEC);
	CU_ASSERT(read(fd, head, sizeof head - 1) > 0);
	(void) close(fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(strstr(head, "sha256 "));
	*strstr(head, "sha256 ") = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		refuse_row(&f, name, head, rows[i]);
	folder_remove(&f);
}

TEST_MAIN("tune", TEST(rows_are_found_again), TEST(the_fastest_that_fits_is_picked),
	TEST(answers_stay_the_same), TEST(a_table_is_kept), TEST(broken_files_are_refused),
	TEST(senseless_rows_are_refused))
