/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command bitshed and the examples, run as a person would: what they print, how they exit.
 * TEST_BITSHED is the command, TEST_SESSION the C example, BITSHED_SOURCE the tree.
 */
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "live.h"
#include "support/bus.h"
#include "support/test.h"

static struct live live;
static char out[32768];

/* Runs "bitshed ARGUMENTS"; %N %I %R %G in them are the network, image, raw and garbage files. */
static int bitshed(const char *arguments)
{
	char line[1024];
	size_t n = (size_t) snprintf(line, sizeof line, "%s ", TEST_BITSHED);

	for (const char *p = arguments; *p; p++) {
		const char *file = p[0] != '%'	 ? NULL
				   : p[1] == 'N' ? live.network
				   : p[1] == 'I' ? live.image
				   : p[1] == 'R' ? live.raw
						 : live.garbage;

		n += (size_t) (file ? snprintf(line + n, sizeof line - n, "%s", file)
				    : snprintf(line + n, sizeof line - n, "%c", *p));
		p += file != NULL;
	}
	return live_run(line, out, sizeof out);
}

static bool says(const char *words)
{
	bool found = strstr(out, words) != NULL;

	if (!found)
		printf("expected \"%s\" in:\n%s\n", words, out);
	return found;
}

static void test_start(void)
{
	live_start(&live);
}

static void test_usage(void)
{
	CU_ASSERT_EQUAL(bitshed("--help"), 0);
	CU_ASSERT_TRUE(says("Usage: bitshed"));
	CU_ASSERT_EQUAL(bitshed("--version"), 0);
	CU_ASSERT_TRUE(says(bitshed_version()));
	CU_ASSERT_EQUAL(bitshed("frobnicate"), 2);
	CU_ASSERT_EQUAL(bitshed("load x"), 2);
	CU_ASSERT_TRUE(says("Usage: bitshed load NAME FILE"));
	CU_ASSERT_EQUAL(bitshed("--no-such-option"), 2);
	CU_ASSERT_EQUAL(bitshed("infer --priority=101 a b"), 2);
	CU_ASSERT_EQUAL(bitshed("infer --deadline=1.5 a b"), 2);
	CU_ASSERT_EQUAL(bitshed("infer --input=text a b"), 2);
	CU_ASSERT_EQUAL(bitshed("bits x 9"), 2);
	CU_ASSERT_EQUAL(bitshed("bits x nan"), 2);
}

static void test_no_bus(void)
{
	CU_ASSERT_EQUAL(bitshed("--bus=nonsense status"), 1);
	CU_ASSERT_TRUE(says("'nonsense' is no bus"));
	CU_ASSERT_EQUAL(bitshed("--bus=unix:path=/nonexistent/bus status"), 3);
	CU_ASSERT_TRUE(says("no bus at"));
}

static void test_empty(void)
{
	CU_ASSERT_EQUAL(bitshed("models"), 0);
	CU_ASSERT_TRUE(says("No model is loaded."));
	CU_ASSERT_EQUAL(bitshed("models --json"), 0);
	CU_ASSERT_STRING_EQUAL(out, "[]\n");
	CU_ASSERT_EQUAL(bitshed("infer nobody %I"), 5);
	CU_ASSERT_TRUE(says("None is loaded"));
}

static void test_load(void)
{
	CU_ASSERT_EQUAL(bitshed("load net %N --bits=4"), 0);
	CU_ASSERT_TRUE(says("net: 4 of 4 bits"));
	CU_ASSERT_EQUAL(bitshed("load net %N"), 1);
	CU_ASSERT_TRUE(says("'bitshed unload' the old one first"));
	CU_ASSERT_EQUAL(bitshed("load other /nonexistent"), 1);
	CU_ASSERT_EQUAL(bitshed("load bad %G"), 1);
	CU_ASSERT_EQUAL(bitshed("models"), 0);
	CU_ASSERT_TRUE(says("failed"));
	CU_ASSERT_EQUAL(bitshed("unload bad"), 0);
	CU_ASSERT_EQUAL(bitshed("unload bad"), 5);
	CU_ASSERT_TRUE(says("There are: net"));
}

static void test_status(void)
{
	CU_ASSERT_EQUAL(bitshed("status"), 0);
	CU_ASSERT_EQUAL(bitshed("devices"), 0);
	CU_ASSERT_TRUE(says("CPU only"));
	CU_ASSERT_EQUAL(bitshed("devices retry"), 1);
	CU_ASSERT_EQUAL(bitshed("devices again"), 2);
	CU_ASSERT_EQUAL(bitshed("doctor"), 0);
	CU_ASSERT_TRUE(says("CPU only, which is fine"));
	CU_ASSERT_EQUAL(bitshed("status"), 0);
	CU_ASSERT_TRUE(says("profile   balanced"));
	CU_ASSERT_TRUE(says("device    cpu"));
	CU_ASSERT_TRUE(says("net"));
	CU_ASSERT_EQUAL(bitshed(""), 0);
	CU_ASSERT_TRUE(says("profile   balanced"));
	CU_ASSERT_EQUAL(bitshed("status --json"), 0);
	CU_ASSERT_TRUE(says("\"profile\":\"balanced\""));
	CU_ASSERT_TRUE(says("\"name\":\"net\""));
	CU_ASSERT_TRUE(says("\"energy_source\":\"modelled\""));
}

