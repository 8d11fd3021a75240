/* SPDX-License-Identifier: Apache-2.0 */
/* The command bitshed: the command line and the table of verbs. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cmd.h"

static const struct verb {
	const char *name;
	int (*run)(struct command *c);
	int least, most; /* arguments */
	const char *arguments, *summary;
} verbs[] = {
	{"status", cmd_status, 0, 0, "", "the daemon, its devices and models"},
	{"models", cmd_models, 0, 0, "", "a table of the models"},
	{"load", cmd_load, 2, 2, "NAME FILE", "load a model file and wait until it is ready"},
	{"unload", cmd_unload, 1, 1, "NAME", "forget a model"},
	{"infer", cmd_infer, 2, 2, "NAME FILE",
		"classify a P6 image or raw pixels or floats; - for standard input"},
	{"bits", cmd_bits, 1, 2, "NAME [BITS|auto]",
		"show or set the width of a model, also in between: 2.5"},
	{"profile", cmd_profile, 0, 1, "[PROFILE]",
		"show or set power-saver, balanced or performance"},
	{"hold", cmd_hold, 1, 4096, "NAME [COMMAND...]",
		"keep a model at --min-bits while this, or the command, runs"},
	{"why", cmd_why, 1, 1, "NAME", "which rule set the width of a model, and what it saw"},
	{"monitor", cmd_monitor, 0, 0, "", "print changes as they happen"},
	{"devices", cmd_devices, 0, 1, "[retry]", "what computes; retry: lift the quarantine, look again"},
	{"doctor", cmd_doctor, 0, 0, "", "why an OpenCL device is not used, and what helps"},
	{"policy", cmd_policy, 0, 4096, "VERB ...",
		"check, simulate, record and replay rules; see bitshed policy --help"},
};
#define N_VERBS (sizeof verbs / sizeof verbs[0])

static void help(void)
{
	printf("Usage: bitshed [OPTION...] VERB [ARGUMENT...]\n\nNeural networks whose weights "
	       "shed bits when power runs "
	       "short.\n\n");
	for (size_t i = 0; i < N_VERBS; i++)
		printf("  %-8s%-18s%s\n", verbs[i].name, verbs[i].arguments, verbs[i].summary);
	printf("\n"
	       "      --bus=BUS         system, session or an address (default: $BITSHED_BUS, else "
	       "system)\n"
	       "      --json            for programs\n"
	       "      --bits=BITS       load: the width to begin with\n"
	       "      --no-wait         load: do not wait until it is ready\n"
	       "      --min-bits=BITS   infer: fail rather than run at less; hold: what is kept\n"
	       "      --reason=TEXT     hold: for a person who asks why\n"
	       "      --deadline=MS     infer: fail rather than be later\n"
	       "      --priority=N      infer: -100 to 100, higher first\n"
	       "      --input=TYPE      infer: pixels or floats (default: by size)\n"
	       "      --top=N           infer: so many classes, up to 64 (default: 5)\n"
	       "      --repeat=N        infer: so many times (default: 1)\n"
	       "      --session         infer: through shared memory\n"
	       "      --device=WHERE    infer: any, cpu, prefer-opencl or require-opencl\n"
	       "  -h, --help\n"
	       "      --version\n\n"
	       "Exit status: 0 done, 1 failed, 2 usage, 3 no daemon, 4 not allowed, 5 no such "
	       "model,\n"
	       "6 refused: busy, late, limits or too few bits.\n");
}

enum {
	OPT_BUS = 256,
	OPT_JSON,
	OPT_BITS,
	OPT_NO_WAIT,
	OPT_MIN_BITS,
	OPT_DEADLINE,
	OPT_PRIORITY,
	OPT_INPUT,
	OPT_TOP,
	OPT_REPEAT,
	OPT_SESSION,
	OPT_DEVICE,
	OPT_REASON,
	OPT_VERSION
};

