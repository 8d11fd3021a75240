/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that do not notice that the daemon has been restarted. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "bitshed/bitshed.h"
#include "support/bus.h"
#include "support/network.h"
#include "support/restart.h"
#include "support/test.h"

#define SIZE 8
#define PIXELS (SIZE * SIZE * 3)
#define SLOTS 3

static struct bitshed *b;
static struct bitshed_error e;
static pid_t daemon_pid;
static uint8_t pixels[SLOTS][PIXELS];
static float expected[SLOTS][16];
static size_t n_outputs;

static void load(const char *name, uint32_t size)
{
	const struct test_network_options options = {.seed = 3, .planes = 4, .size = size};
	int fd = test_network_memfd(&options);

	CU_ASSERT_EQUAL_FATAL(bitshed_load_fd(b, name, fd, 0, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_wait_ready(b, name, -1, &e), 0);
	(void) close(fd);
}

static void stop(int signal)
{
	int status = restart_stop(daemon_pid, signal);

	CU_ASSERT_EQUAL(status, signal == SIGTERM ? 0 : signal);
}

static void test_start(void)
{
	uint64_t state = 5;

	restart_init();
	(void) setenv("BITSHED_BUS", test_bus_address(), 1);
	daemon_pid = restart_start(NULL, NULL);
	CU_ASSERT_EQUAL_FATAL(bitshed_open(&b, NULL, &e), 0);
	load("net", SIZE);
	CU_ASSERT_TRUE(restart_wait("state.net", 1));
	for (size_t i = 0; i < SLOTS; i++) {
		float *output = NULL;

		for (size_t j = 0; j < PIXELS; j++)
			pixels[i][j] = (uint8_t) test_random(&state);
		CU_ASSERT_EQUAL_FATAL(bitshed_infer(b, "net", pixels[i], PIXELS, NULL, &output,
					      &n_outputs, NULL, &e),
			0);
		CU_ASSERT_FATAL(n_outputs <= 16);
		memcpy(expected[i], output, n_outputs * sizeof *output);
		free(output);
	}
}

static bool infer_is_right(size_t i)
{
	float *output = NULL;
	size_t n = 0;
	int r = bitshed_infer(b, "net", pixels[i], PIXELS, NULL, &output, &n, NULL, &e);
	bool good = r == 0 && n == n_outputs
		    && memcmp(output, expected[i], n * sizeof *output) == 0;

	if (r < 0)
		fprintf(stderr, "infer: %s\n", e.text);
	free(output);
	return good;
}

static void *infer_in_the_gap(void *good)
{
	*(bool *) good = infer_is_right(1);
	return NULL;
}

static void test_infer_waits_for_the_next_daemon(void)
{
	bool good = false;
	pthread_t thread;

	stop(SIGTERM);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, infer_in_the_gap, &good), 0);
	(void) usleep(100000);
	daemon_pid = restart_start(NULL, NULL);
	CU_ASSERT_EQUAL(pthread_join(thread, NULL), 0);
	CU_ASSERT_TRUE(good);
	/* A call that was on its way when the daemon died. */
	CU_ASSERT_EQUAL(kill(daemon_pid, SIGSTOP), 0);
	good = false;
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, infer_in_the_gap, &good), 0);
	(void) usleep(100000);
	stop(SIGKILL);
	daemon_pid = restart_start(NULL, NULL);
	CU_ASSERT_EQUAL(pthread_join(thread, NULL), 0);
	CU_ASSERT_TRUE(good);
}

static void outputs_are_right(const struct bitshed_session *s, size_t slot)
{
	CU_ASSERT_EQUAL(memcmp(bitshed_session_output(s, (uint32_t) slot), expected[slot],
				n_outputs * sizeof(float)),
		0);
}

