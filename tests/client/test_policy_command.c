/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bitshed policy, run as a person would. TEST_BITSHED is the command, BITSHED_SOURCE the tree; the program behind it
 * is found by BITSHED_LIBEXEC.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "live.h"
#include "service/journal.h"
#include "support/bus.h"
#include "support/test.h"

#define SHIPPED "--policy=" BITSHED_SOURCE "/config/policies/default.yaml "
#define SOLAR "--trace=" BITSHED_SOURCE "/tests/golden/traces/solar-day.csv "

static struct live live;
static char out[65536], folder[] = "/tmp/bitshed-policy-XXXXXX";

static int policy(const char *arguments)
{
	char line[2048];

	(void) snprintf(line, sizeof line, "cd %s && %s policy %s", folder, TEST_BITSHED, arguments);
	return live_run(line, out, sizeof out);
}

static bool says(const char *words)
{
	bool found = strstr(out, words) != NULL;

	if (!found)
		printf("expected \"%s\" in:\n%s\n", words, out);
	return found;
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	(void) snprintf(path, sizeof path, "%s/%s", folder, name);
	f = fopen(path, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void) fputs(text, f);
	(void) fclose(f);
}

static void test_start(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	live_start(&live);
}

static void test_usage(void)
{
	CU_ASSERT_EQUAL(policy("simulate --help"), 0);
	CU_ASSERT_EQUAL(policy("--help"), 0);
	CU_ASSERT_TRUE(says("Usage: bitshed policy"));
	CU_ASSERT_EQUAL(policy(""), 2);
	CU_ASSERT_EQUAL(policy("frobnicate"), 2);
	CU_ASSERT_EQUAL(policy("simulate"), 2);
	CU_ASSERT_EQUAL(policy("simulate " SOLAR "--rate=fast"), 2);
	CU_ASSERT_EQUAL(policy("simulate " SOLAR SHIPPED "--plot=x.png"), 2);
	CU_ASSERT_TRUE(says("FILE.svg"));
	CU_ASSERT_EQUAL(policy("check"), 2);
	CU_ASSERT_EQUAL(policy("replay a b"), 2);
	CU_ASSERT_EQUAL(policy("record --interval=0"), 2);
	CU_ASSERT_EQUAL(policy("record --bus=unix:path=/nonexistent/bus"), 3);
}

static void test_check(void)
{
	write_file("bad.yaml", "version: 1\nrules:\n  - {name: a, when: {on-batery: true}, then: {bits: 2}}\n");
	CU_ASSERT_EQUAL(policy("check " BITSHED_SOURCE "/config/policies/default.yaml"), 0);
	CU_ASSERT_TRUE(says("10 rules"));
	CU_ASSERT_EQUAL(policy("check bad.yaml"), 1);
	CU_ASSERT_TRUE(says("bad.yaml:3:"));
	CU_ASSERT_TRUE(says("on-battery"));
	CU_ASSERT_EQUAL(policy("check nowhere.yaml"), 1);
}

static void test_simulate(void)
{
	char arguments[512];

	CU_ASSERT_EQUAL(policy("simulate " SOLAR SHIPPED "--plot=day.svg"), 0);
	CU_ASSERT_TRUE(says("the hard rule \"nearly-too-hot\" allows 2 bits"));
	CU_ASSERT_TRUE(says("energy: not known"));
	(void) snprintf(arguments, sizeof arguments, "simulate " SOLAR SHIPPED "--model=cam=%s", live.network);
	CU_ASSERT_EQUAL(policy(arguments), 0);
	CU_ASSERT_TRUE(says("J of inferences, modelled"));
	(void) snprintf(arguments, sizeof arguments,
		"simulate " SOLAR SHIPPED "--json --model=a=%s --model=b=%s", live.network, live.network);
	CU_ASSERT_EQUAL(policy(arguments), 0);
	CU_ASSERT_EQUAL(strncmp(out, "[{\"model\":\"a\",\"switches\":", 25), 0);
	CU_ASSERT_TRUE(says(",{\"model\":\"b\",\"switches\":"));
	CU_ASSERT_TRUE(says("\"energy_source\":\"modelled\""));
	CU_ASSERT_EQUAL(policy("simulate " SHIPPED "--trace=nowhere.csv"), 1);
}

/* What has been recorded is what can be simulated. */
static void test_record(void)
{
	CU_ASSERT_EQUAL(policy("record --interval=0.1 --duration=0.5 --output=here.csv"), 0);
	CU_ASSERT_EQUAL(policy("simulate " SHIPPED "--trace=here.csv"), 0);
	CU_ASSERT_TRUE(says("4      full"));
	CU_ASSERT_EQUAL(policy("record --interval=0.1 --duration=0.1"), 0);
	CU_ASSERT_EQUAL(strncmp(out, "seconds,on-battery,battery-percent,", 35), 0);
	CU_ASSERT_TRUE(says(",balanced,"));
}

#define ENTRY(usec, bits, was, rule, inputs)                                                       \
	"__REALTIME_TIMESTAMP=" usec "\nMESSAGE_ID=" JOURNAL_SWITCH_ID                             \
	"\nMODEL=cam\nBITS=" bits "\nBITS_WAS=" was "\nRULE=" rule "\nREASON=so\nINPUTS=" inputs "\n\n"

/* Rules of another day, and one decision that was a person's. */
static void test_replay(void)
{
	write_file("journal", ENTRY("1795273200000000", "2", "4", "old", "on-battery=true,battery-percent=45")
		ENTRY("1795273260000000", "4", "2", "full", "on-battery=false,battery-percent=47")
			ENTRY("1795273320000000", "1", "4", "hand", "telemetry of x"));
	CU_ASSERT_EQUAL(policy("replay " SHIPPED "journal"), 0);
	CU_ASSERT_TRUE(says("cam\n"));
	CU_ASSERT_TRUE(says("  2      3      old "));
	CU_ASSERT_TRUE(says("  4      4      full "));
	CU_ASSERT_TRUE(says("switches: 3\n"));
	CU_ASSERT_TRUE(says("2 bits: 00:01:00 (50.0 %)"));
	CU_ASSERT_EQUAL(policy("replay --json " SHIPPED "< journal"), 0);
	CU_ASSERT_TRUE(says("\"bits\":2,\"bits_now\":3,\"rule\":\"old\""));
	CU_ASSERT_EQUAL(policy("replay " SHIPPED "/dev/null"), 0);
	CU_ASSERT_TRUE(says("No switch"));
	CU_ASSERT_EQUAL(policy("replay " SHIPPED "nowhere"), 1);
}

static void test_stop(void)
{
	char line[64];

	(void) snprintf(line, sizeof line, "rm -r %s", folder);
	CU_ASSERT_EQUAL(system(line), 0);
	live_stop(&live);
}

TEST_MAIN("policy_command", TEST(start), TEST(usage), TEST(check), TEST(simulate), TEST(record), TEST(replay),
	TEST(stop))
