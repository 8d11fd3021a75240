/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line that comes and goes a hundred times a second: the width switches as often as dwell and budget
 * allow, everything else is withheld, counted, and said why.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

#define UPOWER "org.freedesktop.UPower"
#define UPOWER_PATH "/org/freedesktop/UPower"
#define SIGNALS 1000
#define SIGNAL_USEC 10000
#define DWELL_SEC 1
#define BUDGET 6

static sd_bus *bus, *board;
static int on_battery;

static const char rules[] = "version: 1\n"
			    "dwell: 1 s\n"
			    "switches-per-hour: 6\n"
			    "rules:\n"
			    "  - {name: battery, when: {on-battery: true}, then: {bits: at most 2}}\n";

static const sd_bus_vtable upower_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("OnBattery", "b", NULL, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_VTABLE_END,
};

static void start(void)
{
	(void) test_daemon_start_with("--policy", rules);
	bus = test_bus_open();
	caller_load_network(bus, "net", 4);
	board = test_bus_open();
	CU_ASSERT_TRUE_FATAL(sd_bus_add_object_vtable(board, NULL, UPOWER_PATH, UPOWER, upower_vtable,
				     &on_battery)
			     >= 0);
	CU_ASSERT_TRUE_FATAL(sd_bus_request_name(board, UPOWER, 0) >= 0);
}

static void serve(void)
{
	while (sd_bus_process(board, NULL) > 0)
		;
}

static uint64_t count_switches(void)
{
	uint64_t n = UINT64_MAX;

	(void) sd_bus_get_property_trivial(bus, BITSHED_BUS_NAME, BITSHED_PATH "/model/net",
		BITSHED_MODEL_INTERFACE, "Switches", NULL, 't', &n);
	return n;
}

/* Return: of all reasons; says each */
static uint64_t count_suppressed(uint64_t *ret_dwell, uint64_t *ret_budget)
{
	sd_bus_message *m = NULL;
	const char *reason;
	uint64_t n, sum = 0;

	CU_ASSERT_FATAL(sd_bus_get_property(bus, BITSHED_BUS_NAME, BITSHED_PATH "/model/net",
				BITSHED_MODEL_INTERFACE, "Suppressed", NULL, &m, "a(st)")
			>= 0);
	CU_ASSERT_FATAL(sd_bus_message_enter_container(m, 'a', "(st)") > 0);
	while (sd_bus_message_read(m, "(st)", &reason, &n) > 0) {
		sum += n;
		if (strcmp(reason, "dwell") == 0)
			*ret_dwell = n;
		else if (strcmp(reason, "budget") == 0)
			*ret_budget = n;
	}
	(void) sd_bus_message_unref(m);
	return sum;
}

static void test_switches_are_bounded(void)
{
	uint64_t begin, seen = 0, dwell = 0, budget = 0, switches, sum, most;
	double before, now;

	start();
	begin = clock_now_nsec();
	before = caller_bits(bus, "net");
	for (int i = 0; i < SIGNALS; i++) {
		on_battery = !on_battery;
		CU_ASSERT_TRUE(sd_bus_emit_properties_changed(
				       board, UPOWER_PATH, UPOWER, "OnBattery", NULL)
			       >= 0);
		serve();
		if (i % 10 == 0) {
			now = caller_bits(bus, "net");
			seen += now != before;
			before = now;
		}
		while (clock_now_nsec() < begin + (uint64_t) i * SIGNAL_USEC * NSEC_PER_USEC)
			(void) usleep(1000);
	}
	switches = count_switches();
	sum = count_suppressed(&dwell, &budget);
	most = (clock_now_nsec() - begin) / (DWELL_SEC * NSEC_PER_SEC) + 1;
	printf("\n    %d signals in %.1f s: %" PRIu64 " switches, %" PRIu64 " withheld by dwell, %" PRIu64
	       " by budget ",
		SIGNALS, (double) (clock_now_nsec() - begin) / (double) NSEC_PER_SEC, switches, dwell,
		budget);
	CU_ASSERT_TRUE(switches >= 1);
	CU_ASSERT_TRUE(switches <= most);
	CU_ASSERT_TRUE(switches <= BUDGET);
	/* The first decision about a model is no switch of rules. */
	CU_ASSERT_TRUE(seen <= switches + 1);
	CU_ASSERT_TRUE(dwell > 0);
	CU_ASSERT_EQUAL(sum, dwell + budget);
}

TEST_MAIN("sawtooth", TEST(switches_are_bounded))
