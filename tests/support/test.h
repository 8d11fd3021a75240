/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CUnit program in one line: TEST_MAIN("error", TEST(prefix_keeps_errno), ...). A test is a void
 * function test_<name>(void). Programs exit 0 when every assertion held, 77 when test_skip() was called
 * (meson then counts the program as skipped), 1 otherwise.
 */
#pragma once

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#define TEST(name) {#name, test_##name}

/* Leaves the whole program: for folders or devices that this machine does not have. */
static inline void test_skip(const char *why)
{
	printf("SKIP: %s\n", why);
	exit(77);
}

#define TEST_MAIN(suite, ...)                                                                      \
	int main(void)                                                                             \
	{                                                                                          \
		CU_TestInfo tests[] = {__VA_ARGS__, CU_TEST_INFO_NULL};                            \
		CU_SuiteInfo suites[] = {{suite, NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL}; \
		if (CU_initialize_registry() != CUE_SUCCESS)                                       \
			return 1;                                                                  \
		if (CU_register_suites(suites) != CUE_SUCCESS)                                     \
			return 1;                                                                  \
		CU_basic_set_mode(CU_BRM_VERBOSE);                                                 \
		CU_basic_run_tests();                                                              \
		int failed = (int) CU_get_number_of_failures();                                    \
		CU_cleanup_registry();                                                             \
		return failed ? 1 : 0;                                                             \
	}
