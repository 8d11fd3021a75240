/* SPDX-License-Identifier: Apache-2.0 */
/* An OpenCL device through the daemon: the processor's answers bit for bit, and a CPU that stands in. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "caller.h"
#include "device.h"
#include "support/bus.h"
#include "support/test.h"
#include "worker/protocol.h"

#define ANSWERS 50
#define PLANES 4
#define INPUT_BYTES (8 * 8 * 3)

static sd_bus *bus;
static pid_t daemon_pid;
static uint8_t input[INPUT_BYTES];

static void start(void)
{
	if (bus)
		return;
	daemon_pid = device_daemon("opencl:\n  check-every: 3\nlimits:\n  sessions-per-user: 200\n");
	bus = test_bus_open();
	for (uint32_t i = 0; i < INPUT_BYTES; i++)
		input[i] = (uint8_t) (i * 37 + 11);
}

static void infer(const char *device, struct caller_answer *ret)
{
	caller_infer(bus, "net", input, sizeof input, ret, "a{sv}", 1, "device", "s", device);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Asks many times and says what that took: a figure for people, no bound but on hanging. */
static void print_latency(const char *when, const char *device)
{
	uint64_t nsec[ANSWERS], first;

	for (int i = 0; i < ANSWERS; i++) {
		uint64_t begin = clock_now_nsec();
		struct caller_answer a;

		infer(device, &a);
		nsec[i] = clock_now_nsec() - begin;
		CU_ASSERT_STRING_EQUAL(a.error, "");
	}
	first = nsec[0];
	qsort(nsec, ANSWERS, sizeof nsec[0], compare);
	CU_ASSERT(nsec[ANSWERS - 1] < 10 * NSEC_PER_SEC);
	printf("\n%s (device %s): first answer %.2f ms, median %.2f, worst of %d %.2f ", when,
		device_text(bus, "State"), (double) first / 1e6, (double) nsec[ANSWERS / 2] / 1e6,
		ANSWERS, (double) nsec[ANSWERS - 1] / 1e6);
}

/* The driver compiles for seconds the first time; nobody who asks meanwhile notices. */
static void test_processor_answers_meanwhile(void)
{
	struct caller_answer a;
	uint64_t begin;

	start();
	caller_load_network(bus, "net", PLANES);
	begin = clock_now_nsec();
	infer("prefer-opencl", &a);
	CU_ASSERT_STRING_EQUAL(a.error, "");
	CU_ASSERT_STRING_EQUAL(a.device, "cpu");
	printf("\nfirst answer with a cold program cache: %.2f ms ",
		(double) (clock_now_nsec() - begin) / 1e6);
	print_latency("cold program cache", "prefer-opencl");
	(void) usleep(500000);
	print_latency("cold program cache, later", "prefer-opencl");
	CU_ASSERT_STRING_EQUAL(device_text(bus, "Name"), "opencl");
}

static void test_require_says_that_it_is_prepared(void)
{
	struct caller_answer a;

	infer("require-opencl", &a);
	if (strcmp(device_text(bus, "State"), "ready") != 0)
		CU_ASSERT_STRING_EQUAL(a.error, "org.bitshed.Error.NotReady");
}

static void test_every_width_is_the_processors(void)
{
	static const double widths[] = {4, 3, 2.5, 2, 1};
	struct caller_answer on_device, on_cpu;

	CU_ASSERT_TRUE_FATAL(device_wait(bus, "ready"));
	print_latency("everything compiled", "cpu");
	for (uint32_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
		uint64_t loaded = device_number(bus, "Starts");

		CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", widths[w]), "");
		CU_ASSERT_TRUE_FATAL(device_wait_number(bus, "Plans", 1) && loaded == 1);
		for (int i = 0; i < 200; i++) {
			infer("require-opencl", &on_device);
			if (strcmp(on_device.error, "org.bitshed.Error.NotReady") != 0)
				break;
			(void) usleep(50000);
		}
		infer("cpu", &on_cpu);
		CU_ASSERT_STRING_EQUAL(on_device.error, "");
		CU_ASSERT_STRING_EQUAL(on_device.device, "opencl");
		CU_ASSERT_STRING_EQUAL(on_cpu.device, "cpu");
		CU_ASSERT_EQUAL(on_device.bits, on_cpu.bits);
		CU_ASSERT(on_cpu.output_bytes > 0);
		CU_ASSERT_EQUAL(memcmp(on_device.output, on_cpu.output, on_cpu.output_bytes), 0);
	}
}

