/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model sweep: methods x widths on one network into a table and a plot. */
#include <stdio.h>
#include <string.h>

#include "convert/sweep.h"
#include "tools/preprocess_options.h"
#include "tools/tool.h"

#define METHODS_MAX 64

static int sweep_main(int argc, char **argv);

const struct command command_sweep = {
	.name = "sweep",
	.summary = "methods x widths into a table and a plot",
	.run = sweep_main,
	.help = "bitshed-model sweep NET.onnx --data DATA --folder FOLDER [OPTIONS...]\n"
		"\n"
		"Quantizes a network with every method at every width, measures each, and writes sweep.csv,\n"
		"sweep.md and sweep.svg into FOLDER. Started again, it goes on where it was interrupted.\n"
		"\n"
		"  --data DATA       labelled data to measure on\n"
		"  --labels FILE     labels of DATA, where they are not found in it or beside it\n"
		"  --folder FOLDER   for the results\n"
		"  --methods LIST    like bcq,gptq,kmeans (all)\n"
		"  --bits LIST       like 8,4,3,2,1 (those)\n"
		"  --calibrate DATA  pictures or features for ranges, corrections and methods that need them\n"
		"  --samples N       how many of them (512)\n"
		"  --limit N         only the first N items of DATA\n"
		"  --weights-only N  the quantized weights with fp32 activations, too, on the first N items (0)\n"
		"  --edge-planes N   of a small first and last layer (8)\n"
		"  --group-columns N, --activation-bits N, --scale, --mean, --std, --color\n"
		"                    as import has them\n"
		"  --threads N       (all processors)\n",
};

static const struct option options[] = {
	{"data", required_argument, NULL, 'd'},
	{"labels", required_argument, NULL, 'l'},
	{"folder", required_argument, NULL, 'f'},
	{"methods", required_argument, NULL, 'm'},
	{"bits", required_argument, NULL, 'b'},
	{"calibrate", required_argument, NULL, 'c'},
	{"samples", required_argument, NULL, 's'},
	{"limit", required_argument, NULL, 'n'},
	{"weights-only", required_argument, NULL, 'w'},
	{"edge-planes", required_argument, NULL, 'e'},
	{"group-columns", required_argument, NULL, 'g'},
	{"activation-bits", required_argument, NULL, 'a'},
	{"scale", required_argument, NULL, 'p'},
	{"mean", required_argument, NULL, 'p'},
	{"std", required_argument, NULL, 'p'},
	{"color", required_argument, NULL, 'p'},
	{"threads", required_argument, NULL, 't'},
	{"help", no_argument, NULL, 'h'},
	{},
};

struct arguments {
	struct sweep sweep;
	const struct quantizer *methods[METHODS_MAX];
	uint32_t threads;
};

static void add_method(struct arguments *a, const struct quantizer *q)
{
	if (a->sweep.n_methods < METHODS_MAX)
		a->methods[a->sweep.n_methods++] = q;
}

static bool parse_methods(struct arguments *a, const char *text)
{
	char name[32];
	int end;

	a->sweep.n_methods = 0;
	for (; sscanf(text, "%31[a-z0-9-]%n", name, &end) == 1; text += end + (text[end] == ',')) {
		if (!quantizer_find(name) || (text[end] != ',' && text[end]))
			return false;
		add_method(a, quantizer_find(name));
	}
	return !*text && a->sweep.n_methods > 0;
}

/* Falling, so that the file of a nested method has the widest. */
static bool parse_bits(struct sweep *s, const char *text)
{
	float bits[SWEEP_WIDTHS_MAX];

	s->n_bits = tool_floats(text, bits, SWEEP_WIDTHS_MAX);
	for (uint32_t i = 0; i < s->n_bits; i++) {
		s->bits[i] = (uint32_t) bits[i];
		if (bits[i] < 1 || bits[i] > BITS_PLANES_MAX || bits[i] != (float) s->bits[i] ||
			(i > 0 && s->bits[i] >= s->bits[i - 1]))
			return false;
	}
	return s->n_bits > 0;
}

