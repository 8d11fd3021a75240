/* SPDX-License-Identifier: Apache-2.0 */
/* What strace sees of a daemon that goes on with what the one before had: no model file is opened. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "caller.h"
#include "support/bus.h"
#include "support/restart.h"
#include "support/test.h"

#define PIXELS (8 * 8 * 3)

static char folder[] = "/tmp/bitshed-trace-XXXXXX", model_option[96], trace_path[64];
static const char *const args[] = {model_option, NULL};
static sd_bus *bus;
static pid_t daemon_pid;
static struct caller_answer before;

static void write_model(const char *path)
{
	static uint8_t bytes[1 << 20];
	const struct test_network_options options = {.seed = 1, .planes = 4};
	int fd = test_network_memfd(&options);
	ssize_t n = pread(fd, bytes, sizeof bytes, 0);
	FILE *f = fopen(path, "we");

	CU_ASSERT_TRUE_FATAL(f && n > 0 && n < (ssize_t) sizeof bytes);
	CU_ASSERT_EQUAL(fwrite(bytes, 1, (size_t) n, f), (size_t) n);
	(void) fclose(f);
	(void) close(fd);
}

static struct caller_answer ask(void)
{
	uint8_t pixels[PIXELS];
	struct caller_answer a;

	for (int i = 0; i < PIXELS; i++)
		pixels[i] = (uint8_t) (i * 37);
	caller_infer(bus, "net", pixels, sizeof pixels, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, "");
	return a;
}

/* Return: how many lines of the trace have @words */
static unsigned int seen(const char *words)
{
	FILE *f = fopen(trace_path, "re");
	unsigned int n = 0;
	char line[1024];

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof line, f))
		n += strstr(line, words) != NULL;
	(void) fclose(f);
	return n;
}

static void test_first_start_opens_it(void)
{
	char path[64];

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	(void) snprintf(trace_path, sizeof trace_path, "%s/trace", folder);
	(void) snprintf(path, sizeof path, "%s/net.gguf", folder);
	(void) snprintf(model_option, sizeof model_option, "--model=net=%s", path);
	write_model(path);
	if (!restart_trace(trace_path)) {
		(void) unlink(path);
		(void) rmdir(folder);
		test_skip("no strace, or it may not trace");
	}
	restart_init();
	bus = test_bus_open();
	daemon_pid = restart_start(args, NULL);
	CU_ASSERT_TRUE(restart_wait("state.net", 1));
	before = ask();
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	CU_ASSERT_TRUE(seen("openat(") > 1);
	CU_ASSERT_EQUAL(seen("/net.gguf"), 1);
}

static void test_next_start_does_not(void)
{
	for (int i = 0; i < 2; i++) {
		struct caller_answer after;

		daemon_pid = restart_start(args, NULL);
		after = ask();
		CU_ASSERT_EQUAL(after.bits, before.bits);
		CU_ASSERT_EQUAL(after.output_bytes, before.output_bytes);
		CU_ASSERT_EQUAL(memcmp(after.output, before.output, after.output_bytes), 0);
		(void) restart_stop(daemon_pid, i ? SIGTERM : SIGKILL);
		CU_ASSERT_TRUE(seen("openat(") > 1);
		CU_ASSERT_EQUAL(seen(".gguf"), 0);
	}
}

static void test_folder_is_removed(void)
{
	char command[64];

	(void) sd_bus_flush_close_unref(bus);
	(void) snprintf(command, sizeof command, "rm -r %s", folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

TEST_MAIN("restart_opens_no_model", TEST(first_start_opens_it), TEST(next_start_does_not), TEST(folder_is_removed))
