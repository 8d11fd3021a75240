/* SPDX-License-Identifier: Apache-2.0 */
/* Times of kernels that the device measures: they choose, are kept, and are never believed blindly. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/exec.h"
#include "support/graph.h"
#include "support/test.h"
#include "worker/cl_plan.h"
#include "worker/cl_times.h"

#define MONTH_SEC (30 * 24 * 3600)

static struct cl *cl;
static struct graph graph;
static struct plan *plan;
static uint32_t row, tile;
static char folder[] = "/tmp/bitshed-cl-times-XXXXXX";

/* Two rows to choose from: compiling all of them takes long, and is tested elsewhere. */
static void open_device(void)
{
	struct error why = {};
	uint32_t a;

	if (cl)
		return;
	if (cl_open(&cl, getenv("BITSHED_TEST_OPENCL"), &why) < 0)
		test_skip(why.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	row = kernel_cl_find("decode_row");
	tile = kernel_cl_find("decode_tile");
	for (uint32_t i = 0; i < kernel_cl_count; i++) {
		cl->banned[i] |= kernel_cl_table[i].op == KERNEL_CL_MATMUL && i != row && i != tile;
		if (!cl->banned[i])
			CU_ASSERT_EQUAL_FATAL(kernel_cl_build(cl, i, NULL, NULL, &why), 0);
	}
	graph_init(&graph, 11);
	a = graph_input(&graph, 9, 9, 3);
	a = graph_convolution(&graph, a, 20, (struct graph_window){.height = 3, .width = 3});
	a = graph_convolution(&graph, a, 10, (struct graph_window){});
	(void) graph_to_float(&graph, a);
	CU_ASSERT_EQUAL_FATAL(plan_new(&plan, &graph.model, 0, NULL), 0);
}

/* Of the first product of the plan as it would be run now. */
static uint32_t chosen(struct cl_shape *ret_shape)
{
	struct cl_launches l;
	uint32_t kernel = KERNEL_CL_ANY;

	CU_ASSERT_EQUAL_FATAL(cl_launches_make(&l, cl, plan, NULL), 0);
	for (uint32_t i = 0; i < l.n && kernel == KERNEL_CL_ANY; i++)
		if (cl_shape_of(&l.launches[i], ret_shape))
			kernel = l.launches[i].kernel;
	cl_launches_done(&l);
	return kernel;
}

static void test_every_row_is_measured_once(void)
{
	struct error why = {};
	int r;

	open_device();
	CU_ASSERT_EQUAL_FATAL(cl_times_read(&cl->times, cl, folder), 0);
	CU_ASSERT_EQUAL(cl->times->n, 0);
	r = cl_times_measure(cl, plan, 60 * NSEC_PER_SEC, &why);
	if (r < 0)
		printf("%s\n", error_text(&why, r));
	CU_ASSERT_EQUAL(r, 4); /* two products, two rows */
	CU_ASSERT_EQUAL(cl_times_measure(cl, plan, 60 * NSEC_PER_SEC, &why), 0);
	for (uint32_t i = 0; i < cl->times->n; i++)
		CU_ASSERT(cl->times->rows[i].nsec > 0);
	CU_ASSERT_EQUAL(cl->times->trial, KERNEL_CL_ANY);
}

static void set(uint64_t row_nsec, uint64_t tile_nsec, const struct cl_shape *shape)
{
	for (uint32_t i = 0; i < cl->times->n; i++) {
		struct cl_time *t = &cl->times->rows[i];

		if (memcmp(&t->shape, shape, sizeof *shape) == 0)
			t->nsec = t->kernel == row ? row_nsec : tile_nsec;
	}
}

static void test_the_fastest_is_chosen(void)
{
	struct cl_shape shape, ignored;

	(void) chosen(&shape);
	set(100, 200, &shape);
	CU_ASSERT_EQUAL(chosen(&ignored), row);
	set(200, 100, &shape);
	CU_ASSERT_EQUAL(chosen(&ignored), tile);
	/* not what is in quarantine, nor what a test rules out */
	cl->banned[tile] = true;
	CU_ASSERT_EQUAL(chosen(&ignored), row);
	cl->banned[tile] = false;
	cl->only = row;
	CU_ASSERT_EQUAL(chosen(&ignored), row);
	cl->only = KERNEL_CL_ANY;
}

/* Whatever the times say, the answers are the same. */
static void test_answers_stay_the_same(void)
{
	_cleanup_free_ uint8_t *input = calloc(1, plan->input_pixels_bytes);
	_cleanup_free_ float *outputs = calloc(2, plan->output_bytes);
	size_t n = plan->output_bytes / sizeof(float);
	struct cl_shape shape;

	(void) chosen(&shape);
	for (int i = 0; i < 2; i++) {
		_cleanup_(cl_plan_freep) struct cl_plan *p = NULL;

		set(i ? 100 : 200, i ? 200 : 100, &shape);
		CU_ASSERT_EQUAL_FATAL(cl_plan_new(&p, cl, plan, NULL), 0);
		CU_ASSERT_EQUAL(cl_plan_uses(p, i ? row : tile), true);
		CU_ASSERT_EQUAL(cl_plan_run(p, INPUT_PIXELS, input, outputs + (size_t) i * n, NULL), 0);
	}
	CU_ASSERT_EQUAL(memcmp(outputs, outputs + n, plan->output_bytes), 0);
}

static int open_file(void)
{
	DIR *d = opendir(folder);
	int fd = -1;

	for (struct dirent *e; (e = readdir(d));)
		if (strncmp(e->d_name, "times-", 6) == 0)
			fd = openat(dirfd(d), e->d_name, O_RDWR);
	(void) closedir(d);
	return fd;
}

static uint32_t count_read(void)
{
	struct cl_times *t = NULL;
	uint32_t n;

	CU_ASSERT_EQUAL_FATAL(cl_times_read(&t, cl, folder), 0);
	n = t->n;
	free(t);
	return n;
}

static void test_they_are_kept_for_a_month(void)
{
	struct timespec old[2] = {{time(NULL) - MONTH_SEC + 3600, 0}, {time(NULL) - MONTH_SEC + 3600, 0}};
	int fd;

	CU_ASSERT_EQUAL_FATAL(cl_times_write(cl->times, cl, folder), 0);
	CU_ASSERT_EQUAL(count_read(), 4);
	fd = open_file();
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(futimens(fd, old), 0);
	CU_ASSERT_EQUAL(count_read(), 4);
	old[0].tv_sec = old[1].tv_sec -= 7200;
	CU_ASSERT_EQUAL(futimens(fd, old), 0);
	CU_ASSERT_EQUAL(count_read(), 0);
	(void) close(fd);
	/* another driver's are not these */
	CU_ASSERT_EQUAL_FATAL(cl_times_write(cl->times, cl, folder), 0);
	cl->driver[0]++;
	CU_ASSERT_EQUAL(count_read(), 0);
	cl->driver[0]--;
	CU_ASSERT_EQUAL(count_read(), 4);
}

static void test_what_is_broken_is_not_believed(void)
{
	struct stat st;
	char c;

	for (int i = 0; i < 40; i++) {
		int fd;

		CU_ASSERT_EQUAL_FATAL(cl_times_write(cl->times, cl, folder), 0);
		fd = open_file();
		CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &st) == 0);
		CU_ASSERT_EQUAL(pread(fd, &c, 1, st.st_size * i / 40), 1);
		c = (char) (c ^ 1);
		CU_ASSERT_EQUAL(pwrite(fd, &c, 1, st.st_size * i / 40), 1);
		CU_ASSERT_EQUAL(count_read(), 0);
		CU_ASSERT_EQUAL(ftruncate(fd, st.st_size * i / 40), 0);
		CU_ASSERT_EQUAL(count_read(), 0);
		(void) close(fd);
	}
}

static void test_end(void)
{
	char command[64];

	(void) snprintf(command, sizeof command, "rm -rf %s", folder);
	(void) !system(command);
	(void) plan_unref(plan);
	graph_done(&graph);
	CU_ASSERT_EQUAL(cl->bytes, 0);
	cl = cl_close(cl);
}

TEST_MAIN("cl_times", TEST(every_row_is_measured_once), TEST(the_fastest_is_chosen), TEST(answers_stay_the_same),
	TEST(they_are_kept_for_a_month), TEST(what_is_broken_is_not_believed), TEST(end))