static void test_answers_are_compared(void)
{
	uint64_t before = device_number(bus, "Checked");
	struct caller_answer a;

	for (int i = 0; i < 9; i++)
		infer("require-opencl", &a);
	CU_ASSERT_EQUAL(device_number(bus, "Checked"), before + 3);
	CU_ASSERT_EQUAL(device_number(bus, "Wrong"), 0);
}

static void test_sessions_choose_too(void)
{
	struct caller_session s;
	struct bitshed_request record;
	struct bitshed_reply reply;

	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	memcpy(s.map + s.input, input, sizeof input);
	record = caller_request(0);
	record.device = BITSHED_DEVICE_REQUIRE;
	CU_ASSERT_TRUE(caller_exchange(&s, &record, sizeof record, &reply));
	CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
	CU_ASSERT_EQUAL(reply.device, 1);
	record.device = BITSHED_DEVICE_CPU;
	CU_ASSERT_TRUE(caller_exchange(&s, &record, sizeof record, &reply));
	CU_ASSERT_EQUAL(reply.device, 0);
	record.device = BITSHED_DEVICE_REQUIRE + 1;
	CU_ASSERT_TRUE(caller_exchange(&s, &record, sizeof record, &reply));
	CU_ASSERT_EQUAL(reply.status, BITSHED_ERROR_INVALID_OPTION);
	caller_session_done(&s);
}

struct scribbler {
	uint8_t *at;
	atomic_bool stop;
};

static void *scribble(void *userdata)
{
	struct scribbler *s = userdata;

	for (uint32_t i = 0; !atomic_load(&s->stop); i++)
		((volatile uint8_t *) s->at)[i % INPUT_BYTES] = (uint8_t) (i * 7);
	return NULL;
}

/* A client may change its input at any moment: its own answer suffers, never the device's name. */
static void test_a_client_that_changes_its_input_accuses_nobody(void)
{
	uint64_t checked = device_number(bus, "Checked");
	struct caller_session s;
	struct scribbler scribbler;
	struct bitshed_reply reply;
	struct bitshed_request record;
	pthread_t thread;

	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	record = caller_request(0);
	record.device = BITSHED_DEVICE_REQUIRE;
	scribbler = (struct scribbler){.at = s.map + s.input};
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, scribble, &scribbler), 0);
	for (int i = 0; i < 300; i++) {
		CU_ASSERT_TRUE_FATAL(caller_exchange(&s, &record, sizeof record, &reply));
		CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
	}
	atomic_store(&scribbler.stop, true);
	(void) pthread_join(thread, NULL);
	CU_ASSERT(device_number(bus, "Checked") >= checked + 90);
	CU_ASSERT_EQUAL(device_number(bus, "Wrong"), 0);
	CU_ASSERT_STRING_EQUAL(device_text(bus, "State"), "ready");
	caller_session_done(&s);
}

static uint32_t count_session_maps(void)
{
	char path[64], line[512];
	uint32_t n = 0;
	FILE *f;

	(void) snprintf(path, sizeof path, "/proc/%d/maps", device_worker_pid(daemon_pid));
	f = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof line, f))
		if (strstr(line, "bitshed-session")) {
			CU_ASSERT_PTR_NOT_NULL(strstr(line, " r--s "));
			n++;
		}
	(void) fclose(f);
	return n;
}

