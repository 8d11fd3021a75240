/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two devices of one machine, each with a worker of its own: both are shown, either computes, and one stands in for
 * the other. BITSHED_TEST_FULL=1 waits until both are compiled for.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "device.h"
#include "support/bus.h"
#include "support/test.h"

#define PLANES 2
#define INPUT_BYTES (8 * 8 * 3)

static sd_bus *bus;
static pid_t daemon_pid;
static uint8_t input[INPUT_BYTES];
static uint32_t n_added, n_changes;

/* An object of a device, beside the one that is there from the beginning. */
static int on_added(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	const char *path;

	n_added += sd_bus_message_read(m, "o", &path) >= 0 && strcmp(path, BITSHED_PATH "/device/opencl2") == 0;
	return 0;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	const char *interface, *property;

	if (sd_bus_message_read(m, "s", &interface) >= 0 && sd_bus_message_enter_container(m, 'a', "{sv}") > 0 &&
		sd_bus_message_enter_container(m, 'e', "sv") > 0 && sd_bus_message_read(m, "s", &property) >= 0)
		n_changes += strcmp(property, "Devices") == 0;
	return 0;
}

static void listen_for_devices(void)
{
	n_added = n_changes = 0;
	CU_ASSERT_FATAL(sd_bus_match_signal(bus, NULL, BITSHED_BUS_NAME, BITSHED_PATH,
				"org.freedesktop.DBus.ObjectManager", "InterfacesAdded", on_added, NULL) >= 0);
	CU_ASSERT_FATAL(sd_bus_match_signal(bus, NULL, BITSHED_BUS_NAME, BITSHED_PATH,
				"org.freedesktop.DBus.Properties", "PropertiesChanged", on_changed, NULL) >= 0);
}

static uint32_t count_devices(void)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *path;
	uint32_t n = 0;

	if (sd_bus_get_property(bus, BITSHED_BUS_NAME, BITSHED_PATH, BITSHED_MANAGER_INTERFACE, "Devices", NULL,
		    &reply, "ao") < 0 ||
		sd_bus_message_enter_container(reply, 'a', "o") < 0)
		return 0;
	while (sd_bus_message_read(reply, "o", &path) > 0)
		n++;
	return n;
}

static void start(const char *config)
{
	/* pocl's two kinds of the same processor */
	(void) setenv("POCL_DEVICES", "pthread basic", 1);
	daemon_pid = device_daemon(config);
	bus = test_bus_open();
	listen_for_devices();
	caller_load_network(bus, "net", PLANES);
}

static void end(void)
{
	bus = sd_bus_flush_close_unref(bus);
	CU_ASSERT_EQUAL(test_daemon_stop(daemon_pid), 0);
}

static bool wait_for_devices(uint32_t n)
{
	for (int i = 0; i < 3000 && count_devices() != n; i++)
		(void) usleep(10000);
	return count_devices() == n;
}

static void test_every_device_is_shown(void)
{
	start(NULL);
	CU_ASSERT_TRUE(wait_for_devices(3));
	while (sd_bus_process(bus, NULL) > 0)
		;
	CU_ASSERT_EQUAL(n_added, 1);
	CU_ASSERT_EQUAL(n_changes, 1);
	device_select("opencl2");
	CU_ASSERT_STRING_EQUAL(device_text(bus, "Name"), "opencl2");
	CU_ASSERT_STRING_NOT_EQUAL(device_text(bus, "State"), "");
	device_select("opencl");
	CU_ASSERT_STRING_EQUAL(device_text(bus, "Name"), "opencl");
}

static void test_both_compute_and_one_stands_in(void)
{
	struct caller_answer a, cpu;
	int on_device = 0;

	if (!getenv("BITSHED_TEST_FULL")) {
		printf("\n    left out: drivers compile for long, set BITSHED_TEST_FULL=1 ");
		end();
		return;
	}
	for (int i = 1; i <= 2; i++) {
		device_select(i == 1 ? "opencl" : "opencl2");
		CU_ASSERT_TRUE_FATAL(device_wait(bus, "ready"));
		CU_ASSERT_TRUE_FATAL(device_wait_number(bus, "Plans", 1));
	}
	CU_ASSERT_STRING_NOT_EQUAL(device_text(bus, "Description"), "");
	caller_infer(bus, "net", input, sizeof input, &cpu, "a{sv}", 1, "device", "s", "cpu");
	for (int i = 0; i < 20; i++) {
		caller_infer(bus, "net", input, sizeof input, &a, "a{sv}", 1, "device", "s", "require-opencl");
		CU_ASSERT_STRING_EQUAL(a.error, "");
		CU_ASSERT_EQUAL(strncmp(a.device, "opencl", 6), 0);
		CU_ASSERT_EQUAL(memcmp(a.output, cpu.output, cpu.output_bytes), 0);
	}
	/* one of their workers dies: the other one is there */
	CU_ASSERT_EQUAL(kill(device_worker_pid(daemon_pid), SIGKILL), 0);
	for (int i = 0; i < 20; i++) {
		caller_infer(bus, "net", input, sizeof input, &a, "a{sv}", 1, "device", "s", "prefer-opencl");
		CU_ASSERT_STRING_EQUAL(a.error, "");
		CU_ASSERT_EQUAL(memcmp(a.output, cpu.output, cpu.output_bytes), 0);
		on_device += strncmp(a.device, "opencl", 6) == 0;
	}
	CU_ASSERT(on_device >= 19);
	end();
}

static void test_no_more_than_allowed(void)
{
	start("opencl:\n  devices: 1\n");
	device_select("opencl");
	for (int i = 0; i < 3000 && strcmp(device_text(bus, "Description"), "") == 0; i++)
		(void) usleep(10000);
	CU_ASSERT_STRING_NOT_EQUAL(device_text(bus, "Description"), "");
	(void) usleep(200000); /* a second one would be added now */
	CU_ASSERT_EQUAL(count_devices(), 2);
	end();
}

TEST_MAIN("devices", TEST(every_device_is_shown), TEST(both_compute_and_one_stands_in), TEST(no_more_than_allowed))
