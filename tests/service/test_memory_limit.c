/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More models than fit: planes go before models, idle models before those in use, and then loads are
 * refused with numbers. Under a limit of the configuration, of a control group, and of the address space.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "caller.h"
#include "service/memory.h"
#include "support/bus.h"
#include "support/test.h"

#define MIB (1024 * 1024)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif
/* Limits of memory say something of the daemon alone. */
#define WATCHED (SANITIZED || getenv("QEMU_CPU"))
#define LARGE 5 /* models, of 6 MiB at 4 bits */
#define INPUT_BYTES ((size_t) 8 * 8 * 3)

static sd_bus *bus;
static const uint8_t input[INPUT_BYTES];

static void test_the_widest_shed_first(void)
{
	struct network big = {.planes_max = 4, .plane_bytes = {100, 100, 100, 100}, .fixed_bytes = 10};
	struct network small = {.planes_max = 8, .plane_bytes = {10, 10, 10, 10, 10, 10, 10, 10}};
	struct memory_want wants[] = {{&big, 4, 0}, {&small, 8, 0}, {&big, 2.5, 0}};

	CU_ASSERT_EQUAL(memory_model_bytes(&big, 2.5), 260);
	CU_ASSERT_TRUE(memory_fit(wants, 3, 750));
	CU_ASSERT_EQUAL(wants[0].bits, 4);
	CU_ASSERT_EQUAL(wants[1].bits, 8);
	CU_ASSERT_TRUE(memory_fit(wants, 3, 740));
	CU_ASSERT_EQUAL(wants[0].bits, 4);
	CU_ASSERT_EQUAL(wants[1].bits, 7);
	CU_ASSERT_EQUAL(wants[2].bits, 2.5);
	CU_ASSERT_TRUE(memory_fit(wants, 3, 450));
	CU_ASSERT_EQUAL(wants[0].bits, 2);
	CU_ASSERT_EQUAL(wants[1].bits, 2);
	CU_ASSERT_EQUAL(wants[2].bits, 2);
	CU_ASSERT_FALSE(memory_fit(wants, 3, 229));
	CU_ASSERT_EQUAL(wants[0].bits + wants[1].bits + wants[2].bits, 3);
}

static bool wait_for_state(const char *name, const char *state)
{
	for (int i = 0; i < 4000 && strcmp(caller_text(bus, name, "State"), state) != 0; i++)
		(void) usleep(5000);
	return strcmp(caller_text(bus, name, "State"), state) == 0;
}

static bool wait_for_bits(const char *name, double bits)
{
	for (int i = 0; i < 4000 && caller_bits(bus, name) != bits; i++)
		(void) usleep(5000);
	return caller_bits(bus, name) == bits;
}

static const char *infer(const char *name, double *ret_bits)
{
	static struct caller_answer a;

	caller_infer(bus, name, input, sizeof input, &a, NULL);
	*ret_bits = a.bits;
	return a.error;
}

/* 20 KiB each at 4 bits, 8 KiB at 1. */
static void test_a_limit_of_the_operator(void)
{
	double bits;
	pid_t pid;

	pid = test_daemon_start_with("--config", "limits:\n  planes: 64 KiB\n");
	bus = bus ?: test_bus_open();
	for (int i = 0; i < 3; i++)
		caller_load_network(bus, (const char *const[]){"a", "b", "c"}[i], 4);
	CU_ASSERT_EQUAL(caller_bits(bus, "a"), 4);
	CU_ASSERT_EQUAL(caller_bits(bus, "c"), 4);
	caller_load_network(bus, "d", 4);
	CU_ASSERT_EQUAL(caller_bits(bus, "a") + caller_bits(bus, "b") + caller_bits(bus, "c")
				+ caller_bits(bus, "d"),
		12);
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "d", "Rule"), "memory-limit");
	CU_ASSERT_TRUE(test_plane_bytes(pid) <= 64 * 1024);
	for (int i = 4; i < 8; i++)
		caller_load_network(bus, (const char *const[]){"e", "f", "g", "h"}[i - 4], 4);
	CU_ASSERT_EQUAL(caller_bits(bus, "a"), 1);
	CU_ASSERT_STRING_EQUAL(infer("a", &bits), "");
	/* Nothing is left to shed: the one that has not been asked for the longest goes. */
	caller_load_network(bus, "i", 4);
	CU_ASSERT_TRUE(wait_for_state("b", "parked"));
	CU_ASSERT_STRING_EQUAL(infer("b", &bits), "");
	CU_ASSERT_EQUAL(bits, 1);
	CU_ASSERT_TRUE(wait_for_state("c", "parked"));
	CU_ASSERT_TRUE(test_plane_bytes(pid) <= 64 * 1024);
	/* And back again. */
	for (const char *name = "cdefghi"; *name; name++)
		CU_ASSERT_STRING_EQUAL(
			caller_error(bus, "Unload", "s", (const char[]){*name, '\0'}), "");
	CU_ASSERT_TRUE(wait_for_bits("a", 4));
	CU_ASSERT_TRUE(wait_for_bits("b", 4));
	(void) test_daemon_stop(pid);
}

static int network_of(uint32_t channels)
{
	struct test_network_options options = {.seed = 3, .channels = channels, .plain = true};

	return test_network_memfd(&options);
}

