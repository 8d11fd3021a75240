/* SPDX-License-Identifier: Apache-2.0 */
/* Every row of the OpenCL list against the scalar rows, with ==, and whole graphs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/graph.h"
#include "support/test.h"
#include "worker/cl_cache.h"
#include "worker/cl_plan.h"
#include "worker/cl_selftest.h"

#define GRAPHS 24

static struct cl *cl;
static char cache[] = "/tmp/bitshed-cl-XXXXXX";

static void open_device(void)
{
	struct error why = {};

	if (cl)
		return;
	if (cl_open(&cl, getenv("BITSHED_TEST_OPENCL"), &why) < 0)
		test_skip(why.text);
	if (!mkdtemp(cache))
		exit(1);
	(void) setenv("POCL_CACHE_DIR", cache, 0);
	printf("%s: %s\n", cl->platform_name, cl->name);
}

static void check_row(uint32_t i)
{
	struct error why = {};
	int r = cl_selftest(cl, i, &why);

	if (r < 0)
		printf("%s: %s\n", kernel_cl_table[i].name, error_text(&why, r));
	CU_ASSERT_EQUAL(r, 0);
}

static int rebuild(uint32_t kernel)
{
	bool cached = false;

	(void) clReleaseProgram(cl->programs[kernel]);
	cl->programs[kernel] = NULL;
	CU_ASSERT_EQUAL_FATAL(kernel_cl_build(cl, kernel, cache, &cached, NULL), 0);
	check_row(kernel);
	return cached;
}

static void test_every_row_is_right(void)
{
	open_device();
	/* Rows for extensions that the device lacks: their arithmetic. */
	if (!getenv("BITSHED_TEST_SHORT"))
		kernel_cl_emulate(cl);
	for (uint32_t i = 0; i < kernel_cl_count; i++) {
		struct error why = {};
		bool cached = true;
		int r = cl->banned[i] ? 0 : kernel_cl_build(cl, i, cache, &cached, &why);

		if (r < 0)
			printf("%s: %s\n", kernel_cl_table[i].name, error_text(&why, r));
		CU_ASSERT_EQUAL_FATAL(r, 0);
		CU_ASSERT(cl->banned[i] || !cached);
	}
	for (uint32_t i = 0; i < kernel_cl_count; i++)
		if (!cl->banned[i])
			check_row(i);
	kernel_cl_probe(cl);
}

/* The numbers that other devices get, and what they lack in plain C. */
static void test_every_vendor_is_right(void)
{
	enum cl_vendor mine = cl->tuning.vendor;

	if (!getenv("BITSHED_TEST_FULL")) {
		printf("SKIP: BITSHED_TEST_FULL=1 builds the kernels for every vendor\n");
		return;
	}
	for (enum cl_vendor v = 0; v < _CL_VENDOR_MAX; v++) {
		cl_tune(cl, v);
		kernel_cl_emulate(cl);
		for (uint32_t i = 0; i < kernel_cl_count; i++) {
			if (kernel_cl_table[i].args == KERNEL_CL_NONE)
				continue;
			(void) rebuild(i);
		}
	}
	cl_tune(cl, mine);
	for (uint32_t i = 0; i < kernel_cl_count; i++)
		if (kernel_cl_table[i].args != KERNEL_CL_NONE)
			(void) rebuild(i);
	kernel_cl_probe(cl);
}

