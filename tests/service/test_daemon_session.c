/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions against a real daemon: answers, hostile records, peers that vanish, peers that are not
 * the owner.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

#define ERROR(name) "org.bitshed.Error." name

static sd_bus *bus;

static void start(void)
{
	if (bus)
		return;
	(void) test_daemon_start(NULL);
	bus = test_bus_open();
	caller_load_network(bus, "net", 4);
}

static void fill(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t) test_random(&seed);
}

static uint32_t count_sessions(void)
{
	uint32_t n = UINT32_MAX;

	(void) sd_bus_get_property_trivial(bus, BITSHED_BUS_NAME, BITSHED_PATH,
		BITSHED_MANAGER_INTERFACE, "Sessions", NULL, 'u', &n);
	return n;
}

static bool wait_for_sessions(uint32_t n)
{
	for (int i = 0; i < 1000 && count_sessions() != n; i++)
		(void) usleep(5000);
	return count_sessions() == n;
}

static bool is_hung_up(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 10000) == 1 && (p.revents & POLLHUP);
}

static void test_slots_answer_exactly(void)
{
	struct caller_session s;
	struct bitshed_reply reply;
	struct reference r;
	float expected[64];

	start();
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 3, &s), "");
	CU_ASSERT_EQUAL(s.slots, 3);
	CU_ASSERT_EQUAL(s.pixels_bytes, 8 * 8 * 3);
	reference_open(&r, 4, 4);
	for (uint32_t i = 0; i < 3; i++) {
		struct bitshed_request request = caller_request(i);
		uint8_t *input = s.map + i * s.stride + s.input;

		fill(input, s.pixels_bytes, i + 1);
		reference_run(&r, false, input, expected);
		CU_ASSERT_FATAL(caller_exchange(&s, &request, sizeof request, &reply));
		CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
		CU_ASSERT_EQUAL(reply.slot, i);
		CU_ASSERT_EQUAL(reply.cookie, request.cookie);
		CU_ASSERT_EQUAL(reply.bits, 4);
		CU_ASSERT_EQUAL(
			memcmp(s.map + i * s.stride + s.output, expected, s.output_bytes), 0);
	}
	reference_done(&r);
	caller_session_done(&s);
	CU_ASSERT_TRUE(wait_for_sessions(0));
}

static uint16_t status_of(
	struct caller_session *s, const struct bitshed_request *record, size_t size)
{
	struct bitshed_reply reply = {.status = UINT16_MAX};

	CU_ASSERT_TRUE(caller_exchange(s, record, size, &reply));
	return reply.status;
}

static void test_hostile_records_are_refused(void)
{
	struct bitshed_request good = caller_request(0), r;
	struct caller_session s;
	uint8_t big[4096] = {};

	start();
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	CU_ASSERT_EQUAL(status_of(&s, &good, sizeof good - 1), BITSHED_ERROR_INVALID_OPTION);
	CU_ASSERT_EQUAL(status_of(&s, (void *) big, sizeof big), BITSHED_ERROR_INVALID_OPTION);
	r = good;
	r.version = 9;
	CU_ASSERT_EQUAL(status_of(&s, &r, sizeof r), BITSHED_ERROR_INVALID_OPTION);
	r = good;
	r.slot = 1;
	CU_ASSERT_EQUAL(status_of(&s, &r, sizeof r), BITSHED_ERROR_INVALID_OPTION);
	r = good;
	r.input_type = 7;
	CU_ASSERT_EQUAL(status_of(&s, &r, sizeof r), BITSHED_ERROR_INVALID_OPTION);
	r = good;
	r.min_bits = 5;
	CU_ASSERT_EQUAL(status_of(&s, &r, sizeof r), BITSHED_ERROR_PRECISION_UNAVAILABLE);
	CU_ASSERT_EQUAL(status_of(&s, &good, sizeof good), BITSHED_OK);
	caller_session_done(&s);
}

