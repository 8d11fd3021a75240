/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "rehearse/tool.h"
#include "service/layers.h"

static const char help[] =
	"Usage: bitshed policy VERB [OPTION...] [ARGUMENT...]\n"
	"\n"
	"What rules would do, without a daemon that does it.\n"
	"\n"
	"  check FILE...      read rules, say what is wrong with them and which could switch each other\n"
	"  simulate           what rules make of a trace of inputs: widths, switches, energy, accuracy\n"
	"      --trace=FILE.csv       the trace, see bitshed-policy(1)\n"
	"  record             make such a trace from this board, until interrupted; needs the daemon\n"
	"      --bus=BUS              system, session or an address (default: $BITSHED_BUS, else system)\n"
	"      --interval=SECONDS     between two lines (default: 10)\n"
	"      --duration=SECONDS     end after so long\n"
	"      --output=FILE.csv      rather than standard output\n"
	"  replay [FILE]      the switches of a journal (journalctl -o export or -o json; default: standard\n"
	"                     input), and what rules would say now to what was felt then\n"
	"\n"
	"  simulate and replay:\n"
	"      --policy=FILE          these rules (default: the installed ones)\n"
	"      --model=[NAME=]FILE    widths, accuracy and energy of this model file; may be given again\n"
	"      --rate=N               inferences per second, for the energy (default: 1)\n"
	"      --plot=FILE.svg        draw it\n"
	"      --json                 for programs\n"
	"\n"
	"  -h, --help\n"
	"      --version\n";

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{"check", check_command},
	{"simulate", simulate_command},
	{"record", record_command},
	{"replay", replay_command},
};

int usage_error(const char *expected, const char *given)
{
	(void) fprintf(stderr, "bitshed policy: expected %s: %s\nTry 'bitshed policy --help'.\n",
		expected, given);
	return EXIT_CODE_USAGE;
}

int complain(int r, const struct error *e)
{
	(void) fprintf(stderr, "%s\n", error_text(e, r));
	return EXIT_CODE_FAILED;
}

int load_rules(struct rules **ret, const char *file, struct error *reterr)
{
	return rules_load(ret, layers_default, &file, !!file, reterr);
}

/* Before or behind the verb: there is one text for all. */
static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (argc < 2 || asks_for_help(argc, argv)) {
		fputs(help, stdout);
		return argc > 1 ? EXIT_CODE_OK : EXIT_CODE_USAGE;
	}
	if (strcmp(name, "--version") == 0) {
		printf("bitshed-policy %s\n", BITSHED_VERSION);
		return EXIT_CODE_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0) {
			int r = verbs[i].run(argc - 1, argv + 1);

			return fflush(stdout) != 0 && r == EXIT_CODE_OK ? EXIT_CODE_FAILED : r;
		}
	return usage_error("check, simulate, record or replay", name);
}