static void test_vendors(void)
{
	static const struct {
		uint32_t id;
		const char *names[3];
		enum cl_vendor vendor;
	} known[] = {
		{0x13b5, {"Mali-G610 r0p0", "ARM", "ARM Platform"}, CL_VENDOR_MALI},
		{0, {"Mali-G52 r1 (Panfrost)", "Arm", "rusticl"}, CL_VENDOR_MALI},
		{0, {"V3D 7.1.7", "Broadcom", "rusticl"}, CL_VENDOR_VIDEOCORE},
		{0, {"QUALCOMM Adreno(TM)", "QUALCOMM", "QUALCOMM Snapdragon(TM)"},
			CL_VENDOR_ADRENO},
		{0, {"FD702", "freedreno", "rusticl"}, CL_VENDOR_ADRENO},
		{0x8086, {"Intel(R) UHD Graphics", "Intel", "Intel"}, CL_VENDOR_INTEL},
		{0, {"gfx1030", "Advanced Micro Devices, Inc.", "AMD"}, CL_VENDOR_AMD},
		{0, {"AMD Radeon (radeonsi)", "", "rusticl"}, CL_VENDOR_AMD},
		{0x10de, {"NVIDIA H200", "NVIDIA Corporation", "NVIDIA CUDA"}, CL_VENDOR_NVIDIA},
		{7, {"Alarm clock", "Harmless", "Clover"}, CL_VENDOR_OTHER},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		CU_ASSERT_EQUAL(cl_vendor_of(false, known[i].id, known[i].names), known[i].vendor);
		CU_ASSERT_EQUAL(
			cl_vendor_of(true, known[i].id, known[i].names), CL_VENDOR_PROCESSOR);
	}
}

