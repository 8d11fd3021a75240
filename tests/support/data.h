/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real networks and labelled data, where a machine has them. BITSHED_TEST_DATA names the unpacked folder;
 * tests/support/data.sh finds and unpacks it. Without it a test says so and is skipped.
 */
#pragma once

#include <stdlib.h>

#include "support/test.h"

/** test_data() - the folder, or leaves the program as skipped */
static inline const char *test_data(void)
{
	const char *folder = getenv("BITSHED_TEST_DATA");

	if (!folder || !folder[0])
		test_skip("BITSHED_TEST_DATA is not set: no real networks and data on this machine");
	return folder;
}