/* The same slot twice, with a network slow enough that the first is still on its way. */
static void test_running_slot_is_busy(void)
{
	struct test_network_options options = {.seed = 3, .size = 64, .channels = 64};
	int fd = test_network_memfd(&options), busy = 0, fine = 0;
	struct bitshed_request request = caller_request(0);
	struct bitshed_reply reply;
	struct caller_session s;
	const char *error;

	start();
	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "slow", fd, &error), 0);
	(void) close(fd);
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "slow", 1, &s), "");
	/* The first request of a model is always queued. */
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(send(s.socket, &request, sizeof request, 0), sizeof request);
	for (int i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL_FATAL(recv(s.socket, &reply, sizeof reply, 0), sizeof reply);
		busy += reply.status == BITSHED_ERROR_BUSY;
		fine += reply.status == BITSHED_OK;
	}
	CU_ASSERT_TRUE(busy >= 1 && fine >= 1);
	CU_ASSERT_EQUAL(busy + fine, 4);
	caller_session_done(&s);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "slow"), "");
}

static void test_deadline_is_kept(void)
{
	struct test_network_options options = {.seed = 3, .size = 256, .channels = 128};
	static uint8_t input[256 * 256 * 3];
	int fd = test_network_memfd(&options);
	struct bitshed_request request = caller_request(0);
	struct bitshed_reply reply;
	struct caller_session s;
	struct caller_answer a;
	const char *error;

	start();
	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "slow", fd, &error), 0);
	(void) close(fd);
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "slow", 8, &s), "");
	/* Eight at once: the last ones wait for longer than a millisecond. */
	request.deadline_ms = 1;
	for (uint32_t i = 0; i < 8; i++) {
		request.slot = i;
		CU_ASSERT_EQUAL(send(s.socket, &request, sizeof request, 0), sizeof request);
	}
	for (int i = 0; i < 8; i++) {
		CU_ASSERT_EQUAL_FATAL(recv(s.socket, &reply, sizeof reply, 0), sizeof reply);
	}
	CU_ASSERT_EQUAL(reply.status, BITSHED_ERROR_DEADLINE);
	request.deadline_ms = 60000;
	CU_ASSERT_EQUAL(status_of(&s, &request, sizeof request), BITSHED_OK);
	caller_infer(bus, "slow", input, sizeof input, &a, "a{sv}", 1, "deadline-ms", "u", 1);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("Deadline"));
	caller_session_done(&s);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "slow"), "");
}

static void test_only_the_owner_closes(void)
{
	sd_bus *other = test_bus_open();
	sd_bus_error error = SD_BUS_ERROR_NULL;
	struct caller_session s;

	start();
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	CU_ASSERT_TRUE(sd_bus_call_method(other, BITSHED_BUS_NAME, s.path,
			       BITSHED_SESSION_INTERFACE, "Close", &error, NULL, "")
		       < 0);
	CU_ASSERT_STRING_EQUAL(error.name, ERROR("NotAuthorized"));
	sd_bus_error_free(&error);
	CU_ASSERT_EQUAL(count_sessions(), 1);
	CU_ASSERT_TRUE(sd_bus_call_method(bus, BITSHED_BUS_NAME, s.path, BITSHED_SESSION_INTERFACE,
			       "Close", NULL, NULL, "")
		       >= 0);
	CU_ASSERT_EQUAL(count_sessions(), 0);
	CU_ASSERT_TRUE(is_hung_up(s.socket));
	caller_session_done(&s);
	(void) sd_bus_flush_close_unref(other);
}

static void test_peer_that_leaves_loses_its_sessions(void)
{
	sd_bus *other = test_bus_open();
	struct caller_session a, b;

	start();
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(other, "net", 1, &a), "");
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(other, "net", 2, &b), "");
	CU_ASSERT_EQUAL(count_sessions(), 2);
	(void) sd_bus_flush_close_unref(other);
	CU_ASSERT_TRUE(wait_for_sessions(0));
	CU_ASSERT_TRUE(is_hung_up(a.socket));
	caller_session_done(&a);
	caller_session_done(&b);
}

