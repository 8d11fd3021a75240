/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that hold a width, and let go of it in every way. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

static sd_bus *bus;

static int hold(sd_bus *who, double bits, const char *reason)
{
	sd_bus_message *reply = NULL;
	int fd = -1;

	CU_ASSERT_FATAL(sd_bus_call_method(who, BITSHED_BUS_NAME, BITSHED_PATH,
				BITSHED_MANAGER_INTERFACE, "HoldPrecision", NULL, &reply, "sds",
				"net", bits, reason)
			>= 0);
	CU_ASSERT_FATAL(sd_bus_message_read(reply, "h", &fd) >= 0);
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	(void) sd_bus_message_unref(reply);
	return fd;
}

static bool runs_at(double bits)
{
	for (int i = 0; i < 5000 && caller_bits(bus, "net") != bits; i++)
		(void) usleep(1000);
	return caller_bits(bus, "net") == bits;
}

/* Return: how many holds there are; @ret_*: of the first */
static int list(char *reason, size_t size, double *ret_bits, int *ret_honoured)
{
	sd_bus_message *m = NULL;
	const char *model, *text, *owner;
	uint32_t uid;
	double bits;
	int n = 0, honoured;

	CU_ASSERT_FATAL(sd_bus_get_property(bus, BITSHED_BUS_NAME, BITSHED_PATH,
				BITSHED_MANAGER_INTERFACE, "Holds", NULL, &m, "a(sdssub)")
			>= 0);
	CU_ASSERT_FATAL(sd_bus_message_enter_container(m, 'a', "(sdssub)") >= 0);
	for (; sd_bus_message_read(
		       m, "(sdssub)", &model, &bits, &text, &owner, &uid, &honoured)
		> 0;
		n++) {
		CU_ASSERT_STRING_EQUAL(model, "net");
		CU_ASSERT_EQUAL(uid, geteuid());
		CU_ASSERT_EQUAL(owner[0], ':');
		if (n > 0)
			continue;
		(void) snprintf(reason, size, "%s", text);
		*ret_bits = bits;
		*ret_honoured = honoured;
	}
	(void) sd_bus_message_unref(m);
	return n;
}

static void test_the_width_follows(void)
{
	char reason[64] = "";
	double bits = 0;
	int low, high, honoured = 0;

	(void) test_daemon_start((const char *const[]){"--log-level=warning", NULL});
	bus = test_bus_open();
	caller_load_network(bus, "net", 4);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 1.0), "");
	low = hold(bus, 2, "a door camera");
	CU_ASSERT_TRUE(runs_at(2));
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "Rule"), "hold");
	high = hold(bus, 3, "a photograph");
	CU_ASSERT_TRUE(runs_at(3));
	CU_ASSERT_EQUAL(list(reason, sizeof reason, &bits, &honoured), 2);
	CU_ASSERT_STRING_EQUAL(reason, "a door camera");
	CU_ASSERT_EQUAL(bits, 2);
	CU_ASSERT_TRUE(honoured);
	/* Nothing that a holder writes ends a hold or reaches anybody. */
	CU_ASSERT_EQUAL(write(high, "x", 1), 1);
	(void) close(low);
	CU_ASSERT_TRUE(runs_at(3));
	(void) close(high);
	CU_ASSERT_TRUE(runs_at(1));
	CU_ASSERT_EQUAL(list(reason, sizeof reason, &bits, &honoured), 0);
}

static void test_the_dead_hold_nothing(void)
{
	uint64_t killed;
	int ready[2];
	pid_t child;
	char c;

	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		(void) hold(test_bus_open(), 4, "about to die");
		(void) !write(ready[1], "x", 1);
		(void) pause();
		_exit(1);
	}
	CU_ASSERT_EQUAL(read(ready[0], &c, 1), 1);
	CU_ASSERT_TRUE(runs_at(4));
	killed = clock_now_nsec();
	CU_ASSERT_EQUAL(kill(child, SIGKILL), 0);
	CU_ASSERT_TRUE(runs_at(1));
	printf("the width followed after %.1f ms ",
		(double) (clock_now_nsec() - killed) / (double) NSEC_PER_MSEC);
	(void) waitpid(child, NULL, 0);
	(void) close(ready[0]);
	(void) close(ready[1]);
}

static const char *refused(const char *model, double bits, const char *reason)
{
	return caller_error(bus, "HoldPrecision", "sds", model, bits, reason);
}

static void test_refused(void)
{
	char reason[257];
	int fds[16];

	memset(reason, 'x', sizeof reason);
	reason[256] = '\0';
	CU_ASSERT_STRING_EQUAL(refused("no", 2, "r"), "org.bitshed.Error.NoSuchModel");
	CU_ASSERT_STRING_EQUAL(refused("net", 0, "r"), "org.bitshed.Error.PrecisionUnavailable");
	CU_ASSERT_STRING_EQUAL(refused("net", 5, "r"), "org.bitshed.Error.PrecisionUnavailable");
	CU_ASSERT_STRING_EQUAL(refused("net", 2, ""), "org.bitshed.Error.InvalidOption");
	for (size_t i = 0; i < 16; i++)
		fds[i] = hold(bus, 2, reason);
	CU_ASSERT_STRING_EQUAL(refused("net", 2, "r"), "org.bitshed.Error.LimitExceeded");
	CU_ASSERT_TRUE(runs_at(2));
	for (size_t i = 0; i < 16; i++)
		(void) close(fds[i]);
	CU_ASSERT_TRUE(runs_at(1));
}

/* A hold is for the name: it is there when the model comes back, and does no harm without. */
static void test_the_model_may_go(void)
{
	int fd = hold(bus, 4, "waits"), another;

	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "net"), "");
	caller_load_network(bus, "net", 3);
	CU_ASSERT_TRUE(runs_at(3));
	another = hold(bus, 1, "nothing to ask for");
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "net"), "");
	(void) close(another);
	(void) close(fd);
	caller_load_network(bus, "net", 4);
}

TEST_MAIN("holds", TEST(the_width_follows), TEST(the_dead_hold_nothing), TEST(refused),
	TEST(the_model_may_go))
