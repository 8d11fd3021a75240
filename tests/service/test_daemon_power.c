/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon under rules, and a board whose power changes: widths follow in time, and it says why. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

#define PROFILES "net.hadess.PowerProfiles"
#define PROFILES_PATH "/net/hadess/PowerProfiles"
#define UPOWER "org.freedesktop.UPower"
#define UPOWER_PATH "/org/freedesktop/UPower"

static sd_bus *bus, *board;
static char active[32] = "balanced", folder[] = "/tmp/bitshed-power-test-XXXXXX";
static int on_battery;

static const char rules[] = "version: 1\n"
			    "dwell: 0 s\n"
			    "switches-per-hour: 60\n"
			    "rules:\n"
			    "  - name: hot\n"
			    "    when: {trip-distance of cpu-thermal: below 5 C}\n"
			    "    dwell: 10 s\n"
			    "    then: {bits: at most 1}\n"
			    "  - name: memory\n"
			    "    when: {memory-pressure: above 20 %}\n"
			    "    dwell: 10 s\n"
			    "    then: {bits: at most 1}\n"
			    "  - name: saver\n"
			    "    when: {system-profile: power-saver}\n"
			    "    then: {bits: at most 2}\n"
			    "  - name: battery\n"
			    "    when: {on-battery: true}\n"
			    "    then: {bits: at most 3}\n"
			    "  - name: dark\n"
			    "    when: {telemetry of panel-watts: below 5}\n"
			    "    then: {bits: at most 2}\n"
			    "  - name: flat\n"
			    "    when: {battery-percent: below 10 %}\n"
			    "    then: {bits: at most 3}\n";

static int get_active(sd_bus *b, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *e)
{
	return sd_bus_message_append(reply, "s", active);
}

static const sd_bus_vtable profiles_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("ActiveProfile", "s", get_active, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable upower_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("OnBattery", "b", NULL, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_VTABLE_END,
};

static void serve(void)
{
	while (sd_bus_process(board, NULL) > 0)
		;
}

static void put(const char *name, const char *text)
{
	char path[256];
	int fd;

	(void) snprintf(path, sizeof path, "%s/%s", folder, name);
	for (char *c = path + strlen(folder) + 1; (c = strchr(c, '/')); c++) {
		*c = '\0';
		(void) mkdir(path, 0700);
		*c = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(fd_write_all(fd, text, strlen(text)), 0);
	(void) close(fd);
}

static void start(void)
{
	char policy[64], sysfs[64], fifo[64];

	if (bus)
		return;
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	put("rules.yaml", rules);
	put("class/thermal/thermal_zone0/type", "cpu-thermal\n");
	put("class/thermal/thermal_zone0/trip_point_0_type", "passive\n");
	put("class/thermal/thermal_zone0/trip_point_0_temp", "80000\n");
	put("class/thermal/thermal_zone0/temp", "50000\n");
	(void) snprintf(policy, sizeof policy, "--policy=%s/rules.yaml", folder);
	(void) snprintf(sysfs, sizeof sysfs, "--sysfs=%s", folder);
	(void) snprintf(fifo, sizeof fifo, "%s/fifo", folder);
	CU_ASSERT_EQUAL_FATAL(mkfifo(fifo, 0600), 0);
	CU_ASSERT_EQUAL_FATAL(setenv("MEMORY_PRESSURE_WATCH", fifo, 1), 0);
	(void) test_daemon_start((const char *const[]){policy, sysfs, NULL});
	bus = test_bus_open();
	caller_load_network(bus, "net", 4);
	board = test_bus_open();
	CU_ASSERT_TRUE_FATAL(sd_bus_add_object_vtable(board, NULL, PROFILES_PATH, PROFILES,
				     profiles_vtable, NULL) >= 0);
	CU_ASSERT_TRUE_FATAL(sd_bus_add_object_vtable(board, NULL, UPOWER_PATH, UPOWER,
				     upower_vtable, &on_battery) >= 0);
}

/* Says how long it took, and holds nobody to it: other programs may keep the machine busy. */
static bool wait_for_bits(double bits)
{
	uint64_t begin = clock_now_nsec();

	while (caller_bits(bus, "net") != bits && clock_now_nsec() - begin < 30 * NSEC_PER_SEC) {
		serve();
		(void) usleep(2000);
	}
	printf("\n    %g bits after %.0f ms ", bits, (double) (clock_now_nsec() - begin) / 1e6);
	return caller_bits(bus, "net") == bits;
}

static void set_system_profile(const char *name)
{
	(void) snprintf(active, sizeof active, "%s", name);
	CU_ASSERT_TRUE(sd_bus_emit_properties_changed(
			       board, PROFILES_PATH, PROFILES, "ActiveProfile", NULL) >= 0);
}

static void set_on_battery(int value)
{
	on_battery = value;
	CU_ASSERT_TRUE(
		sd_bus_emit_properties_changed(board, UPOWER_PATH, UPOWER, "OnBattery", NULL) >= 0);
}

static void expect(double bits, const char *rule)
{
	CU_ASSERT_TRUE(wait_for_bits(bits));
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "Rule"), rule);
}

static void test_services_lead_to_widths(void)
{
	start();
	expect(4, "full");
	on_battery = 1;
	CU_ASSERT_TRUE_FATAL(sd_bus_request_name(board, UPOWER, 0) >= 0);
	expect(3, "battery");
	(void) snprintf(active, sizeof active, "power-saver");
	CU_ASSERT_TRUE_FATAL(sd_bus_request_name(board, PROFILES, 0) >= 0);
	expect(2, "saver");
	set_system_profile("performance");
	expect(3, "battery");
	set_on_battery(0);
	expect(4, "full");
	set_system_profile("power-saver");
	expect(2, "saver");
}

