/* SPDX-License-Identifier: Apache-2.0 */
/* What systemd hears from the daemon, and what it says on the command line. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

static int notify = -1;
static pid_t daemon_pid;

static void listen_as_systemd(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];

	(void) snprintf(name, sizeof name, "@bitshed-test-notify-%d", (int) getpid());
	(void) memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
	notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(
		bind(notify, (const struct sockaddr *) &address,
			(socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(name))),
		0);
	(void) setenv("NOTIFY_SOCKET", name, 1);
	(void) setenv("WATCHDOG_USEC", "200000", 1);
}

/* Reads messages until one has the words. */
static bool hears(const char *words)
{
	struct pollfd p = {.fd = notify, .events = POLLIN};
	char text[1024];
	ssize_t n;

	while (poll(&p, 1, 20000) == 1) {
		n = recv(notify, text, sizeof text - 1, 0);
		if (n <= 0)
			return false;
		text[n] = '\0';
		if (strstr(text, words))
			return true;
	}
	return false;
}

static void test_ready_and_watchdog(void)
{
	listen_as_systemd();
	daemon_pid = test_daemon_start((const char *const[]){"--log-level=warning", NULL});
	CU_ASSERT_TRUE(hears("READY=1"));
	CU_ASSERT_TRUE(hears("WATCHDOG=1"));
	CU_ASSERT_TRUE(hears("WATCHDOG=1"));
}

static void test_reload_and_stop(void)
{
	CU_ASSERT_EQUAL(kill(daemon_pid, SIGHUP), 0);
	CU_ASSERT_TRUE(hears("RELOADING=1\nMONOTONIC_USEC="));
	CU_ASSERT_TRUE(hears("READY=1"));
	CU_ASSERT_EQUAL(kill(daemon_pid, SIGINT), 0);
	CU_ASSERT_TRUE(hears("STOPPING=1"));
	CU_ASSERT_EQUAL(test_daemon_stop(daemon_pid), 0);
}

static int run(const char *arguments, const char *expected)
{
	char command[512], text[4096];
	size_t n;
	FILE *f;

	(void) snprintf(command, sizeof command, "%s %s 2>&1", TEST_BITSHEDD, arguments);
	f = popen(command, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	n = fread(text, 1, sizeof text - 1, f);
	text[n] = '\0';
	CU_ASSERT_PTR_NOT_NULL(strstr(text, expected));
	return WEXITSTATUS(pclose(f));
}

static void test_command_line(void)
{
	CU_ASSERT_EQUAL(run("--version", BITSHED_VERSION), 0);
	CU_ASSERT_EQUAL(run("--help", "--check-config"), 0);
	CU_ASSERT_EQUAL(run("--colour", "colour"), 1);
	CU_ASSERT_EQUAL(run("now", "unexpected argument"), 1);
	CU_ASSERT_EQUAL(run("--model=x", "NAME=FILE"), 1);
	CU_ASSERT_EQUAL(run("--log-level=loud", "loud"), 1);
	CU_ASSERT_EQUAL(run("--check-config --config=/nonexistent/x", ""), 0);
	CU_ASSERT_EQUAL(
		run("--check-config --config=" BITSHED_SOURCE "/config/bitshed.yaml", ""), 0);
	CU_ASSERT_EQUAL(run("--check-config --config=" BITSHED_SOURCE "/LICENSE", "LICENSE:"), 1);
	CU_ASSERT_EQUAL(
		run("--bus=unix:path=/nonexistent --config=/nonexistent/x", "cannot connect"), 1);
}

static void test_second_daemon_is_refused(void)
{
	char arguments[300];

	(void) unsetenv("NOTIFY_SOCKET");
	(void) test_daemon_start((const char *const[]){"--log-level=warning", NULL});
	(void) snprintf(arguments, sizeof arguments, "--config=/nonexistent/x '--bus=%s'",
		test_bus_address());
	CU_ASSERT_EQUAL(run(arguments, "another bitshedd owns org.bitshed"), 1);
}

TEST_MAIN("daemon_notify", TEST(ready_and_watchdog), TEST(reload_and_stop), TEST(command_line),
	TEST(second_daemon_is_refused))
