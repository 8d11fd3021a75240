/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <string.h>

#include "support/test.h"

static void test_set_returns_errno(void)
{
	struct error e = {0};

	CU_ASSERT_EQUAL(error_set(&e, -EINVAL, "bad %s", "thing"), -EINVAL);
	CU_ASSERT_STRING_EQUAL(e.text, "bad thing");
	CU_ASSERT_EQUAL(error_set(NULL, -EIO, "nobody listens"), -EIO);
}

static void test_prefix_keeps_cause(void)
{
	struct error e = {0};

	(void) error_set(&e, -EINVAL, "stride is 0");
	CU_ASSERT_EQUAL(error_prefix(&e, -EINVAL, "op %d", 3), -EINVAL);
	CU_ASSERT_STRING_EQUAL(e.text, "op 3: stride is 0");
}

static void test_prefix_without_words_names_errno(void)
{
	struct error e = {0};

	(void) error_prefix(&e, -ENOENT, "conv1");
	CU_ASSERT_STRING_EQUAL(e.text, "conv1: No such file or directory");
}

static void test_long_words_are_cut(void)
{
	struct error e = {0};
	char words[600];

	memset(words, 'a', sizeof words - 1);
	words[sizeof words - 1] = 0;
	(void) error_set(&e, -EIO, "%s", words);
	CU_ASSERT_EQUAL(strlen(e.text), sizeof e.text - 1);
	(void) error_prefix(&e, -EIO, "front");
	CU_ASSERT_EQUAL(strncmp(e.text, "front: aaa", 10), 0);
}

TEST_MAIN("error", TEST(set_returns_errno), TEST(prefix_keeps_cause),
	TEST(prefix_without_words_names_errno), TEST(long_words_are_cut))
