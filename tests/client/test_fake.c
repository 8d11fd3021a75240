/* SPDX-License-Identifier: Apache-2.0 */
/* libbitshed against a daemon that lies: each lie is an error with a cause, never a crash or a bad
 * pointer. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "bitshed/bitshed.h"
#include "bitshed/protocol.h"
#include "fake.h"
#include "support/bus.h"
#include "support/test.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct bitshed *b;

static void test_nobody_on_the_bus(void)
{
	struct bitshed_error e = {};
	struct bitshed *other = NULL;

	CU_ASSERT_EQUAL_FATAL(bitshed_open(&b, test_bus_address(), &e), 0);
	CU_ASSERT_EQUAL(bitshed_unload(b, "x", &e), -ECONNREFUSED);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "not running"));
	CU_ASSERT_EQUAL(bitshed_open(&other, "unix:path=/nonexistent/bus", &e), -ECONNREFUSED);
	CU_ASSERT_EQUAL(bitshed_open(&other, "nonsense", &e), -EINVAL);
	CU_ASSERT_EQUAL(bitshed_open(&other, "", NULL), -EINVAL);
	CU_ASSERT_PTR_NULL(other);
	CU_ASSERT_PTR_NULL(bitshed_close(NULL));
	fake_start();
}

static void test_every_error_has_its_number(void)
{
	static const struct {
		const char *name;
		int number;
	} rows[] = {
#define E(code, id, name, number) {name, number},
		BITSHED_ERRORS(E)
#undef E
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct bitshed_error e = {};
		float *output = NULL;
		size_t n = 99;

		CU_ASSERT_EQUAL(bitshed_infer(b, strrchr(rows[i].name, '.') + 1, "", 1, NULL,
					&output, &n, NULL, &e),
			-rows[i].number);
		CU_ASSERT_STRING_EQUAL(e.name, rows[i].name);
		CU_ASSERT_STRING_EQUAL(e.text, "as asked for");
		CU_ASSERT_PTR_NULL(output);
		CU_ASSERT_EQUAL(n, 99);
	}
}

static void test_infer(void)
{
	struct bitshed_options o = {
		.min_bits = 1, .deadline_ms = 5, .priority = -3, .input = BITSHED_INPUT_FLOATS};
	struct bitshed_result r = {};
	struct bitshed_error e = {};
	float *output = NULL;
	size_t n = 0;

	CU_ASSERT_EQUAL_FATAL(bitshed_infer(b, "any", "abc", 3, &o, &output, &n, &r, &e), 0);
	CU_ASSERT_EQUAL(n, 2);
	CU_ASSERT_EQUAL(output[1], 0.75f);
	CU_ASSERT_EQUAL(r.bits, 2.5);
	CU_ASSERT_EQUAL(r.run_nsec, 77);
	CU_ASSERT_EQUAL(r.slot, BITSHED_NO_SLOT);
	CU_ASSERT_STRING_EQUAL(r.device, "fake");
	free(output);
	CU_ASSERT_TRUE(bitshed_infer(b, "odd-output", "", 0, NULL, &output, &n, NULL, &e) < 0);
	CU_ASSERT_TRUE(bitshed_infer(b, "no-output", "", 0, NULL, &output, &n, NULL, NULL) < 0);
}

static void test_layouts_that_lie(void)
{
	static const char *const lies[] = {"unsealed", "small", "stream", "no-slots",
		"stride-too-small", "output-outside", "offset-wraps", "odd-output", "empty-layout"};

	for (size_t i = 0; i < COUNT(lies); i++) {
		struct bitshed_session *s = NULL;
		struct bitshed_error e = {};

		CU_ASSERT_EQUAL(bitshed_session_open(&s, b, lies[i], 4, &e), -EPROTO);
		CU_ASSERT_PTR_NULL(s);
		CU_ASSERT_NOT_EQUAL(e.text[0], 0);
	}
}

static struct bitshed_session *open_good(void)
{
	struct bitshed_session *s = NULL;
	struct bitshed_error e = {};

	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&s, b, "good", 4, &e), 0);
	return s;
}

static void test_session_pointers(void)
{
	struct bitshed_session *s = open_good();

	CU_ASSERT_EQUAL(bitshed_session_slots(s), 4);
	CU_ASSERT_EQUAL(bitshed_session_input_bytes(s, BITSHED_INPUT_DEFAULT), 12);
	CU_ASSERT_EQUAL(bitshed_session_input_bytes(s, BITSHED_INPUT_FLOATS), 48);
	CU_ASSERT_EQUAL(bitshed_session_output_count(s), 2);
	CU_ASSERT_EQUAL(
		(char *) bitshed_session_input(s, 3) - (char *) bitshed_session_input(s, 0), 768);
	CU_ASSERT_EQUAL(
		(const char *) bitshed_session_output(s, 1) - (char *) bitshed_session_input(s, 1),
		128);
	CU_ASSERT_PTR_NULL(bitshed_session_input(s, 4));
	CU_ASSERT_PTR_NULL(bitshed_session_output(s, UINT32_MAX));
	memset(bitshed_session_input(s, 3), 1, 48);
	CU_ASSERT_PTR_NULL(bitshed_session_close(s));
	CU_ASSERT_PTR_NULL(bitshed_session_close(NULL));
}

static void test_submit_and_wait(void)
{
	struct bitshed_session *s = open_good();
	struct bitshed_result r;
	struct bitshed_error e = {};

	CU_ASSERT_EQUAL(bitshed_session_wait(s, 0, &r, &e), -EINVAL);
	CU_ASSERT_EQUAL(bitshed_session_submit(s, 4, NULL, 0, &e), -EINVAL);
	CU_ASSERT_EQUAL(bitshed_session_submit(s, 2, NULL, UINT64_C(7) << 32, &e), 0);
	CU_ASSERT_EQUAL(bitshed_session_submit(s, 2, NULL, 0, &e), -EBUSY);
	CU_ASSERT_EQUAL(bitshed_session_infer(s, 2, NULL, &r, &e), -EBUSY);
	/* The reply of slot 2 comes while this waits for slot 0, and is not lost. */
	CU_ASSERT_EQUAL(bitshed_session_infer(s, 0, NULL, &r, &e), 0);
	CU_ASSERT_EQUAL(r.slot, 0);
	CU_ASSERT_EQUAL(r.bits, 3);
	CU_ASSERT_EQUAL(bitshed_session_wait(s, 0, &r, &e), 1);
	CU_ASSERT_EQUAL(r.slot, 2);
	CU_ASSERT_EQUAL(r.cookie, UINT64_C(7) << 32);
	CU_ASSERT_EQUAL(bitshed_session_submit(s, 1, NULL, FAKE_SILENCE, &e), 0);
	CU_ASSERT_EQUAL(bitshed_session_wait(s, 30, &r, &e), 0);
	CU_ASSERT_EQUAL(r.slot, BITSHED_NO_SLOT);
	(void) bitshed_session_close(s);
}

