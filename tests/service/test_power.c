/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs of the policy against sources made here: services on a private bus, files of a made-up
 * kernel. */
#include "service/power.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "support/bus.h"
#include "support/test.h"

#define UPOWER "org.freedesktop.UPower"
#define UPOWER_PATH "/org/freedesktop/UPower"
#define BATTERY_PATH UPOWER_PATH "/devices/DisplayDevice"
#define PROFILES "org.freedesktop.UPower.PowerProfiles"
#define PROFILES_PATH "/org/freedesktop/UPower/PowerProfiles"
#define OLD_PROFILES "net.hadess.PowerProfiles"
#define OLD_PROFILES_PATH "/net/hadess/PowerProfiles"
#define LOGIND "org.freedesktop.login1"
#define LOGIND_PATH "/org/freedesktop/login1"
#define LMM "org.freedesktop.LowMemoryMonitor"
#define LMM_PATH "/org/freedesktop/LowMemoryMonitor"

#define SILENCE_NSEC (300 * NSEC_PER_MSEC)
#define WAIT_NSEC (5 * NSEC_PER_SEC)

/** struct rig - a power object in a folder of its own; @busy: what drained() answers no to */
struct rig {
	sd_event *event;
	sd_bus *bus;
	char folder[64], sysfs[80], proc[80], reason[512];
	struct power *power;
	unsigned calls, asked;
	bool busy;
};

static void on_changed(struct power *p, const char *reason, void *userdata)
{
	struct rig *rig = userdata;

	rig->calls++;
	(void) snprintf(rig->reason, sizeof rig->reason, "%s", reason);
}

static bool on_drained(void *userdata)
{
	struct rig *rig = userdata;

	rig->asked++;
	return !rig->busy;
}

static void put(const struct rig *rig, const char *path, const char *text)
{
	char whole[512];
	int fd;

	(void) snprintf(whole, sizeof whole, "%s/%s", rig->folder, path);
	for (char *c = whole + strlen(rig->folder) + 1; (c = strchr(c, '/')); c++) {
		*c = '\0';
		(void) mkdir(whole, 0700);
		*c = '/';
	}
	fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(fd_write_all(fd, text, strlen(text)), 0);
	(void) close(fd);
}

static void rig_init(struct rig *rig)
{
	*rig = (struct rig){.folder = "/tmp/bitshed-power-XXXXXX"};
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(rig->folder));
	CU_ASSERT_EQUAL_FATAL(sd_event_new(&rig->event), 0);
}

static void rig_start(struct rig *rig, const char *watch)
{
	struct power_options options = {
		.event = rig->event,
		.bus = rig->bus,
		.sysfs = rig->sysfs,
		.proc = rig->proc,
		.memory_watch = watch,
		.silence_nsec = SILENCE_NSEC,
		.poll_nsec = 20 * NSEC_PER_MSEC,
		.changed = on_changed,
		.drained = on_drained,
		.userdata = rig,
	};

	(void) snprintf(rig->sysfs, sizeof rig->sysfs, "%s/sys", rig->folder);
	(void) snprintf(rig->proc, sizeof rig->proc, "%s/proc", rig->folder);
	CU_ASSERT_EQUAL_FATAL(power_new(&rig->power, &options), 0);
}

static sd_bus *peer(struct rig *rig, const char *name)
{
	sd_bus *bus = test_bus_open();

	CU_ASSERT_TRUE_FATAL(sd_bus_attach_event(bus, rig->event, 0) >= 0);
	if (name)
		CU_ASSERT_TRUE_FATAL(sd_bus_request_name(bus, name, 0) >= 0);
	return bus;
}

static void rig_start_bus(struct rig *rig)
{
	rig->bus = peer(rig, NULL);
	rig_start(rig, "/dev/null");
}

