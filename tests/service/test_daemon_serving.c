/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rules ask for beside bits is done: requests refused, slowed down, idle models parked and brought
 * back; and a machine that sleeps. Telemetry switches the rules.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

#define BUSY "org.bitshed.Error.Busy"
#define LOGIN "org.freedesktop.login1"
#define LOGIN_PATH "/org/freedesktop/login1"
#define LOGIN_MANAGER LOGIN ".Manager"
#define INPUT_BYTES ((size_t) 8 * 8 * 3)

static sd_bus *bus, *board;
static pid_t daemon_pid;
static int lock[2] = {-1, -1};
static uint8_t input[INPUT_BYTES];

static const char rules[] =
	"version: 1\n"
	"dwell: 0 s\n"
	"grace-after-resume: 0 s\n"
	"switches-per-hour: 60\n"
	"rules:\n"
	"  - {name: hot, when: {telemetry of hot: above 0}, hard: true, then: {bits: at most 1}}\n"
	"  - {name: no-more, when: {telemetry of refuse: above 0}, then: {refuse: true}}\n"
	"  - {name: slowly, when: {telemetry of rate: above 0}, then: {rate: 2 /min}}\n"
	"  - {name: alone, when: {telemetry of alone: above 0}, then: {threads: 1, device: opencl, "
	"activation-bits: at most 4}}\n"
	"  - {name: narrow, when: {telemetry of narrow: above 0}, then: {bits: at most 2}}\n"
	"  - {name: idle, when: {telemetry of idle: above 0}, then: {park-after: 1 s}}\n";

static void start(void)
{
	if (bus)
		return;
	daemon_pid = test_daemon_start_with("--policy", rules);
	bus = test_bus_open();
	caller_load_network(bus, "net", 4);
	for (size_t i = 0; i < sizeof input; i++)
		input[i] = (uint8_t) (i * 7);
}

static void say(const char *key, double value)
{
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "ReportTelemetry", "a{sv}", 1, key, "d", value), "");
}

static const char *infer_error(struct caller_answer *ret)
{
	caller_infer(bus, "net", input, sizeof input, ret, NULL);
	return ret->error;
}

/* Rules are looked at a moment after the report. */
static bool wait_for_error(const char *error)
{
	struct caller_answer a;

	for (int i = 0; i < 2000 && strcmp(infer_error(&a), error) != 0; i++)
		(void) usleep(5000);
	return strcmp(a.error, error) == 0;
}

static bool wait_for_text(const char *property, const char *text)
{
	for (int i = 0; i < 4000 && strcmp(caller_text(bus, "net", property), text) != 0; i++)
		(void) usleep(5000);
	return strcmp(caller_text(bus, "net", property), text) == 0;
}

static void test_a_rule_refuses(void)
{
	struct caller_session s;
	struct bitshed_request request = caller_request(0);
	struct bitshed_reply reply;

	start();
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	say("refuse", 1);
	CU_ASSERT_TRUE(wait_for_error(BUSY));
	CU_ASSERT_TRUE(caller_exchange(&s, &request, sizeof request, &reply));
	CU_ASSERT_EQUAL(reply.status, BITSHED_ERROR_BUSY);
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "Rule"), "no-more");
	say("refuse", 0);
	CU_ASSERT_TRUE(wait_for_error(""));
	CU_ASSERT_TRUE(caller_exchange(&s, &request, sizeof request, &reply));
	CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
	caller_session_done(&s);
}

static void test_a_rule_slows_down(void)
{
	struct caller_answer a;
	int served = 0;

	start();
	say("rate", 1);
	CU_ASSERT_TRUE(wait_for_error(BUSY));
	/* 2 a minute: the bucket held one, and no test takes half a minute to get here. */
	for (int i = 0; i < 20; i++)
		served += strcmp(infer_error(&a), "") == 0;
	CU_ASSERT_TRUE(served <= 1);
	say("rate", 0);
	CU_ASSERT_TRUE(wait_for_error(""));
}

static void test_answers_stay_the_same_on_one_thread(void)
{
	struct caller_answer before, after;

	start();
	CU_ASSERT_STRING_EQUAL(infer_error(&before), "");
	say("alone", 1);
	(void) usleep(200000);
	CU_ASSERT_STRING_EQUAL(infer_error(&after), "");
	CU_ASSERT_EQUAL(memcmp(before.output, after.output, before.output_bytes), 0);
	say("alone", 0);
}

