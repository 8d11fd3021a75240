/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon with nothing in memory sleeps, whatever its rules look at; and one whose power bus has gone
 * gets it back.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

#define QUIET_SEC 10

static sd_bus *bus;
static pid_t daemon_pid;

static const char rules[] = "version: 1\n"
			    "rules:\n"
			    "  - {name: hot, when: {temperature: above 80 C}, then: {bits: at most 1}}\n"
			    "  - {name: weak, when: {under-voltage: true}, then: {bits: at most 1}}\n"
			    "  - {name: night, when: {time-of-day: '22:00 to 06:00'}, then: {bits: "
			    "at most 3}}\n";

static void start(void)
{
	if (bus)
		return;
	daemon_pid = test_daemon_start_with("--policy", rules);
	bus = test_bus_open();
}

static void test_without_models_it_sleeps(void)
{
	start();
	caller_expect_quiet(daemon_pid, QUIET_SEC);
}

static void test_after_the_last_model_it_sleeps_again(void)
{
	uint64_t before;

	start();
	caller_load_network(bus, "net", 4);
	before = caller_switches(daemon_pid);
	(void) sleep(5);
	/* While there is something to shed, zones are looked at. */
	CU_ASSERT_TRUE(caller_switches(daemon_pid) > before);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "net"), "");
	caller_expect_quiet(daemon_pid, QUIET_SEC);
}

#define PROFILES "net.hadess.PowerProfiles"
#define PROFILES_PATH "/net/hadess/PowerProfiles"

static int get_active(sd_bus *b, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *e)
{
	return sd_bus_message_append(reply, "s", userdata);
}

static const sd_bus_vtable profiles_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("ActiveProfile", "s", get_active, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_VTABLE_END,
};

static pid_t start_board_bus(const char *address)
{
	char option[96];
	pid_t pid;

	(void) snprintf(option, sizeof option, "--address=%s", address);
	pid = fork();
	if (pid == 0) {
		(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void) execlp("dbus-daemon", "dbus-daemon", "--session", option, "--nofork",
			"--nopidfile", (char *) NULL);
		_exit(127);
	}
	return pid;
}

static sd_bus *start_profiles(const char *address, const char *profile)
{
	sd_bus *board = NULL;
	int r = -1;

	for (int i = 0; i < 1000 && r < 0; i++) {
		CU_ASSERT_EQUAL_FATAL(sd_bus_new(&board), 0);
		CU_ASSERT_TRUE_FATAL(sd_bus_set_address(board, address) >= 0);
		CU_ASSERT_TRUE_FATAL(sd_bus_set_bus_client(board, 1) >= 0);
		r = sd_bus_start(board);
		if (r < 0) {
			board = sd_bus_unref(board);
			(void) usleep(10000);
		}
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(board);
	CU_ASSERT_TRUE_FATAL(sd_bus_add_object_vtable(board, NULL, PROFILES_PATH, PROFILES,
				     profiles_vtable, (void *) profile)
			     >= 0);
	CU_ASSERT_TRUE_FATAL(sd_bus_request_name(board, PROFILES, 0) >= 0);
	return board;
}

static bool wait_for_bits(sd_bus *board, double bits)
{
	for (int i = 0; i < 4000 && caller_bits(bus, "net") != bits; i++) {
		while (board && sd_bus_process(board, NULL) > 0)
			;
		(void) usleep(5000);
	}
	return caller_bits(bus, "net") == bits;
}

static void test_a_lost_power_bus_is_found_again(void)
{
	static const char saver[] = "version: 1\n"
				    "dwell: 0 s\n"
				    "rules:\n"
				    "  - {name: saver, when: {system-profile: power-saver}, then: "
				    "{bits: at most 2}}\n";
	char folder[] = "/tmp/bitshed-idle-XXXXXX", address[64], power[96], policy[96], file[64];
	sd_bus *board;
	pid_t pid;
	int fd;

	start();
	(void) test_daemon_stop(daemon_pid);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	(void) snprintf(file, sizeof file, "%s/rules.yaml", folder);
	(void) snprintf(address, sizeof address, "unix:path=%s/bus", folder);
	(void) snprintf(power, sizeof power, "--power-bus=%s", address);
	(void) snprintf(policy, sizeof policy, "--policy=%s", file);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_EQUAL_FATAL(fd_write_all(fd, saver, strlen(saver)), 0);
	(void) close(fd);
	/* There is none yet when the daemon begins. */
	daemon_pid = test_daemon_start((const char *const[]){policy, power, NULL});
	caller_load_network(bus, "net", 4);
	for (int i = 0; i < 2; i++) {
		pid = start_board_bus(address);
		board = start_profiles(address, i == 0 ? "power-saver" : "balanced");
		CU_ASSERT_TRUE(wait_for_bits(board, i == 0 ? 2 : 4));
		(void) kill(pid, SIGKILL);
		(void) waitpid(pid, NULL, 0);
		(void) sd_bus_unref(board);
		(void) unlink(address + strlen("unix:path="));
		(void) usleep(100000);
		CU_ASSERT_EQUAL(caller_bits(bus, "net"), i == 0 ? 2 : 4);
	}
	(void) unlink(file);
	(void) rmdir(folder);
}

TEST_MAIN("daemon idle", TEST(without_models_it_sleeps), TEST(after_the_last_model_it_sleeps_again),
	TEST(a_lost_power_bus_is_found_again))
