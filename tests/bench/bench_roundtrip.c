/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon adds to a round trip, for a network of no cost, in one run, interleaved, medians:
 *
 *	bus     Infer() of 1 KiB against an empty method of a bare sd-bus service on the same bus,
 *	most 1.5
 *	session	a request record against a bare SEQPACKET ping-pong of the same records, at most 2
 *
 * The client is on one processor, all servers on another one, and then all on the same.
 * BITSHED_BENCH_ROUNDS: how many of each, 2000.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "free_network.h"
#include "service/caller.h"
#include "support/bus.h"
#include "support/test.h"

#define ROUNDS_MAX 20000
#define ECHO_NAME "org.bitshed.Echo"

enum what { EMPTY, ECHO_1K, INFER, PING_PONG, SESSION, WHAT_MAX };

static const char *const names[WHAT_MAX] = {
	[EMPTY] = "empty bus method",
	[ECHO_1K] = "bus method, 1 KiB there and back",
	[INFER] = "Infer of 1 KiB",
	[PING_PONG] = "bare SEQPACKET ping-pong",
	[SESSION] = "session request",
};

static uint64_t samples[WHAT_MAX][ROUNDS_MAX];
static uint8_t input[FREE_NETWORK_INPUT_BYTES];

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(-r));
	exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(sched_setaffinity(0, sizeof set, &set) < 0 ? -errno : 0, "pin");
}

static int method_empty(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	return sd_bus_reply_method_return(m, NULL);
}

static int method_echo(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	sd_bus_message *reply = NULL;
	const void *bytes;
	size_t size;
	int r;

	r = sd_bus_message_read_array(m, 'y', &bytes, &size);
	if (r >= 0)
		r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = sd_bus_message_append_array(reply, 'y', bytes, size);
	if (r >= 0)
		r = sd_bus_send(NULL, reply, NULL);
	(void) sd_bus_message_unref(reply);
	return r;
}

/* clang-format off */
static const sd_bus_vtable echo_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Empty", "", "", method_empty, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Echo", "ay", "ay", method_echo, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END
};
/* clang-format on */

static void serve_echo(void)
{
	sd_event *event = NULL;
	sd_bus *bus = test_bus_open();

	must(sd_event_new(&event), "event");
	must(sd_bus_attach_event(bus, event, 0), "attach");
	must(sd_bus_add_object_vtable(bus, NULL, "/", ECHO_NAME, echo_vtable, NULL), "vtable");
	must(sd_bus_request_name(bus, ECHO_NAME, 0), "name");
	must(sd_event_loop(event), "loop");
}

