/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon with a worker and an OpenCL driver sleeps like one without, while it has no model: there is no
 * worker, and nobody looks whether there is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "device.h"
#include "support/bus.h"
#include "support/test.h"

static sd_bus *bus;
static pid_t daemon_pid;

static void start(void)
{
	if (bus)
		return;
	daemon_pid = device_daemon(NULL);
	bus = test_bus_open();
}

/* What wakes up rarely shows in a minute only. */
static uint32_t quiet_sec(void)
{
	return getenv("BITSHED_TEST_FULL") ? 60 : 2;
}

static void test_without_models_there_is_no_worker(void)
{
	start();
	CU_ASSERT_STRING_EQUAL(device_text(bus, "State"), "idle");
	caller_expect_quiet(daemon_pid, quiet_sec());
	CU_ASSERT_EQUAL(device_worker_pid(daemon_pid), 0);
	CU_ASSERT_EQUAL(device_number(bus, "Starts"), 0);
}

static void test_after_the_last_model_neither(void)
{
	if (!getenv("BITSHED_TEST_FULL")) {
		printf("\n    left out: drivers compile for long, set BITSHED_TEST_FULL=1 ");
		return;
	}
	start();
	caller_load_network(bus, "net", 4);
	CU_ASSERT_TRUE(device_wait_number(bus, "Plans", 1));
	CU_ASSERT(device_worker_pid(daemon_pid) > 0);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "net"), "");
	CU_ASSERT_TRUE(device_wait(bus, "idle"));
	caller_expect_quiet(daemon_pid, quiet_sec());
	CU_ASSERT_EQUAL(device_worker_pid(daemon_pid), 0);
}

static void end(void)
{
	bus = sd_bus_flush_close_unref(bus);
	CU_ASSERT_EQUAL(test_daemon_stop(daemon_pid), 0);
}

static void test_daemon_ends_well(void)
{
	end();
}

static void tell(double frugal)
{
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "ReportTelemetry", "a{sv}", 1, "frugal", "d", frugal), "");
}

/* While rules keep all models on the processor nothing is compiled, and nobody starts a driver. */
static void test_building_waits_for_the_rules(void)
{
	static const uint8_t input[8 * 8 * 3];
	struct caller_answer a;

	daemon_pid = device_daemon_with(NULL,
		"version: 1\n"
		"dwell: 0 s\n"
		"rules:\n"
		"  - {name: frugal, when: {telemetry of frugal: above 0}, then: {device: cpu}}\n");
	bus = test_bus_open();
	tell(1);
	caller_load_network(bus, "net", 4);
	(void) usleep(500000);
	CU_ASSERT_STRING_EQUAL(device_text(bus, "State"), "idle");
	CU_ASSERT_EQUAL(device_worker_pid(daemon_pid), 0);
	/* who insists is not told to come again */
	caller_infer(bus, "net", input, sizeof input, &a, "a{sv}", 1, "device", "s", "require-opencl");
	CU_ASSERT_STRING_EQUAL(a.error, "org.bitshed.Error.DeviceLost");
	tell(0);
	for (int i = 0; i < 500 && strcmp(device_text(bus, "State"), "idle") == 0; i++)
		(void) usleep(10000);
	CU_ASSERT_STRING_NOT_EQUAL(device_text(bus, "State"), "idle");
	end();
}

TEST_MAIN("device idle", TEST(without_models_there_is_no_worker), TEST(after_the_last_model_neither),
	TEST(daemon_ends_well), TEST(building_waits_for_the_rules))
