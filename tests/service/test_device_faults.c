/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver that aborts, exits, hangs, runs out of memory, is lost, and computes wrong numbers, at random under
 * eight clients: nobody is refused, nobody gets a wrong answer, and the device comes back.
 *
 * BITSHED_TEST_ROUNDS says how often each fault; few by default.
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "device.h"
#include "support/bus.h"
#include "support/fake_driver.h"
#include "support/test.h"

#define PLANES 3
#define CLIENTS 8
#define INPUT_BYTES (8 * 8 * 3)
#define GROWN_KIB 8192
#define CONFIG(check) "opencl:\n  check-every: " check "\n  run-timeout: 1 s\n  build-timeout: 20 s\n"

static sd_bus *bus;
static pid_t daemon_pid;
static struct caller_session sessions[CLIENTS];
static pthread_t threads[CLIENTS];
static float expected[64];
static uint8_t input[INPUT_BYTES];
static atomic_bool stop;
static atomic_uint answers, refused, wrong, on_device;

static void *client(void *userdata)
{
	struct caller_session *s = userdata;
	struct bitshed_request record = caller_request(0);
	struct bitshed_reply reply;

	record.device = BITSHED_DEVICE_PREFER;
	record.deadline_ms = 10000;
	while (!atomic_load(&stop)) {
		memset(s->map + s->output, 0xff, s->output_bytes);
		if (!caller_exchange(s, &record, sizeof record, &reply) ||
			reply.status != BITSHED_OK)
			atomic_fetch_add(&refused, 1);
		else if (memcmp(s->map + s->output, expected, s->output_bytes) != 0)
			atomic_fetch_add(&wrong, 1);
		atomic_fetch_add(&on_device, reply.device == 1);
		atomic_fetch_add(&answers, 1);
		(void) usleep(2000);
	}
	return NULL;
}

static uint32_t count_fds(void)
{
	char path[64];
	uint32_t n = 0;
	DIR *d;

	(void) snprintf(path, sizeof path, "/proc/%d/fd", daemon_pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		(void) closedir(d);
	return n;
}

static uint64_t anonymous_kib(void)
{
	char path[64], line[256];
	uint64_t kib = 0;
	FILE *f;

	(void) snprintf(path, sizeof path, "/proc/%d/status", daemon_pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (f)
		(void) fclose(f);
	return kib;
}

static void test_a_driver_of_ours_serves(void)
{
	struct caller_answer a;

	fake_driver_install(device_folder());
	daemon_pid = device_daemon(CONFIG("1"));
	bus = test_bus_open();
	caller_load_network(bus, "net", PLANES);
	for (uint32_t i = 0; i < INPUT_BYTES; i++)
		input[i] = (uint8_t) (i * 29 + 3);
	caller_infer(bus, "net", input, sizeof input, &a, NULL);
	CU_ASSERT_STRING_EQUAL_FATAL(a.error, "");
	memcpy(expected, a.output, a.output_bytes);
	CU_ASSERT_TRUE_FATAL(device_wait(bus, "ready") && device_wait_number(bus, "Plans", 1));
	for (int i = 0; i < CLIENTS; i++) {
		CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &sessions[i]), "");
		memcpy(sessions[i].map + sessions[i].input, input, sizeof input);
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, client, &sessions[i]), 0);
	}
}

static void wait_for_answers(uint32_t more)
{
	uint32_t begin = atomic_load(&answers);

	for (int i = 0; i < 3000 && atomic_load(&answers) - begin < more; i++)
		(void) usleep(10000);
	CU_ASSERT(atomic_load(&answers) - begin >= more);
}

/* One fault: it shows, in whichever way; then the operator lifts what it has led to. */
static void suffer(const char *fault, uint32_t one_in)
{
	uint64_t retried = device_number(bus, "Retried"),
		 wrong_before = device_number(bus, "Wrong");
	bool building = strcmp(fault, "abort-build") == 0;

	fake_driver_fail(fault, one_in);
	if (building)
		CU_ASSERT_STRING_EQUAL(caller_error(bus, "RetryDevices", ""), "");
	for (int i = 0; i < 2000; i++) {
		if (strcmp(device_text(bus, "State"), "ready") != 0 ||
			device_number(bus, "Retried") > retried + 2 ||
			device_number(bus, "Wrong") > wrong_before)
			break;
		(void) usleep(5000);
	}
	wait_for_answers(CLIENTS);
	fake_driver_fail("none", 1);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "RetryDevices", ""), "");
	(void) usleep(20000);
	CU_ASSERT_TRUE_FATAL(device_wait(bus, "ready"));
	CU_ASSERT_TRUE_FATAL(device_wait_number(bus, "Plans", 1));
}

