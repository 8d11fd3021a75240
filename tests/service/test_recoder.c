/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model that stays low gets better planes while it serves: every answer is, to the bit, that of all planes, of the
 * prefix, or of the re-encoding; which of them, the properties say. A restart goes on with what there was.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "engine/exec.h"
#include "engine/lower.h"
#include "engine/recode.h"
#include "support/bus.h"
#include "support/restart.h"
#include "support/test.h"

#define PIXELS (16 * 16 * 3)

static const struct test_network_options plain = {
	.seed = 1, .planes = 4, .size = 16, .channels = 64, .plain = true};
static char folder[] = "/tmp/bitshed-recoder-XXXXXX", config_option[96], cache_option[64];
static sd_bus *bus;
static pid_t daemon_pid;
static uint8_t pixels[PIXELS];

enum answer {
	ANSWER_FULL,
	ANSWER_PREFIX,
	ANSWER_REENCODED,
	_ANSWER_MAX,
};
static float expected[_ANSWER_MAX][10];

static struct network *reencode(struct network *n)
{
	_cleanup_(recode_freep) struct recode *r = NULL;
	static const atomic_bool go_on;
	struct network *ret = NULL;

	CU_ASSERT_EQUAL_FATAL(recode_new(&r, n, 2, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(recode_run(r, &go_on), 0);
	CU_ASSERT_EQUAL_FATAL(recode_network(r, &ret, NULL), 0);
	return ret;
}

static void compute(struct network *n, double bits, float *output)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	struct reference r = {.workspace = calloc(1, sizeof *r.workspace)};

	CU_ASSERT_EQUAL_FATAL(model_build(&model, n, bits, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(plan_new(&r.plan, model, cpu_flags(), NULL), 0);
	CU_ASSERT_EQUAL_FATAL(workspace_reserve(r.workspace, r.plan, 1), 0);
	reference_run(&r, false, pixels, output);
	workspace_done(r.workspace);
	free(r.workspace);
	(void) plan_unref(r.plan);
}

static void compute_answers(void)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(&plain), *better = reencode(n);

	compute(n, 4, expected[ANSWER_FULL]);
	compute(n, 2, expected[ANSWER_PREFIX]);
	compute(better, 2, expected[ANSWER_REENCODED]);
	for (int i = 0; i < _ANSWER_MAX; i++)
		CU_ASSERT_NOT_EQUAL(memcmp(expected[i], expected[(i + 1) % _ANSWER_MAX], sizeof expected[0]), 0);
}

/* Return: which of the expected ones, or _ANSWER_MAX */
static enum answer infer(void)
{
	struct caller_answer a;
	int i = 0;

	caller_infer(bus, "net", pixels, PIXELS, &a, NULL);
	CU_ASSERT_STRING_EQUAL(a.error, "");
	while (i < _ANSWER_MAX && memcmp(a.output, expected[i], sizeof expected[0]) != 0)
		i++;
	CU_ASSERT_EQUAL(a.bits, i == ANSWER_FULL ? 4 : 2);
	return (enum answer) i;
}

static bool is_reencoded(const char *path)
{
	int is = 0;

	CU_ASSERT_TRUE(sd_bus_get_property_trivial(
			       bus, "org.bitshed", path, "org.bitshed.Model1", "Reencoded", NULL, 'b', &is) >= 0);
	return is;
}

static bool wait_reencoded(void)
{
	for (int i = 0; i < 4000; i++) {
		enum answer a = infer();

		CU_ASSERT_TRUE(a == ANSWER_PREFIX || a == ANSWER_REENCODED);
		if (is_reencoded("/org/bitshed/model/net"))
			return true;
		(void) usleep(5000);
	}
	return false;
}

static unsigned int files_in_cache(void)
{
	DIR *d = opendir(folder);
	unsigned int n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (struct dirent *e; (e = readdir(d));)
		n += strlen(e->d_name) == RECODE_KEY_SIZE - 1;
	(void) closedir(d);
	return n;
}

static void set_bits(double bits)
{
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", bits), "");
}

static void start_daemon(void)
{
	daemon_pid = restart_start((const char *const[]){config_option, cache_option, NULL}, NULL);
}

static void load(const char *name, const struct test_network_options *options)
{
	int fd = test_network_memfd(options);
	const char *error;

	CU_ASSERT_EQUAL_FATAL(caller_load(bus, name, fd, &error), 0);
	(void) close(fd);
}

static void test_start(void)
{
	uint64_t state = 3;
	char path[64];
	FILE *f;

	for (int i = 0; i < PIXELS; i++)
		pixels[i] = (uint8_t) test_random(&state);
	compute_answers();
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	(void) snprintf(path, sizeof path, "%s/config.yaml", folder);
	(void) snprintf(config_option, sizeof config_option, "--config=%s", path);
	(void) snprintf(cache_option, sizeof cache_option, "--cache=%s", folder);
	f = fopen(path, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void) fputs("reencode:\n  after: 50 ms\n", f);
	(void) fclose(f);
	restart_init();
	start_daemon();
	bus = test_bus_open();
	load("net", &plain);
	CU_ASSERT_EQUAL(infer(), ANSWER_FULL);
}

static void test_a_low_model_becomes_better(void)
{
	set_bits(2);
	CU_ASSERT_TRUE(wait_reencoded());
	CU_ASSERT_EQUAL(infer(), ANSWER_REENCODED);
	CU_ASSERT_EQUAL(files_in_cache(), 1);
	set_bits(4);
	CU_ASSERT_FALSE(is_reencoded("/org/bitshed/model/net"));
	CU_ASSERT_EQUAL(infer(), ANSWER_FULL);
	set_bits(2);
	CU_ASSERT_TRUE(wait_reencoded());
	CU_ASSERT_EQUAL(files_in_cache(), 1);
}

/* Widths that come and go while it is computed. */
static void test_changes_meanwhile(void)
{
	for (int i = 0; i < 30; i++) {
		set_bits(i % 2 ? 3 : 1);
		(void) usleep((useconds_t) (i * 5000));
		set_bits(4);
		CU_ASSERT_EQUAL(infer(), ANSWER_FULL);
	}
	set_bits(2);
	CU_ASSERT_TRUE(wait_reencoded());
}

static void test_restart_goes_on(void)
{
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_TRUE(restart_wait("plane1.net", 0));
		CU_ASSERT_TRUE(restart_wait("state.net", 1));
		(void) restart_stop(daemon_pid, i ? SIGKILL : SIGTERM);
		start_daemon();
		CU_ASSERT_EQUAL(infer(), ANSWER_REENCODED);
		CU_ASSERT_TRUE(is_reencoded("/org/bitshed/model/net"));
	}
}

/* Without the cache the prefix serves, and it is computed again. */
static void test_restart_without_cache(void)
{
	char command[128];

	(void) snprintf(command, sizeof command, "cd %s && rm ????????????????????????????????????????????????????????????????",
		folder);
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	CU_ASSERT_EQUAL(system(command), 0);
	start_daemon();
	CU_ASSERT_TRUE(wait_reencoded());
	CU_ASSERT_EQUAL(infer(), ANSWER_REENCODED);
	CU_ASSERT_EQUAL(files_in_cache(), 1);
}

static void test_what_is_measured_stays(void)
{
	const struct test_network_options corrected = {.seed = 2, .planes = 4};

	load("corrected", &corrected);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "corrected", 2.0), "");
	(void) usleep(300000);
	CU_ASSERT_FALSE(is_reencoded("/org/bitshed/model/corrected"));
}

/* In the middle of it. */
static void test_unload_and_stop(void)
{
	char command[64];

	load("other", &(struct test_network_options){.seed = 3, .planes = 4, .size = 16, .channels = 200, .plain = true});
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "other", 2.0), "");
	set_bits(3);
	(void) usleep(55000);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "other"), "");
	CU_ASSERT_EQUAL(restart_stop(daemon_pid, SIGTERM), 0);
	(void) sd_bus_flush_close_unref(bus);
	(void) snprintf(command, sizeof command, "rm -r %s", folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

TEST_MAIN("recoder", TEST(start), TEST(a_low_model_becomes_better), TEST(changes_meanwhile), TEST(restart_goes_on),
	TEST(restart_without_cache), TEST(what_is_measured_stays), TEST(unload_and_stop))
