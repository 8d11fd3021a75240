/* SPDX-License-Identifier: Apache-2.0 */
#include "support/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/test.h"

static const char bus_config[] =
	"<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"
	" \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
	"<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>\n"
	"<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow "
	"send_destination=\"*\"/>\n"
	"<allow eavesdrop=\"true\"/></policy></busconfig>\n";

static char bus_address[256];
static struct child {
	pid_t pid;
	bool daemon;
} children[16];
static size_t n_children;

static void die(const char *what)
{
	fprintf(stderr, "test bus: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A daemon must end by itself, and in order: so a sanitizer's findings at its end fail the test. */
static bool end_daemon(pid_t pid)
{
	int status = 0;

	(void) kill(pid, SIGTERM);
	for (int i = 0; i < 3000; i++) {
		if (waitpid(pid, &status, WNOHANG) != 0)
			return WIFEXITED(status) && WEXITSTATUS(status) == 0;
		(void) usleep(10000);
	}
	return false;
}

static void end_children(void)
{
	bool good = true;

	/* The bus was first and goes last. */
	while (n_children > 0) {
		struct child *c = &children[--n_children];

		if (c->daemon && end_daemon(c->pid))
			continue;
		(void) kill(c->pid, SIGKILL);
		(void) waitpid(c->pid, NULL, 0);
		good &= !c->daemon;
	}
	if (!good) {
		fprintf(stderr, "test bus: the daemon did not end well\n");
		_exit(1);
	}
}

/* @out: becomes the child's standard output, or -1 */
static pid_t spawn(char *const *argv, int out, bool daemon)
{
	pid_t parent = getpid(), pid;

	if (n_children == 0 && atexit(end_children) != 0)
		die("atexit");
	if (n_children == sizeof children / sizeof children[0])
		die("too many children");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid > 0) {
		children[n_children++] = (struct child){.pid = pid, .daemon = daemon};
		return pid;
	}
	(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	if (out >= 0)
		(void) dup2(out, STDOUT_FILENO);
	(void) execvp(argv[0], argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static bool have_program(const char *name)
{
	char command[128];

	(void) snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", name);
	return system(command) == 0;
}

static void start_bus(void)
{
	char config[] = "/tmp/bitshed-test-bus-XXXXXX";
	char option[64];
	int file = mkstemp(config), out[2];
	size_t n = 0;

	if (!have_program("dbus-daemon"))
		test_skip("no dbus-daemon on this machine");
	if (file < 0 || write(file, bus_config, sizeof bus_config - 1) < 0
		|| pipe2(out, O_CLOEXEC) < 0)
		die("configuration");
	(void) close(file);
	(void) snprintf(option, sizeof option, "--config-file=%s", config);
	(void) spawn((char *[]){"dbus-daemon", option, "--nofork", "--print-address=1", NULL},
		out[1], false);
	(void) close(out[1]);
	while (n < sizeof bus_address - 1 && read(out[0], bus_address + n, 1) == 1
		&& bus_address[n] != '\n')
		n++;
	bus_address[n] = '\0';
	(void) close(out[0]);
	(void) unlink(config);
	if (n == 0)
		die("dbus-daemon did not start");
}

const char *test_bus_address(void)
{
	if (!bus_address[0]) {
		start_bus();
		(void) setenv("DBUS_SESSION_BUS_ADDRESS", bus_address, 1);
		(void) setenv("DBUS_SYSTEM_BUS_ADDRESS", bus_address, 1);
	}
	return bus_address;
}

sd_bus *test_bus_open(void)
{
	sd_bus *bus = NULL;
	int r;

	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, test_bus_address());
	if (r >= 0)
		r = sd_bus_set_bus_client(bus, 1);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0) {
		errno = -r;
		die("connect");
	}
	return bus;
}

bool test_daemon_is_up(sd_bus *bus)
{
	sd_bus_message *reply = NULL;
	int owned = 0;

	if (sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
		    "org.freedesktop.DBus", "NameHasOwner", NULL, &reply, "s", "org.bitshed")
		>= 0)
		(void) sd_bus_message_read(reply, "b", &owned);
	(void) sd_bus_message_unref(reply);
	return owned;
}

pid_t test_daemon_start(const char *const *args)
{
	char *argv[32] = {(char *) TEST_BITSHEDD}, option[300];
	sd_bus *bus = test_bus_open();
	bool configured = false;
	size_t n = 1;
	pid_t pid;

	(void) snprintf(option, sizeof option, "--bus=%s", test_bus_address());
	argv[n++] = option;
	for (; args && *args && n < 29; args++) {
		configured |= strncmp(*args, "--config", 8) == 0;
		argv[n++] = (char *) *args;
	}
	if (!configured)
		argv[n++] = (char *) "--config=/nonexistent/bitshed.yaml";
	pid = spawn(argv, -1, true);
	/* A sanitized daemon on a busy machine needs a while. */
	for (int i = 0; i < 3000 && !test_daemon_is_up(bus); i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid) {
			errno = ECHILD;
			die(TEST_BITSHEDD);
		}
		(void) usleep(10000);
	}
	(void) sd_bus_flush_close_unref(bus);
	return pid;
}

pid_t test_daemon_start_with(const char *option, const char *text)
{
	char file[] = "/tmp/bitshed-test-XXXXXX", argument[64];
	int fd = mkstemp(file);
	pid_t pid;

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t) strlen(text))
		die(file);
	(void) close(fd);
	(void) snprintf(argument, sizeof argument, "%s=%s", option, file);
	pid = test_daemon_start((const char *const[]){argument, NULL});
	(void) unlink(file);
	return pid;
}

int test_daemon_stop(pid_t pid)
{
	int status = 0;

	(void) kill(pid, SIGTERM);
	(void) waitpid(pid, &status, 0);
	for (size_t i = 0; i < n_children; i++)
		if (children[i].pid == pid) {
			memmove(&children[i], &children[i + 1],
				(n_children - i - 1) * sizeof children[0]);
			n_children--;
		}
	return status;
}

uint64_t test_plane_bytes(pid_t pid)
{
	char path[64], line[512];
	uint64_t sum = 0, kib;
	bool plane = false;
	FILE *f;

	(void) snprintf(path, sizeof path, "/proc/%d/smaps", (int) pid);
	f = fopen(path, "r");
	if (!f)
		die(path);
	while (fgets(line, sizeof line, f)) {
		if (strchr("0123456789abcdef", line[0]))
			plane = strstr(line, "/memfd:bitshed-plane") != NULL;
		else if (plane && sscanf(line, "Rss: %" SCNu64 " kB", &kib) == 1)
			sum += kib * 1024;
	}
	(void) fclose(f);
	return sum;
}
