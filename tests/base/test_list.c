/* SPDX-License-Identifier: Apache-2.0 */
#include "base/list.h"

#include "support/test.h"

struct item {
	int number;
	struct list link;
};

static void test_order_and_removal(void)
{
	struct list l = LIST_INIT(l);
	struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
	int expected = 0;

	CU_ASSERT_TRUE(list_empty(&l));
	for (int i = 0; i < 3; i++)
		list_append(&l, &items[i].link);
	list_for_each(p, &l)
		CU_ASSERT_EQUAL(list_entry(p, struct item, link)->number, expected++);
	CU_ASSERT_EQUAL(expected, 3);

	list_remove(&items[1].link);
	list_remove(&items[1].link); /* an unlinked member may be removed again */
	CU_ASSERT_PTR_EQUAL(items[0].link.next, &items[2].link);

	list_for_each_safe(p, next, &l)
		list_remove(p);
	CU_ASSERT_TRUE(list_empty(&l));
}

TEST_MAIN("list", TEST(order_and_removal))
