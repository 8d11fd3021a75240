/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon as a client on the bus sees it: models, inference, options, bits, profiles. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/memfd.h"
#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

#define ERROR(name) "org.bitshed.Error." name

static sd_bus *bus;
static pid_t daemon_pid;
static uint8_t pixels[8 * 8 * 3];
static float floats[8 * 8 * 3];

/* One daemon for all tests; the profile lets all planes through. */
static void start(void)
{
	static const struct test_network_options options = {.seed = 2, .planes = 2};
	uint64_t state = 7;
	char ours[64];
	int fd;

	if (bus)
		return;
	fd = test_network_memfd(&options);
	(void) snprintf(ours, sizeof ours, "--model=ours=/proc/%d/fd/%d", (int) getpid(), fd);
	daemon_pid = test_daemon_start((const char *const[]){ours, NULL});
	(void) close(fd);
	bus = test_bus_open();
	caller_load_network(bus, "net", 4);
	for (size_t i = 0; i < ARRAY_SIZE(pixels); i++) {
		pixels[i] = (uint8_t) test_random(&state);
		floats[i] = (float) (int8_t) test_random(&state) / 64;
	}
}

static int garbage(size_t size)
{
	void *map;
	int fd;

	CU_ASSERT_EQUAL_FATAL(memfd_new(&fd, &map, "garbage", size), 0);
	memset(map, 'x', size);
	return fd;
}

static void test_load_states(void)
{
	_cleanup_close_ int bad = -1;
	const char *error;

	start();
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "State"), "ready");
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "StateReason"), "");
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "InputType"), "pixels");
	CU_ASSERT_EQUAL(caller_bits(bus, "net"), 4);
	bad = garbage(5000);
	CU_ASSERT_EQUAL(caller_load(bus, "bad", bad, &error), 1);
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "bad", "State"), "failed");
	CU_ASSERT_TRUE(strlen(caller_text(bus, "bad", "StateReason")) > 0);
	CU_ASSERT_EQUAL(caller_bits(bus, "bad"), 0);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "bad", 2.0), ERROR("NotReady"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "OpenSession", "sa{sv}", "bad", 0), ERROR("NotReady"));
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "bad"), "");
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "bad"), ERROR("NoSuchModel"));
}

static void test_load_refuses(void)
{
	_cleanup_close_ int fd = -1;
	char longest[80];
	int ends[2];

	start();
	fd = garbage(100);
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	memset(longest, 'a', 64);
	longest[64] = '\0';
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "LoadModel", "sha{sv}", "net", fd, 0), ERROR("Exists"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "LoadModel", "sha{sv}", "", fd, 0), ERROR("InvalidOption"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "LoadModel", "sha{sv}", "../x", fd, 0), ERROR("InvalidOption"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "LoadModel", "sha{sv}", longest, fd, 0), ERROR("InvalidOption"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "LoadModel", "sha{sv}", "p", ends[0], 0), ERROR("InvalidModel"));
	(void) close(ends[0]);
	(void) close(ends[1]);
}

static void test_infer_is_exec_run(void)
{
	struct caller_answer a;
	struct reference r;
	float expected[64] = {};

	start();
	reference_open(&r, 4, 4);
	reference_run(&r, false, pixels, expected);
	caller_infer(bus, "net", pixels, sizeof pixels, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, "");
	CU_ASSERT_EQUAL(a.output_bytes, r.plan->output_bytes);
	CU_ASSERT_EQUAL(memcmp(a.output, expected, a.output_bytes), 0);
	CU_ASSERT_EQUAL(a.bits, 4);
	CU_ASSERT_STRING_EQUAL(a.rule, "full");
	CU_ASSERT_STRING_EQUAL(a.device, "cpu");
	reference_run(&r, true, floats, expected);
	caller_infer(
		bus, "net", floats, sizeof floats, &a, "a{sv}", 1, "input-type", "s", "floats");
	CU_ASSERT_STRING_EQUAL(a.error, "");
	CU_ASSERT_EQUAL(memcmp(a.output, expected, r.plan->output_bytes), 0);
	reference_done(&r);
}

