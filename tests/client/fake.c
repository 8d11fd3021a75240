/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bitshed/protocol.h"
#include "support/bus.h"

#define SLOTS 4
#define STRIDE 256

static int served = -1; /* our end of the last session's socket */

static int is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static int make_memory(const char *how)
{
	int fd = memfd_create("fake", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, is(how, "small") ? SLOTS * STRIDE - 1 : SLOTS * STRIDE) < 0)
		abort();
	if (!is(how, "unsealed") && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		abort();
	return fd;
}

static int append_layout(sd_bus_message *m, const char *how)
{
	uint64_t input = is(how, "offset-wraps") ? UINT64_MAX - 3 : 0;
	uint64_t output = is(how, "output-outside") ? STRIDE - 4 : 128;
	uint64_t stride = is(how, "stride-too-small") ? 64 : STRIDE;
	uint32_t slots = is(how, "no-slots") ? 0 : SLOTS;

	if (is(how, "empty-layout"))
		return sd_bus_message_append(m, "a{sv}", 0);
	return sd_bus_message_append(m, "a{sv}", 9, "slots", "u", slots, "slot-stride", "t", stride,
		"input-offset", "t", input, "output-offset", "t", output, "pixels-bytes", "t",
		UINT64_C(12), "floats-bytes", "t", UINT64_C(48), "output-bytes", "t",
		is(how, "odd-output") ? UINT64_C(9) : UINT64_C(8), "memory-bytes", "t",
		(uint64_t) SLOTS * STRIDE, "something-new", "s", "skip me");
}

static int method_open(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	sd_bus_message *reply = NULL;
	int memory, pair[2], r;
	const char *how;

	if (sd_bus_message_read(m, "s", &how) < 0)
		return -EINVAL;
	memory = make_memory(how);
	if (socketpair(AF_UNIX, (is(how, "stream") ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC,
		    0, pair) < 0)
		abort();
	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = sd_bus_message_append(reply, "ohh", BITSHED_PATH "/session/1", memory, pair[1]);
	if (r >= 0)
		r = append_layout(reply, how);
	if (r >= 0)
		r = sd_bus_send(NULL, reply, NULL);
	(void) sd_bus_message_unref(reply);
	(void) close(memory);
	(void) close(pair[1]);
	if (served >= 0)
		(void) close(served);
	served = pair[0];
	return r < 0 ? r : 1;
}

static int method_infer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	static const float output[2] = {0.25f, 0.75f};
	sd_bus_message *reply = NULL;
	char name[64];
	const char *how;
	int r;

	if (sd_bus_message_read(m, "s", &how) < 0)
		return -EINVAL;
	if (how[0] >= 'A' && how[0] <= 'Z') {
		(void) snprintf(name, sizeof name, "org.bitshed.Error.%s", how);
		return sd_bus_error_set(error, name, "as asked for");
	}
	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = sd_bus_message_append_array(reply, 'y', output,
			is(how, "odd-output")  ? 7
			: is(how, "no-output") ? 0
					       : 8);
	if (r >= 0)
		r = sd_bus_message_append(reply, "a{sv}", 4, "bits", "d", 2.5, "device", "s",
			"fake", "new", "as", 0, "run-nsec", "t", UINT64_C(77));
	if (r >= 0)
		r = sd_bus_send(NULL, reply, NULL);
	(void) sd_bus_message_unref(reply);
	return r < 0 ? r : 1;
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("OpenSession", "sa{sv}", "ohha{sv}", method_open, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Infer", "saya{sv}", "aya{sv}", method_infer, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static void hang_up(void)
{
	(void) close(served);
	served = -1;
}

static void serve(void)
{
	struct bitshed_request q;
	struct bitshed_reply a = {.version = BITSHED_PROTOCOL_VERSION, .bits = 3, .run_nsec = 5};
	size_t size = sizeof a;
	ssize_t n = recv(served, &q, sizeof q, 0);
	unsigned int what;

	if (n != sizeof q) {
		hang_up();
		return;
	}
	what = q.cookie & 0xff00;
	a.status = q.cookie & 0xff;
	a.cookie = q.cookie;
	a.slot = what == FAKE_OTHER_SLOT ? SLOTS : q.slot;
	a.version = what == FAKE_VERSION ? 99 : a.version;
	size = what == FAKE_SHORT ? 7 : size;
	if (what == FAKE_HANG_UP)
		hang_up();
	else if (what != FAKE_SILENCE)
		(void) send(served, &a, size, MSG_NOSIGNAL);
	if (what == FAKE_TWICE)
		(void) send(served, &a, size, MSG_NOSIGNAL);
}

static void run(int up)
{
	sd_bus *bus = test_bus_open();

	if (sd_bus_add_object_vtable(
		    bus, NULL, BITSHED_PATH, BITSHED_MANAGER_INTERFACE, vtable, NULL) < 0 ||
		sd_bus_request_name(bus, BITSHED_BUS_NAME, 0) < 0 || write(up, "", 1) != 1)
		_exit(1);
	for (;;) {
		struct pollfd p[2] = {{sd_bus_get_fd(bus), POLLIN, 0}, {served, POLLIN, 0}};

		if (sd_bus_process(bus, NULL) > 0)
			continue;
		if (poll(p, 2, -1) > 0 && p[1].revents)
			serve();
	}
}

void fake_start(void)
{
	int up[2];
	char byte;
	pid_t parent = getpid(), pid;

	(void) test_bus_address(); /* the bus is the parent's child, not ours */
	if (pipe2(up, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		abort();
	if (pid == 0) {
		(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			run(up[1]);
		_exit(1);
	}
	(void) close(up[1]);
	if (read(up[0], &byte, 1) != 1)
		abort();
	(void) close(up[0]);
}
