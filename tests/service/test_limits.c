/* SPDX-License-Identifier: Apache-2.0 */
#include "service/limits.h"

#include <errno.h>
#include <string.h>

#include "support/test.h"

static void test_users_are_apart(void)
{
	struct limits l;

	limits_init(&l);
	CU_ASSERT_EQUAL(limits_charge(&l, 1, LIMIT_SESSIONS, 2, 2, NULL), 0);
	CU_ASSERT_EQUAL(limits_charge(&l, 1, LIMIT_SESSIONS, 1, 2, NULL), -EDQUOT);
	CU_ASSERT_EQUAL(limits_charge(&l, 2, LIMIT_SESSIONS, 1, 2, NULL), 0);
	CU_ASSERT_EQUAL(limits_used(&l, 1, LIMIT_SESSIONS), 2);
	CU_ASSERT_EQUAL(limits_used(&l, 1, LIMIT_BYTES), 0);
	limits_release(&l, 1, LIMIT_SESSIONS, 1);
	CU_ASSERT_EQUAL(limits_charge(&l, 1, LIMIT_SESSIONS, 1, 2, NULL), 0);
	limits_done(&l);
}

static void test_refusal_has_numbers_and_charges_nothing(void)
{
	struct error why = {};
	struct limits l;

	limits_init(&l);
	CU_ASSERT_EQUAL(limits_charge(&l, 7, LIMIT_BYTES, 60, 100, &why), 0);
	CU_ASSERT_EQUAL(limits_charge(&l, 7, LIMIT_BYTES, 41, 100, &why), -EDQUOT);
	CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "user 7 has 60 bytes"));
	CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "41 more, 100 are allowed"));
	CU_ASSERT_EQUAL(limits_used(&l, 7, LIMIT_BYTES), 60);
	CU_ASSERT_EQUAL(limits_charge(&l, 7, LIMIT_BYTES, UINT64_MAX, 100, &why), -EDQUOT);
	limits_done(&l);
}

static void test_users_without_anything_are_forgotten(void)
{
	struct limits l;

	limits_init(&l);
	CU_ASSERT_EQUAL(limits_charge(&l, 7, LIMIT_BYTES, 0, 100, NULL), 0);
	CU_ASSERT_TRUE(list_empty(&l.users));
	CU_ASSERT_EQUAL(limits_charge(&l, 7, LIMIT_BYTES, 5, 100, NULL), 0);
	CU_ASSERT_FALSE(list_empty(&l.users));
	limits_release(&l, 7, LIMIT_BYTES, 5);
	CU_ASSERT_TRUE(list_empty(&l.users));
	limits_done(&l);
}

static void test_lower_maximum_after_reload(void)
{
	struct limits l;

	limits_init(&l);
	CU_ASSERT_EQUAL(limits_charge(&l, 1, LIMIT_SESSIONS, 8, 8, NULL), 0);
	CU_ASSERT_EQUAL(limits_charge(&l, 1, LIMIT_SESSIONS, 1, 4, NULL), -EDQUOT);
	limits_done(&l);
}

TEST_MAIN("limits", TEST(users_are_apart), TEST(refusal_has_numbers_and_charges_nothing),
	TEST(users_without_anything_are_forgotten), TEST(lower_maximum_after_reload))
