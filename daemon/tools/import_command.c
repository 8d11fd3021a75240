/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model import: an ONNX file to a model file. */
#include <stdio.h>
#include <string.h>

#include "convert/clip.h"
#include "convert/import.h"
#include "convert/train/follow.h"
#include "convert/train/output_gradients.h"
#include "tools/preprocess_options.h"
#include "tools/tool.h"

#define NOT_GIVEN UINT32_MAX

static int import_main(int argc, char **argv);

const struct command command_import = {
	.name = "import",
	.summary = "make a model file from an ONNX file",
	.run = import_main,
	.help =
		"bitshed-model import NET.onnx -o NET.gguf [OPTIONS...]\n"
		"\n"
		"  -o, --output FILE       the model file to write\n"
		"  --method NAME           weight quantizer: see below (gptq with --calibrate, else bcq)\n"
		"  --planes N              bit planes of each weight, 1 to 8 (8)\n"
		"  --edge-planes N         planes of a small first and last layer and of depthwise ones, never\n"
		"                          shed; 0: like the others (8)\n"
		"  --average-bits X        planes of each layer by what it costs the network, X on average, at most\n"
		"                          --planes each, from 0.25 on: below 1 channels go without a plane;\n"
		"                          with --calibrate\n"
		"  --transform klt|elt     convolutions in a basis that parts their weights by energy, which is\n"
		"                          stored beside them (elt: by what the output sees, with --calibrate);\n"
		"                          --average-bits counts the weights of the network\n"
		"  --group-columns N       weights that share scales, a multiple of 64 (128)\n"
		"  --per-tensor            one scale or codebook per layer, where the method has that choice\n"
		"  --activation-bits N     1 to 8 (8)\n"
		"  --calibrate DATA        pictures or features for activation ranges and corrections; without\n"
		"                          them ranges come from batch normalisation\n"
		"  --samples N             how many of them (512)\n"
		"  --sensitivity N         how many of them tell what each layer costs at fewer planes, by which\n"
		"                          widths like 2.5 choose; 0: none (32, for an average 128)\n"
		"  --clip NAME             how activation ranges are chosen: min-max, percentile, mse, kl, aciq (min-max\n"
		"                          at 8 bits, else mse)\n"
		"  --equalise              give the channels between two matrices one range\n"
		"  --no-equalise           do not; without either what the calibration data like better, where both\n"
		"                          are tried: with --follow, and where 8 planes agree too little with fp32\n"
		"  --follow                each layer takes back errors of those before it, for the widest width;\n"
		"                          with --calibrate\n"
		"  --blocks                --follow, and the matrices of a residual block are rounded together for what\n"
		"                          it gives out (BRECQ)\n"
		"  --keep-nested           keep nested planes even where plain int8 agrees better at 8 bits\n"
		"  --no-correction         do not match the fp32 network's statistics at each width\n"
		"  --labels FILE           names of the classes, one a line\n"
		"  --evaluate DATA         measure each width and store the accuracies in the file\n"
		"  --evaluate-labels FILE  labels of DATA, where they are not found beside it\n"
		"  --scale X --mean X,X,X --std X,X,X\n"
		"                          x = (pixel * scale - mean) / std, stored in the file (1, 0, 1); one\n"
		"                          value for each channel, in the network's order\n"
		"  --color rgb|bgr         order of channels that the network wants (rgb)\n"
		"  --seed N                for methods that draw (1)\n"
		"  --threads N             (all processors)\n"
		"\n"
		"DATA is a CIFAR-10 binary file, an MNIST idx file, an .npy file, or a folder of JPEG and PNG\n"
		"files with a folder for each class.\n"
		"\n"
		"Methods:\n",
};

enum {
	OPTION_METHOD = 256,
	OPTION_PLANES,
	OPTION_EDGE_PLANES,
	OPTION_AVERAGE_BITS,
	OPTION_TRANSFORM,
	OPTION_GROUP_COLUMNS,
	OPTION_PER_TENSOR,
	OPTION_ACTIVATION_BITS,
	OPTION_CALIBRATE,
	OPTION_SAMPLES,
	OPTION_SENSITIVITY,
	OPTION_CLIP,
	OPTION_EQUALISE,
	OPTION_NO_EQUALISE,
	OPTION_FOLLOW,
	OPTION_BLOCKS,
	OPTION_KEEP_NESTED,
	OPTION_NO_CORRECTION,
	OPTION_LABELS,
	OPTION_EVALUATE,
	OPTION_EVALUATE_LABELS,
	OPTION_SCALE,
	OPTION_MEAN,
	OPTION_STD,
	OPTION_COLOR,
	OPTION_SEED,
	OPTION_THREADS,
};