static void test_an_idle_model_is_parked(void)
{
	struct caller_answer before, after;

	start();
	CU_ASSERT_STRING_EQUAL(infer_error(&before), "");
	CU_ASSERT_TRUE(test_plane_bytes(daemon_pid) > 0);
	say("idle", 1);
	CU_ASSERT_TRUE(wait_for_text("State", "parked"));
	CU_ASSERT_EQUAL(test_plane_bytes(daemon_pid), 0);
	CU_ASSERT_EQUAL(caller_bits(bus, "net"), 0);
	CU_ASSERT_STRING_EQUAL(infer_error(&after), "");
	CU_ASSERT_EQUAL(after.bits, 4);
	CU_ASSERT_EQUAL(memcmp(before.output, after.output, before.output_bytes), 0);
	CU_ASSERT_TRUE(wait_for_text("State", "parked"));
	say("idle", 0);
}

/* It has no width of its own while it is parked: what rules want by then counts. */
static void test_a_parked_model_wakes_at_todays_width(void)
{
	struct caller_answer a;

	start();
	say("idle", 1);
	CU_ASSERT_TRUE(wait_for_text("State", "parked"));
	say("narrow", 1);
	CU_ASSERT_TRUE(wait_for_text("Rule", "narrow"));
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "State"), "parked");
	caller_infer(bus, "net", input, sizeof input, &a, "a{sv}", 1, "min-bits", "d", 3.0);
	CU_ASSERT_STRING_EQUAL(a.error, "org.bitshed.Error.PrecisionUnavailable");
	CU_ASSERT_STRING_EQUAL(infer_error(&a), "");
	CU_ASSERT_EQUAL(a.bits, 2);
	say("narrow", 0);
	say("idle", 0);
	CU_ASSERT_TRUE(wait_for_text("Rule", "full"));
}

static void test_a_parked_model_can_be_unloaded_and_opened(void)
{
	struct bitshed_request request = caller_request(0);
	struct bitshed_reply reply;
	struct caller_session s;

	start();
	caller_load_network(bus, "net2", 4);
	say("idle", 1);
	CU_ASSERT_TRUE(wait_for_text("State", "parked"));
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	CU_ASSERT_TRUE(caller_exchange(&s, &request, sizeof request, &reply));
	CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
	caller_session_done(&s);
	for (int i = 0; i < 4000 && strcmp(caller_text(bus, "net2", "State"), "parked") != 0; i++)
		(void) usleep(5000);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "net2"), "");
	say("idle", 0);
}

static void test_nothing_is_loaded_under_pressure(void)
{
	struct test_network_options options = {.seed = 1, .planes = 4};
	int fd = test_network_memfd(&options);
	const char *error;

	start();
	/* No rule asks for it, so the kernel is not listened to and this is the only word. */
	say("memory-pressure", 80);
	for (int i = 0; i < 1000; i++) {
		if (caller_load(bus, "more", fd, &error) < 0)
			break;
		(void) caller_error(bus, "Unload", "s", "more");
		(void) usleep(5000);
	}
	CU_ASSERT_STRING_EQUAL(error, "org.bitshed.Error.NoMemory");
	say("memory-pressure", 0);
	for (int i = 0; i < 1000 && caller_load(bus, "more", fd, &error) < 0; i++)
		(void) usleep(5000);
	CU_ASSERT_STRING_EQUAL(error, "");
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "more"), "");
	(void) close(fd);
}

static bool next_record(int fd, struct bitshed_hold_record *ret)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 20000) == 1 && read(fd, ret, sizeof *ret) == (ssize_t) sizeof *ret;
}

static void test_a_holder_hears_of_hard_limits(void)
{
	struct bitshed_hold_record record;
	sd_bus_message *reply = NULL;
	int fd = -1;

	start();
	CU_ASSERT_FATAL(sd_bus_call_method(bus, BITSHED_BUS_NAME, BITSHED_PATH,
				BITSHED_MANAGER_INTERFACE, "HoldPrecision", NULL, &reply, "sds",
				"net", 3.0, "a photograph")
			>= 0);
	CU_ASSERT_FATAL(sd_bus_message_read(reply, "h", &fd) >= 0);
	CU_ASSERT_TRUE(next_record(fd, &record));
	CU_ASSERT_EQUAL(record.honoured, 1);
	say("hot", 1);
	CU_ASSERT_TRUE(next_record(fd, &record));
	CU_ASSERT_EQUAL(record.honoured, 0);
	CU_ASSERT_EQUAL(record.bits, 1);
	CU_ASSERT_TRUE(wait_for_text("Rule", "hot"));
	say("hot", 0);
	CU_ASSERT_TRUE(next_record(fd, &record));
	CU_ASSERT_EQUAL(record.honoured, 1);
	(void) sd_bus_message_unref(reply);
	CU_ASSERT_TRUE(wait_for_text("Rule", "full"));
}

