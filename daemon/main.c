/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "service/layers.h"
#include "service/manager.h"

#define MODELS_MAX 64

static const char help[] =
	"bitshedd [OPTIONS]\n"
	"\n"
	"Serves neural networks made of bit planes on D-Bus as org.bitshed.\n"
	"\n"
	"  --bus=system|session|ADDRESS  where to appear (default: system)\n"
	"  --power-bus=BUS               where UPower, logind and so on are (default: as --bus)\n"
	"  --sysfs=FOLDER                where sensors are (default: /sys)\n"
	"  --config=FILE                 settings of this file and FILE.d/*.yaml only (default: bitshed.yaml and\n"
	"                                bitshed.yaml.d of /usr/lib/bitshed, /run/bitshed and /etc/bitshed)\n"
	"  --policy=FILE                 rules of this file only (default: policies of the same folders)\n"
	"  --check-config                read the configuration, say what is wrong with it, and "
	"exit\n"
	"  --cache=FOLDER                keep what takes long to compute (default: $CACHE_DIRECTORY, else nothing)\n"
	"  --worker=FILE                 program or socket of the OpenCL worker, unit: only the socket of its unit, or\n"
	"                                none (default: as installed)\n"
	"  --model=NAME=FILE             load this model at the start; may be given again\n"
	"  --log-level=LEVEL             error, warning, notice, info (default) or debug\n"
	"  --version  --help\n";

struct arguments {
	struct manager_options options;
	struct config_model models[MODELS_MAX];
	int log_level;
	bool check_config;
};

static int parse_level(const char *name)
{
	static const char *const names[] = {
		[LOG_ERR] = "error",
		[LOG_WARNING] = "warning",
		[LOG_NOTICE] = "notice",
		[LOG_INFO] = "info",
		[LOG_DEBUG] = "debug",
	};

	for (size_t i = LOG_ERR; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0)
			return (int) i;
	return -EINVAL;
}

static int usage(const char *what, const char *value)
{
	fprintf(stderr, "bitshedd: %s: \"%s\"; see --help\n", what, value);
	return -EINVAL;
}

static int add_model(struct arguments *a, char *value)
{
	char *equals = strchr(value, '=');

	if (!equals || equals == value || !equals[1])
		return usage("expected --model=NAME=FILE", value);
	if (a->options.n_models == MODELS_MAX)
		return usage("too many models", value);
	*equals = '\0';
	a->models[a->options.n_models++] = (struct config_model){.name = value, .path = equals + 1};
	return 0;
}

/* Return: 1 go on, 0 nothing more to do, -EINVAL */
static int parse_option(struct arguments *a, int option)
{
	switch (option) {
	case 'b':
		a->options.bus = optarg;
		return 1;
	case 'w':
		a->options.power_bus = optarg;
		return 1;
	case 's':
		a->options.sysfs = optarg;
		return 1;
	case 'c':
		a->options.config_file = optarg;
		return 1;
	case 'q':
		a->options.policy_file = optarg;
		return 1;
	case 'k':
		a->options.cache_dir = optarg;
		return 1;
	case 'W':
		a->options.worker = optarg;
		return 1;
	case 'C':
		a->check_config = true;
		return 1;
	case 'm':
		return add_model(a, optarg) < 0 ? -EINVAL : 1;
	case 'l':
		a->log_level = parse_level(optarg);
		return a->log_level < 0 ? usage("unknown log level", optarg) : 1;
	case 'V':
		printf("bitshedd %s\n", BITSHED_VERSION);
		return 0;
	case 'h':
		fputs(help, stdout);
		return 0;
	default:
		return -EINVAL;
	}
}

static int parse(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		{"bus", required_argument, NULL, 'b'},
		{"power-bus", required_argument, NULL, 'w'},
		{"sysfs", required_argument, NULL, 's'},
		{"config", required_argument, NULL, 'c'},
		{"policy", required_argument, NULL, 'q'},
		{"check-config", no_argument, NULL, 'C'},
		{"cache", required_argument, NULL, 'k'},
		{"worker", required_argument, NULL, 'W'},
		{"model", required_argument, NULL, 'm'},
		{"log-level", required_argument, NULL, 'l'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{},
	};
	int option, r;

	a->options.cache_dir = getenv("CACHE_DIRECTORY");
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		r = parse_option(a, option);
		if (r <= 0)
			return r;
	}
	if (optind < argc)
		return usage("unexpected argument", argv[optind]);
	a->options.memory_watch = getenv("MEMORY_PRESSURE_WATCH");
	a->options.memory_write = getenv("MEMORY_PRESSURE_WRITE");
	a->options.models = a->models;
	return 1;
}

static int check_config(const struct arguments *a)
{
	_cleanup_(config_unrefp) struct config *config = NULL;
	struct error why = {};
	int r;

	r = config_load(&config, layers_default, a->options.config_file, &why);
	if (r < 0)
		fprintf(stderr, "%s\n", error_text(&why, r));
	return r;
}

/* systemd says which file it reads; whoever started us may have put another one in its place. */
static bool journal_reads_stderr(const char *stream)
{
	struct stat st;
	char is[64];

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	(void) snprintf(is, sizeof is, "%ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino);
	return strcmp(is, stream) == 0;
}

static int run(const struct arguments *a)
{
	_cleanup_(manager_freep) struct manager *m = NULL;
	struct error why = {};
	int r;

	r = manager_new(&m, &a->options, &why);
	if (r < 0) {
		log_error("%s", error_text(&why, r));
		return r;
	}
	return manager_run(m);
}

int main(int argc, char **argv)
{
	static struct arguments a = {
		.options = {.bus = "system"},
		.log_level = LOG_INFO,
	};
	int r;

	r = parse(&a, argc, argv);
	if (r <= 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	log_init(journal_reads_stderr(getenv("JOURNAL_STREAM")), a.log_level);
	r = a.check_config ? check_config(&a) : run(&a);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