static void test_statuses(void)
{
	static const int numbers[] = {
#define E(code, id, name, number) [code] = number,
		BITSHED_ERRORS(E)
#undef E
	};
	struct bitshed_session *s = open_good();
	struct bitshed_result r;

	for (size_t i = 1; i < COUNT(numbers); i++) {
		struct bitshed_error e = {};

		CU_ASSERT_EQUAL(bitshed_session_submit(s, 1, NULL, i, &e), 0);
		CU_ASSERT_EQUAL(bitshed_session_wait(s, -1, &r, &e), -numbers[i]);
		CU_ASSERT_EQUAL(r.slot, 1);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.name, "org.bitshed.Error."));
	}
	CU_ASSERT_EQUAL(bitshed_session_submit(s, 1, NULL, 200, NULL), 0);
	CU_ASSERT_EQUAL(bitshed_session_wait(s, -1, &r, NULL), -EPROTO);
	(void) bitshed_session_close(s);
}

static void test_records_that_lie(void)
{
	static const enum fake_behaviour lies[] = {FAKE_SHORT, FAKE_OTHER_SLOT, FAKE_VERSION};
	struct bitshed_result r;

	for (size_t i = 0; i < COUNT(lies); i++) {
		struct bitshed_session *s = open_good();

		CU_ASSERT_EQUAL(bitshed_session_submit(s, 0, NULL, lies[i], NULL), 0);
		CU_ASSERT_EQUAL(bitshed_session_wait(s, 2000, &r, NULL), -EPROTO);
		CU_ASSERT_EQUAL(r.slot, BITSHED_NO_SLOT);
		(void) bitshed_session_close(s);
	}
}

/* A second reply to one request must not end another one's wait. */
static void test_reply_twice(void)
{
	struct bitshed_session *s = open_good();
	struct bitshed_result r;

	CU_ASSERT_EQUAL(bitshed_session_submit(s, 0, NULL, FAKE_TWICE, NULL), 0);
	CU_ASSERT_EQUAL(bitshed_session_submit(s, 1, NULL, FAKE_SILENCE, NULL), 0);
	CU_ASSERT_EQUAL(bitshed_session_wait(s, 2000, &r, NULL), 1);
	CU_ASSERT_EQUAL(bitshed_session_wait(s, 2000, &r, NULL), -EPROTO);
	(void) bitshed_session_close(s);
}

static void test_hang_up(void)
{
	struct bitshed_session *s = open_good();
	struct bitshed_error e = {};
	struct bitshed_result r;

	CU_ASSERT_EQUAL(bitshed_session_submit(s, 0, NULL, FAKE_HANG_UP, &e), 0);
	CU_ASSERT_EQUAL(bitshed_session_wait(s, -1, &r, &e), -ECONNRESET);
	CU_ASSERT_EQUAL(bitshed_session_submit(s, 1, NULL, 0, &e), -ECONNRESET);
	CU_ASSERT_EQUAL(bitshed_session_infer(s, 1, NULL, NULL, &e), -ECONNRESET);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "ended"));
	(void) bitshed_session_close(s);
}

static void test_many_through_poll(void)
{
	struct bitshed_session *s = open_good();
	struct pollfd p = {.fd = bitshed_session_fd(s), .events = POLLIN};
	struct bitshed_result r;

	for (int i = 0; i < 1000; i++) {
		CU_ASSERT_EQUAL_FATAL(
			bitshed_session_submit(s, (uint32_t) i % 4, NULL, 0, NULL), 0);
		CU_ASSERT_EQUAL(poll(&p, 1, 2000), 1);
		CU_ASSERT_EQUAL_FATAL(bitshed_session_wait(s, 0, &r, NULL), 1);
		CU_ASSERT_EQUAL(r.slot, (uint32_t) i % 4);
	}
	(void) bitshed_session_close(s);
	b = bitshed_close(b);
}

TEST_MAIN("fake daemon", TEST(nobody_on_the_bus), TEST(every_error_has_its_number), TEST(infer),
	TEST(layouts_that_lie), TEST(session_pointers), TEST(submit_and_wait), TEST(statuses),
	TEST(records_that_lie), TEST(reply_twice), TEST(hang_up), TEST(many_through_poll))
