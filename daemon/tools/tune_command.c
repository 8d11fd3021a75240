/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model tune: times the kernels on the layers of a network, once, for all who run it here. */
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fd.h"
#include "engine/kernels/cpu.h"
#include "engine/tune.h"
#include "tools/tool.h"
#include "tools/tune_cache.h"

static int tune_main(int argc, char **argv);

const struct command command_tune = {
	.name = "tune",
	.summary = "times the kernels on a network's layers",
	.run = tune_main,
	.help = "bitshed-model tune NET.gguf [OPTIONS...]\n"
		"\n"
		"Times the kernels that may be fastest for each layer of the network on this processor, and keeps\n"
		"the times in a cache folder. From then on layers of these shapes run with the fastest; answers\n"
		"stay the same. Layers that were measured before are not measured again.\n"
		"\n"
		"  --bits LIST     like 4,3,2.5 (all whole widths)\n"
		"  --seconds N     for each width, roughly (2)\n"
		"  --cache FOLDER  (bitshed of XDG_CACHE_HOME or ~/.cache); the daemon's is /var/cache/bitshed\n"
		"  --again         forget what was measured on this processor before\n",
};

static const struct option options[] = {
	{"bits", required_argument, NULL, 'b'},
	{"seconds", required_argument, NULL, 's'},
	{"cache", required_argument, NULL, 'c'},
	{"again", no_argument, NULL, 'a'},
	{"help", no_argument, NULL, 'h'},
	{},
};

struct arguments {
	const char *bits, *cache;
	uint32_t seconds;
	bool again;
};

/* What is there, or an empty table; what is there and broken is replaced. */
static int open_table(const struct arguments *a, int folder, struct tune **ret)
{
	struct error why = {};
	int r = a->again ? -ENOENT : tune_read(ret, folder, &why);

	if (r >= 0)
		return 0;
	if (r != -ENOENT)
		fprintf(stderr, "bitshed-model tune: %s: measured again\n", error_text(&why, r));
	*ret = tune_new();
	return *ret ? 0 : -ENOMEM;
}

static int tune_widths(
	const struct arguments *a, struct tune *t, struct network *n, struct error *reterr)
{
	float widths[WIDTHS_MAX];
	int count = tool_widths(n, a->bits, widths, WIDTHS_MAX, reterr), r;

	for (int i = 0; i < count; i++) {
		r = tune_network(t, n, (double) widths[i], cpu_flags(), a->seconds * NSEC_PER_SEC, reterr);
		if (r < 0)
			return r;
		printf("%4g bits: %d time%s new\n", (double) widths[i], r, r == 1 ? "" : "s");
		(void) fflush(stdout);
	}
	return count < 0 ? count : 0;
}

static int tune_file(const struct arguments *a, const char *path, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(tune_freep) struct tune *t = NULL;
	_cleanup_close_ int folder = -EBADF;
	int r = tool_network(&n, path, reterr);

	if (r < 0)
		return r;
	folder = tune_cache_open(a->cache, true, reterr);
	r = folder < 0 ? folder : open_table(a, folder, &t);
	if (r >= 0)
		r = tune_widths(a, t, n, reterr);
	return r < 0 ? r : tune_write(t, folder, reterr);
}

static int tune_main(int argc, char **argv)
{
	struct arguments a = {.seconds = 2};
	struct error error = {};
	int option, r;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == 'h')
			return tool_help(&command_tune);
		if (option == 'b')
			a.bits = optarg;
		else if (option == 'c')
			a.cache = optarg;
		else if (option == 'a')
			a.again = true;
		else if (option != 's')
			return tool_usage(&command_tune, "unknown option or missing value");
		else if (!tool_number(optarg, 0, 3600, &a.seconds))
			return tool_usage(&command_tune, "--seconds takes a number from 0 to 3600");
	}
	if (optind + 1 != argc)
		return tool_usage(&command_tune, "give one model file");
	r = tune_file(&a, argv[optind], &error);
	return r < 0 ? tool_fail(&command_tune, &error, r) : EXIT_SUCCESS;
}
