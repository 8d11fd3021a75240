/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the start of the process to its first answer, with a ResNet-18 of eleven million weights that the daemon before
 * has left in the descriptor store.
 *
 *	bench_restart
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "service/caller.h"
#include "support/bus.h"
#include "support/graph_file.h"
#include "support/restart.h"
#include "support/test.h"

#define ROUNDS 10
#define PIXELS (224 * 224 * 3)

static uint8_t pixels[PIXELS];

static int compare(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return (x > y) - (x < y);
}

/* One session, one request. */
static void ask(sd_bus *bus, uint8_t *ret_output, size_t size)
{
	struct bitshed_request request = caller_request(0);
	struct bitshed_reply reply;
	struct caller_session s;

	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "large", 1, &s), "");
	memcpy(s.map + s.input, pixels, PIXELS);
	CU_ASSERT_TRUE_FATAL(caller_exchange(&s, &request, sizeof request, &reply));
	CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
	memcpy(ret_output, s.map + s.output, size < s.output_bytes ? size : s.output_bytes);
	caller_session_done(&s);
}

static void test_first_answer(void)
{
	static uint8_t before[4000], after[4000];
	double took[ROUNDS];
	const char *error;
	struct graph g;
	sd_bus *bus;
	pid_t pid;
	int fd;

	for (int i = 0; i < PIXELS; i++)
		pixels[i] = (uint8_t) (i * 37 % 251);
	graph_resnet18(&g, 4);
	fd = graph_memfd(&g);
	graph_done(&g);
	restart_init();
	pid = restart_start(NULL, NULL);
	bus = test_bus_open();
	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "large", fd, &error), 0);
	(void) close(fd);
	ask(bus, before, sizeof before);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t started;

		(void) restart_stop(pid, i % 2 ? SIGKILL : SIGTERM);
		pid = restart_start(NULL, &started);
		ask(bus, after, sizeof after);
		took[i] = (double) (clock_now_nsec() - started) / 1e6;
		CU_ASSERT_EQUAL(memcmp(before, after, sizeof before), 0);
	}
	qsort(took, ROUNDS, sizeof took[0], compare);
	printf("first answer after the start of the process: median %.1f ms, best %.1f, worst %.1f of %d; equal to the "
	       "last bit\n", took[ROUNDS / 2], took[0], took[ROUNDS - 1], ROUNDS);
	(void) restart_stop(pid, SIGTERM);
	(void) sd_bus_flush_close_unref(bus);
}

TEST_MAIN("bench_restart", TEST(first_answer))
