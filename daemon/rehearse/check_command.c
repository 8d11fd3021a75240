/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>

#include "rehearse/tool.h"

int check_command(int argc, char **argv)
{
	static const struct option options[] = {{}};
	_cleanup_(rules_freep) struct rules *rules = NULL;
	struct error why = {};
	int r;

	if (getopt_long(argc, argv, "", options, NULL) >= 0)
		return EXIT_CODE_USAGE;
	if (optind == argc)
		return usage_error("files of rules", "none");
	r = rules_load(&rules, NULL, (const char *const *) argv + optind,
		(uint32_t) (argc - optind), &why);
	if (r < 0)
		return complain(r, &why);
	printf("%u rules, at most %u switches of a model in an hour\n", rules->n_rules,
		rules->switches_per_hour);
	return EXIT_CODE_OK;
}