static void rig_done(struct rig *rig)
{
	char command[128];

	power_free(rig->power);
	(void) sd_bus_flush_close_unref(rig->bus);
	(void) sd_event_unref(rig->event);
	(void) snprintf(command, sizeof command, "rm -rf '%s'", rig->folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void turn(struct rig *rig, uint64_t nsec)
{
	uint64_t end = clock_now_nsec() + nsec;

	while (clock_now_nsec() < end)
		CU_ASSERT_TRUE_FATAL(sd_event_run(rig->event, 10000) >= 0);
}

static const struct power_value *value(const struct rig *rig, enum power_input input)
{
	return &power_inputs(rig->power)->values[input];
}

/* NAN: until it is unknown. */
static void wait_for(struct rig *rig, enum power_input input, double expected)
{
	uint64_t begin = clock_now_nsec(), now = begin;
	const struct power_value *v = value(rig, input);
	bool there = false;

	while (!there && now - begin < WAIT_NSEC) {
		CU_ASSERT_TRUE_FATAL(sd_event_run(rig->event, 10000) >= 0);
		there = isnan(expected) ? !v->known : v->known && fabs(v->value - expected) < 1e-6;
		now = clock_now_nsec();
	}
	if (!there)
		printf("[%s is %g, not %g] ", power_inputs_info[input].name,
			v->known ? v->value : NAN, expected);
	CU_ASSERT_TRUE(there);
}

static void wait_for_text(struct rig *rig, enum power_input input, const char *expected)
{
	uint64_t begin = clock_now_nsec();

	while (strcmp(value(rig, input)->text, expected) != 0 &&
		clock_now_nsec() - begin < WAIT_NSEC)
		CU_ASSERT_TRUE_FATAL(sd_event_run(rig->event, 10000) >= 0);
	CU_ASSERT_STRING_EQUAL(value(rig, input)->text, expected);
}

/* A service that has the properties of one row each; numbers as text, so that one table does for
 * all types. */
struct fake_property {
	const char *path, *interface, *name;
	char type;
	char text[64];
};

static int append_value(sd_bus_message *m, const struct fake_property *p)
{
	double d = strtod(p->text, NULL);
	char type[2] = {p->type, '\0'};

	switch (p->type) {
	case 's':
		return sd_bus_message_append(m, "v", type, p->text);
	case 'd':
		return sd_bus_message_append(m, "v", type, d);
	case 'x':
	case 't':
		return sd_bus_message_append(m, "v", type, (int64_t) d);
	default:
		return sd_bus_message_append(m, "v", type, (int) d);
	}
}

static int append_properties(
	sd_bus_message *m, const struct fake_property *p, const char *path, const char *only)
{
	(void) sd_bus_message_open_container(m, 'a', "{sv}");
	for (; p->path; p++) {
		if (strcmp(p->path, path) != 0 || (only && strcmp(p->name, only) != 0))
			continue;
		(void) sd_bus_message_open_container(m, 'e', "sv");
		(void) sd_bus_message_append(m, "s", p->name);
		(void) append_value(m, p);
		(void) sd_bus_message_close_container(m);
	}
	return sd_bus_message_close_container(m);
}

static int on_get_all(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	sd_bus_message *reply;
	int r;

	if (!sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Properties", "GetAll"))
		return 0;
	CU_ASSERT_TRUE_FATAL(sd_bus_message_new_method_return(m, &reply) >= 0);
	CU_ASSERT_TRUE_FATAL(
		append_properties(reply, userdata, sd_bus_message_get_path(m), NULL) >= 0);
	r = sd_bus_send(NULL, reply, NULL);
	(void) sd_bus_message_unref(reply);
	return r < 0 ? r : 1;
}

static sd_bus *fake(struct rig *rig, const char *name, struct fake_property *properties)
{
	sd_bus *bus = test_bus_open();

	CU_ASSERT_TRUE_FATAL(sd_bus_add_filter(bus, NULL, on_get_all, properties) >= 0);
	CU_ASSERT_TRUE_FATAL(sd_bus_attach_event(bus, rig->event, 0) >= 0);
	CU_ASSERT_TRUE_FATAL(sd_bus_request_name(bus, name, 0) >= 0);
	return bus;
}

static void emit(sd_bus *bus, struct fake_property *all, struct fake_property *p, bool with_value)
{
	sd_bus_message *m;

	CU_ASSERT_TRUE_FATAL(sd_bus_message_new_signal(bus, &m, p->path,
				     "org.freedesktop.DBus.Properties", "PropertiesChanged") >= 0);
	(void) sd_bus_message_append(m, "s", p->interface);
	(void) append_properties(m, all, p->path, with_value ? p->name : "-");
	if (with_value)
		(void) sd_bus_message_append(m, "as", 0);
	else
		(void) sd_bus_message_append(m, "as", 1, p->name);
	CU_ASSERT_TRUE_FATAL(sd_bus_send(bus, m, NULL) >= 0);
	(void) sd_bus_message_unref(m);
}

static void change(sd_bus *bus, struct fake_property *all, int i, const char *text)
{
	(void) snprintf(all[i].text, sizeof all[i].text, "%s", text);
	emit(bus, all, &all[i], true);
}

enum { LINE, TYPE, STATE, PERCENT, PRESENT, WARNING, RATE, EMPTY };

static const struct fake_property upower_template[] = {
	[LINE] = {UPOWER_PATH, UPOWER, "OnBattery", 'b', "0"},
	[TYPE] = {BATTERY_PATH, UPOWER ".Device", "Type", 'u', "2"},
	[STATE] = {BATTERY_PATH, UPOWER ".Device", "State", 'u', "1"},
	[PERCENT] = {BATTERY_PATH, UPOWER ".Device", "Percentage", 'd', "80"},
	[PRESENT] = {BATTERY_PATH, UPOWER ".Device", "IsPresent", 'b', "1"},
	[WARNING] = {BATTERY_PATH, UPOWER ".Device", "WarningLevel", 'u', "1"},
	[RATE] = {BATTERY_PATH, UPOWER ".Device", "EnergyRate", 'd', "7.5"},
	[EMPTY] = {BATTERY_PATH, UPOWER ".Device", "TimeToEmpty", 'x', "3600"},
	{},
};

static void test_nothing_there_is_unknown(void)
{
	struct rig rig;

	rig_init(&rig);
	rig_start(&rig, NULL);
	turn(&rig, 200 * NSEC_PER_MSEC);
	for (enum power_input i = 0; i < _POWER_INPUT_MAX; i++)
		CU_ASSERT_FALSE(value(&rig, i)->known);
	CU_ASSERT_EQUAL(rig.calls, 0);
	rig_done(&rig);
}

static void test_upower_comes_changes_and_dies(void)
{
	struct fake_property upower[ARRAY_SIZE(upower_template)];
	struct rig rig;
	sd_bus *bus;

	memcpy(upower, upower_template, sizeof upower);
	rig_init(&rig);
	rig_start_bus(&rig);
	turn(&rig, 100 * NSEC_PER_MSEC);
	CU_ASSERT_FALSE(value(&rig, POWER_ON_BATTERY)->known);
	bus = fake(&rig, UPOWER, upower);
	wait_for(&rig, POWER_BATTERY_PERCENT, 80);
	wait_for(&rig, POWER_ON_BATTERY, 0);
	CU_ASSERT_STRING_EQUAL(value(&rig, POWER_BATTERY_STATE)->text, "charging");
	CU_ASSERT_STRING_EQUAL(value(&rig, POWER_BATTERY_WARNING)->text, "none");
	CU_ASSERT_EQUAL(value(&rig, POWER_BATTERY_WATTS)->value, 7.5);
	CU_ASSERT_FALSE(value(&rig, POWER_BATTERY_SECONDS)->known); /* it charges */

	change(bus, upower, LINE, "1");
	change(bus, upower, STATE, "2");
	wait_for(&rig, POWER_ON_BATTERY, 1);
	wait_for(&rig, POWER_BATTERY_SECONDS, 3600);
	turn(&rig, 100 * NSEC_PER_MSEC);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.reason, "battery"));

	/* Only the name of what changed, without its value. */
	(void) snprintf(upower[PERCENT].text, sizeof upower[PERCENT].text, "41");
	emit(bus, upower, &upower[PERCENT], false);
	wait_for(&rig, POWER_BATTERY_PERCENT, 41);

	(void) sd_bus_flush_close_unref(bus);
	turn(&rig, SILENCE_NSEC / 3);
	CU_ASSERT_TRUE(value(&rig, POWER_BATTERY_PERCENT)->known); /* its last word still counts */
	wait_for(&rig, POWER_BATTERY_PERCENT, NAN);
	CU_ASSERT_FALSE(value(&rig, POWER_ON_BATTERY)->known);

	bus = fake(&rig, UPOWER, upower);
	wait_for(&rig, POWER_BATTERY_PERCENT, 41);
	(void) sd_bus_flush_close_unref(bus);
	rig_done(&rig);
}

static void test_restart_of_a_source_is_no_news(void)
{
	struct fake_property upower[ARRAY_SIZE(upower_template)];
	struct rig rig;
	sd_bus *bus;
	unsigned calls;

	memcpy(upower, upower_template, sizeof upower);
	rig_init(&rig);
	rig_start_bus(&rig);
	bus = fake(&rig, UPOWER, upower);
	wait_for(&rig, POWER_BATTERY_PERCENT, 80);
	turn(&rig, 100 * NSEC_PER_MSEC);
	calls = rig.calls;
	(void) sd_bus_flush_close_unref(bus);
	turn(&rig, SILENCE_NSEC / 3);
	bus = fake(&rig, UPOWER, upower);
	turn(&rig, 2 * SILENCE_NSEC);
	CU_ASSERT_TRUE(value(&rig, POWER_BATTERY_PERCENT)->known);
	CU_ASSERT_EQUAL(rig.calls, calls);
	(void) sd_bus_flush_close_unref(bus);
	rig_done(&rig);
}

static void test_no_battery_is_unknown_not_empty(void)
{
	struct fake_property upower[ARRAY_SIZE(upower_template)];
	struct rig rig;
	sd_bus *bus;

	memcpy(upower, upower_template, sizeof upower);
	(void) snprintf(upower[TYPE].text, sizeof upower[TYPE].text, "0");
	(void) snprintf(upower[PRESENT].text, sizeof upower[PRESENT].text, "0");
	(void) snprintf(upower[PERCENT].text, sizeof upower[PERCENT].text, "0");
	rig_init(&rig);
	rig_start_bus(&rig);
	bus = fake(&rig, UPOWER, upower);
	wait_for(&rig, POWER_ON_BATTERY, 0);
	turn(&rig, 100 * NSEC_PER_MSEC);
	for (enum power_input i = POWER_BATTERY_STATE; i <= POWER_BATTERY_SECONDS; i++)
		CU_ASSERT_FALSE(value(&rig, i)->known);
	change(bus, upower, TYPE, "2");
	change(bus, upower, PERCENT, "33");
	change(bus, upower, PRESENT, "1");
	wait_for(&rig, POWER_BATTERY_PERCENT, 33);
	change(bus, upower, PERCENT, "nan");
	wait_for(&rig, POWER_BATTERY_PERCENT, NAN);
	change(bus, upower, PERCENT, "250");
	turn(&rig, 100 * NSEC_PER_MSEC);
	CU_ASSERT_FALSE(value(&rig, POWER_BATTERY_PERCENT)->known);
	(void) sd_bus_flush_close_unref(bus);
	rig_done(&rig);
}

static void test_others_and_wrong_types_are_not_believed(void)
{
	struct fake_property upower[ARRAY_SIZE(upower_template)],
		forged[ARRAY_SIZE(upower_template)];
	struct rig rig;
	sd_bus *bus, *liar;

	memcpy(upower, upower_template, sizeof upower);
	memcpy(forged, upower_template, sizeof forged);
	rig_init(&rig);
	rig_start_bus(&rig);
	bus = fake(&rig, UPOWER, upower);
	wait_for(&rig, POWER_BATTERY_PERCENT, 80);
	liar = peer(&rig, NULL);
	change(liar, forged, PERCENT, "1");
	forged[LINE].type = 's';
	change(bus, forged, LINE, "yes");
	turn(&rig, 200 * NSEC_PER_MSEC);
	CU_ASSERT_EQUAL(value(&rig, POWER_BATTERY_PERCENT)->value, 80);
	CU_ASSERT_EQUAL(value(&rig, POWER_ON_BATTERY)->value, 0);
	(void) sd_bus_flush_close_unref(liar);
	(void) sd_bus_flush_close_unref(bus);
	rig_done(&rig);
}

static void test_flood_is_gathered(void)
{
	struct fake_property upower[ARRAY_SIZE(upower_template)];
	struct rig rig;
	sd_bus *bus;
	uint64_t begin;
	unsigned calls;

	memcpy(upower, upower_template, sizeof upower);
	rig_init(&rig);
	rig_start_bus(&rig);
	bus = fake(&rig, UPOWER, upower);
	wait_for(&rig, POWER_BATTERY_PERCENT, 80);
	turn(&rig, 200 * NSEC_PER_MSEC);
	calls = rig.calls;
	begin = clock_now_nsec();
	for (int i = 0; i < 1000; i++) {
		change(bus, upower, PERCENT, i % 2 ? "19" : "21");
		(void) sd_event_run(rig.event, 0);
	}
	wait_for(&rig, POWER_BATTERY_PERCENT, 19);
	turn(&rig, 200 * NSEC_PER_MSEC);
	CU_ASSERT_TRUE(rig.calls > calls);
	CU_ASSERT_TRUE(rig.calls - calls <= 2 + (clock_now_nsec() - begin) / (50 * NSEC_PER_MSEC));
	(void) sd_bus_flush_close_unref(bus);
	rig_done(&rig);
}

static void test_both_names_of_the_profiles(void)
{
	struct fake_property old[] = {
		{OLD_PROFILES_PATH, OLD_PROFILES, "ActiveProfile", 's', "power-saver"},
		{OLD_PROFILES_PATH, OLD_PROFILES, "PerformanceDegraded", 's', ""},
		{},
	};
	struct fake_property new[] = {
		{PROFILES_PATH, PROFILES, "ActiveProfile", 's', "balanced"},
		{PROFILES_PATH, PROFILES, "PerformanceDegraded", 's',
			"a-reason-of-a-later-version"},
		{},
	};
	struct rig rig;
	sd_bus *old_bus, *new_bus;

	rig_init(&rig);
	rig_start_bus(&rig);
	old_bus = fake(&rig, OLD_PROFILES, old);
	wait_for_text(&rig, POWER_SYSTEM_PROFILE, "power-saver");
	CU_ASSERT_EQUAL(value(&rig, POWER_DEGRADED)->value, 0);
	new_bus = fake(&rig, PROFILES, new);
	wait_for_text(&rig, POWER_SYSTEM_PROFILE, "balanced");
	CU_ASSERT_EQUAL(value(&rig, POWER_DEGRADED)->value, 1);
	CU_ASSERT_STRING_EQUAL(value(&rig, POWER_DEGRADED)->text, "a-reason-of-a-later-version");
	(void) sd_bus_flush_close_unref(new_bus);
	wait_for_text(&rig, POWER_SYSTEM_PROFILE, "power-saver");
	change(old_bus, old, 0, "performance");
	wait_for_text(&rig, POWER_SYSTEM_PROFILE, "performance");
	(void) sd_bus_flush_close_unref(old_bus);
	wait_for(&rig, POWER_SYSTEM_PROFILE, NAN);
	rig_done(&rig);
}

static void test_low_memory_warnings(void)
{
	struct fake_property none[] = {{}};
	struct rig rig;
	sd_bus *bus;

	rig_init(&rig);
	rig_start_bus(&rig);
	bus = fake(&rig, LMM, none);
	wait_for(&rig, POWER_LOW_MEMORY, 0);
	CU_ASSERT_TRUE(sd_bus_emit_signal(bus, LMM_PATH, LMM, "LowMemoryWarning", "y", 100) >= 0);
	wait_for(&rig, POWER_LOW_MEMORY, 100);
	CU_ASSERT_STRING_EQUAL(value(&rig, POWER_LOW_MEMORY)->text, "lower");
	(void) sd_bus_flush_close_unref(bus);
	wait_for(&rig, POWER_LOW_MEMORY, NAN);
	rig_done(&rig);
}

/* logind's side of the inhibitors: the ends of pipes */
static int inhibitors[4], n_inhibitors;

static int on_inhibit(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	const char *what, *who, *why, *mode;
	int ends[2], r;

	if (!sd_bus_message_is_method_call(m, LOGIND ".Manager", "Inhibit"))
		return 0;
	CU_ASSERT_TRUE_FATAL(sd_bus_message_read(m, "ssss", &what, &who, &why, &mode) >= 0);
	CU_ASSERT_STRING_EQUAL(what, "sleep");
	CU_ASSERT_STRING_EQUAL(mode, "delay");
	CU_ASSERT_TRUE_FATAL(n_inhibitors < 4 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) >= 0);
	inhibitors[n_inhibitors++] = ends[0];
	r = sd_bus_reply_method_return(m, "h", ends[1]);
	(void) close(ends[1]);
	return r < 0 ? r : 1;
}

