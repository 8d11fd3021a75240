/* SPDX-License-Identifier: Apache-2.0 */
/* The options that evaluate and compare share: what to measure on, and how much of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tools/tool.h"

struct measure_options {
	const char *data, *labels, *bits;
	uint32_t limit, threads;
	bool json, store, help;
};

/**
 * measure_option() - take one option of getopt_long(): d, l, b, n, t, s, j or h, its value in optarg
 *
 * Return: EXIT_SUCCESS, or the exit status after saying what was expected.
 */
int measure_option(const struct command *c, struct measure_options *m, int option);