static void test_what_cannot_fit_is_refused(void)
{
	const char *error;
	pid_t pid;
	int fd;

	pid = test_daemon_start_with("--config", "limits:\n  planes: 64 KiB\n");
	bus = bus ?: test_bus_open();
	caller_load_network(bus, "small", 4);
	/* At first sight. */
	fd = network_of(512);
	CU_ASSERT_EQUAL(caller_load(bus, "huge", fd, &error), -1);
	CU_ASSERT_STRING_EQUAL(error, "org.bitshed.Error.NoMemory");
	(void) close(fd);
	/* When it is known what one plane of it takes. */
	fd = network_of(224);
	CU_ASSERT_EQUAL(caller_load(bus, "large", fd, &error), 1);
	printf("\n    %s ", caller_text(bus, "large", "StateReason"));
	CU_ASSERT_PTR_NOT_NULL(strstr(caller_text(bus, "large", "StateReason"), "bytes for one bit"));
	(void) close(fd);
	CU_ASSERT_TRUE(wait_for_bits("small", 4) || wait_for_state("small", "parked"));
	(void) test_daemon_stop(pid);
}

static int large_network(void)
{
	static int fd = -1;
	struct test_network_options options = {.seed = 3, .planes = 4, .channels = 1024, .plain = true};

	if (fd < 0)
		fd = test_network_memfd(&options);
	return fd;
}

/* Loads them all, asks each of them, and says how it went. */
static void serve_large(pid_t pid, uint64_t room)
{
	uint64_t all = 0;
	char name[8];
	const char *error;
	double bits, sum = 0;

	for (int i = 0; i < LARGE; i++) {
		(void) snprintf(name, sizeof name, "m%d", i);
		CU_ASSERT_EQUAL(caller_load(bus, name, large_network(), &error), 0);
		printf("\n    %s: %g bits, %s ", name, caller_bits(bus, name),
			caller_text(bus, name, "RuleText"));
	}
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < LARGE; i++) {
			(void) snprintf(name, sizeof name, "m%d", i);
			CU_ASSERT_STRING_EQUAL(infer(name, &bits), "");
			CU_ASSERT_TRUE(bits >= 1);
			sum += bits;
		}
	all = test_plane_bytes(pid);
	printf("\n    %.1f MiB of planes in %.1f MiB, %.3g bits on average ", (double) all / MIB,
		(double) room / MIB, sum / LARGE / 3);
	CU_ASSERT_TRUE(sum < 3 * 4 * LARGE);
	CU_ASSERT_TRUE(all < room);
	CU_ASSERT_EQUAL(kill(pid, 0), 0);
}

static bool put(const char *path, const char *file, const char *text)
{
	char name[512];
	int fd, r;

	(void) snprintf(name, sizeof name, "%s/%s", path, file);
	fd = open(name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	r = fd_write_all(fd, text, strlen(text));
	(void) close(fd);
	return r == 0;
}

/* Version 1 or 2, wherever this process may make one. Return: its folder, "" without */
static const char *make_group(const char *bytes)
{
	static char path[480];
	char line[400], *group;
	FILE *f = fopen("/proc/self/cgroup", "re");

	path[0] = '\0';
	while (f && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = '\0';
		group = strchr(strchr(line, ':') + 1, ':') + 1;
		if (strstr(line, ":memory:"))
			(void) snprintf(path, sizeof path, "/sys/fs/cgroup/memory%s/bitshed-%d",
				group, (int) getpid());
		else if (strncmp(line, "0::", 3) == 0 && !path[0])
			(void) snprintf(path, sizeof path, "/sys/fs/cgroup%s/bitshed-%d", group,
				(int) getpid());
	}
	if (f)
		(void) fclose(f);
	if (path[0] && mkdir(path, 0700) == 0) {
		if (put(path, "memory.limit_in_bytes", bytes) || put(path, "memory.max", bytes))
			return path;
		(void) rmdir(path);
	}
	return "";
}

static void test_a_control_group(void)
{
	const char *group = WATCHED ? "" : make_group("25165824");
	char text[32];
	pid_t pid;

	if (!group[0]) {
		printf("skipped: no control group with a memory limit can be made here, or a "
		       "sanitizer or an emulator needs the memory ");
		return;
	}
	pid = test_daemon_start(NULL);
	(void) snprintf(text, sizeof text, "%d", (int) pid);
	CU_ASSERT_TRUE_FATAL(put(group, "cgroup.procs", text));
	serve_large(pid, 24 * MIB);
	(void) test_daemon_stop(pid);
	for (int i = 0; i < 100 && rmdir(group) < 0; i++)
		(void) usleep(10000);
}

static uint64_t mapped_bytes(pid_t pid)
{
	char path[64];
	uint64_t pages = 0;
	FILE *f;

	(void) snprintf(path, sizeof path, "/proc/%d/statm", (int) pid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%lu", &pages) != 1)
		pages = 0;
	if (f)
		(void) fclose(f);
	return pages * 4096;
}

static void test_an_address_space(void)
{
	struct rlimit limit;
	pid_t pid;

	if (WATCHED) {
		printf("skipped: a sanitizer needs terabytes of it, an emulator has none ");
		return;
	}
	pid = test_daemon_start(NULL);
	/* Of it a tenth is kept free. */
	limit.rlim_cur = limit.rlim_max = (mapped_bytes(pid) + 20 * MIB) * 10 / 9;
	CU_ASSERT_EQUAL_FATAL(prlimit(pid, RLIMIT_AS, &limit, NULL), 0);
	serve_large(pid, 20 * MIB);
	(void) test_daemon_stop(pid);
}

TEST_MAIN("memory limit", TEST(the_widest_shed_first), TEST(a_limit_of_the_operator), TEST(what_cannot_fit_is_refused),
	TEST(a_control_group), TEST(an_address_space))
