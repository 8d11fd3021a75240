/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a record and a slot's place may be; the rest of session.c needs a bus:
 * test_daemon_session.c.
 */
#include "service/session.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "support/test.h"

static const struct bitshed_request good = {
	.version = BITSHED_PROTOCOL_VERSION, .slot = 3, .priority = -100};

static void test_good_record(void)
{
	CU_ASSERT_EQUAL(session_check(&good, sizeof good, 4), 0);
}

static void test_bad_records(void)
{
	struct bitshed_request r;

	CU_ASSERT_EQUAL(session_check(&good, sizeof good - 1, 4), -EINVAL);
	CU_ASSERT_EQUAL(session_check(&good, sizeof good + 1, 4), -EINVAL);
	CU_ASSERT_EQUAL(session_check(&good, sizeof good, 3), -EINVAL);
#define BAD(field, value)                                                                          \
	r = good;                                                                                  \
	r.field = value;                                                                           \
	CU_ASSERT_EQUAL(session_check(&r, sizeof r, 4), -EINVAL)
	BAD(version, 0);
	BAD(version, BITSHED_PROTOCOL_VERSION + 1);
	BAD(slot, UINT32_MAX);
	BAD(input_type, 2);
	BAD(reserved, 1);
	BAD(min_bits, -1);
	BAD(min_bits, NAN);
	BAD(min_bits, INFINITY);
	BAD(priority, 101);
	BAD(priority, INT32_MIN);
#undef BAD
}

static void test_slots_do_not_overlap(void)
{
	struct tensor_sizes sizes = {
		.pixels_bytes = 100, .floats_bytes = 401, .output_bytes = 40};
	struct region r;

	CU_ASSERT_EQUAL_FATAL(region_layout(&r, &sizes, 3), 0);
	CU_ASSERT_TRUE(r.output >= 401 && r.output % 64 == 0);
	CU_ASSERT_TRUE(r.stride >= r.output + 40 && r.stride % 64 == 0);
	CU_ASSERT_TRUE(r.bytes >= 3 * r.stride && r.bytes % 4096 == 0);
	sizes.floats_bytes = SIZE_MAX;
	CU_ASSERT_EQUAL(region_layout(&r, &sizes, 3), -EOVERFLOW);
	sizes.floats_bytes = SIZE_MAX / 5;
	CU_ASSERT_EQUAL(region_layout(&r, &sizes, 6), -EOVERFLOW);
}

static void test_memory_is_sealed(void)
{
	struct tensor_sizes sizes = {.floats_bytes = 64, .output_bytes = 64};
	struct error why = {};
	struct region r;

	CU_ASSERT_EQUAL_FATAL(region_layout(&r, &sizes, 2), 0);
	CU_ASSERT_EQUAL_FATAL(region_open(&r, &why), 0);
	CU_ASSERT_EQUAL(ftruncate(r.fd, 0), -1);
	CU_ASSERT_EQUAL(fcntl(r.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	CU_ASSERT_PTR_EQUAL(region_input(&r, 1), r.map + r.stride);
	CU_ASSERT_PTR_EQUAL(region_output(&r, 1), r.map + r.stride + 64);
	memset(r.map, 1, r.bytes);
	region_close(&r);
	region_close(&r);
}

TEST_MAIN("session", TEST(good_record), TEST(bad_records), TEST(slots_do_not_overlap),
	TEST(memory_is_sealed))
