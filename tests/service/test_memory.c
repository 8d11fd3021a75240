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

static bool within(uint64_t is, uint64_t expected, double share)
{
	return (double) is <= (double) expected * (1 + share)
	       && (double) is >= (double) expected * (1 - share);
}

static void check(pid_t pid, sd_bus *bus, const struct network *n, double bits)
{
	uint64_t is, expected = test_network_plane_bytes(n, bits);
	static const uint8_t input[16 * 16 * 3];
	struct caller_answer a;

	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "big", bits), "");
	caller_infer(bus, "big", input, sizeof input, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, "");
	is = test_plane_bytes(pid);
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
	CU_ASSERT_EQUAL(test_plane_bytes(pid), 0);
	(void) network_unref(n);
	(void) sd_bus_flush_close_unref(bus);
}

TEST_MAIN("memory", TEST(resident_bytes_follow_bits))