/* Image, raw pixels, standard input and shared memory are the same picture: one answer. */
static void test_infer(void)
{
	char first[512];

	CU_ASSERT_EQUAL(bitshed("infer net %I --top=2"), 0);
	CU_ASSERT_TRUE(says("4 bits on cpu by"));
	(void) snprintf(first, sizeof first, "%.*s", (int) strcspn(out, "\n"), out);
	CU_ASSERT_EQUAL(bitshed("infer net %R"), 0);
	CU_ASSERT_TRUE(says(first));
	CU_ASSERT_EQUAL(bitshed("infer net - < %R"), 0);
	CU_ASSERT_TRUE(says(first));
	CU_ASSERT_EQUAL(bitshed("infer net %I --session --repeat=3"), 0);
	CU_ASSERT_TRUE(says(first));
	CU_ASSERT_EQUAL(bitshed("infer net %I --json --top=1 --deadline=5000"), 0);
	CU_ASSERT_TRUE(says("{\"model\":\"net\",\"bits\":4,\"device\":\"cpu\""));
	CU_ASSERT_TRUE(says("\"top\":[{\"index\":"));
}

static void test_infer_refused(void)
{
	CU_ASSERT_EQUAL(bitshed("infer net %G"), 1);
	CU_ASSERT_TRUE(says("192 bytes of pixels or 768 of floats"));
	CU_ASSERT_EQUAL(bitshed("infer net /nonexistent"), 1);
	CU_ASSERT_EQUAL(bitshed("infer net %I --min-bits=5"), 6);
	CU_ASSERT_TRUE(says("'bitshed bits' sets one"));
	CU_ASSERT_EQUAL(bitshed("infer ent %I"), 5);
	CU_ASSERT_TRUE(says("There are: net"));
	CU_ASSERT_EQUAL(
		live_run("printf 'P6 4 4 255\\n' | " TEST_BITSHED " infer net -", out, sizeof out),
		1);
	CU_ASSERT_TRUE(says("4 x 4 in colour, the model takes 8 x 8"));
	CU_ASSERT_EQUAL(live_run("printf 'P6 8 8 255\\nabc' | " TEST_BITSHED " infer net -", out,
				sizeof out),
		1);
	CU_ASSERT_TRUE(says("cut short"));
	CU_ASSERT_EQUAL(
		live_run("printf 'P6 8 99999999999999 255\\n' | " TEST_BITSHED " infer net -", out,
			sizeof out),
		1);
	CU_ASSERT_TRUE(says("expected a P6 image"));
}

static void test_hold(void)
{
	CU_ASSERT_EQUAL(bitshed("bits net 1"), 0);
	CU_ASSERT_EQUAL(bitshed("hold net"), 2);
	CU_ASSERT_EQUAL(bitshed("hold net --min-bits=7"), 6);
	CU_ASSERT_EQUAL(bitshed("hold nobody --min-bits=3"), 5);
	CU_ASSERT_EQUAL(bitshed("hold net --min-bits=3 -- sh -c 'exit 7'"), 7);
	CU_ASSERT_EQUAL(bitshed("hold net --min-bits=3 -- /no/such/program"), 127);
	CU_ASSERT_EQUAL(
		bitshed("hold net --min-bits=3 --reason='a photograph' -- " TEST_BITSHED " status"),
		0);
	CU_ASSERT_TRUE(says("hold      net at 3 bits by user"));
	CU_ASSERT_TRUE(says(": a photograph"));
	CU_ASSERT_TRUE(says("inputs    "));
	CU_ASSERT_EQUAL(live_run("timeout -s INT 1 " TEST_BITSHED " hold net --min-bits=2", out,
				sizeof out),
		124);
	CU_ASSERT_TRUE(says("net runs at 2 bits"));
	CU_ASSERT_EQUAL(bitshed("status --json"), 0);
	CU_ASSERT_TRUE(says("\"holds\":[],\"inputs\":["));
	CU_ASSERT_EQUAL(bitshed("bits net auto"), 0);
}

