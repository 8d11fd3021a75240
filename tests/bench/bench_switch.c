/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a change of width takes of the loop: a ResNet-18, eleven million drawn weights, goes from 4 bits to 2 and back.
 * The loop's time is the processor time of its thread as the kernel counts it, so that a busy machine does not
 * add to it; at most 5 ms from 4 bits to 2 are allowed. Medians.
 * BITSHED_BENCH_ROUNDS: how many of each, 20.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "service/caller.h"
#include "support/bus.h"
#include "support/graph_file.h"
#include "support/test.h"

#define ROUNDS_MAX 1000

struct cost {
	uint64_t call_nsec[ROUNDS_MAX], loop_nsec[ROUNDS_MAX];
};

/* The main thread is the loop. */
static uint64_t loop_nsec(pid_t pid)
{
	uint64_t nsec = 0;
	char path[64];
	FILE *f;

	(void) snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", (int) pid, (int) pid);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%" SCNu64, &nsec) != 1)
		test_skip("this kernel does not count the time of threads");
	(void) fclose(f);
	return nsec;
}

static void switch_to(pid_t pid, sd_bus *bus, double bits, struct cost *cost, int i)
{
	uint64_t loop = loop_nsec(pid), begin = clock_now_nsec();

	CU_ASSERT_STRING_EQUAL_FATAL(caller_error(bus, "SetBits", "sd", "large", bits), "");
	cost->call_nsec[i] = clock_now_nsec() - begin;
	/* What is freed after the reply counts too. */
	CU_ASSERT_EQUAL_FATAL(caller_bits(bus, "large"), bits);
	cost->loop_nsec[i] = loop_nsec(pid) - loop;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

static void show(const char *what, struct cost *cost, int n)
{
	qsort(cost->call_nsec, (size_t) n, sizeof cost->call_nsec[0], compare);
	qsort(cost->loop_nsec, (size_t) n, sizeof cost->loop_nsec[0], compare);
	printf("%s  call %.2f ms, of the loop %.2f ms (slowest %.2f ms)\n", what,
		(double) cost->call_nsec[n / 2] / NSEC_PER_MSEC,
		(double) cost->loop_nsec[n / 2] / NSEC_PER_MSEC,
		(double) cost->loop_nsec[n - 1] / NSEC_PER_MSEC);
}

static void test_switch(void)
{
	static struct cost down, up;
	const char *text = getenv("BITSHED_BENCH_ROUNDS"), *error;
	int rounds = text ? atoi(text) : 20, fd;
	pid_t pid = test_daemon_start(NULL);
	sd_bus *bus = test_bus_open();
	struct graph g;

	CU_ASSERT_TRUE_FATAL(rounds >= 1 && rounds <= ROUNDS_MAX);
	graph_resnet18(&g, 4);
	fd = graph_memfd(&g);
	graph_done(&g);
	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "large", fd, &error), 0);
	(void) close(fd);
	for (int i = 0; i < rounds; i++) {
		switch_to(pid, bus, 2, &down, i);
		switch_to(pid, bus, 4, &up, i);
	}
	printf("\nResNet-18, 11 million weights, median of %d\n", rounds);
	show("4 -> 2 bits", &down, rounds);
	show("2 -> 4 bits", &up, rounds);
	(void) sd_bus_flush_close_unref(bus);
}

TEST_MAIN("switch", TEST(switch))