static const struct option options[] = {
	{"output", required_argument, NULL, 'o'},
	{"method", required_argument, NULL, OPTION_METHOD},
	{"planes", required_argument, NULL, OPTION_PLANES},
	{"edge-planes", required_argument, NULL, OPTION_EDGE_PLANES},
	{"average-bits", required_argument, NULL, OPTION_AVERAGE_BITS},
	{"transform", required_argument, NULL, OPTION_TRANSFORM},
	{"group-columns", required_argument, NULL, OPTION_GROUP_COLUMNS},
	{"per-tensor", no_argument, NULL, OPTION_PER_TENSOR},
	{"activation-bits", required_argument, NULL, OPTION_ACTIVATION_BITS},
	{"calibrate", required_argument, NULL, OPTION_CALIBRATE},
	{"samples", required_argument, NULL, OPTION_SAMPLES},
	{"sensitivity", required_argument, NULL, OPTION_SENSITIVITY},
	{"clip", required_argument, NULL, OPTION_CLIP},
	{"equalise", no_argument, NULL, OPTION_EQUALISE},
	{"no-equalise", no_argument, NULL, OPTION_NO_EQUALISE},
	{"follow", no_argument, NULL, OPTION_FOLLOW},
	{"blocks", no_argument, NULL, OPTION_BLOCKS},
	{"keep-nested", no_argument, NULL, OPTION_KEEP_NESTED},
	{"no-correction", no_argument, NULL, OPTION_NO_CORRECTION},
	{"labels", required_argument, NULL, OPTION_LABELS},
	{"evaluate", required_argument, NULL, OPTION_EVALUATE},
	{"evaluate-labels", required_argument, NULL, OPTION_EVALUATE_LABELS},
	{"scale", required_argument, NULL, OPTION_SCALE},
	{"mean", required_argument, NULL, OPTION_MEAN},
	{"std", required_argument, NULL, OPTION_STD},
	{"color", required_argument, NULL, OPTION_COLOR},
	{"seed", required_argument, NULL, OPTION_SEED},
	{"threads", required_argument, NULL, OPTION_THREADS},
	{"help", no_argument, NULL, 'h'},
	{},
};

static int help(void)
{
	(void) tool_help(&command_import);
	for (uint32_t i = 0; i < n_quantizers; i++)
		printf("  %-16s %s\n", quantizers[i].name, quantizers[i].help);
	printf("  %-16s %s\n", quantizer_gptq.name, quantizer_gptq.help);
	return EXIT_SUCCESS;
}

static bool parse_average(const char *text, double *ret)
{
	float bits;

	*ret = tool_floats(text, &bits, 1) == 1 ? (double) bits : 0;
	return *ret >= 0.25 && *ret <= BITS_PLANES_MAX;
}

static bool parse_number_option(struct import *i, int option, const char *text, uint32_t *threads)
{
	struct export_options *o = &i->options;
	uint32_t seed;

	switch (option) {
	case OPTION_PLANES:
		return tool_number(text, 1, BITS_PLANES_MAX, &o->planes);
	case OPTION_EDGE_PLANES:
		return tool_number(text, 0, BITS_PLANES_MAX, &o->edge_planes);
	case OPTION_GROUP_COLUMNS:
		return tool_number(text, 64, 1 << 20, &o->group_columns) && o->group_columns % 64 == 0;
	case OPTION_ACTIVATION_BITS:
		return tool_number(text, 1, 8, &o->activation_bits);
	case OPTION_SENSITIVITY:
		return tool_number(text, 0, 1 << 20, &i->sensitivity);
	case OPTION_SAMPLES:
		return tool_number(text, 1, 1 << 20, &i->samples);
	case OPTION_THREADS:
		return tool_number(text, 1, 256, threads);
	default:
		if (!tool_number(text, 0, UINT32_MAX, &seed))
			return false;
		o->seed = seed;
		return true;
	}
}