static void test_bits_and_profile(void)
{
	CU_ASSERT_EQUAL(bitshed("bits net 2"), 0);
	CU_ASSERT_TRUE(says("net: 2 of 4 bits"));
	CU_ASSERT_EQUAL(bitshed("bits net --json"), 0);
	CU_ASSERT_TRUE(says("\"bits_by_hand\":2"));
	CU_ASSERT_EQUAL(bitshed("why net"), 0);
	CU_ASSERT_TRUE(says("hand: "));
	CU_ASSERT_TRUE(says("it ends when the width is given back: bitshed bits NAME auto"));
	CU_ASSERT_TRUE(says("unknown: nobody reports them"));
	CU_ASSERT_EQUAL(bitshed("why net --json"), 0);
	CU_ASSERT_TRUE(says("{\"name\":\"on-battery\",\"source\":\"upower\",\"value\":null"));
	CU_ASSERT_EQUAL(bitshed("why nobody"), 5);
	CU_ASSERT_EQUAL(bitshed("profile power-saver"), 0);
	CU_ASSERT_EQUAL(bitshed("bits net auto"), 0);
	CU_ASSERT_TRUE(says("net: 2 of 4 bits"));
	CU_ASSERT_EQUAL(bitshed("profile fast"), 1);
	CU_ASSERT_TRUE(says("power-saver, balanced or performance"));
	CU_ASSERT_EQUAL(bitshed("profile performance --json"), 0);
	CU_ASSERT_STRING_EQUAL(out, "{\"profile\":\"performance\"}\n");
	CU_ASSERT_EQUAL(bitshed("bits net 8"), 6);
	CU_ASSERT_EQUAL(bitshed("bits nobody 2"), 5);
}

static void test_monitor(void)
{
	CU_ASSERT_EQUAL(live_run("timeout 20 " TEST_BITSHED
				 " monitor --json > monitor.$$ & sleep 1; " TEST_BITSHED
				 " profile balanced; for i in $(seq 100); do grep -q Profile "
				 "monitor.$$ && break; sleep 0.1; done; kill %1; "
				 "cat monitor.$$; rm monitor.$$",
				out, sizeof out),
		0);
	CU_ASSERT_TRUE(says("\"property\":\"Profile\",\"value\":\"balanced\""));
}

static void test_example_c(void)
{
	char line[900];

	(void) snprintf(line, sizeof line, "cat %s %s %s %s %s %s | %s net", live.raw, live.raw,
		live.raw, live.raw, live.raw, live.raw, TEST_SESSION);
	CU_ASSERT_EQUAL(live_run(line, out, sizeof out), 0);
	CU_ASSERT_EQUAL(strlen(out), 12); /* six answers of one digit */
	CU_ASSERT_EQUAL(out[0], out[10]);
	CU_ASSERT_EQUAL(live_run(TEST_SESSION " nobody </dev/null", out, sizeof out), 1);
}

static void test_example_python(void)
{
	char line[900];

	if (live_run("/usr/bin/python3 -c 'import dbus'", out, sizeof out) != 0) {
		printf("(no python3-dbus) ");
		return;
	}
	(void) snprintf(line, sizeof line, "/usr/bin/python3 %s/client/examples/infer.py net %s",
		BITSHED_SOURCE, live.image);
	CU_ASSERT_EQUAL(live_run(line, out, sizeof out), 0);
	CU_ASSERT_TRUE(says("bits on cpu by"));
	(void) snprintf(line, sizeof line, "/usr/bin/python3 %s/client/examples/infer.py nobody %s",
		BITSHED_SOURCE, live.image);
	CU_ASSERT_EQUAL(live_run(line, out, sizeof out), 1);
	CU_ASSERT_TRUE(says("org.bitshed.Error.NoSuchModel"));
}

static void test_example_shell(void)
{
	char line[900];

	if (live_run("command -v busctl", out, sizeof out) != 0) {
		printf("(no busctl) ");
		return;
	}
	(void) snprintf(
		line, sizeof line, "%s/client/examples/infer.sh net %s", BITSHED_SOURCE, live.raw);
	CU_ASSERT_EQUAL(live_run(line, out, sizeof out), 0);
	CU_ASSERT_TRUE(says(" class "));
	CU_ASSERT_TRUE(says("\"bits\" d"));
}

static void test_daemon_gone(void)
{
	(void) test_daemon_stop(live.daemon);
	live.daemon = 0;
	CU_ASSERT_EQUAL(bitshed("status"), 3);
	CU_ASSERT_TRUE(says("systemctl start bitshedd"));
	CU_ASSERT_EQUAL(bitshed("infer net %I"), 3);
	live_stop(&live);
}

TEST_MAIN("command", TEST(start), TEST(usage), TEST(no_bus), TEST(empty), TEST(load), TEST(status),
	TEST(infer), TEST(infer_refused), TEST(hold), TEST(bits_and_profile), TEST(monitor), TEST(example_c),
	TEST(example_python), TEST(example_shell), TEST(daemon_gone))
