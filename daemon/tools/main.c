/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model: makes, measures and shows model files. */
#include <stdio.h>
#include <string.h>

#include "tools/tool.h"
#include "tools/tune_cache.h"

static const struct command *const commands[] = {
	&command_import, &command_inspect, &command_evaluate, &command_run, &command_compare, &command_sweep, &command_pack,
	&command_unpack, &command_classes, &command_analyse,
	&command_train, &command_tune, &command_bench,
};

static int help(void)
{
	printf("bitshed-model COMMAND [OPTIONS...]\n\nMakes, measures and shows the model files of bitshed.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	printf("\n  --version  print the version\n  --help     this; 'bitshed-model COMMAND --help' says more\n");
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "bitshed-model: which command? Try 'bitshed-model --help'.\n");
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help();
	if (strcmp(argv[1], "--version") == 0) {
		printf("bitshed-model %s\n", BITSHED_VERSION);
		return EXIT_SUCCESS;
	}
	tune_cache_use(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i]->name) == 0)
			return commands[i]->run(argc - 1, argv + 1);
	fprintf(stderr, "bitshed-model: no command '%s'. Try 'bitshed-model --help'.\n", argv[1]);
	return EXIT_USAGE;
}