static void serve_ping_pong(int fd)
{
	struct bitshed_request request;
	struct bitshed_reply reply = {};

	while (recv(fd, &request, sizeof request, 0) == sizeof request) {
		reply.cookie = request.cookie;
		if (send(fd, &reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply)
			break;
	}
}

/* Children of this program die with it. */
static pid_t child(void)
{
	pid_t pid = fork();

	must(pid < 0 ? -errno : 0, "fork");
	if (pid == 0)
		(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

struct bench {
	sd_bus *bus;
	int ping_pong;
	struct caller_session session;
};

static void call(struct bench *b, const char *name, const char *path, const char *method,
	bool bytes, bool options)
{
	sd_bus_message *m = NULL, *reply = NULL;

	must(sd_bus_message_new_method_call(b->bus, &m, name, path,
		     options ? BITSHED_MANAGER_INTERFACE : ECHO_NAME, method),
		"call");
	if (options)
		must(sd_bus_message_append(m, "s", "free"), "append");
	if (bytes)
		must(sd_bus_message_append_array(m, 'y', input, sizeof input), "append");
	if (options)
		must(sd_bus_message_append(m, "a{sv}", 0), "append");
	must(sd_bus_call(b->bus, m, 0, NULL, &reply), method);
	(void) sd_bus_message_unref(reply);
	(void) sd_bus_message_unref(m);
}

static void exchange(int fd)
{
	struct bitshed_request request = caller_request(0);
	struct bitshed_reply reply;

	if (send(fd, &request, sizeof request, MSG_NOSIGNAL) != sizeof request
		|| recv(fd, &reply, sizeof reply, 0) != sizeof reply || reply.status != BITSHED_OK)
		must(-EPROTO, "exchange");
}

static void measure(struct bench *b, enum what what, int round)
{
	uint64_t begin = clock_now_nsec();

	switch (what) {
	case EMPTY:
		call(b, ECHO_NAME, "/", "Empty", false, false);
		break;
	case ECHO_1K:
		call(b, ECHO_NAME, "/", "Echo", true, false);
		break;
	case INFER:
		call(b, BITSHED_BUS_NAME, BITSHED_PATH, "Infer", true, true);
		break;
	case PING_PONG:
		exchange(b->ping_pong);
		break;
	case SESSION:
		exchange(b->session.socket);
		break;
	case WHAT_MAX:
		break;
	}
	samples[what][round] = clock_now_nsec() - begin;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double median_usec(enum what what, int rounds)
{
	qsort(samples[what], (size_t) rounds, sizeof samples[what][0], compare);
	return (double) samples[what][rounds / 2] / 1000;
}

static bool report(const char *what, double is, double base, double ratio_max)
{
	printf("  ratio of %-8s %5.2f  (at most %.1f)%s\n", what, is / base, ratio_max,
		is / base <= ratio_max ? "" : "  EXCEEDED");
	return is / base <= ratio_max;
}

/* In another order each time: who comes after whom decides what is still in the caches. */
static void measure_all(struct bench *b, int round, uint64_t *state)
{
	enum what order[WHAT_MAX] = {EMPTY, ECHO_1K, INFER, PING_PONG, SESSION}, swap;

	for (uint64_t i = WHAT_MAX; i > 1; i--) {
		uint64_t k = test_random(state) % i;

		swap = order[k];
		order[k] = order[i - 1];
		order[i - 1] = swap;
	}
	for (int i = 0; i < WHAT_MAX; i++)
		measure(b, order[i], round);
}

static bool run(struct bench *b, int rounds, const char *title)
{
	double usec[WHAT_MAX];
	uint64_t state = 1;
	bool good;

	for (int i = 0; i < rounds / 10 + 10; i++)
		measure_all(b, 0, &state);
	for (int i = 0; i < rounds; i++)
		measure_all(b, i, &state);
	printf("%s, median of %d:\n", title, rounds);
	for (enum what w = 0; w < WHAT_MAX; w++) {
		usec[w] = median_usec(w, rounds);
		printf("  %-34s %8.2f us\n", names[w], usec[w]);
	}
	good = report("bus", usec[INFER], usec[EMPTY], 1.5);
	return report("session", usec[SESSION], usec[PING_PONG], 2.0) && good;
}

static void start_servers(struct bench *b)
{
	int pair[2];

	(void) test_bus_address();
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0,
		"socketpair");
	if (child() == 0) {
		(void) close(pair[1]);
		serve_ping_pong(pair[0]);
		_exit(0);
	}
	(void) close(pair[0]);
	b->ping_pong = pair[1];
	if (child() == 0) {
		serve_echo();
		_exit(0);
	}
	(void) test_daemon_start((const char *const[]){"--log-level=warning", NULL});
}

static bool bench(int server_cpu, int client_cpu, int rounds, const char *title)
{
	struct bench b = {};
	const char *error;
	bool good;
	int fd;

	pin(server_cpu);
	start_servers(&b);
	pin(client_cpu);
	b.bus = test_bus_open();
	fd = free_network_memfd();
	if (caller_load(b.bus, "free", fd, &error) != 0)
		must(-EINVAL, caller_text(b.bus, "free", "StateReason"));
	(void) close(fd);
	if (*caller_session_open(b.bus, "free", 1, &b.session))
		must(-EINVAL, "session");
	good = run(&b, rounds, title);
	(void) sd_bus_flush_close_unref(b.bus);
	return good;
}

/* Each pinning in a process of its own, so that each has its own bus, daemon and echo. */
static bool bench_apart(int server_cpu, int client_cpu, const char *title)
{
	const char *text = getenv("BITSHED_BENCH_ROUNDS");
	int rounds = text ? atoi(text) : 2000, status = 0;
	pid_t pid;

	fflush(NULL);
	pid = child();
	if (pid == 0)
		exit(bench(server_cpu, client_cpu, MIN_OF(MAX_OF(rounds, 1), ROUNDS_MAX), title)
				? 0
				: 1);
	(void) waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_servers_apart(void)
{
	cpu_set_t set;

	must(sched_getaffinity(0, sizeof set, &set) < 0 ? -errno : 0, "affinity");
	if (!CPU_ISSET(1, &set)) {
		printf("one processor only\n");
		return;
	}
	CU_ASSERT_TRUE(bench_apart(1, 0, "servers on processor 1, client on 0"));
}

static void test_all_together(void)
{
	CU_ASSERT_TRUE(bench_apart(0, 0, "all on processor 0"));
}

TEST_MAIN("roundtrip", TEST(servers_apart), TEST(all_together))