static void test_faults_cost_nobody_an_answer(void)
{
	static const struct {
		const char *name;
		uint32_t one_in;
	} faults[] = {{"abort-build", 4}, {"abort-enqueue", 30}, {"exit", 30}, {"hang", 30},
		{"wrong", 3}, {"memory", 10}, {"lost", 30}};
	const char *text = getenv("BITSHED_TEST_ROUNDS");
	uint32_t rounds = text ? (uint32_t) atoi(text) : 2, fds = 0;
	uint64_t kib = 0;

	for (uint32_t i = 0; i < rounds; i++) {
		for (uint32_t f = 0; f < sizeof faults / sizeof faults[0]; f++)
			suffer(faults[f].name, faults[f].one_in);
		if (i == 0) {
			fds = count_fds();
			kib = anonymous_kib();
		}
	}
	printf("%u answers, %u of the device, %lu starts; descriptors %u to %u, memory %lu to %lu "
	       "KiB ",
		atomic_load(&answers), atomic_load(&on_device), device_number(bus, "Starts"), fds,
		count_fds(), kib, anonymous_kib());
	CU_ASSERT_EQUAL(atomic_load(&refused), 0);
	CU_ASSERT_EQUAL(atomic_load(&wrong), 0);
	CU_ASSERT(atomic_load(&on_device) > 0);
	CU_ASSERT(count_fds() <= fds + 2);
	CU_ASSERT(anonymous_kib() <= kib + GROWN_KIB);
}

/*
 * The same of answers that nobody compares: inputs are read where clients have put them, and requests run together.
 * Wrong numbers are left out, since they would be believed.
 */
static void test_faults_of_what_is_not_compared(void)
{
	static const char *const faults[] = {"abort-enqueue", "exit", "hang", "memory", "lost"};
	const char *text = getenv("BITSHED_TEST_ROUNDS");
	uint32_t rounds = text ? ((uint32_t) atoi(text) + 4) / 5 : 1, fds = 0;

	device_configure(CONFIG("never"));
	CU_ASSERT_EQUAL(kill(daemon_pid, SIGHUP), 0);
	for (uint32_t i = 0; i < rounds; i++) {
		for (uint32_t f = 0; f < sizeof faults / sizeof faults[0]; f++)
			suffer(faults[f], 30);
		if (i == 0)
			fds = count_fds();
	}
	wait_for_answers(50 * CLIENTS);
	printf("%lu answers together, descriptors %u to %u ", device_number(bus, "Together"), fds, count_fds());
	CU_ASSERT_EQUAL(atomic_load(&refused), 0);
	CU_ASSERT_EQUAL(atomic_load(&wrong), 0);
	CU_ASSERT(count_fds() <= fds + 2);
	device_configure(CONFIG("1"));
	CU_ASSERT_EQUAL(kill(daemon_pid, SIGHUP), 0);
	CU_ASSERT_TRUE(device_wait_number(bus, "Checked", device_number(bus, "Checked") + CLIENTS));
}

/* The clients may have it quarantined before the daemon looks for it again: until it says why. */
static bool wait_for_reason(void)
{
	bool said = false;

	for (int i = 0; i < 100 && !said; i++) {
		if (!device_wait(bus, "quarantined"))
			return false;
		said = device_text(bus, "StateReason")[0] != '\0';
	}
	return said;
}

/* One that is wrong from the start: the kernel is left out, and the others serve. */
static void test_wrong_numbers_lead_to_quarantine(void)
{
	fake_driver_fail("wrong", 1);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "RetryDevices", ""), "");
	CU_ASSERT_TRUE(wait_for_reason());
	wait_for_answers(CLIENTS);
	fake_driver_fail("none", 1);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "RetryDevices", ""), "");
	CU_ASSERT_TRUE(device_wait(bus, "ready"));
}

static void test_end(void)
{
	atomic_store(&stop, true);
	for (int i = 0; i < CLIENTS; i++) {
		(void) pthread_join(threads[i], NULL);
		caller_session_done(&sessions[i]);
	}
	CU_ASSERT_EQUAL(atomic_load(&refused), 0);
	CU_ASSERT_EQUAL(atomic_load(&wrong), 0);
	bus = sd_bus_flush_close_unref(bus);
	CU_ASSERT_EQUAL(test_daemon_stop(daemon_pid), 0);
}

TEST_MAIN("device_faults", TEST(a_driver_of_ours_serves), TEST(faults_cost_nobody_an_answer),
	TEST(faults_of_what_is_not_compared), TEST(wrong_numbers_lead_to_quarantine), TEST(end))
