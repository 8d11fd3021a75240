/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/classes.h"

#include <errno.h>
#include <string.h>

#include "support/test.h"

/* Cats and dogs, cars and trucks; birds with nobody. */
static void test_confused_classes_merge(void)
{
	static const uint32_t confusion[5 * 5] = {
		90, 9, 0, 0, 1, /**/ 8, 91, 1, 0, 0, /**/ 0, 0, 99, 1, 0, /**/ 0, 1, 0, 92, 7, /**/ 0, 0, 0, 5, 95,
	};
	struct clusters c;

	CU_ASSERT_EQUAL_FATAL(classes_cluster(&c, confusion, 5, 3), 0);
	CU_ASSERT_EQUAL(c.n, 3);
	CU_ASSERT_TRUE(c.of[0] == 0 && c.of[1] == 0 && c.of[2] == 1 && c.of[3] == 2 && c.of[4] == 2);
	CU_ASSERT_EQUAL_FATAL(classes_cluster(&c, confusion, 5, 5), 0);
	for (int i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(c.of[i], i);
	CU_ASSERT_EQUAL_FATAL(classes_cluster(&c, confusion, 5, 1), 0);
	CU_ASSERT_EQUAL(c.of[4], 0);
	CU_ASSERT_EQUAL(classes_cluster(&c, confusion, 5, 0), -EINVAL);
	CU_ASSERT_EQUAL(classes_cluster(&c, confusion, CLASSES_MAX + 1, 2), -EINVAL);
}

/* Average linkage: a chain of confusions does not pull everything together. */
static void test_large_clusters_need_many_confusions(void)
{
	uint32_t confusion[6 * 6] = {0};
	struct clusters c;

	confusion[0 * 6 + 1] = 60;
	confusion[1 * 6 + 2] = 10;
	confusion[3 * 6 + 4] = 8;
	CU_ASSERT_EQUAL_FATAL(classes_cluster(&c, confusion, 6, 4), 0);
	CU_ASSERT_TRUE(c.of[0] == c.of[1] && c.of[3] == c.of[4]);
	CU_ASSERT_TRUE(c.of[2] != c.of[1] && c.of[5] != c.of[2]);
}

TEST_MAIN("classes", TEST(confused_classes_merge), TEST(large_clusters_need_many_confusions))