static void compare(struct graph *g)
{
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	_cleanup_(workspace_done) struct workspace w = {};
	_cleanup_(cl_plan_freep) struct cl_plan *device = NULL;
	_cleanup_free_ uint8_t *input = NULL;
	_cleanup_free_ float *expected = NULL, *found = NULL;
	struct error why = {};
	int r;

	CU_ASSERT_EQUAL_FATAL(plan_new(&plan, &g->model, 0, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(workspace_reserve(&w, plan, 1), 0);
	input = malloc(plan->input_pixels_bytes);
	expected = malloc(plan->output_bytes);
	found = calloc(1, plan->output_bytes);
	for (size_t i = 0; i < plan->input_pixels_bytes; i++)
		input[i] = (uint8_t) graph_below(g, 256);
	CU_ASSERT_EQUAL_FATAL(exec_run(plan, &w, NULL, INPUT_PIXELS, input, expected), 0);
	r = cl_plan_new(&device, cl, plan, &why);
	if (r >= 0)
		r = cl_plan_run(device, INPUT_PIXELS, input, found, &why);
	if (r < 0)
		printf("%s\n", error_text(&why, r));
	CU_ASSERT_EQUAL_FATAL(r, 0);
	CU_ASSERT_EQUAL(memcmp(expected, found, plan->output_bytes), 0);
}

/* Everything that the list has, one after the other and beside each other, in one arena. */
static void build(struct graph *g, uint64_t seed)
{
	uint32_t a, b, parts[3];

	graph_init(g, seed);
	a = graph_input(g, 5 + graph_below(g, 6), 5 + graph_below(g, 6), 3);
	a = graph_convolution(g, a, 3 * (1 + graph_below(g, 7)),
		(struct graph_window){
			.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1});
	b = graph_convolution(g, a, 0,
		(struct graph_window){.height = 3,
			.width = 3,
			.top = 1,
			.left = 1,
			.bottom = 1,
			.right = 1,
			.depthwise = true});
	parts[0] = graph_add(g, a, b);
	parts[1] = graph_table(g, a, 2);
	parts[2] = graph_convolution(
		g, parts[1], 5, (struct graph_window){.activation_bits = 2, .groups = 1});
	a = graph_concat(g, parts, 3);
	a = graph_slice(g, graph_pad(g, a));
	a = graph_pool(g, a, (struct graph_window){.height = 2, .width = 2, .top = 1, .left = 1});
	a = graph_convolution(g, a, 70, (struct graph_window){});
	a = graph_pool(g, a,
		(struct graph_window){.height = g->values[a].shape.height,
			.width = g->values[a].shape.width,
			.average = true,
			.f32 = false});
	a = graph_convolution(g, a, 11, (struct graph_window){});
	(void) graph_softmax(g, graph_to_float(g, a));
}

static void test_graphs(void)
{
	for (uint64_t seed = 1; seed <= GRAPHS; seed++) {
		struct graph g;

		build(&g, seed);
		compare(&g);
		graph_done(&g);
	}
}

static void test_resnet20(void)
{
	struct graph g;

	graph_init(&g, 7);
	graph_resnet20(&g, 3);
	compare(&g);
	graph_done(&g);
}

/* The device's memory is what it was before: nothing of a plan stays. */
static void test_plans_leave_nothing(void)
{
	uint64_t before = cl->bytes;
	struct graph g;

	build(&g, 3);
	for (int i = 0; i < 5; i++)
		compare(&g);
	graph_done(&g);
	CU_ASSERT_EQUAL(cl->bytes, before);
	CU_ASSERT(list_empty(&cl->shares));
}

/* The entry of a kernel, open for writing. */
static int open_entry(const char *kernel)
{
	DIR *d = opendir(cache);
	int fd = -1;

	for (struct dirent *e; (e = readdir(d));)
		if (strncmp(e->d_name, kernel, strlen(kernel)) == 0)
			fd = openat(dirfd(d), e->d_name, O_RDWR);
	(void) closedir(d);
	return fd;
}

static void damage(const char *kernel, int64_t at)
{
	int fd = open_entry(kernel);
	struct stat st;
	char c = 0;

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(fstat(fd, &st), 0);
	if (at >= st.st_size) {
		CU_ASSERT_EQUAL(ftruncate(fd, st.st_size / 2), 0);
	} else {
		at = at < 0 ? st.st_size + at : at;
		CU_ASSERT_EQUAL(pread(fd, &c, 1, at), 1);
		c = (char) (c + 1);
		CU_ASSERT_EQUAL(pwrite(fd, &c, 1, at), 1);
	}
	(void) close(fd);
}

static void test_cache_serves_and_forgets_what_is_broken(void)
{
	static const int64_t places[] = {0, 9, 40, -1, -5000, INT64_MAX};
	uint32_t kernel = kernel_cl_find("add");

	CU_ASSERT_FALSE(rebuild(kernel));
	kernel_cl_save(cl, kernel, cache);
	CU_ASSERT_TRUE(rebuild(kernel));
	for (uint32_t i = 0; i < ARRAY_SIZE(places); i++) {
		damage("add-", places[i]);
		CU_ASSERT_FALSE(rebuild(kernel));
		kernel_cl_save(cl, kernel, cache);
		CU_ASSERT_TRUE(rebuild(kernel));
	}
}

static uint64_t cache_bytes(void)
{
	DIR *d = opendir(cache);
	uint64_t all = 0;
	struct stat st;

	for (struct dirent *e; (e = readdir(d));)
		if (strstr(e->d_name, ".clbin") && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
			all += (uint64_t) st.st_size;
	(void) closedir(d);
	return all;
}

static void test_cache_has_a_bound(void)
{
	size_t bytes = CL_CACHE_ENTRY_BYTES_MAX - 4096;
	_cleanup_free_ void *binary = calloc(1, bytes);
	char options[32];

	for (int i = 0; i < 7; i++) {
		(void) snprintf(options, sizeof options, "-DN=%d", i);
		CU_ASSERT_EQUAL(
			cl_cache_write(cache, cl, &kernel_cl_table[0], options, binary, bytes), 0);
		CU_ASSERT(cache_bytes() <= CL_CACHE_BYTES_MAX + 4096);
	}
	CU_ASSERT(cache_bytes() > CL_CACHE_BYTES_MAX / 2);
}

/* A device that takes smaller groups than we like computes the same. */
static void test_small_groups(void)
{
	size_t before = cl->group_max;

	cl->group_max = 4;
	if (!getenv("BITSHED_TEST_SHORT"))
		kernel_cl_emulate(cl);
	for (uint32_t i = 0; i < kernel_cl_count; i++)
		if (!cl->banned[i])
			check_row(i);
	kernel_cl_probe(cl);
	cl->group_max = before;
}

static void test_banned_rows_are_not_picked(void)
{
	uint32_t tile = kernel_cl_find("decode_tile"), row = kernel_cl_find("decode_row");

	if (cl->tuning.vendor != CL_VENDOR_PROCESSOR)
		return;
	CU_ASSERT_EQUAL(kernel_cl_pick(cl, KERNEL_CL_MATMUL, 1000), tile);
	CU_ASSERT_EQUAL(kernel_cl_pick(cl, KERNEL_CL_MATMUL, 1), row);
	cl->banned[tile] = true;
	CU_ASSERT_EQUAL(kernel_cl_pick(cl, KERNEL_CL_MATMUL, 1000), row);
	cl->banned[row] = true;
	CU_ASSERT_EQUAL(kernel_cl_pick(cl, KERNEL_CL_MATMUL, 1000), KERNEL_CL_ANY);
	cl->banned[tile] = cl->banned[row] = false;
}

/* Partial sums pay with few planes, and serve sum coding only. */
static void test_lookup_is_picked_for_what_it_can_do(void)
{
	uint32_t lookup = kernel_cl_find("lookup_tile"), tile = kernel_cl_find("decode_tile");
	struct kernel_cl_product p = {.pixels = 100, .planes = 1};

	if (cl->tuning.vendor != CL_VENDOR_PROCESSOR)
		return;
	CU_ASSERT_EQUAL(kernel_cl_pick_product(cl, KERNEL_CL_MATMUL, &p), lookup);
	p.planes = 4;
	CU_ASSERT_EQUAL(kernel_cl_pick_product(cl, KERNEL_CL_MATMUL, &p), tile);
	p = (struct kernel_cl_product){.pixels = 100, .planes = 1, .level = true};
	CU_ASSERT_EQUAL(kernel_cl_pick_product(cl, KERNEL_CL_MATMUL, &p), tile);
}

/* An extension in a driver's list that its compiler does not have costs its rows, not the device. */
static void test_promises_are_not_believed(void)
{
	static const char *const names[] = {"decode_khr_dot", "decode_arm_dot", "matvec_subgroup"};

	for (uint32_t i = 0; i < ARRAY_SIZE(names); i++) {
		uint32_t kernel = kernel_cl_find(names[i]), had = cl->has;
		struct error why = {};

		if (kernel_cl_table[kernel].needs & had)
			continue;
		if (cl->programs[kernel])
			(void) clReleaseProgram(cl->programs[kernel]);
		cl->programs[kernel] = NULL;
		cl->has |= kernel_cl_table[kernel].needs;
		cl->banned[kernel] = false;
		CU_ASSERT(kernel_cl_build(cl, kernel, NULL, NULL, &why) < 0);
		CU_ASSERT_NOT_EQUAL(why.text[0], '\0');
		CU_ASSERT_NOT_EQUAL(kernel_cl_pick(cl, KERNEL_CL_MATMUL, 1000), kernel);
		CU_ASSERT_NOT_EQUAL(kernel_cl_pick(cl, KERNEL_CL_MATMUL, 1000), KERNEL_CL_ANY);
		cl->has = had;
		cl->banned[kernel] = true;
	}
}

static void test_clean_up(void)
{
	char command[64];

	cl = cl_close(cl);
	(void) snprintf(command, sizeof command, "rm -r %s", cache);
	CU_ASSERT_EQUAL(system(command), 0);
}

TEST_MAIN("kernels_cl", TEST(every_row_is_right), TEST(every_vendor_is_right), TEST(vendors),
	TEST(lookup_is_picked_for_what_it_can_do), TEST(graphs), TEST(resnet20),
	TEST(plans_leave_nothing), TEST(cache_serves_and_forgets_what_is_broken),
	TEST(cache_has_a_bound), TEST(small_groups), TEST(banned_rows_are_not_picked),
	TEST(promises_are_not_believed), TEST(clean_up))