static bool is_released(int inhibitor)
{
	char byte;

	return read(inhibitor, &byte, 1) == 0;
}

static void wait_for_inhibitors(struct rig *rig, int n)
{
	for (int i = 0; i < 500 && n_inhibitors < n; i++)
		(void) sd_event_run(rig->event, 10000);
	CU_ASSERT_EQUAL_FATAL(n_inhibitors, n);
	turn(rig, 50 * NSEC_PER_MSEC);
}

static void sleep_signal(sd_bus *bus, int begins)
{
	CU_ASSERT_TRUE(sd_bus_emit_signal(bus, LOGIND_PATH, LOGIND ".Manager", "PrepareForSleep",
			       "b", begins) >= 0);
}

static void test_sleep_waits_for_the_requests(void)
{
	struct fake_property logind[] = {
		{LOGIND_PATH, LOGIND ".Manager", "InhibitDelayMaxUSec", 't', "1500000"},
		{},
	};
	struct rig rig;
	sd_bus *bus;

	n_inhibitors = 0;
	rig_init(&rig);
	rig_start_bus(&rig);
	bus = fake(&rig, LOGIND, logind);
	CU_ASSERT_TRUE_FATAL(sd_bus_add_filter(bus, NULL, on_inhibit, NULL) >= 0);
	wait_for_inhibitors(&rig, 1);
	CU_ASSERT_EQUAL(value(&rig, POWER_SLEEPING)->value, 0);

	rig.busy = true;
	sleep_signal(bus, 1);
	wait_for(&rig, POWER_SLEEPING, 1);
	turn(&rig, 200 * NSEC_PER_MSEC);
	CU_ASSERT_FALSE(is_released(inhibitors[0]));
	CU_ASSERT_TRUE(rig.asked > 1);
	rig.busy = false;
	turn(&rig, 100 * NSEC_PER_MSEC);
	CU_ASSERT_TRUE(is_released(inhibitors[0]));
	CU_ASSERT_EQUAL(power_inputs(rig.power)->resumed_nsec, 0);

	sleep_signal(bus, 0);
	wait_for(&rig, POWER_SLEEPING, 0);
	wait_for_inhibitors(&rig, 2);
	CU_ASSERT_TRUE(power_inputs(rig.power)->resumed_nsec > 0);

	/* Requests that do not end cannot hold the machine awake: 1.5 s less half a second. */
	rig.busy = true;
	sleep_signal(bus, 1);
	turn(&rig, 500 * NSEC_PER_MSEC);
	CU_ASSERT_FALSE(is_released(inhibitors[1]));
	turn(&rig, 700 * NSEC_PER_MSEC);
	CU_ASSERT_TRUE(is_released(inhibitors[1]));
	(void) sd_bus_flush_close_unref(bus);
	wait_for(&rig, POWER_SLEEPING, NAN);
	for (int i = 0; i < n_inhibitors; i++)
		(void) close(inhibitors[i]);
	rig_done(&rig);
}

