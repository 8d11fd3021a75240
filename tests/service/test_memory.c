/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights stay packed: what the system says about the daemon's plane memfds (/proc/PID/smaps) is
 * parameters * bits / 8 and little more, and falls when bits are shed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

static const struct test_network_options big = {
	.seed = 1, .planes = 4, .size = 16, .channels = 512};

/* Rss of all mappings whose memfd is named as planes are, in bytes. */
static uint64_t resident_planes(pid_t pid)
{
	char path[64], line[512];
	uint64_t sum = 0, kib;
	bool plane = false;
	FILE *f;

	(void) snprintf(path, sizeof path, "/proc/%d/smaps", (int) pid);
	f = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof line, f)) {
		if (strchr("0123456789abcdef", line[0]))
			plane = strstr(line, "/memfd:bitshed-plane") != NULL;
		else if (plane && sscanf(line, "Rss: %" SCNu64 " kB", &kib) == 1)
			sum += kib * 1024;
	}
	(void) fclose(f);
	return sum;
}

static uint64_t expected_bytes(const struct network *n, double bits)
{
	uint64_t shed = 0, fixed = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];

		if (m->fixed)
			fixed += (uint64_t) m->rows * m->columns * m->planes;
		else
			shed += (uint64_t) m->rows * m->columns;
	}
	return (uint64_t) ((double) shed * bits + (double) fixed) / 8;
}

static bool within(uint64_t is, uint64_t expected, double share)
{
	return (double) is <= (double) expected * (1 + share)
	       && (double) is >= (double) expected * (1 - share);
}

static void check(pid_t pid, sd_bus *bus, const struct network *n, double bits)
{
	uint64_t is, expected = expected_bytes(n, bits);
	static const uint8_t input[16 * 16 * 3];
	struct caller_answer a;

	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "big", bits), "");
	caller_infer(bus, "big", input, sizeof input, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, "");
	is = resident_planes(pid);
	printf("%g bits: %" PRIu64 " bytes of planes, %" PRIu64 " expected\n", bits, is, expected);
	CU_ASSERT_TRUE(within(is, expected, 0.15));
}

static void test_resident_bytes_follow_bits(void)
{
	pid_t pid = test_daemon_start(NULL);
	sd_bus *bus = test_bus_open();
	struct network *n = test_network_open(&big);
	int fd = test_network_memfd(&big);
	const char *error;

	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "big", fd, &error), 0);
	(void) close(fd);
	check(pid, bus, n, 4);
	check(pid, bus, n, 2);
	check(pid, bus, n, 1);
	check(pid, bus, n, 3);
	check(pid, bus, n, 4);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "big"), "");
	CU_ASSERT_EQUAL(resident_planes(pid), 0);
	(void) network_unref(n);
	(void) sd_bus_flush_close_unref(bus);
}

TEST_MAIN("memory", TEST(resident_bytes_follow_bits))