/* Return: false, when @text is not what @option takes */
static bool parse_option(struct import *i, int option, const char *text, uint32_t *threads)
{
	switch (option) {
	case 'o':
		i->output = text;
		return true;
	case OPTION_METHOD:
		i->options.quantizer = quantizer_find(text);
		return i->options.quantizer;
	case OPTION_PER_TENSOR:
		return i->options.per_tensor = true;
	case OPTION_AVERAGE_BITS:
		return parse_average(text, &i->average_bits);
	case OPTION_TRANSFORM:
		i->transform = transform_find(text);
		return i->transform != TRANSFORM_NONE;
	case OPTION_CALIBRATE:
		i->calibrate = text;
		return true;
	case OPTION_CLIP:
		i->options.clip = clip_find(text);
		return i->options.clip < _CLIP_MAX;
	case OPTION_EQUALISE:
		i->equalise = EQUALISE_YES;
		return true;
	case OPTION_NO_EQUALISE:
		i->equalise = EQUALISE_NO;
		return true;
	case OPTION_FOLLOW:
		i->follow = i->follow ?: follow_open;
		return true;
	case OPTION_BLOCKS:
		i->follow = follow_open_blocks;
		return true;
	case OPTION_KEEP_NESTED:
		i->keep_nested = true;
		return true;
	case OPTION_NO_CORRECTION:
		i->correct = false;
		return true;
	case OPTION_LABELS:
		i->labels = text;
		return true;
	case OPTION_EVALUATE:
		i->evaluate = text;
		return true;
	case OPTION_EVALUATE_LABELS:
		i->evaluate_labels = text;
		return true;
	case OPTION_SCALE:
	case OPTION_MEAN:
	case OPTION_STD:
	case OPTION_COLOR:
		i->has_preprocess = true;
		return preprocess_option(&i->preprocess, options[option - OPTION_METHOD + 1].name, text);
	default:
		return parse_number_option(i, option, text, threads);
	}
}

/* An average is spent by what few samples say of each layer: 32 leave ResNet-20 a point behind 128 at two bits. */
static void choose_defaults(struct import *i)
{
	if (!i->options.quantizer)
		i->options.quantizer = i->calibrate ? &quantizer_gptq : quantizer_find("bcq");
	if (i->sensitivity == NOT_GIVEN)
		i->sensitivity = i->average_bits > 0 ? 128 : 32;
}

static int import_main(int argc, char **argv)
{
	_cleanup_(threads_freep) struct threads *threads = NULL;
	struct import i = {.correct = true, .gradients = output_gradients, .samples = 512, .sensitivity = NOT_GIVEN, .preprocess = {.scale = 1, .std = {1, 1, 1, 1}},
		.options = {.planes = 8, .edge_planes = 8,
			.group_columns = 128, .activation_bits = 8, .seed = 1}};
	uint32_t n_threads = threads_available();
	struct error error = {};
	struct meter meter;
	int option, at, r;

	while ((option = getopt_long(argc, argv, "o:h", options, &at)) >= 0) {
		if (option == 'h')
			return help();
		if (option == '?')
			return tool_usage(&command_import, "unknown option or missing value");
		if (!parse_option(&i, option, optarg, &n_threads))
			return tool_usage(&command_import, "'%s' is no value for --%s", optarg,
				option == 'o' ? "output" : options[at].name);
	}
	if (optind + 1 != argc || !i.output)
		return tool_usage(&command_import, "give one ONNX file, and the file to write with -o");
	choose_defaults(&i);
	if (!i.options.quantizer->run && !i.calibrate)
		return tool_usage(&command_import, "method %s needs --calibrate", i.options.quantizer->name);
	if (i.average_bits > 0 && (!i.calibrate || i.sensitivity == 0))
		return tool_usage(&command_import, "--average-bits needs --calibrate and --sensitivity");
	if (i.follow && !i.calibrate)
		return tool_usage(&command_import, "--follow needs --calibrate");
	if (i.transform == TRANSFORM_ELT && !i.calibrate)
		return tool_usage(&command_import, "--transform elt needs --calibrate");
	i.onnx = argv[optind];
	preprocess_options_done(&i.preprocess);
	r = threads_new(&threads, n_threads);
	if (r < 0)
		return tool_fail(&command_import, NULL, r);
	meter_init(&meter);
	i.threads = threads;
	i.progress = &meter.progress;
	r = import_run(&i, &error);
	meter_done(&meter);
	return r < 0 ? tool_fail(&command_import, &error, r) : EXIT_SUCCESS;
}
