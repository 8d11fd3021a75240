/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A switch is one entry of the journal, with fields of its own, and one signal on the bus. The journal is a socket
 * of ours in a mount namespace where nothing else is in /run.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "caller.h"
#include "service/journal.h"
#include "support/bus.h"
#include "support/test.h"

static int journal = -1;
static sd_bus *bus;

static void make_journal(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};

	(void) test_bus_address();
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("journal", "/run", "tmpfs", 0, NULL) < 0)
		test_skip("not allowed to have mounts of its own");
	CU_ASSERT_EQUAL(mkdir("/run/systemd", 0755) | mkdir("/run/systemd/journal", 0755), 0);
	journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(
		bind(journal, (const struct sockaddr *) &address, sizeof address), 0);
}

/* What systemd sets: the device and inode of standard error. */
static void stderr_is_journal(void)
{
	struct stat st;
	char stream[64];

	CU_ASSERT_EQUAL(fstat(STDERR_FILENO, &st), 0);
	(void) snprintf(
		stream, sizeof stream, "%ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino);
	(void) setenv("JOURNAL_STREAM", stream, 1);
}

/* Return: does an entry come within @timeout_ms? */
static bool hear(char *entry, size_t size, int timeout_ms)
{
	struct pollfd p = {.fd = journal, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, timeout_ms) != 1)
		return false;
	n = recv(journal, entry, size - 1, 0);
	entry[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static bool has(const char *entry, const char *line)
{
	size_t n = strlen(line);

	for (const char *p = entry; (p = strstr(p, line)); p += n)
		if ((p == entry || p[-1] == '\n') && p[n] == '\n')
			return true;
	printf("not in the entry: %s\n%s\n", line, entry);
	return false;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	unsigned int *n = userdata;

	*n += strcmp(sd_bus_message_get_path(m), "/org/bitshed/model/net") == 0;
	return 0;
}

static void test_start(void)
{
	const char *error;
	struct test_network_options options = {.seed = 1, .planes = 4};
	int fd;

	make_journal();
	stderr_is_journal();
	(void) test_daemon_start(NULL);
	bus = test_bus_open();
	fd = test_network_memfd(&options);
	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "net", fd, &error), 0);
	(void) close(fd);
}

static void test_a_switch_is_one_entry_and_one_signal(void)
{
	char entry[16384], extra[16384];
	unsigned int signals = 0;

	while (hear(entry, sizeof entry, 0))
		;
	CU_ASSERT_TRUE(sd_bus_match_signal(bus, NULL, "org.bitshed", NULL,
			       "org.freedesktop.DBus.Properties", "PropertiesChanged", on_changed,
			       &signals) >= 0);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 2.5), "");
	CU_ASSERT_TRUE_FATAL(hear(entry, sizeof entry, 10000));
	CU_ASSERT_TRUE(has(entry, "MESSAGE_ID=" JOURNAL_SWITCH_ID));
	CU_ASSERT_TRUE(has(entry, "MODEL=net"));
	CU_ASSERT_TRUE(has(entry, "BITS_WAS=4"));
	CU_ASSERT_TRUE(has(entry, "RULE=hand"));
	CU_ASSERT_TRUE(has(entry, "PRIORITY=6"));
	CU_ASSERT_PTR_NOT_NULL(strstr(entry, "\nBITS=2."));
	CU_ASSERT_PTR_NOT_NULL(strstr(entry, "\nREASON=set to 2.5 bits by hand"));
	CU_ASSERT_PTR_NOT_NULL(strstr(entry, "\nRESIDENT_BYTES="));
	CU_ASSERT_PTR_NOT_NULL(strstr(entry, "\nINPUTS=profile=balanced"));
	/* The signal has come before the answer to this question. */
	(void) caller_bits(bus, "net");
	while (sd_bus_process(bus, NULL) > 0)
		;
	CU_ASSERT_EQUAL(signals, 1);
	CU_ASSERT_FALSE(hear(extra, sizeof extra, 100));
}

static void test_what_is_set_again_is_no_switch(void)
{
	char entry[16384];

	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 2.5), "");
	CU_ASSERT_FALSE(hear(entry, sizeof entry, 100));
}

static void test_stop(void)
{
	(void) sd_bus_flush_close_unref(bus);
}

TEST_MAIN("journal", TEST(start), TEST(a_switch_is_one_entry_and_one_signal),
	TEST(what_is_set_again_is_no_switch), TEST(stop))
