/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/device.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "support/graph.h"
#include "support/reference.h"
#include "support/test.h"

#define RUNS 60

/* One network, its input and its right answer, and a device that computes it. */
struct fixture {
	struct graph graph;
	struct device *device;
	struct plan *plan;
	float *input, *expected;
	atomic_uint wrong;
};

static struct fixture *fixture_new(uint32_t threads)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct graph_window w = {
		.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1};
	struct reference r;
	struct graph *g = &f->graph;
	uint32_t x;

	graph_init(g, 11);
	x = graph_convolution(g, graph_input(g, 12, 12, 5), 30, w);
	w.f32 = true;
	(void) graph_convolution(g, x, 7, w);
	f->input = calloc(12 * 12 * 5, sizeof *f->input);
	for (uint32_t i = 0; i < 12 * 12 * 5; i++)
		f->input[i] = (float) graph_below(g, 100) * 0.1f;
	reference_run(&r, &g->model, INPUT_FLOATS, f->input);
	f->expected = r.data[g->network.output];
	r.data[g->network.output] = NULL;
	reference_done(&r);
	CU_ASSERT_EQUAL_FATAL(device_cpu_new(&f->device, threads), 0);
	CU_ASSERT_EQUAL_FATAL(device_plan(f->device, &g->model, &f->plan, NULL), 0);
	f->plan->work_min = 0;
	return f;
}

static void fixture_free(struct fixture *f)
{
	(void) plan_unref(f->plan);
	(void) device_free(f->device);
	graph_done(&f->graph);
	free(f->input);
	free(f->expected);
	free(f);
}

static void run_once(struct fixture *f, struct workspace *w)
{
	_cleanup_free_ float *output = malloc(f->plan->output_bytes);

	if (device_run(f->device, w, f->plan, INPUT_FLOATS, f->input, output) != 0 ||
		memcmp(output, f->expected, f->plan->output_bytes) != 0)
		atomic_fetch_add(&f->wrong, 1);
}

static void *run_many(void *userdata)
{
	_cleanup_(workspace_done) struct workspace w = {};

	for (uint32_t i = 0; i < RUNS; i++)
		run_once(userdata, &w);
	return NULL;
}

static void test_says_what_it_is(void)
{
	struct fixture *f = fixture_new(2);
	char text[128], cut[4];

	CU_ASSERT_STRING_EQUAL(device_name(f->device), "cpu");
	CU_ASSERT_EQUAL(
		strncmp(device_describe(f->device, text, sizeof text), "2 threads, ", 11), 0);
	CU_ASSERT_STRING_EQUAL(device_describe(f->device, cut, sizeof cut), "2 t");
	CU_ASSERT_EQUAL(device_threads(f->device), 2);
	fixture_free(f);
}

static void test_thread_counts(void)
{
	struct fixture *f = fixture_new(0);
	struct device *d = NULL;

	CU_ASSERT_EQUAL(device_threads(f->device), threads_available());
	CU_ASSERT_EQUAL(device_set_threads(f->device, 3), 0);
	CU_ASSERT_EQUAL(device_threads(f->device), 3);
	CU_ASSERT_EQUAL(device_set_threads(f->device, DEVICE_THREADS_MAX + 1), -EINVAL);
	CU_ASSERT_EQUAL(device_threads(f->device), 3);
	CU_ASSERT_EQUAL(device_set_threads(f->device, 0), 0);
	CU_ASSERT_EQUAL(device_threads(f->device), threads_available());
	CU_ASSERT_EQUAL(device_cpu_new(&d, DEVICE_THREADS_MAX + 1), -EINVAL);
	CU_ASSERT_PTR_NULL(d);
	fixture_free(f);
}

static void test_refuses_what_the_network_does_not_take(void)
{
	_cleanup_(workspace_done) struct workspace w = {};
	struct fixture *f = fixture_new(1);
	float output[12 * 12 * 7];

	f->plan->input_pixels_bytes = 0;
	CU_ASSERT_EQUAL(
		device_run(f->device, &w, f->plan, INPUT_PIXELS, f->input, output), -EINVAL);
	CU_ASSERT_EQUAL(
		device_run(f->device, &w, f->plan, (enum input_type) 7, f->input, output), -EINVAL);
	CU_ASSERT_PTR_NULL(w.arena);
	fixture_free(f);
}

/* The loop and a device thread share a device; meanwhile the number of threads changes. */
static void test_callers_take_turns(void)
{
	struct fixture *f = fixture_new(2);
	pthread_t other;

	CU_ASSERT_EQUAL_FATAL(pthread_create(&other, NULL, run_many, f), 0);
	for (uint32_t i = 0; i < RUNS; i++) {
		_cleanup_(workspace_done) struct workspace w = {};

		CU_ASSERT_EQUAL(device_set_threads(f->device, 1 + i % 3), 0);
		run_once(f, &w);
	}
	(void) pthread_join(other, NULL);
	CU_ASSERT_EQUAL(atomic_load(&f->wrong), 0);
	fixture_free(f);
}

static void test_reserved_room_stays(void)
{
	_cleanup_(workspace_done) struct workspace w = {};
	struct fixture *f = fixture_new(2);
	const uint8_t *arena, *scratch;

	CU_ASSERT_EQUAL_FATAL(device_reserve(f->device, &w, f->plan), 0);
	arena = w.arena;
	scratch = w.scratch;
	run_once(f, &w);
	CU_ASSERT_EQUAL(atomic_load(&f->wrong), 0);
	CU_ASSERT_PTR_EQUAL(w.arena, arena);
	CU_ASSERT_PTR_EQUAL(w.scratch, scratch);
	CU_ASSERT_EQUAL(device_set_threads(f->device, 5), 0);
	run_once(f, &w);
	CU_ASSERT_EQUAL(w.threads, 5);
	CU_ASSERT_EQUAL(atomic_load(&f->wrong), 0);
	fixture_free(f);
}

TEST_MAIN("device", TEST(says_what_it_is), TEST(thread_counts),
	TEST(refuses_what_the_network_does_not_take), TEST(callers_take_turns),
	TEST(reserved_room_stays))