/* Their memory is read where it is, and goes with them; there may be more of them than the worker takes. */
static void test_sessions_memory_is_the_workers_too(void)
{
	enum { MANY = WORKER_REGIONS + 3 };
	struct bitshed_request record = caller_request(0);
	static struct caller_session s[MANY];
	struct bitshed_reply reply;

	record.device = BITSHED_DEVICE_REQUIRE;
	for (int i = 0; i < MANY; i++) {
		CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s[i]), "");
		memcpy(s[i].map + s[i].input, input, sizeof input);
		CU_ASSERT_TRUE(caller_exchange(&s[i], &record, sizeof record, &reply));
		CU_ASSERT_EQUAL(reply.status, BITSHED_OK);
		CU_ASSERT_EQUAL(memcmp(s[i].map + s[i].output, s[0].map + s[0].output, s[0].output_bytes), 0);
	}
	/* one answer in three was compared, and its input copied; two are enough */
	for (int i = 0; i < 3; i++)
		CU_ASSERT_TRUE(caller_exchange(&s[0], &record, sizeof record, &reply));
	CU_ASSERT(count_session_maps() > 30 && count_session_maps() <= WORKER_REGIONS);
	for (int i = 0; i < MANY; i++)
		caller_session_done(&s[i]);
	for (int i = 0; i < 500 && count_session_maps() > 0; i++)
		(void) usleep(20000);
	CU_ASSERT_EQUAL(count_session_maps(), 0);
}

/* What people see of it. */
static bool prints(const char *verb, const char *expected)
{
	char command[512], line[512];
	bool found = false;
	FILE *f;

	(void) snprintf(
		command, sizeof command, "%s --bus=%s %s", TEST_BITSHED, test_bus_address(), verb);
	f = popen(command, "r");
	while (f && fgets(line, sizeof line, f))
		found |= strstr(line, expected) != NULL;
	return f && pclose(f) == 0 && found;
}

static void test_commands_tell(void)
{
	CU_ASSERT_TRUE(prints("devices", "opencl    ready, "));
	CU_ASSERT_TRUE(prints("devices", " 0 wrong"));
	CU_ASSERT_TRUE(prints("--json devices", "\"state\":\"ready\""));
	CU_ASSERT_TRUE(prints("doctor", "device     opencl, ready"));
	CU_ASSERT_TRUE(prints("doctor", "kernels right"));
	CU_ASSERT_TRUE(prints("doctor", "bits: processor "));
	CU_ASSERT_FALSE(prints("doctor", "not measured"));
}

static void test_unknown_device_is_an_invalid_option(void)
{
	struct caller_answer a;

	infer("gpu", &a);
	CU_ASSERT_STRING_EQUAL(a.error, "org.bitshed.Error.InvalidOption");
}

/* Memory of planes: in the worker's private memory there is none where it shares; and it goes with the bits. */
static uint64_t worker_plane_bytes(uint64_t *ret_private)
{
	char path[64], line[512];
	uint64_t all = 0, kib;
	bool plane = false;
	FILE *f;

	*ret_private = 0;
	(void) snprintf(path, sizeof path, "/proc/%d/smaps", device_worker_pid(daemon_pid));
	f = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof line, f)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			plane = strstr(line, "bitshed-plane") != NULL;
		if (plane && sscanf(line, "Rss: %lu", &kib) == 1)
			all += kib * 1024;
		if (plane && (sscanf(line, "Private_Dirty: %lu", &kib) == 1 ||
				     sscanf(line, "Anonymous: %lu", &kib) == 1))
			*ret_private += kib * 1024;
	}
	(void) fclose(f);
	return all;
}

static void test_planes_go_with_the_bits(void)
{
	uint64_t many, few, many_buffers, few_buffers = 0, ignored;

	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 4.0), "");
	for (int i = 0; i < 500 && device_number(bus, "Plans") != 1; i++)
		(void) usleep(20000);
	(void) usleep(200000);
	many = worker_plane_bytes(&ignored);
	many_buffers = device_number(bus, "BufferBytes");
	CU_ASSERT(many > 0);
	if (strcmp(device_text(bus, "Kind"), "cpu") == 0)
		CU_ASSERT_EQUAL(ignored, 0);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "SetBits", "sd", "net", 1.0), "");
	for (int i = 0; i < 500; i++) {
		few_buffers = device_number(bus, "BufferBytes");
		if (few_buffers > 0 && few_buffers < many_buffers)
			break;
		(void) usleep(20000);
	}
	for (int i = 0; i < 500 && worker_plane_bytes(&ignored) >= many; i++)
		(void) usleep(20000);
	few = worker_plane_bytes(&ignored);
	printf("4 bits: %lu bytes of buffers, %lu of planes mapped; 1 bit: %lu, %lu; %lu private ", many_buffers,
		many, few_buffers, few, ignored);
	CU_ASSERT(few_buffers > 0 && few_buffers < many_buffers);
	CU_ASSERT(few < many);
}