static void test_infer_refuses(void)
{
	struct caller_answer a;

	start();
	caller_infer(bus, "none", pixels, sizeof pixels, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("NoSuchModel"));
	caller_infer(bus, "net", pixels, sizeof pixels - 1, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("InvalidInput"));
	caller_infer(bus, "net", pixels, 0, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("InvalidInput"));
	caller_infer(
		bus, "net", pixels, sizeof pixels, &a, "a{sv}", 1, "input-type", "s", "floats");
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("InvalidInput"));
	caller_infer(bus, "net", pixels, sizeof pixels, &a, "a{sv}", 1, "min-bits", "d", 4.5);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("PrecisionUnavailable"));
	caller_infer(bus, "net", pixels, sizeof pixels, &a, "a{sv}", 2, "min-bits", "d", 4.0,
		"deadline-ms", "u", 60000);
	CU_ASSERT_STRING_EQUAL(a.error, "");
}

static void test_options_are_checked(void)
{
	static const char *const input[] = {"tiff", ""};
	struct caller_answer a;

	start();
	caller_infer(bus, "net", pixels, sizeof pixels, &a, "a{sv}", 1, "min-bit", "d", 1.0);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("InvalidOption"));
	caller_infer(bus, "net", pixels, sizeof pixels, &a, "a{sv}", 1, "min-bits", "u", 1);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("InvalidOption"));
	caller_infer(bus, "net", pixels, sizeof pixels, &a, "a{sv}", 2, "priority", "i", 1,
		"priority", "i", 1);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("InvalidOption"));
	caller_infer(bus, "net", pixels, sizeof pixels, &a, "a{sv}", 1, "priority", "i", 101);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("InvalidOption"));
	caller_infer(bus, "net", pixels, sizeof pixels, &a, "a{sv}", 1, "min-bits", "d", 0.0 / 0.0);
	CU_ASSERT_STRING_EQUAL(a.error, ERROR("InvalidOption"));
	for (size_t i = 0; i < ARRAY_SIZE(input); i++) {
		caller_infer(bus, "net", pixels, sizeof pixels, &a, "a{sv}", 1, "input-type", "s",
			input[i]);
		CU_ASSERT_STRING_EQUAL(a.error, ERROR("InvalidOption"));
	}
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "OpenSession", "sa{sv}", "net", 1, "priority", "i", 1),
		ERROR("InvalidOption"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "OpenSession", "sa{sv}", "net", 1, "slots", "u", 0),
		ERROR("InvalidOption"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "LoadModel", "sha{sv}", "x", 0, 1, "slots", "u", 1),
		ERROR("InvalidOption"));
}

static int changes;

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	const char *interface;

	if (sd_bus_message_read(m, "s", &interface) >= 0 && strcmp(interface, userdata) == 0)
		changes++;
	return 0;
}

/* Everything that was sent to us until now. */
static int count_changes(void)
{
	(void) caller_bits(bus, "net");
	while (sd_bus_process(bus, NULL) > 0)
		;
	return changes;
}

static void test_set_bits(void)
{
	sd_bus_slot *match = NULL;
	struct caller_answer a;
	struct reference r;
	float expected[64] = {};

	start();
	CU_ASSERT_FATAL(sd_bus_match_signal(bus, &match, BITSHED_BUS_NAME,
				BITSHED_PATH "/model/net", "org.freedesktop.DBus.Properties",
				"PropertiesChanged", on_changed, BITSHED_MODEL_INTERFACE)
			>= 0);
	changes = 0;
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 2.0), "");
	CU_ASSERT_EQUAL(caller_bits(bus, "net"), 2);
	CU_ASSERT_EQUAL(count_changes(), 1);
	caller_infer(bus, "net", pixels, sizeof pixels, &a, NULL);
	CU_ASSERT_EQUAL(a.bits, 2);
	CU_ASSERT_STRING_EQUAL(a.rule, "hand");
	reference_open(&r, 4, 2);
	reference_run(&r, false, pixels, expected);
	CU_ASSERT_EQUAL(memcmp(a.output, expected, r.plan->output_bytes), 0);
	reference_done(&r);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 2.0), "");
	CU_ASSERT_EQUAL(count_changes(), 1);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 2.5), "");
	CU_ASSERT_TRUE(caller_bits(bus, "net") > 2 && caller_bits(bus, "net") < 3);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 0.0), "");
	CU_ASSERT_EQUAL(caller_bits(bus, "net"), 4);
	CU_ASSERT_EQUAL(count_changes(), 3);
	(void) sd_bus_slot_unref(match);
}