/* {name, source, known, value, text} of one entry of Inputs */
struct input {
	char source[32], text[32], unit[16];
	double value;
	int known;
	uint64_t since;
};

static bool find_input(const char *wanted, struct input *ret)
{
	sd_bus_message *reply = NULL;
	const char *name, *source, *text, *unit;
	bool found = false;

	CU_ASSERT_TRUE_FATAL(
		sd_bus_get_property(bus, BITSHED_BUS_NAME, BITSHED_PATH, BITSHED_MANAGER_INTERFACE,
			"Inputs", NULL, &reply, "a(ssbdsst)") >= 0);
	CU_ASSERT_TRUE_FATAL(sd_bus_message_enter_container(reply, 'a', "(ssbdsst)") > 0);
	*ret = (struct input){};
	while (sd_bus_message_read(reply, "(ssbdsst)", &name, &source, &ret->known, &ret->value,
		       &unit, &text, &ret->since) > 0) {
		if (strcmp(name, wanted) != 0)
			continue;
		(void) snprintf(ret->source, sizeof ret->source, "%s", source);
		(void) snprintf(ret->text, sizeof ret->text, "%s", text);
		(void) snprintf(ret->unit, sizeof ret->unit, "%s", unit);
		found = true;
		break;
	}
	(void) sd_bus_message_unref(reply);
	return found;
}

static void test_inputs_are_shown(void)
{
	struct input in;

	start();
	CU_ASSERT_TRUE(find_input("system-profile", &in));
	CU_ASSERT_EQUAL(in.known, 1);
	CU_ASSERT_STRING_EQUAL(in.text, "power-saver");
	CU_ASSERT_STRING_EQUAL(in.source, "power-profiles");
	CU_ASSERT_TRUE(in.since > 0 && in.since <= clock_now_nsec());
	CU_ASSERT_TRUE(find_input("battery-percent", &in));
	CU_ASSERT_EQUAL(in.known, 0);
	CU_ASSERT_STRING_EQUAL(in.unit, "%");
	CU_ASSERT_FALSE(find_input("mood", &in));
}

static void test_a_warm_zone_sheds_planes(void)
{
	start();
	set_system_profile("balanced");
	expect(4, "full");
	put("class/thermal/thermal_zone0/temp", "77000\n");
	CU_ASSERT_TRUE(wait_for_bits(1));
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "Rule"), "hot");
	put("class/thermal/thermal_zone0/temp", "60000\n");
	CU_ASSERT_TRUE(wait_for_bits(4));
}

#define REPORT "ReportTelemetry", "a{sv}"

static void test_telemetry_sheds_planes(void)
{
	struct input in;

	start();
	expect(4, "full");
	CU_ASSERT_STRING_EQUAL(
		caller_error(bus, REPORT, 2, "panel-watts", "d", 3.5, "valid-seconds", "u", 2), "");
	expect(2, "dark");
	CU_ASSERT_TRUE(find_input("telemetry of panel-watts", &in));
	CU_ASSERT_EQUAL(in.value, 3.5);
	CU_ASSERT_STRING_EQUAL(in.source, "telemetry");
	/* Nobody says it again: unknown, so the rule lets go. */
	CU_ASSERT_TRUE(wait_for_bits(4));
	CU_ASSERT_FALSE(find_input("telemetry of panel-watts", &in));
	/* There is no battery on this bus that says so itself. */
	CU_ASSERT_STRING_EQUAL(caller_error(bus, REPORT, 1, "battery-percent", "i", 7), "");
	expect(3, "flat");
	CU_ASSERT_STRING_EQUAL(caller_error(bus, REPORT, 2, "battery-percent", "i", 7,
				       "valid-seconds", "i", 0),
		"");
	expect(4, "full");
}

static void test_telemetry_is_checked(void)
{
	static const char invalid[] = "org.bitshed.Error.InvalidOption";
	char key[16];

	start();
	CU_ASSERT_STRING_EQUAL(caller_error(bus, REPORT, 1, "a b", "d", 1.0), invalid);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, REPORT, 1, "", "d", 1.0), invalid);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, REPORT, 1, "a", "s", "1"), invalid);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, REPORT, 1, "a", "d", NAN), invalid);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, REPORT, 1, "valid-seconds", "i", -1), invalid);
	for (int i = 0; i < 32; i++) {
		(void) snprintf(key, sizeof key, "key%d", i);
		CU_ASSERT_STRING_EQUAL(caller_error(bus, REPORT, 1, key, "u", i), "");
	}
	CU_ASSERT_STRING_EQUAL(caller_error(bus, REPORT, 1, "one-more", "u", 1),
		"org.bitshed.Error.LimitExceeded");
	for (int i = 0; i < 32; i++) {
		(void) snprintf(key, sizeof key, "key%d", i);
		CU_ASSERT_STRING_EQUAL(
			caller_error(bus, REPORT, 2, key, "u", i, "valid-seconds", "u", 0), "");
	}
}

static void test_memory_pressure_sheds_planes(void)
{
	char path[64];
	int fd;

	start();
	expect(4, "full");
	(void) snprintf(path, sizeof path, "%s/fifo", folder);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(fd_write_all(fd, "x", 1), 0);
	(void) close(fd);
	expect(1, "memory");
}

static void test_cleans_up(void)
{
	char command[128];

	(void) snprintf(command, sizeof command, "rm -rf '%s'", folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

TEST_MAIN("daemon power", TEST(services_lead_to_widths), TEST(inputs_are_shown),
	TEST(a_warm_zone_sheds_planes), TEST(telemetry_sheds_planes), TEST(telemetry_is_checked),
	TEST(memory_pressure_sheds_planes), TEST(cleans_up))