static const struct option options[] = {{"bus", required_argument, NULL, OPT_BUS},
	{"json", no_argument, NULL, OPT_JSON}, {"bits", required_argument, NULL, OPT_BITS},
	{"no-wait", no_argument, NULL, OPT_NO_WAIT},
	{"min-bits", required_argument, NULL, OPT_MIN_BITS},
	{"deadline", required_argument, NULL, OPT_DEADLINE},
	{"priority", required_argument, NULL, OPT_PRIORITY},
	{"input", required_argument, NULL, OPT_INPUT}, {"top", required_argument, NULL, OPT_TOP},
	{"repeat", required_argument, NULL, OPT_REPEAT},
	{"session", no_argument, NULL, OPT_SESSION},
	{"device", required_argument, NULL, OPT_DEVICE},
	{"reason", required_argument, NULL, OPT_REASON}, {"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION}, {}};

static int usage(const char *expected, const char *given)
{
	(void) fprintf(
		stderr, "bitshed: expected %s: %s\nTry 'bitshed --help'.\n", expected, given);
	return EXIT_CODE_USAGE;
}

static bool number(double *ret, double least, double most)
{
	char *end;

	errno = 0;
	*ret = strtod(optarg, &end);
	return !errno && end != optarg && !*end && *ret >= least && *ret <= most;
}

static bool whole(double least, double most, double *ret)
{
	return number(ret, least, most) && *ret == (double) (int64_t) *ret;
}

static int take_device(struct command *c)
{
	static const char *const names[] = {
		[BITSHED_CHOICE_ANY] = "any",
		[BITSHED_CHOICE_CPU] = "cpu",
		[BITSHED_CHOICE_PREFER] = "prefer-opencl",
		[BITSHED_CHOICE_REQUIRE] = "require-opencl",
	};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(optarg, names[i]) == 0) {
			c->device = (enum bitshed_choice) i;
			return 0;
		}
	return 1 + usage("--device=any, cpu, prefer-opencl or require-opencl", optarg);
}

static int take_input(struct command *c)
{
	c->input = strcmp(optarg, "pixels") == 0   ? BITSHED_INPUT_PIXELS
		   : strcmp(optarg, "floats") == 0 ? BITSHED_INPUT_FLOATS
						   : BITSHED_INPUT_DEFAULT;
	return c->input == BITSHED_INPUT_DEFAULT ? 1 + usage("--input=pixels or floats", optarg) : 0;
}

static int take_number(struct command *c, int option)
{
	double v = 0;

	switch (option) {
	case OPT_BITS:
		if (!number(&c->bits, 1, 8))
			return 1 + usage("--bits=1 to 8", optarg);
		return 0;
	case OPT_MIN_BITS:
		if (!number(&c->min_bits, 0, 8))
			return 1 + usage("--min-bits=0 to 8", optarg);
		return 0;
	case OPT_DEADLINE:
		if (!whole(1, 3600000, &v))
			return 1 + usage("--deadline=1 to 3600000 (ms)", optarg);
		c->deadline_ms = (uint32_t) v;
		return 0;
	case OPT_PRIORITY:
		if (!whole(-100, 100, &v))
			return 1 + usage("--priority=-100 to 100", optarg);
		c->priority = (int32_t) v;
		return 0;
	case OPT_TOP:
		if (!whole(1, 64, &v))
			return 1 + usage("--top=1 to 64", optarg);
		c->top = (uint32_t) v;
		return 0;
	case OPT_REPEAT:
		if (!whole(1, 1e9, &v))
			return 1 + usage("--repeat=1 to 1000000000", optarg);
		c->repeat = (uint32_t) v;
		return 0;
	default:
		return 0;
	}
}

/* Return: 0, or an exit code plus one: "--help" ends the program well. */
static int take_option(struct command *c, int option, const char **bus)
{
	switch (option) {
	case OPT_BUS:
		*bus = optarg;
		return 0;
	case OPT_JSON:
		c->json = true;
		return 0;
	case OPT_NO_WAIT:
		c->no_wait = true;
		return 0;
	case OPT_SESSION:
		c->session = true;
		return 0;
	case OPT_REASON:
		c->reason = optarg;
		return 0;
	case OPT_INPUT:
		return take_input(c);
	case OPT_DEVICE:
		return take_device(c);
	case 'h':
		help();
		return 1;
	case OPT_VERSION:
		printf("bitshed %s\n", bitshed_version());
		return 1;
	case '?':
		(void) fprintf(stderr, "Try 'bitshed --help'.\n");
		return 1 + EXIT_CODE_USAGE;
	default:
		return take_number(c, option);
	}
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < N_VERBS; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

int main(int argc, char **argv)
{
	struct command c = {.top = 5, .repeat = 1};
	struct bitshed_error e = {};
	const struct verb *verb;
	const char *bus = NULL;
	int option, r;

	if (argc > 1 && strcmp(argv[1], "policy") == 0)
		return policy_exec(argv + 1);
	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		r = take_option(&c, option, &bus);
		if (r)
			return r - 1;
	}
	verb = find_verb(optind < argc ? argv[optind] : "status");
	if (!verb)
		return usage("a verb", argv[optind]);
	c.arguments = argv + (optind < argc ? optind + 1 : optind);
	c.n_arguments = (int) (argv + argc - c.arguments);
	if (c.n_arguments < verb->least || c.n_arguments > verb->most) {
		(void) fprintf(stderr, "Usage: bitshed %s %s\n", verb->name, verb->arguments);
		return EXIT_CODE_USAGE;
	}
	if (verb->run == cmd_policy)
		return cmd_policy(&c);
	r = bitshed_open(&c.bus, bus, &e);
	if (r < 0)
		return complain(&c, r, &e, NULL);
	r = verb->run(&c);
	(void) bitshed_close(c.bus);
	if (fflush(stdout) != 0 && r == 0)
		r = EXIT_CODE_FAILED;
	return r;
}
