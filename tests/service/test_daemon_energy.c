/* SPDX-License-Identifier: Apache-2.0 */
/* A board with a meter, made here: 2 W, and 5 W while a network runs. The daemon finds out what an inference takes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

#define SIZE 64
#define PIXELS (SIZE * SIZE * 3)
/* Longer than the windows of energy.c, and than the time in which two of them end. */
#define IDLE_SEC 6
#define BUSY_SEC 40

static char folder[] = "/tmp/bitshed-energy-XXXXXX", option[64];
static sd_bus *bus;

static void put(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	(void) snprintf(path, sizeof path, "%s/class/hwmon/hwmon0/%s", folder, name);
	f = fopen(path, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void) fputs(text, f);
	(void) fclose(f);
}

static void make_meter(void)
{
	char command[128];

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	(void) snprintf(command, sizeof command, "mkdir -p %s/class/hwmon/hwmon0 %s/class/thermal", folder, folder);
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
	put("name", "ina219\n");
	put("power1_input", "2000000\n");
	(void) snprintf(option, sizeof option, "--sysfs=%s", folder);
}

static double joules(void)
{
	double v = 0;

	CU_ASSERT_TRUE(sd_bus_get_property_trivial(bus, "org.bitshed", "/org/bitshed/model/net", "org.bitshed.Model1",
			       "EnergyPerInference", NULL, 'd', &v) >= 0);
	return v;
}

static void infer(void)
{
	static const uint8_t pixels[PIXELS];
	struct caller_answer a;

	caller_infer(bus, "net", pixels, PIXELS, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, "");
}

static void test_start(void)
{
	const struct test_network_options options = {.seed = 1, .planes = 4, .size = SIZE, .channels = 256};
	int fd = test_network_memfd(&options);
	const char *error;

	make_meter();
	(void) test_daemon_start((const char *const[]){option, NULL});
	bus = test_bus_open();
	CU_ASSERT_EQUAL_FATAL(caller_load(bus, "net", fd, &error), 0);
	(void) close(fd);
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "EnergySource"), "modelled");
	CU_ASSERT_TRUE(joules() > 0);
}

static void test_measured(void)
{
	uint64_t begin, n = 0;
	double seconds, found;

	infer();
	(void) sleep(IDLE_SEC);
	infer();
	put("power1_input", "5000000\n");
	for (begin = clock_now_nsec(); clock_now_nsec() - begin < BUSY_SEC * NSEC_PER_SEC;) {
		infer();
		if (n++ % 16 == 0 && strcmp(caller_text(bus, "net", "EnergySource"), "measured") == 0)
			break;
	}
	seconds = (double) (clock_now_nsec() - begin) / NSEC_PER_SEC;
	found = joules();
	printf("%.2f mJ, by 3 W and the rate of requests %.2f mJ ", found * 1e3, 3e3 * seconds / (double) n);
	CU_ASSERT_STRING_EQUAL(caller_text(bus, "net", "EnergySource"), "measured");
	CU_ASSERT_TRUE(found > 3 * seconds / (double) n / 2 && found < 3 * seconds / (double) n * 2);
}

static void test_stop(void)
{
	char command[64];

	(void) sd_bus_flush_close_unref(bus);
	(void) snprintf(command, sizeof command, "rm -r %s", folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

TEST_MAIN("daemon_energy", TEST(start), TEST(measured), TEST(stop))