static int method_inhibit(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	int r;

	CU_ASSERT_EQUAL_FATAL(pipe2(lock, O_CLOEXEC | O_NONBLOCK), 0);
	r = sd_bus_reply_method_return(m, "h", lock[1]);
	(void) close(lock[1]);
	return r;
}

static const sd_bus_vtable login_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Inhibit", "ssss", "h", method_inhibit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_SIGNAL("PrepareForSleep", "b", 0),
	SD_BUS_VTABLE_END,
};

static void serve(int ms)
{
	uint64_t end = clock_now_nsec() + (uint64_t) ms * NSEC_PER_MSEC;

	do {
		while (sd_bus_process(board, NULL) > 0)
			;
		(void) usleep(2000);
	} while (clock_now_nsec() < end);
}

static void announce_sleep(int begins)
{
	CU_ASSERT_TRUE(sd_bus_emit_signal(
			       board, LOGIN_PATH, LOGIN_MANAGER, "PrepareForSleep", "b", begins)
		       >= 0);
	CU_ASSERT_TRUE(sd_bus_flush(board) >= 0);
}

static bool is_released(void)
{
	struct pollfd p = {.fd = lock[0], .events = POLLIN};

	for (int i = 0; i < 2000; i++) {
		serve(5);
		if (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP))
			return true;
	}
	return false;
}

static void start_login(void)
{
	board = test_bus_open();
	CU_ASSERT_TRUE_FATAL(sd_bus_add_object_vtable(board, NULL, LOGIN_PATH, LOGIN_MANAGER,
				     login_vtable, NULL)
			     >= 0);
	CU_ASSERT_TRUE_FATAL(sd_bus_request_name(board, LOGIN, 0) >= 0);
	for (int i = 0; i < 2000 && lock[0] < 0; i++)
		serve(5);
	CU_ASSERT_TRUE_FATAL(lock[0] >= 0);
}

static void test_sleep_parks_and_requests_wait(void)
{
	struct bitshed_request request = caller_request(0);
	struct caller_answer before;
	struct bitshed_reply reply;
	struct caller_session s;
	struct pollfd p;

	start();
	start_login();
	CU_ASSERT_STRING_EQUAL(infer_error(&before), "");
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	memcpy(s.map + s.input, input, sizeof input);
	announce_sleep(1);
	CU_ASSERT_TRUE(is_released());
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "State"), "parked");
	CU_ASSERT_EQUAL(test_plane_bytes(daemon_pid), 0);
	CU_ASSERT_EQUAL(write(s.socket, &request, sizeof request), (ssize_t) sizeof request);
	p = (struct pollfd){.fd = s.socket, .events = POLLIN};
	CU_ASSERT_EQUAL(poll(&p, 1, 300), 0);
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "State"), "parked");
	close_fdp(&lock[0]);
	lock[0] = -1;
	announce_sleep(0);
	serve(100);
	CU_ASSERT_EQUAL(poll(&p, 1, 20000), 1);
	CU_ASSERT_EQUAL(read(s.socket, &reply, sizeof reply), (ssize_t) sizeof reply);
	CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
	CU_ASSERT_EQUAL(memcmp(s.map + s.output, before.output, before.output_bytes), 0);
	/* And the next night finds a lock again. */
	for (int i = 0; i < 2000 && lock[0] < 0; i++)
		serve(5);
	CU_ASSERT_TRUE(lock[0] >= 0);
	caller_session_done(&s);
}

static void test_who_leaves_in_the_night_is_forgotten(void)
{
	struct bitshed_request request = caller_request(0);
	struct caller_answer a;
	struct caller_session s;

	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	announce_sleep(1);
	CU_ASSERT_TRUE(is_released());
	CU_ASSERT_EQUAL(write(s.socket, &request, sizeof request), (ssize_t) sizeof request);
	(void) usleep(50000);
	caller_session_done(&s);
	close_fdp(&lock[0]);
	lock[0] = -1;
	announce_sleep(0);
	serve(200);
	CU_ASSERT_STRING_EQUAL(infer_error(&a), "");
	CU_ASSERT_EQUAL(a.bits, 4);
}

TEST_MAIN("daemon serving", TEST(a_rule_refuses), TEST(a_rule_slows_down),
	TEST(answers_stay_the_same_on_one_thread), TEST(an_idle_model_is_parked),
	TEST(a_parked_model_wakes_at_todays_width), TEST(a_parked_model_can_be_unloaded_and_opened),
	TEST(nothing_is_loaded_under_pressure), TEST(a_holder_hears_of_hard_limits), TEST(sleep_parks_and_requests_wait),
	TEST(who_leaves_in_the_night_is_forgotten))
