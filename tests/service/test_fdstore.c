/* SPDX-License-Identifier: Apache-2.0 */
/* Models that outlive the daemon, with a service manager of our own that keeps their memory. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "caller.h"
#include "support/bus.h"
#include "support/restart.h"
#include "support/test.h"

#define PIXELS (8 * 8 * 3)

static sd_bus *bus;
static pid_t daemon_pid;
static uint8_t pixels[PIXELS];
static char path[64];

static void start(const char *const *args)
{
	if (!bus) {
		bus = test_bus_open();
		restart_init();
	}
	daemon_pid = restart_start(args, NULL);
}

static void stop(void)
{
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	while (restart_stored(NULL) > 0) {
		static const char *const kinds[] = {"state", "head", "file", "fixed", "plane1",
			"plane2", "plane3", "plane4"};
		char name[96];

		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
			for (char c = 'a'; c <= 'd'; c++) {
				(void) snprintf(name, sizeof name, "%s.%c", kinds[i], c);
				restart_drop(name);
			}
	}
}

static struct caller_answer ask(const char *name)
{
	struct caller_answer a;

	caller_infer(bus, name, pixels, sizeof pixels, &a, NULL);
	return a;
}

static void same_answer(const struct caller_answer *a, const struct caller_answer *b)
{
	CU_ASSERT_STRING_EQUAL(a->error, "");
	CU_ASSERT_STRING_EQUAL(b->error, "");
	CU_ASSERT_EQUAL(a->bits, b->bits);
	CU_ASSERT_STRING_EQUAL(a->rule, b->rule);
	CU_ASSERT_EQUAL(a->output_bytes, b->output_bytes);
	CU_ASSERT_EQUAL(memcmp(a->output, b->output, a->output_bytes), 0);
}

static void write_model(uint32_t seed)
{
	const struct test_network_options options = {.seed = seed, .planes = 4};
	int from = test_network_memfd(&options), to;
	struct stat st;
	void *map;

	if (!path[0]) {
		(void) snprintf(path, sizeof path, "/tmp/bitshed-fdstore-XXXXXX");
		to = mkstemp(path);
	} else {
		(void) unlink(path);
		to = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	CU_ASSERT_EQUAL_FATAL(fstat(from, &st), 0);
	map = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, from, 0);
	CU_ASSERT_EQUAL_FATAL(fd_write_all(to, map, (size_t) st.st_size), 0);
	(void) munmap(map, (size_t) st.st_size);
	(void) close(to);
	(void) close(from);
}

static void test_models_come_back(void)
{
	struct caller_answer before_a, before_b, after;
	uint64_t started, answered;

	start(NULL);
	caller_load_network(bus, "a", 4);
	caller_load_network(bus, "b", 4);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "b", 2.5), "");
	before_a = ask("a");
	before_b = ask("b");
	CU_ASSERT_TRUE(restart_wait("state.a", 1) && restart_wait("state.b", 1));
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	daemon_pid = restart_start(NULL, &started);
	after = ask("a");
	answered = clock_now_nsec();
	same_answer(&before_a, &after);
	after = ask("b");
	same_answer(&before_b, &after);
	printf("first answer %.1f ms after the start ",
		(double) (answered - started) / (double) NSEC_PER_MSEC);
	/* What was taken back goes on to be kept, and by a daemon that died as well. */
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGKILL), SIGKILL);
	daemon_pid = restart_start(NULL, NULL);
	after = ask("b");
	same_answer(&before_b, &after);
	/* Planes that were not in memory come from the file that was kept. */
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "b", 4.0), "");
	after = ask("b");
	CU_ASSERT_EQUAL(after.bits, 4);
	CU_ASSERT_EQUAL(memcmp(after.output, before_a.output, after.output_bytes), 0);
	stop();
}

static void test_shed_planes_leave_the_store(void)
{
	start(NULL);
	caller_load_network(bus, "a", 4);
	CU_ASSERT_TRUE(restart_wait("plane4.a", 1) && restart_wait("state.a", 1));
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "a", 2.0), "");
	CU_ASSERT_TRUE(restart_wait("plane4.a", 0) && restart_wait("plane3.a", 0));
	CU_ASSERT_TRUE(restart_wait("state.a", 1));
	CU_ASSERT_EQUAL(restart_stored("plane2.a"), 1);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "a", 0.0), "");
	CU_ASSERT_TRUE(restart_wait("plane3.a", 1) && restart_wait("plane4.a", 1));
	CU_ASSERT_TRUE(restart_wait("state.a", 1));
	stop();
}

