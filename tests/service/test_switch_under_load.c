/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bits change under sixteen clients. No request fails, none is wrong, none is late: every answer
 * is, to the bit, that of one thread at the width that the reply names.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

#define CLIENTS 16
#define DEADLINE_MS 20000

static atomic_bool stop;
static atomic_uint answered[5]; /* by bits */
static atomic_uint n_failed, n_wrong, n_late;
static uint32_t n_switches;

struct client {
	pthread_t thread;
	uint32_t number;
	float expected[5][64]; /* by bits */
	struct caller_session session;
	sd_bus *bus;
};

static void check_reply(const struct client *c, const struct bitshed_reply *reply, uint64_t nsec)
{
	unsigned int bits = (unsigned int) reply->bits;

	if (reply->status != BITSHED_OK) {
		atomic_fetch_add(&n_failed, 1);
		return;
	}
	if (reply->bits != (float) bits || (bits != 2 && bits != 4)
		|| memcmp(c->session.map + c->session.output, c->expected[bits],
			   c->session.output_bytes)
			   != 0)
		atomic_fetch_add(&n_wrong, 1);
	else
		atomic_fetch_add(&answered[bits], 1);
	if (nsec > DEADLINE_MS * NSEC_PER_MSEC)
		atomic_fetch_add(&n_late, 1);
}

static void *client_thread(void *userdata)
{
	struct client *c = userdata;
	struct bitshed_request request = caller_request(0);
	struct bitshed_reply reply;
	uint64_t begin;

	request.deadline_ms = DEADLINE_MS;
	while (!atomic_load(&stop)) {
		begin = clock_now_nsec();
		memset(c->session.map + c->session.output, 0xff, c->session.output_bytes);
		if (!caller_exchange(&c->session, &request, sizeof request, &reply)) {
			atomic_fetch_add(&n_failed, 1);
			break;
		}
		check_reply(c, &reply, clock_now_nsec() - begin);
	}
	return NULL;
}

static void start_client(
	struct client *c, uint32_t number, struct reference *two, struct reference *four)
{
	uint64_t state = number + 1;

	c->number = number;
	c->bus = test_bus_open();
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(c->bus, "net", 1, &c->session), "");
	for (uint64_t i = 0; i < c->session.pixels_bytes; i++)
		c->session.map[i] = (uint8_t) test_random(&state);
	reference_run(two, false, c->session.map, c->expected[2]);
	reference_run(four, false, c->session.map, c->expected[4]);
	/* Or a wrong width could not be told from the right one. */
	CU_ASSERT_NOT_EQUAL(memcmp(c->expected[2], c->expected[4], c->session.output_bytes), 0);
}

static uint32_t switch_count(void)
{
	return getenv("BITSHED_TEST_SHORT") ? 50 : 500;
}

/* On a busy machine all switches may be over before a client has had its turn: then there are more. */
static bool enough_switches(uint32_t n)
{
	bool met = atomic_load(&answered[2]) > 0 && atomic_load(&answered[4]) > 0;

	return n >= switch_count() && (met || n >= 200 * switch_count());
}

static void switch_back_and_forth(sd_bus *bus)
{
	n_switches = 0;
	for (uint32_t i = 0; !enough_switches(i); i++) {
		CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 2.0), "");
		CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 4.0), "");
		n_switches += 2;
	}
}

static void check_counts(sd_bus *bus)
{
	printf("%u switches, %u answers at 4 bits, %u at 2, %u failed, %u wrong, %u late\n",
		n_switches, answered[4], answered[2], n_failed, n_wrong, n_late);
	CU_ASSERT_EQUAL(n_failed, 0);
	CU_ASSERT_EQUAL(n_wrong, 0);
	CU_ASSERT_EQUAL(n_late, 0);
	CU_ASSERT_TRUE(answered[2] > 0 && answered[4] > 0);
	CU_ASSERT_EQUAL(caller_statistic(bus, "net", "requests"), answered[2] + answered[4]);
	CU_ASSERT_EQUAL(caller_statistic(bus, "net", "failures"), 0);
}

static void switch_under_load(const char *config)
{
	static struct client clients[CLIENTS];
	struct reference two, four;
	pid_t pid;
	sd_bus *bus;

	atomic_store(&stop, false);
	answered[2] = answered[4] = 0;
	pid = test_daemon_start((const char *const[]){"--log-level=warning", config, NULL});
	bus = test_bus_open();
	caller_load_network(bus, "net", 4);
	reference_open(&two, 4, 2);
	reference_open(&four, 4, 4);
	for (uint32_t i = 0; i < CLIENTS; i++)
		start_client(&clients[i], i, &two, &four);
	for (uint32_t i = 0; i < CLIENTS; i++)
		CU_ASSERT_EQUAL(
			pthread_create(&clients[i].thread, NULL, client_thread, &clients[i]), 0);
	switch_back_and_forth(bus);
	atomic_store(&stop, true);
	for (uint32_t i = 0; i < CLIENTS; i++)
		(void) pthread_join(clients[i].thread, NULL);
	check_counts(bus);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		caller_session_done(&clients[i].session);
		(void) sd_bus_flush_close_unref(clients[i].bus);
	}
	reference_done(&two);
	reference_done(&four);
	(void) sd_bus_flush_close_unref(bus);
	CU_ASSERT_EQUAL(test_daemon_stop(pid), 0);
}

/* Small requests run on the loop's thread, */
static void test_on_the_loop(void)
{
	switch_under_load(NULL);
}

/* and the same ones on the device's thread. */
static void test_through_the_queue(void)
{
	char file[] = "/tmp/bitshed-test-config-XXXXXX", option[64];
	static const char text[] = "queue:\n  inline-run: never\n";
	int fd = mkstemp(file);

	CU_ASSERT_FATAL(fd >= 0 && write(fd, text, sizeof text - 1) == sizeof text - 1);
	(void) close(fd);
	(void) snprintf(option, sizeof option, "--config=%s", file);
	switch_under_load(option);
	(void) unlink(file);
}

TEST_MAIN("switch_under_load", TEST(on_the_loop), TEST(through_the_queue))