static bool parse_text(struct sweep *s, int option, const char *text)
{
	const char **to = option == 'd' ? &s->data : option == 'l' ? &s->labels : option == 'f' ? &s->folder
										   : &s->calibrate;

	*to = text;
	return *text;
}

/* Return: false, when @text is not what @option takes */
static bool parse_option(struct arguments *a, int option, const char *name, const char *text)
{
	struct sweep *s = &a->sweep;

	switch (option) {
	case 'm':
		return parse_methods(a, text);
	case 'b':
		return parse_bits(s, text);
	case 's':
		return tool_number(text, 1, 1 << 20, &s->samples);
	case 'n':
		return tool_number(text, 1, UINT32_MAX, &s->limit);
	case 'w':
		return tool_number(text, 0, UINT32_MAX, &s->float_limit);
	case 'e':
		return tool_number(text, 0, BITS_PLANES_MAX, &s->edge_planes);
	case 'g':
		return tool_number(text, 64, 1 << 20, &s->group_columns) && s->group_columns % 64 == 0;
	case 'a':
		return tool_number(text, 1, 8, &s->activation_bits);
	case 't':
		return tool_number(text, 1, 256, &a->threads);
	case 'p':
		return preprocess_option(&s->preprocess, name, text);
	default:
		return parse_text(s, option, text);
	}
}

static void tell(void *userdata, const struct sweep_row *row, uint32_t done, uint32_t total, double left)
{
	struct meter *m = userdata;

	if (m->terminal)
		fprintf(stderr, "\r\033[K");
	printf("%3u/%u  %-18s %2u bits  %6.2f %%  %7.1f s to quantize;  %.0f min left\n", done, total, row->method,
		row->bits, row->top1, row->seconds, left / 60);
	(void) fflush(stdout);
}

static int parse(struct arguments *a, int argc, char **argv, bool *ret_help)
{
	int option, at;

	while ((option = getopt_long(argc, argv, "h", options, &at)) >= 0) {
		if (option == 'h') {
			*ret_help = true;
			return EXIT_SUCCESS;
		}
		if (option == '?')
			return tool_usage(&command_sweep, "unknown option or missing value");
		if (!parse_option(a, option, options[at].name, optarg))
			return tool_usage(&command_sweep, "'%s' is no value for --%s", optarg, options[at].name);
	}
	if (optind + 1 != argc || !a->sweep.data || !a->sweep.folder)
		return tool_usage(&command_sweep, "give one ONNX file, --data and --folder");
	a->sweep.onnx = argv[optind];
	preprocess_options_done(&a->sweep.preprocess);
	return EXIT_SUCCESS;
}

static int sweep_main(int argc, char **argv)
{
	struct arguments a = {.threads = threads_available(),
		.sweep = {.bits = {8, 4, 3, 2, 1}, .n_bits = 5, .samples = 512, .edge_planes = 8,
			.group_columns = 128, .activation_bits = 8,
			.preprocess = {.scale = 1, .std = {1, 1, 1, 1}}}};
	_cleanup_(threads_freep) struct threads *threads = NULL;
	struct error error = {};
	struct meter meter;
	bool show_help = false;
	int r = parse(&a, argc, argv, &show_help);

	if (show_help)
		return tool_help(&command_sweep);
	if (r != EXIT_SUCCESS)
		return r;
	if (a.sweep.n_methods == 0) {
		add_method(&a, &quantizer_gptq);
		for (uint32_t i = 0; i < n_quantizers; i++)
			add_method(&a, &quantizers[i]);
	}
	r = threads_new(&threads, a.threads);
	if (r < 0)
		return tool_fail(&command_sweep, NULL, r);
	meter_init(&meter);
	a.sweep.methods = a.methods;
	a.sweep.threads = threads;
	a.sweep.told = tell;
	a.sweep.userdata = &meter;
	a.sweep.progress = meter.terminal ? &meter.progress : NULL;
	r = sweep_run(&a.sweep, &error);
	meter_done(&meter);
	return r < 0 ? tool_fail(&command_sweep, &error, r) : EXIT_SUCCESS;
}