static void test_set_bits_refuses(void)
{
	start();
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "SetBits", "sd", "net", 5.0), ERROR("PrecisionUnavailable"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "SetBits", "sd", "net", 0.5), ERROR("PrecisionUnavailable"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "SetBits", "sd", "net", -1.0), ERROR("InvalidOption"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "SetBits", "sd", "net", 0.0 / 0.0), ERROR("InvalidOption"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, "SetBits", "sd", "none", 1.0), ERROR("NoSuchModel"));
	CU_ASSERT_EQUAL(caller_bits(bus, "net"), 4);
}

static int set_profile(const char *name)
{
	return sd_bus_set_property(bus, BITSHED_BUS_NAME, BITSHED_PATH, BITSHED_MANAGER_INTERFACE,
		"Profile", NULL, "s", name);
}

static bool wait_for_bits(double bits)
{
	for (int i = 0; i < 1000 && caller_bits(bus, "net") != bits; i++)
		(void) usleep(10000);
	return caller_bits(bus, "net") == bits;
}

static void test_profile_changes_bits(void)
{
	sd_bus_slot *match = NULL;

	start();
	CU_ASSERT_FATAL(sd_bus_match_signal(bus, &match, BITSHED_BUS_NAME, BITSHED_PATH,
				"org.freedesktop.DBus.Properties", "PropertiesChanged", on_changed,
				BITSHED_MANAGER_INTERFACE)
			>= 0);
	changes = 0;
	CU_ASSERT_TRUE(set_profile("power-saver") >= 0);
	CU_ASSERT_TRUE(wait_for_bits(2));
	CU_ASSERT_EQUAL(count_changes(), 1);
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "Rule"), "profile");
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 3.0), "");
	CU_ASSERT_EQUAL(caller_bits(bus, "net"), 3);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 0.0), "");
	CU_ASSERT_EQUAL(caller_bits(bus, "net"), 2);
	CU_ASSERT_TRUE(set_profile("turbo") < 0);
	CU_ASSERT_TRUE(set_profile("balanced") >= 0);
	CU_ASSERT_TRUE(wait_for_bits(4));
	(void) sd_bus_slot_unref(match);
}

/*
 * A connection of another user, one that exists (daemon, nobody): the bus asks the kernel who
 * connects.
 */
static sd_bus *open_as(uid_t uid)
{
	const char *name;
	sd_bus *other;

	CU_ASSERT_EQUAL_FATAL(seteuid(uid), 0);
	other = test_bus_open();
	CU_ASSERT_TRUE(sd_bus_get_unique_name(other, &name) >= 0);
	CU_ASSERT_EQUAL_FATAL(seteuid(0), 0);
	return other;
}

static void test_models_belong_to_who_loaded_them(void)
{
	sd_bus *one, *two;

	if (geteuid() != 0) {
		printf("needs root to be other users\n");
		return;
	}
	start();
	one = open_as(1);
	two = open_as(65534);
	caller_load_network(one, "mine", 2);
	CU_ASSERT_STRING_EQUAL(
		caller_error(two, "SetBits", "sd", "mine", 1.0), ERROR("NotAuthorized"));
	CU_ASSERT_STRING_EQUAL(caller_error(two, "Unload", "s", "mine"), ERROR("NotAuthorized"));
	CU_ASSERT_STRING_EQUAL(caller_error(one, "SetBits", "sd", "mine", 1.0), "");
	CU_ASSERT_STRING_EQUAL(caller_error(one, "Unload", "s", "net"), ERROR("NotAuthorized"));
	CU_ASSERT_STRING_EQUAL(
		caller_error(one, "SetBits", "sd", "net", 4.0), ERROR("NotAuthorized"));
	CU_ASSERT_STRING_EQUAL(caller_error(one, "SetBits", "sd", "ours", 1.0), "");
	CU_ASSERT_STRING_EQUAL(caller_error(one, "Unload", "s", "ours"), ERROR("NotAuthorized"));
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "mine"), "");
	(void) sd_bus_flush_close_unref(one);
	(void) sd_bus_flush_close_unref(two);
}

static void test_ends_cleanly(void)
{
	int status;

	start();
	status = test_daemon_stop(daemon_pid);
	CU_ASSERT_TRUE(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
	(void) sd_bus_flush_close_unref(bus);
	bus = NULL;
}

TEST_MAIN("daemon", TEST(load_states), TEST(load_refuses), TEST(infer_is_exec_run),
	TEST(infer_refuses), TEST(options_are_checked), TEST(set_bits), TEST(set_bits_refuses),
	TEST(profile_changes_bits), TEST(models_belong_to_who_loaded_them), TEST(ends_cleanly))