/* Some requests wait and one runs when their client goes, or their model. */
static void test_nobody_left_for_the_answers(void)
{
	struct test_network_options options = {.seed = 3, .size = 128, .channels = 128};
	struct caller_session s;
	const char *error;
	sd_bus *other;

	start();
	for (int round = 0; round < 6; round++) {
		int fd = test_network_memfd(&options);

		other = test_bus_open();
		CU_ASSERT_EQUAL_FATAL(caller_load(bus, "slow", fd, &error), 0);
		(void) close(fd);
		CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(other, "slow", 8, &s), "");
		for (uint32_t i = 0; i < 8; i++) {
			struct bitshed_request request = caller_request(i);

			CU_ASSERT_EQUAL(send(s.socket, &request, sizeof request, MSG_NOSIGNAL),
				sizeof request);
		}
		(void) usleep((unsigned int) round * 300);
		if (round % 3 == 0)
			caller_session_done(&s);
		if (round % 3 == 1)
			other = sd_bus_flush_close_unref(other);
		CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "slow"), "");
		CU_ASSERT_TRUE(wait_for_sessions(0));
		caller_session_done(&s);
		(void) sd_bus_flush_close_unref(other);
	}
}

static void test_unload_ends_sessions(void)
{
	struct caller_session s;

	start();
	caller_load_network(bus, "other", 2);
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "other", 1, &s), "");
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "other"), "");
	CU_ASSERT_TRUE(is_hung_up(s.socket));
	CU_ASSERT_EQUAL(count_sessions(), 0);
	caller_session_done(&s);
}

/* Sends and never reads: dropped, and another client is served all the while. */
static void test_flood_is_dropped(void)
{
	struct bitshed_request bad = {}, request = caller_request(0);
	struct caller_session flood, fair;
	struct pollfd p;
	int sent = 0;

	start();
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &flood), "");
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &fair), "");
	while (sent < 1000000 && send(flood.socket, &bad, sizeof bad, MSG_NOSIGNAL) == sizeof bad)
		if (++sent % 100 == 0)
			CU_ASSERT_EQUAL(status_of(&fair, &request, sizeof request), BITSHED_OK);
	CU_ASSERT_TRUE(sent < 1000000);
	CU_ASSERT_TRUE(wait_for_sessions(1));
	p = (struct pollfd){.fd = flood.socket, .events = POLLIN};
	CU_ASSERT_EQUAL(poll(&p, 1, 1000), 1);
	CU_ASSERT_EQUAL(status_of(&fair, &request, sizeof request), BITSHED_OK);
	caller_session_done(&flood);
	caller_session_done(&fair);
	CU_ASSERT_TRUE(wait_for_sessions(0));
}

/* A client that writes into the input while it is read gets numbers, not a crash. */
static void test_input_changes_while_running(void)
{
	struct caller_session s;
	struct bitshed_request request = caller_request(0);
	struct bitshed_reply reply;

	start();
	request.input_type = 1;
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	for (int i = 0; i < 200; i++) {
		CU_ASSERT_EQUAL_FATAL(send(s.socket, &request, sizeof request, 0), sizeof request);
		for (int k = 0; k < 20; k++)
			fill(s.map, s.memory_bytes, (uint64_t) i * 20 + 1 + (uint64_t) k);
		CU_ASSERT_EQUAL_FATAL(recv(s.socket, &reply, sizeof reply, 0), sizeof reply);
		CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
	}
	caller_session_done(&s);
}

TEST_MAIN("daemon_session", TEST(slots_answer_exactly), TEST(hostile_records_are_refused),
	TEST(running_slot_is_busy), TEST(deadline_is_kept), TEST(only_the_owner_closes),
	TEST(peer_that_leaves_loses_its_sessions), TEST(nobody_left_for_the_answers),
	TEST(unload_ends_sessions), TEST(flood_is_dropped), TEST(input_changes_while_running))