static void test_memory_pressure_by_fifo(void)
{
	char path[128];
	struct rig rig;
	int fd;

	rig_init(&rig);
	(void) snprintf(path, sizeof path, "%s/fifo", rig.folder);
	CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0);
	rig_start(&rig, path);
	wait_for(&rig, POWER_MEMORY_PRESSURE, 0);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(fd_write_all(fd, "x", 1), 0);
	wait_for(&rig, POWER_MEMORY_PRESSURE, 50);
	(void) close(fd);
	turn(&rig, 100 * NSEC_PER_MSEC);
	CU_ASSERT_EQUAL(value(&rig, POWER_MEMORY_PRESSURE)->value, 50);
	rig_done(&rig);
}

static void test_memory_pressure_by_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client;
	struct rig rig;

	rig_init(&rig);
	(void) snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", rig.folder);
	CU_ASSERT_EQUAL_FATAL(bind(server, (struct sockaddr *) &address, sizeof address), 0);
	CU_ASSERT_EQUAL_FATAL(listen(server, 1), 0);
	rig_start(&rig, address.sun_path);
	client = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(client >= 0);
	CU_ASSERT_EQUAL(fd_write_all(client, "x", 1), 0);
	wait_for(&rig, POWER_MEMORY_PRESSURE, 50);
	(void) close(client);
	wait_for(&rig, POWER_MEMORY_PRESSURE, NAN);
	(void) close(server);
	rig_done(&rig);
}