static void test_unload_empties_the_store(void)
{
	start(NULL);
	caller_load_network(bus, "a", 4);
	caller_load_network(bus, "b", 4);
	CU_ASSERT_TRUE(restart_wait("state.a", 1) && restart_wait("state.b", 1));
	CU_ASSERT_TRUE(restart_wait(NULL, 16));
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "a"), "");
	CU_ASSERT_TRUE(restart_wait(NULL, 8));
	CU_ASSERT_EQUAL(restart_stored("state.b"), 1);
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	daemon_pid = restart_start(NULL, NULL);
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "a", "State"), "");
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "b", "State"), "ready");
	stop();
}

/* Each makes model "a" one that must not be believed. */
static void planes_swapped(void)
{
	restart_swap("plane1.a", "plane2.a");
}

static void planes_of_another(void)
{
	restart_swap("plane1.a", "plane1.b");
}

static void state_of_another(void)
{
	restart_swap("state.a", "state.b");
}

static void head_is_the_file(void)
{
	restart_swap("head.a", "file.a");
}

static void file_twice(void)
{
	int fd = memfd_create("x", MFD_CLOEXEC);

	restart_put("file.a", fd);
	(void) close(fd);
}

static void state_not_sealed(void)
{
	static const char zeros[4096];
	int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CU_ASSERT_EQUAL(fd_write_all(fd, zeros, sizeof zeros), 0);
	restart_drop("state.a");
	restart_put("state.a", fd);
	restart_put("nonsense", fd);
	(void) close(fd);
}

static void no_head(void)
{
	restart_drop("head.a");
}

static void test_mixed_up_is_not_believed(void)
{
	static void (*const spoil[])(void) = {planes_swapped, planes_of_another, state_of_another,
		head_is_the_file, file_twice, state_not_sealed, no_head};

	for (size_t i = 0; i < ARRAY_SIZE(spoil); i++) {
		start((const char *const[]){"--log-level=error", NULL});
		caller_load_network(bus, "a", 4);
		caller_load_network(bus, "b", 3);
		CU_ASSERT_TRUE(restart_wait("state.a", 1) && restart_wait("state.b", 1));
		CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
		spoil[i]();
		daemon_pid =
			restart_start((const char *const[]){"--log-level=error", NULL}, NULL);
		CU_ASSERT_STRING_EQUAL(caller_text(bus, "a", "State"), "");
		CU_ASSERT_TRUE(restart_wait("state.a", 0) && restart_wait("plane1.a", 0)
			       && restart_wait("file.a", 0) && restart_wait("nonsense", 0));
		/* The name is free again. */
		caller_load_network(bus, "a", 4);
		CU_ASSERT_TRUE(restart_wait("state.a", 1));
		stop();
	}
}

static void test_a_lost_plane_is_read_again(void)
{
	struct caller_answer before, after;

	start(NULL);
	caller_load_network(bus, "a", 4);
	before = ask("a");
	CU_ASSERT_TRUE(restart_wait("state.a", 1));
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	restart_drop("plane2.a");
	daemon_pid = restart_start(NULL, NULL);
	after = ask("a");
	same_answer(&before, &after);
	CU_ASSERT_TRUE(restart_wait("plane2.a", 1));
	stop();
}

static void test_configured_models_follow_their_file(void)
{
	char option[96];
	const char *const args[] = {option, NULL};
	struct caller_answer first, again, replaced;

	write_model(1);
	(void) snprintf(option, sizeof option, "--model=a=%s", path);
	start(args);
	CU_ASSERT_TRUE(restart_wait("state.a", 1));
	first = ask("a");
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	(void) unlink(path);
	daemon_pid = restart_start(args, NULL);
	again = ask("a");
	same_answer(&first, &again);
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	write_model(2);
	daemon_pid = restart_start(args, NULL);
	for (int i = 0; i < 3000 && strcmp(caller_text(bus, "a", "State"), "ready") != 0; i++)
		(void) usleep(10000);
	replaced = ask("a");
	CU_ASSERT_STRING_EQUAL(replaced.error, "");
	CU_ASSERT_NOT_EQUAL(memcmp(first.output, replaced.output, first.output_bytes), 0);
	CU_ASSERT_TRUE(restart_wait("state.a", 1));
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	daemon_pid = restart_start(NULL, NULL);
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "a", "State"), "");
	CU_ASSERT_TRUE(restart_wait(NULL, 0));
	(void) unlink(path);
	stop();
}

TEST_MAIN("fdstore", TEST(models_come_back), TEST(shed_planes_leave_the_store),
	TEST(unload_empties_the_store), TEST(mixed_up_is_not_believed),
	TEST(a_lost_plane_is_read_again), TEST(configured_models_follow_their_file))