static void test_a_session_goes_on(void)
{
	struct bitshed_session *s = NULL;
	struct bitshed_result result;
	const float *output;
	int fd;

	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&s, b, "net", SLOTS, &e), 0);
	for (uint32_t i = 0; i < SLOTS; i++)
		memcpy(bitshed_session_input(s, i), pixels[i], PIXELS);
	output = bitshed_session_output(s, 0);
	fd = bitshed_session_fd(s);
	for (int round = 0; round < 4; round++) {
		stop(round % 2 ? SIGKILL : SIGTERM);
		daemon_pid = restart_start(NULL, NULL);
		CU_ASSERT_EQUAL(bitshed_session_infer(s, 0, NULL, &result, &e), 0);
		CU_ASSERT_STRING_EQUAL(result.rule, "full");
		CU_ASSERT_PTR_EQUAL(bitshed_session_output(s, 0), output);
		CU_ASSERT_EQUAL(bitshed_session_fd(s), fd);
		outputs_are_right(s, 0);
	}
	for (uint32_t i = 0; i < SLOTS; i++) {
		CU_ASSERT_EQUAL(bitshed_session_infer(s, i, NULL, NULL, &e), 0);
		outputs_are_right(s, i);
	}
	(void) bitshed_session_close(s);
}

static void test_requests_on_their_way_are_answered(void)
{
	struct bitshed_session *s = NULL;
	struct bitshed_result result;
	struct pollfd p;
	uint64_t seen = 0;

	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&s, b, "net", SLOTS, &e), 0);
	CU_ASSERT_EQUAL(kill(daemon_pid, SIGSTOP), 0);
	for (uint32_t i = 0; i < SLOTS; i++) {
		memcpy(bitshed_session_input(s, i), pixels[i], PIXELS);
		CU_ASSERT_EQUAL(bitshed_session_submit(s, i, NULL, 100 + i, &e), 0);
	}
	stop(SIGKILL);
	daemon_pid = restart_start(NULL, NULL);
	for (uint32_t i = 0; i < SLOTS; i++) {
		p = (struct pollfd){.fd = bitshed_session_fd(s), .events = POLLIN};
		CU_ASSERT_EQUAL(poll(&p, 1, 20000), 1);
		CU_ASSERT_EQUAL_FATAL(bitshed_session_wait(s, -1, &result, &e), 1);
		CU_ASSERT_EQUAL(result.cookie, 100 + result.slot);
		seen += result.cookie;
		outputs_are_right(s, result.slot);
	}
	CU_ASSERT_EQUAL(seen, 303);
	(void) bitshed_session_close(s);
}

static void test_what_cannot_go_on_ends(void)
{
	struct bitshed_session *unloaded = NULL, *other_size = NULL, *closed = NULL;
	struct bitshed *third = NULL;

	load("small", SIZE);
	CU_ASSERT_EQUAL_FATAL(bitshed_open(&third, NULL, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&unloaded, b, "small", 1, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&other_size, b, "small", 1, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&closed, third, "net", 1, &e), 0);
	CU_ASSERT_EQUAL(bitshed_unload(b, "small", &e), 0);
	CU_ASSERT_EQUAL(bitshed_session_infer(unloaded, 0, NULL, NULL, &e), -ECONNRESET);
	third = bitshed_close(third);
	stop(SIGTERM);
	daemon_pid = restart_start(NULL, NULL);
	load("small", 2 * SIZE);
	CU_ASSERT_EQUAL(bitshed_session_infer(other_size, 0, NULL, NULL, &e), -ECONNRESET);
	CU_ASSERT_EQUAL(bitshed_session_infer(closed, 0, NULL, NULL, &e), -ECONNRESET);
	(void) bitshed_session_close(unloaded);
	(void) bitshed_session_close(other_size);
	(void) bitshed_session_close(closed);
}

static void test_stop(void)
{
	b = bitshed_close(b);
	stop(SIGTERM);
}

TEST_MAIN("restart", TEST(start), TEST(infer_waits_for_the_next_daemon), TEST(a_session_goes_on),
	TEST(requests_on_their_way_are_answered), TEST(what_cannot_go_on_ends), TEST(stop))