static void test_a_killed_worker_costs_nothing(void)
{
	struct caller_answer a;

	for (int i = 0; i < 2; i++) {
		uint64_t starts = device_number(bus, "Starts");
		pid_t worker = device_worker_pid(daemon_pid);

		CU_ASSERT_FATAL(worker > 0);
		CU_ASSERT_EQUAL(kill(worker, SIGKILL), 0);
		infer("prefer-opencl", &a);
		CU_ASSERT_STRING_EQUAL(a.error, "");
		if (i == 1)
			break;
		CU_ASSERT_TRUE(device_wait_number(bus, "Starts", starts + 1));
		CU_ASSERT_TRUE(device_wait_number(bus, "Plans", 1));
	}
	/* twice without much in between */
	CU_ASSERT_TRUE(device_wait(bus, "quarantined"));
	infer("require-opencl", &a);
	CU_ASSERT_STRING_EQUAL(a.error, "org.bitshed.Error.DeviceLost");
	infer("prefer-opencl", &a);
	CU_ASSERT_STRING_EQUAL(a.device, "cpu");
}

static void restart(void)
{
	bus = sd_bus_flush_close_unref(bus);
	CU_ASSERT_EQUAL(test_daemon_stop(daemon_pid), 0);
	start();
}

static void test_quarantine_outlives_the_daemon(void)
{
	struct caller_answer a;

	restart();
	caller_load_network(bus, "net", PLANES);
	CU_ASSERT_TRUE(device_wait(bus, "quarantined"));
	CU_ASSERT_STRING_NOT_EQUAL(device_text(bus, "StateReason"), "");
	CU_ASSERT_EQUAL(device_worker_pid(daemon_pid), 0);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "RetryDevices", ""), "");
	CU_ASSERT_TRUE(device_wait(bus, "ready"));
	CU_ASSERT_TRUE(device_wait_number(bus, "Plans", 1));
	infer("require-opencl", &a);
	CU_ASSERT_STRING_EQUAL(a.device, "opencl");
}

/* A second time everything is in the cache. */
static void test_warm_cache(void)
{
	CU_ASSERT_EQUAL(device_number(bus, "KernelsCached"), device_number(bus, "Kernels"));
	printf("built in %.0f ms, tested in %.0f ms ",
		(double) device_number(bus, "BuildNSec") / 1e6,
		(double) device_number(bus, "TestNSec") / 1e6);
}

static void test_the_worker_goes_with_the_last_model(void)
{
	pid_t worker = device_worker_pid(daemon_pid);
	struct caller_answer a;

	CU_ASSERT(worker > 0);
	CU_ASSERT_STRING_EQUAL(caller_error(bus, "Unload", "s", "net"), "");
	CU_ASSERT_TRUE(device_wait(bus, "idle"));
	CU_ASSERT_EQUAL(device_worker_pid(daemon_pid), 0);
	CU_ASSERT_TRUE(prints("doctor", "started with the first model"));
	caller_load_network(bus, "net", PLANES);
	CU_ASSERT_TRUE(device_wait_number(bus, "Plans", 1));
	infer("require-opencl", &a);
	CU_ASSERT_STRING_EQUAL(a.device, "opencl");
}

static void test_daemon_ends_well(void)
{
	pid_t worker = device_worker_pid(daemon_pid);

	CU_ASSERT(worker > 0);
	bus = sd_bus_flush_close_unref(bus);
	CU_ASSERT_EQUAL(test_daemon_stop(daemon_pid), 0);
	CU_ASSERT(kill(worker, 0) < 0);
}

TEST_MAIN("device_worker", TEST(processor_answers_meanwhile),
	TEST(require_says_that_it_is_prepared), TEST(every_width_is_the_processors),
	TEST(answers_are_compared), TEST(sessions_choose_too),
	TEST(a_client_that_changes_its_input_accuses_nobody), TEST(sessions_memory_is_the_workers_too),
	TEST(commands_tell),
	TEST(unknown_device_is_an_invalid_option), TEST(planes_go_with_the_bits),
	TEST(a_killed_worker_costs_nothing), TEST(quarantine_outlives_the_daemon), TEST(warm_cache),
	TEST(the_worker_goes_with_the_last_model), TEST(daemon_ends_well))
