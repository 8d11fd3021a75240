/* SPDX-License-Identifier: Apache-2.0 */
/* Each limit of the configuration, exceeded; and a reload that moves them, or is refused. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memfd.h"
#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

#define ERROR(name) "org.bitshed.Error." name

static sd_bus *bus;
static pid_t daemon_pid;
static char config[] = "/tmp/bitshed-test-config-XXXXXX";

static void write_config(const char *limits)
{
	FILE *f = fopen(config, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fprintf(f, "%s", limits);
	(void) fclose(f);
}

static void remove_config(void)
{
	(void) unlink(config);
}

static void start(void)
{
	static char option[64];
	int fd;

	if (bus)
		return;
	fd = mkstemp(config);
	CU_ASSERT_FATAL(fd >= 0 && atexit(remove_config) == 0);
	(void) close(fd);
	(void) snprintf(option, sizeof option, "--config=%s", config);
	write_config("limits:\n  models: 2\n  sessions-per-user: 2\n  slots-per-session: 4\n"
		     "  memory-per-user: 1 MiB\n  model-file: 1 MiB\n  bus-input: 1 KiB\n"
		     "queue:\n  length: 1\n  inline-run: never\n");
	daemon_pid = test_daemon_start((const char *const[]){option, NULL});
	bus = test_bus_open();
	caller_load_network(bus, "net", 4);
}

static int load_empty(const char *name, size_t bytes)
{
	const char *error;
	int fd, r;

	CU_ASSERT_EQUAL_FATAL(memfd_new(&fd, NULL, "empty", bytes), 0);
	error = caller_error(bus, "LoadModel", "sha{sv}", name, fd, 0);
	r = strcmp(error, ERROR("LimitExceeded")) == 0 ? -EDQUOT : *error ? -EIO : 0;
	(void) close(fd);
	return r;
}

static void test_models(void)
{
	start();
	CU_ASSERT_EQUAL(load_empty("a", 4096), 0);
	CU_ASSERT_EQUAL(load_empty("b", 4096), -EDQUOT);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "a"), "");
	CU_ASSERT_EQUAL(load_empty("b", 4096), 0);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "b"), "");
}

static void test_model_file_and_memory(void)
{
	start();
	CU_ASSERT_EQUAL(load_empty("a", (1 << 20) + 4096), -EDQUOT);
	/* The other model is charged too, so one MiB is too much for this user. */
	CU_ASSERT_EQUAL(load_empty("a", 1 << 20), -EDQUOT);
	CU_ASSERT_EQUAL(load_empty("a", 1 << 18), 0);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "a"), "");
}

static void test_sessions_and_slots(void)
{
	struct caller_session a, b, c;

	start();
	CU_ASSERT_STRING_EQUAL(caller_session_open(bus, "net", 5, &a), ERROR("LimitExceeded"));
	CU_ASSERT_STRING_EQUAL(
		caller_session_open(bus, "net", UINT32_MAX, &a), ERROR("LimitExceeded"));
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 4, &a), "");
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 4, &b), "");
	CU_ASSERT_STRING_EQUAL(caller_session_open(bus, "net", 1, &c), ERROR("LimitExceeded"));
	caller_session_done(&a);
	for (int i = 0; i < 1000 && *caller_session_open(bus, "net", 1, &c); i++)
		(void) usleep(5000);
	CU_ASSERT_FATAL(c.map != NULL);
	caller_session_done(&b);
	caller_session_done(&c);
}

static void test_bus_input(void)
{
	static const uint8_t input[1025];
	struct caller_answer a;

	start();
	caller_infer(bus, "net", input, sizeof input, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("LimitExceeded"));
	caller_infer(bus, "net", input, 192, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, "");
}

/* One runs, one waits, the third is told so. Return: how many of four at once were. */
static int count_busy(struct caller_session *s)
{
	struct bitshed_reply reply;
	int busy = 0;

	for (uint32_t i = 0; i < 4; i++) {
		struct bitshed_request request = caller_request(i);

		CU_ASSERT_EQUAL(
			send(s->socket, &request, sizeof request, MSG_NOSIGNAL), sizeof request);
	}
	for (int i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL_FATAL(recv(s->socket, &reply, sizeof reply, 0), sizeof reply);
		CU_ASSERT_TRUE(reply.status == BITSHED_OK || reply.status == BITSHED_ERROR_BUSY);
		busy += reply.status == BITSHED_ERROR_BUSY;
	}
	return busy;
}

static void test_queue_length(void)
{
	struct test_network_options options = {.seed = 3, .size = 64, .channels = 64};
	int fd = test_network_memfd(&options), busy = 0;
	struct caller_session s;
	const char *error;

	start();
	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "slow", fd, &error), 0);
	(void) close(fd);
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "slow", 4, &s), "");
	for (int i = 0; i < 100 && busy == 0; i++)
		busy = count_busy(&s);
	CU_ASSERT_TRUE(busy >= 1 && busy <= 3);
	caller_session_done(&s);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "slow"), "");
}

static bool becomes(size_t bytes, int expected)
{
	for (int i = 0; i < 500; i++) {
		int r = load_empty("a", bytes);

		if (r == 0)
			(void) caller_error(bus, "Unload", "s", "a");
		if (r == expected)
			return true;
		(void) usleep(10000);
	}
	return false;
}

static bool says_of_reload(const char *words)
{
	_cleanup_free_ char *text = NULL;

	CU_ASSERT_TRUE_FATAL(sd_bus_get_property_string(bus, "org.bitshed", "/org/bitshed",
		"org.bitshed.Manager1", "ConfigurationError", NULL, &text) >= 0);
	return words[0] ? strstr(text, words) && !strchr(text, '\n') : !text[0];
}

static void test_reload(void)
{
	start();
	write_config("limits:\n  models: 2\n  model-file: 2 MiB\n");
	CU_ASSERT_EQUAL(kill(daemon_pid, SIGHUP), 0);
	CU_ASSERT_TRUE(becomes((1 << 20) + 4096, 0));
	/* A broken file changes nothing. */
	write_config("limits:\n  models: 2\n  model-file: 1 MiB\n  modles: 3\n");
	CU_ASSERT_EQUAL(kill(daemon_pid, SIGHUP), 0);
	for (int i = 0; i < 500 && !says_of_reload("modles"); i++)
		(void) usleep(10000);
	CU_ASSERT_TRUE(says_of_reload(":4:3: "));
	CU_ASSERT_EQUAL(load_empty("a", (1 << 20) + 4096), 0);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "a"), "");
	write_config("limits:\n  models: 2\n  model-file: 1 MiB\n");
	CU_ASSERT_EQUAL(kill(daemon_pid, SIGHUP), 0);
	CU_ASSERT_TRUE(becomes((1 << 20) + 4096, -EDQUOT));
	CU_ASSERT_TRUE(says_of_reload(""));
}

TEST_MAIN("daemon_limits", TEST(models), TEST(model_file_and_memory), TEST(sessions_and_slots),
	TEST(bus_input), TEST(queue_length), TEST(reload))
