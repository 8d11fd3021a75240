/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ResNet-18, eleven million Gaussian weights, from four planes to two: how long the re-encoding takes on one core
 * at idle priority, what it gains over a prefix, and what clients of a daemon on that one core feel of it.
 *
 *	bench_recode
 */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "service/caller.h"
#include "engine/exec.h"
#include "engine/lower.h"
#include "engine/recode.h"
#include "support/bus.h"
#include "support/gaussian.h"
#include "support/test.h"

#define REQUESTS 60
#define PAUSE_USEC 30000

static double ms_since(uint64_t begin)
{
	return (double) (clock_now_nsec() - begin) / 1e6;
}

static void one_core(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	(void) sched_setaffinity(0, sizeof set, &set);
}

static int fd = -1;

static void test_make_file(void)
{
	struct graph g;

	one_core();
	graph_resnet18(&g, GAUSSIAN_PLANES);
	fd = gaussian_memfd(&g);
	graph_done(&g);
}

static void test_engine(void)
{
	_cleanup_(model_unrefp) struct model *full = NULL, *prefix = NULL, *recoded = NULL;
	_cleanup_(network_unrefp) struct network *n = NULL, *better = NULL;
	_cleanup_(recode_freep) struct recode *r = NULL;
	static const atomic_bool go_on;
	uint64_t begin;
	double before, after;

	CU_ASSERT_EQUAL_FATAL(network_open(&n, fd, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(model_build(&full, n, 4, NULL), 0);
	begin = clock_now_nsec();
	CU_ASSERT_EQUAL_FATAL(model_build(&prefix, n, 2, NULL), 0);
	printf("prefix of 2 planes             %8.1f ms\n", ms_since(begin));
	begin = clock_now_nsec();
	CU_ASSERT_EQUAL_FATAL(recode_new(&r, n, 2, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(recode_run(r, &go_on), 0);
	printf("re-encoding, one thread        %8.1f ms\n", ms_since(begin));
	begin = clock_now_nsec();
	CU_ASSERT_EQUAL_FATAL(recode_network(r, &better, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(model_build(&recoded, better, 2, NULL), 0);
	printf("its model                      %8.1f ms\n", ms_since(begin));
	before = gaussian_output_error(full, prefix);
	after = gaussian_output_error(full, recoded);
	printf("output SNR: prefix %.2f dB, re-encoded %.2f dB: %+.2f dB\n", -10 * log10(before),
		-10 * log10(after), 10 * log10(before / after));
}

/* What one request takes with nothing around it. */
static void test_network_alone(void)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(model_unrefp) struct model *model = NULL;
	struct reference r = {.workspace = calloc(1, sizeof *r.workspace)};
	static uint8_t input[224 * 224 * 3];
	float output[1000];
	double best = INFINITY;

	CU_ASSERT_EQUAL_FATAL(network_open(&n, fd, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(model_build(&model, n, 2, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(plan_new(&r.plan, model, cpu_flags(), NULL), 0);
	CU_ASSERT_EQUAL_FATAL(workspace_reserve(r.workspace, r.plan, 1), 0);
	for (int i = 0; i < 10; i++) {
		uint64_t begin = clock_now_nsec();

		reference_run(&r, false, input, output);
		best = fmin(best, ms_since(begin));
	}
	printf("the network alone, 1 thread    %8.1f ms, of %u matrices\n", best, n->n_matrices);
	workspace_done(r.workspace);
	free(r.workspace);
	(void) plan_unref(r.plan);
}

static bool is_reencoded(sd_bus *bus)
{
	int is = 0;

	(void) sd_bus_get_property_trivial(bus, "org.bitshed", "/org/bitshed/model/large", "org.bitshed.Model1",
		"Reencoded", NULL, 'b', &is);
	return is;
}

static int compare(const void *a, const void *b)
{
	return (*(const double *) a > *(const double *) b) - (*(const double *) a < *(const double *) b);
}

static void ask(struct caller_session *s, double *ret_ms)
{
	struct bitshed_request request = caller_request(0);
	struct bitshed_reply reply;
	uint64_t begin = clock_now_nsec();

	CU_ASSERT_TRUE(caller_exchange(s, &request, sizeof request, &reply));
	CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
	*ret_ms = ms_since(begin);
}

static void print_latencies(const char *when, double *ms, int n)
{
	qsort(ms, (size_t) n, sizeof *ms, compare);
	printf("%-30s median %6.2f ms, 95 %% %6.2f ms, longest %6.2f ms, %d requests\n", when, ms[n / 2],
		ms[n * 95 / 100], ms[n - 1], n);
}

static void measure_requests(sd_bus *bus, const char *when, bool until_reencoded)
{
	static double ms[10000];
	struct caller_session s;
	int n = 0;

	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "large", 1, &s), "");
	while (n < (until_reencoded ? 10000 : REQUESTS) && !(until_reencoded && is_reencoded(bus))) {
		ask(&s, &ms[n++]);
		(void) usleep(PAUSE_USEC);
	}
	caller_session_done(&s);
	print_latencies(when, ms, n);
}

static double wait_reencoded(sd_bus *bus)
{
	uint64_t begin = clock_now_nsec();

	while (!is_reencoded(bus) && ms_since(begin) < 60000)
		(void) usleep(10000);
	return ms_since(begin);
}

static void switch_to(sd_bus *bus, double bits)
{
	CU_ASSERT_STRING_EQUAL_FATAL(caller_error(bus, "SetBits", "sd", "large", bits), "");
}

static void test_daemon(void)
{
	char config[] = "/tmp/bitshed-bench-XXXXXX", option[64];
	_cleanup_close_ int file = mkstemp(config);
	static const char text[] = "reencode:\n  after: 1 s\n";
	const char *error;
	sd_bus *bus;

	(void) fd_write_all(file, text, sizeof text - 1);
	(void) snprintf(option, sizeof option, "--config=%s", config);
	(void) test_daemon_start((const char *const[]){option, "--log-level=warning", NULL});
	bus = test_bus_open();
	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "large", fd, &error), 0);
	switch_to(bus, 2);
	printf("daemon, nothing else to do     %8.1f ms after 1 s of waiting\n", wait_reencoded(bus) - 1000);
	measure_requests(bus, "requests, re-encoded", false);
	switch_to(bus, 4);
	switch_to(bus, 2);
	measure_requests(bus, "while it is re-encoded", true);
	(void) sd_bus_flush_close_unref(bus);
	(void) unlink(config);
}

TEST_MAIN("bench_recode", TEST(make_file), TEST(engine), TEST(network_alone), TEST(daemon))
