/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ResNet-18, eleven million drawn weights, changes its width while the loop goes on: what a switch from 4 bits to 2
 * takes of the loop's thread is processor time of that thread as the kernel counts it, at most five
 * milliseconds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "caller.h"
#include "support/bus.h"
#include "support/graph_file.h"
#include "support/test.h"

#define LOOP_NSEC_MAX (5 * NSEC_PER_MSEC)

/* The main thread is the loop. */
static uint64_t loop_nsec(pid_t pid)
{
	uint64_t nsec = 0;
	char path[64];
	FILE *f;

	(void) snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", (int) pid, (int) pid);
	f = fopen(path, "r");
	if (!f)
		test_skip("this kernel does not count the time of threads");
	CU_ASSERT_EQUAL(fscanf(f, "%" SCNu64, &nsec), 1);
	(void) fclose(f);
	return nsec;
}

static uint64_t switch_to(pid_t pid, sd_bus *bus, double bits)
{
	uint64_t loop = loop_nsec(pid), begin = clock_now_nsec();

	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "large", bits), "");
	begin = clock_now_nsec() - begin;
	/* What is freed after the reply counts too. */
	CU_ASSERT_EQUAL(caller_bits(bus, "large"), bits);
	loop = loop_nsec(pid) - loop;
	printf("to %g bits: %.2f ms, %.2f ms of the loop\n", bits, (double) begin / NSEC_PER_MSEC,
		(double) loop / NSEC_PER_MSEC);
	return loop;
}

static void test_switch_leaves_the_loop_alone(void)
{
	pid_t pid = test_daemon_start(NULL);
	sd_bus *bus = test_bus_open();
	const char *error;
	struct graph g;
	int fd;

	graph_resnet18(&g, 4);
	fd = graph_memfd(&g);
	graph_done(&g);
	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "large", fd, &error), 0);
	(void) close(fd);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(switch_to(pid, bus, 2) <= LOOP_NSEC_MAX);
		(void) switch_to(pid, bus, 4);
	}
	(void) sd_bus_flush_close_unref(bus);
}

TEST_MAIN("loop_time", TEST(switch_leaves_the_loop_alone))