static void test_thermal_zones_by_type(void)
{
	struct rig rig;

	rig_init(&rig);
	put(&rig, "sys/class/thermal/thermal_zone0/type", "soc-thermal\n");
	put(&rig, "sys/class/thermal/thermal_zone0/temp", "40000\n");
	put(&rig, "sys/class/thermal/thermal_zone7/type", "cpu-thermal\n");
	put(&rig, "sys/class/thermal/thermal_zone7/temp", "61500\n");
	put(&rig, "sys/class/thermal/thermal_zone7/trip_point_0_type", "active\n");
	put(&rig, "sys/class/thermal/thermal_zone7/trip_point_0_temp", "50000\n");
	put(&rig, "sys/class/thermal/thermal_zone7/trip_point_1_type", "passive\n");
	put(&rig, "sys/class/thermal/thermal_zone7/trip_point_1_temp", "80000\n");
	put(&rig, "sys/class/thermal/cooling_device0/type", "fan\n");
	rig_start(&rig, "/dev/null");
	wait_for(&rig, POWER_TEMPERATURE, 61.5);
	CU_ASSERT_STRING_EQUAL(value(&rig, POWER_TEMPERATURE)->text, "cpu-thermal");
	CU_ASSERT_EQUAL(value(&rig, POWER_MARGIN)->value, 18.5);
	CU_ASSERT_EQUAL(power_inputs(rig.power)->n_zones, 2);

	put(&rig, "sys/class/thermal/thermal_zone7/temp", "70000\n");
	wait_for(&rig, POWER_TEMPERATURE, 70);
	CU_ASSERT_TRUE(value(&rig, POWER_TREND)->value > 0);
	turn(&rig, 100 * NSEC_PER_MSEC);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.reason, "temperature 70 C"));

	/* A broken sensor is left out, the other zone goes on. */
	put(&rig, "sys/class/thermal/thermal_zone7/temp", "-274000\n");
	wait_for(&rig, POWER_TEMPERATURE, 40);
	wait_for(&rig, POWER_MARGIN, NAN);
	put(&rig, "sys/class/thermal/thermal_zone0/temp", "warm\n");
	wait_for(&rig, POWER_TEMPERATURE, NAN);
	CU_ASSERT_EQUAL(power_inputs(rig.power)->n_zones, 0);
	put(&rig, "sys/class/thermal/thermal_zone0/temp", "41000\n");
	wait_for(&rig, POWER_TEMPERATURE, 41);
	rig_done(&rig);
}

