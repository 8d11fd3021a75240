/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/measure_options.h"

#include <getopt.h>
#include <stdlib.h>

int measure_option(const struct command *c, struct measure_options *m, int option)
{
	switch (option) {
	case 'd':
		m->data = optarg;
		return EXIT_SUCCESS;
	case 'l':
		m->labels = optarg;
		return EXIT_SUCCESS;
	case 'b':
		m->bits = optarg;
		return EXIT_SUCCESS;
	case 'n':
		if (!tool_number(optarg, 1, UINT32_MAX, &m->limit))
			return tool_usage(c, "--limit takes a number above 0");
		return EXIT_SUCCESS;
	case 't':
		if (!tool_number(optarg, 1, 256, &m->threads))
			return tool_usage(c, "--threads takes a number from 1 to 256");
		return EXIT_SUCCESS;
	case 's':
		m->store = true;
		return EXIT_SUCCESS;
	case 'j':
		m->json = true;
		return EXIT_SUCCESS;
	case 'h':
		m->help = true;
		return EXIT_SUCCESS;
	default:
		return tool_usage(c, "unknown option or missing value");
	}
}