static void test_small_steps_add_up(void)
{
	struct rig rig;
	unsigned calls;
	char text[32];

	rig_init(&rig);
	put(&rig, "sys/class/hwmon/hwmon2/name", "ina219\n");
	put(&rig, "sys/class/hwmon/hwmon2/power1_input", "4000000\n");
	rig_start(&rig, "/dev/null");
	wait_for(&rig, POWER_WATTS, 4);
	turn(&rig, 100 * NSEC_PER_MSEC);
	calls = rig.calls;
	for (int i = 1; i <= 4; i++) {
		(void) snprintf(text, sizeof text, "%d\n", 4000000 + i * 20000);
		put(&rig, "sys/class/hwmon/hwmon2/power1_input", text);
		wait_for(&rig, POWER_WATTS, 4 + i * 0.02);
	}
	turn(&rig, 100 * NSEC_PER_MSEC);
	CU_ASSERT_EQUAL(rig.calls, calls);
	put(&rig, "sys/class/hwmon/hwmon2/power1_input", "4110000\n");
	turn(&rig, 150 * NSEC_PER_MSEC);
	CU_ASSERT_EQUAL(rig.calls, calls + 1);
	rig_done(&rig);
}

static void test_voltage_alarm_and_meters(void)
{
	struct rig rig;

	rig_init(&rig);
	rig_start(&rig, "/dev/null");
	turn(&rig, 100 * NSEC_PER_MSEC);
	CU_ASSERT_FALSE(value(&rig, POWER_UNDER_VOLTAGE)->known);
	put(&rig, "sys/class/hwmon/hwmon0/name", "rpi_volt\n");
	put(&rig, "sys/class/hwmon/hwmon0/in0_lcrit_alarm", "0\n");
	wait_for(&rig, POWER_UNDER_VOLTAGE, 0);
	CU_ASSERT_FALSE(value(&rig, POWER_WATTS)->known);
	put(&rig, "sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1\n");
	wait_for(&rig, POWER_UNDER_VOLTAGE, 1);
	turn(&rig, 100 * NSEC_PER_MSEC);
	CU_ASSERT_STRING_EQUAL(rig.reason, "under-voltage yes");
	rig_done(&rig);
}

/* An INA3221 measures three rails and multiplies none; an INA219 beside it does. */
static void test_volts_times_amperes(void)
{
	struct rig rig;

	rig_init(&rig);
	put(&rig, "sys/class/hwmon/hwmon0/name", "ina3221\n");
	put(&rig, "sys/class/hwmon/hwmon0/in1_input", "5000\n");
	put(&rig, "sys/class/hwmon/hwmon0/curr1_input", "900\n");
	put(&rig, "sys/class/hwmon/hwmon0/curr2_input", "99000\n");
	put(&rig, "sys/class/hwmon/hwmon1/name", "ina219\n");
	put(&rig, "sys/class/hwmon/hwmon1/in1_input", "5000\n");
	put(&rig, "sys/class/hwmon/hwmon1/curr1_input", "99000\n");
	put(&rig, "sys/class/hwmon/hwmon1/power1_input", "3000000\n");
	rig_start(&rig, "/dev/null");
	wait_for(&rig, POWER_WATTS, 4.5);
	CU_ASSERT_STRING_EQUAL(value(&rig, POWER_WATTS)->text, "ina3221");
	rig_done(&rig);
}

TEST_MAIN("power", TEST(nothing_there_is_unknown), TEST(upower_comes_changes_and_dies),
	TEST(restart_of_a_source_is_no_news), TEST(no_battery_is_unknown_not_empty),
	TEST(others_and_wrong_types_are_not_believed), TEST(flood_is_gathered),
	TEST(both_names_of_the_profiles), TEST(low_memory_warnings),
	TEST(sleep_waits_for_the_requests), TEST(memory_pressure_by_fifo),
	TEST(memory_pressure_by_socket), TEST(thermal_zones_by_type), TEST(small_steps_add_up),
	TEST(voltage_alarm_and_meters), TEST(volts_times_amperes))
