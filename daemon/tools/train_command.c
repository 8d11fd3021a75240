/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model train: an ONNX file and labelled data to a model file that was trained for few bits. */
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "convert/train/train.h"
#include "tools/preprocess_options.h"
#include "tools/tool.h"

static int train_main(int argc, char **argv);

const struct command command_train = {
	.name = "train",
	.summary = "retrain an ONNX network for few bits",
	.run = train_main,
	.help =
		"bitshed-model train NET.onnx --data DATA -o NET.gguf [OPTIONS...]\n"
		"\n"
		"  -o, --output FILE       the model file to write; NET.onnx: the trained network in full precision,\n"
		"                          with --method fp32\n"
		"  --data DATA             labelled samples to train with\n"
		"  --data-labels FILE      their labels, where they are not found beside them\n"
		"  --limit N               use the first N samples only (all)\n"
		"  --method NAME           see below (nested)\n"
		"  --planes N              bit planes of each weight (what the method prefers)\n"
		"  --edge-planes N         planes of a small first and last layer and of depthwise ones, never\n"
		"                          shed; 0: like the others (8)\n"
		"  --activation-bits N     of what trained layers read, with learned steps: 1 to 4; 8: not trained\n"
		"                          for (8)\n"
		"  --average-bits X        bits of an average weight, for alq (half of the planes) and cpq (all)\n"
		"  --scratch               start from drawn weights, not from those of the file\n"
		"  --epochs N              times that each sample is seen (10, with --scratch 20)\n"
		"  --batch N               samples in a step (128)\n"
		"  --rate X                learning rate (adam and amsgrad 0.001; sgd 0.01, with --scratch 0.05)\n"
		"  --schedule cosine|step|flat  what becomes of it (cosine)\n"
		"  --warm X                part of the run in which it rises (0.02)\n"
		"  --optimiser sgd|adam|amsgrad  (adam, with --scratch sgd)\n"
		"  --momentum X --decay X  of sgd (0.9); weight decay (0.0001)\n"
		"  --clip-gradient X       largest norm of the gradient; 0: any (5)\n"
		"  --distil X              part of the loss that asks for the fp32 network's answers (1; with\n"
		"                          --scratch 0)\n"
		"  --teacher NET.onnx      a larger network of the same classes and preprocessing, asked besides:\n"
		"                          the mean of both answers counts\n"
		"  --temperature X         that softens both (4)\n"
		"  --smoothing X           part of a label that is spread over all classes (0)\n"
		"  --crop N --flip         shift pictures by up to N pixels, mirror half of them (0, no)\n"
		"  --cutmix X              part of the pictures that get a rectangle of another one; the fp32 network\n"
		"                          says what it sees in them: not with --distil below 1 (0)\n"
		"  --evaluate DATA         measure the file and store the accuracies in it\n"
		"  --evaluate-labels FILE  labels of DATA, where they are not found beside it\n"
		"  --labels FILE           names of the classes, one a line\n"
		"  --scale X --mean X,X,X --std X,X,X --color rgb|bgr\n"
		"                          as for import\n"
		"  --checkpoint FILE       where a killed run goes on (OUTPUT.checkpoint)\n"
		"  --save-every N          seconds between two of them (60)\n"
		"  --log FILE              CSV: epoch, planes, loss, accuracy, rate, seconds\n"
		"  --seed N                of everything that is drawn (1)\n"
		"  --threads N             (all processors)\n"
		"\n"
		"The same command goes on where a killed one was. DATA is what import takes, with labels.\n"
		"\n"
		"Methods:\n",
};

enum {
	OPTION_DATA = 256,
	OPTION_DATA_LABELS,
	OPTION_LIMIT,
	OPTION_METHOD,
	OPTION_PLANES,
	OPTION_EDGE_PLANES,
	OPTION_ACTIVATION_BITS,
	OPTION_AVERAGE_BITS,
	OPTION_SCRATCH,
	OPTION_EPOCHS,
	OPTION_BATCH,
	OPTION_RATE,
	OPTION_SCHEDULE,
	OPTION_WARM,
	OPTION_OPTIMISER,
	OPTION_MOMENTUM,
	OPTION_DECAY,
	OPTION_CLIP_GRADIENT,
	OPTION_DISTIL,
	OPTION_TEACHER,
	OPTION_TEMPERATURE,
	OPTION_SMOOTHING,
	OPTION_CROP,
	OPTION_FLIP,
	OPTION_CUTMIX,
	OPTION_EVALUATE,
	OPTION_EVALUATE_LABELS,
	OPTION_LABELS,
	OPTION_SCALE,
	OPTION_MEAN,
	OPTION_STD,
	OPTION_COLOR,
	OPTION_CHECKPOINT,
	OPTION_SAVE_EVERY,
	OPTION_LOG,
	OPTION_SEED,
	OPTION_THREADS,
};

static const struct option options[] = {
	{"output", required_argument, NULL, 'o'},
	{"data", required_argument, NULL, OPTION_DATA},
	{"data-labels", required_argument, NULL, OPTION_DATA_LABELS},
	{"limit", required_argument, NULL, OPTION_LIMIT},
	{"method", required_argument, NULL, OPTION_METHOD},
	{"planes", required_argument, NULL, OPTION_PLANES},
	{"edge-planes", required_argument, NULL, OPTION_EDGE_PLANES},
	{"activation-bits", required_argument, NULL, OPTION_ACTIVATION_BITS},
	{"average-bits", required_argument, NULL, OPTION_AVERAGE_BITS},
	{"scratch", no_argument, NULL, OPTION_SCRATCH},
	{"epochs", required_argument, NULL, OPTION_EPOCHS},
	{"batch", required_argument, NULL, OPTION_BATCH},
	{"rate", required_argument, NULL, OPTION_RATE},
	{"schedule", required_argument, NULL, OPTION_SCHEDULE},
	{"warm", required_argument, NULL, OPTION_WARM},
	{"optimiser", required_argument, NULL, OPTION_OPTIMISER},
	{"momentum", required_argument, NULL, OPTION_MOMENTUM},
	{"decay", required_argument, NULL, OPTION_DECAY},
	{"clip-gradient", required_argument, NULL, OPTION_CLIP_GRADIENT},
	{"distil", required_argument, NULL, OPTION_DISTIL},
	{"teacher", required_argument, NULL, OPTION_TEACHER},
	{"temperature", required_argument, NULL, OPTION_TEMPERATURE},
	{"smoothing", required_argument, NULL, OPTION_SMOOTHING},
	{"crop", required_argument, NULL, OPTION_CROP},
	{"flip", no_argument, NULL, OPTION_FLIP},
	{"cutmix", required_argument, NULL, OPTION_CUTMIX},
	{"evaluate", required_argument, NULL, OPTION_EVALUATE},
	{"evaluate-labels", required_argument, NULL, OPTION_EVALUATE_LABELS},
	{"labels", required_argument, NULL, OPTION_LABELS},
	{"scale", required_argument, NULL, OPTION_SCALE},
	{"mean", required_argument, NULL, OPTION_MEAN},
	{"std", required_argument, NULL, OPTION_STD},
	{"color", required_argument, NULL, OPTION_COLOR},
	{"checkpoint", required_argument, NULL, OPTION_CHECKPOINT},
	{"save-every", required_argument, NULL, OPTION_SAVE_EVERY},
	{"log", required_argument, NULL, OPTION_LOG},
	{"seed", required_argument, NULL, OPTION_SEED},
	{"threads", required_argument, NULL, OPTION_THREADS},
	{"help", no_argument, NULL, 'h'},
	{},
};

static int help(void)
{
	(void) tool_help(&command_train);
	for (uint32_t i = 0; i < n_train_methods; i++)
		printf("  %-16s %s\n", train_methods[i]->name, train_methods[i]->help);
	return EXIT_SUCCESS;
}

static bool parse_real(const char *text, float low, float high, float *ret)
{
	return tool_floats(text, ret, 1) == 1 && *ret >= low && *ret <= high;
}

/* Which of the @n words in @words it is. */
static bool parse_word(const char *text, const char *const *words, uint32_t n, uint32_t *ret)
{
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(text, words[i]) == 0) {
			*ret = i;
			return true;
		}
	return false;
}

static bool parse_real_option(struct train *t, int option, const char *text)
{
	struct optimise *o = &t->options.optimise;
	struct loss *l = &t->options.loss;

	switch (option) {
	case OPTION_AVERAGE_BITS:
		return parse_real(text, 0.01f, BITS_PLANES_MAX, &t->options.average);
	case OPTION_RATE:
		return parse_real(text, 1e-9f, 1e3f, &o->rate);
	case OPTION_WARM:
		return parse_real(text, 0, 0.9f, &o->warm);
	case OPTION_MOMENTUM:
		return parse_real(text, 0, 0.9999f, &o->momentum);
	case OPTION_DECAY:
		return parse_real(text, 0, 1, &o->decay);
	case OPTION_CLIP_GRADIENT:
		return parse_real(text, 0, 1e9f, &o->clip);
	case OPTION_DISTIL:
		return parse_real(text, 0, 1, &l->distil);
	case OPTION_CUTMIX:
		return parse_real(text, 0, 1, &t->loader.cutmix);
	case OPTION_TEMPERATURE:
		return parse_real(text, 0.01f, 100, &l->temperature);
	default:
		return parse_real(text, 0, 1, &l->smoothing);
	}
}

static bool parse_word_option(struct train *t, int option, const char *text)
{
	static const char *const schedules[_SCHEDULE_MAX] = {"cosine", "step", "flat"};
	static const char *const optimisers[_OPTIMISER_MAX] = {"sgd", "adam", "amsgrad"};
	struct optimise *o = &t->options.optimise;
	uint32_t at;

	if (option == OPTION_SCHEDULE) {
		if (!parse_word(text, schedules, _SCHEDULE_MAX, &at))
			return false;
		o->schedule = (enum train_schedule) at;
		return true;
	}
	if (!parse_word(text, optimisers, _OPTIMISER_MAX, &at))
		return false;
	o->optimiser = (enum train_optimiser) at;
	return true;
}

static bool parse_number_option(struct train *t, int option, const char *text)
{
	uint32_t seed;

	switch (option) {
	case OPTION_LIMIT:
		return tool_number(text, 1, UINT32_MAX, &t->loader.limit);
	case OPTION_PLANES:
		return tool_number(text, 1, BITS_PLANES_MAX, &t->options.planes);
	case OPTION_EDGE_PLANES:
		return tool_number(text, 0, BITS_PLANES_MAX, &t->options.edge_planes);
	case OPTION_ACTIVATION_BITS:
		if (!tool_number(text, 1, 8, &t->options.activation_bits))
			return false;
		if (t->options.activation_bits == 8)
			t->options.activation_bits = 0;
		return t->options.activation_bits <= 4;
	case OPTION_EPOCHS:
		return tool_number(text, 1, 100000, &t->options.epochs);
	case OPTION_BATCH:
		return tool_number(text, 2, 1 << 16, &t->options.batch);
	case OPTION_CROP:
		return tool_number(text, 0, 64, &t->loader.crop);
	case OPTION_SAVE_EVERY:
		return tool_number(text, 1, 86400, &t->options.save_seconds);
	case OPTION_THREADS:
		return tool_number(text, 1, 256, &t->options.threads);
	default:
		if (!tool_number(text, 0, UINT32_MAX, &seed))
			return false;
		t->options.seed = t->loader.seed = t->import.options.seed = seed;
		return true;
	}
}

/* Return: false, when @text is not what @option takes */
static bool parse_option(struct train *t, int option, const char *text)
{
	switch (option) {
	case 'o':
		t->import.output = text;
		return true;
	case OPTION_DATA:
		t->data = text;
		return true;
	case OPTION_DATA_LABELS:
		t->data_labels = text;
		return true;
	case OPTION_METHOD:
		t->options.method = train_method_find(text);
		return t->options.method;
	case OPTION_SCRATCH:
		return t->options.scratch = true;
	case OPTION_FLIP:
		return t->loader.flip = true;
	case OPTION_EVALUATE:
		t->import.evaluate = text;
		return true;
	case OPTION_EVALUATE_LABELS:
		t->import.evaluate_labels = text;
		return true;
	case OPTION_LABELS:
		t->import.labels = text;
		return true;
	case OPTION_TEACHER:
		t->teacher = text;
		return true;
	case OPTION_CHECKPOINT:
		t->options.checkpoint = text;
		return true;
	case OPTION_LOG:
		t->options.log = text;
		return true;
	case OPTION_SCALE:
	case OPTION_MEAN:
	case OPTION_STD:
	case OPTION_COLOR:
		t->import.has_preprocess = true;
		return preprocess_option(&t->import.preprocess, options[option - OPTION_DATA + 1].name, text);
	case OPTION_SCHEDULE:
	case OPTION_OPTIMISER:
		return parse_word_option(t, option, text);
	case OPTION_AVERAGE_BITS:
	case OPTION_RATE:
	case OPTION_WARM:
	case OPTION_MOMENTUM:
	case OPTION_DECAY:
	case OPTION_CLIP_GRADIENT:
	case OPTION_DISTIL:
	case OPTION_TEMPERATURE:
	case OPTION_SMOOTHING:
	case OPTION_CUTMIX:
		return parse_real_option(t, option, text);
	default:
		return parse_number_option(t, option, text);
	}
}

/* What was not said of how it is trained: daemon/convert/train/comparison.md has what was tried. */
static void settle_run(struct train_options *o)
{
	if (o->optimise.optimiser == _OPTIMISER_MAX)
		o->optimise.optimiser = o->scratch ? OPTIMISER_SGD : OPTIMISER_ADAM;
	if (!o->epochs)
		o->epochs = o->scratch ? 20 : 10;
	if (o->optimise.rate < 0)
		o->optimise.rate = o->optimise.optimiser != OPTIMISER_SGD ? 0.001f : o->scratch ? 0.05f : 0.01f;
	if (o->loss.distil < 0)
		o->loss.distil = o->scratch ? 0 : 1;
}

/* What else was not said. Return: 0 or an exit status */
static int settle(struct train *t, char *checkpoint, size_t size)
{
	struct train_options *o = &t->options;

	if (train_is_onnx(t->import.output) && o->method->codes)
		return tool_usage(&command_train, "an ONNX file holds no planes: give --method fp32");
	if (!o->planes)
		o->planes = o->method->planes_default;
	if (o->planes < o->method->planes_min || o->planes > o->method->planes_max)
		return tool_usage(&command_train, "method %s has %u to %u planes", o->method->name,
			o->method->planes_min, o->method->planes_max);
	settle_run(o);
	if (t->loader.cutmix > 0 && o->loss.distil < 1)
		return tool_usage(&command_train, "no label says what is in a picture of two: --cutmix asks for --distil 1");
	if (t->teacher && o->loss.distil <= 0)
		return tool_usage(&command_train, "nobody asks a --teacher with --distil 0, nor with --scratch alone");
	if (!o->checkpoint) {
		(void) snprintf(checkpoint, size, "%s.checkpoint", t->import.output);
		o->checkpoint = checkpoint;
	}
	t->import.options.planes = o->planes;
	t->import.options.edge_planes = o->edge_planes;
	preprocess_options_done(&t->import.preprocess);
	return 0;
}

static void report(const struct train *t)
{
	for (uint32_t i = t->n_accuracies; i-- > 0;)
		printf("%g bits: %.2f %% of %u by the training engine\n", (double) t->accuracies[i].bits,
			(double) t->accuracies[i].top1, t->accuracies[i].images);
}

static int run(struct train *t)
{
	_cleanup_(threads_freep) struct threads *threads = NULL;
	struct error error = {};
	struct meter meter;
	int r = threads_new(&threads, t->options.threads);

	if (r < 0)
		return tool_fail(&command_train, NULL, r);
	omp_set_num_threads((int) t->options.threads);
	meter_init(&meter);
	t->import.threads = threads;
	t->import.progress = t->options.progress = &meter.progress;
	r = train_run(t, &error);
	meter_done(&meter);
	if (r < 0)
		return tool_fail(&command_train, &error, r);
	report(t);
	return EXIT_SUCCESS;
}

static int train_main(int argc, char **argv)
{
	struct train t = {
		.import = {.correct = true, .samples = 512, .preprocess = {.scale = 1, .std = {1, 1, 1, 1}},
			.options = {.quantizer = &quantizer_gptq, .group_columns = 128, .activation_bits = 8,
				.seed = 1}},
		.loader = {.seed = 1},
		.options = {.method = train_methods[0], .edge_planes = 8, .batch = 128,
			.recalibrate = 64, .save_seconds = 60, .seed = 1, .threads = threads_available(),
			.loss = {.distil = -1, .temperature = 4},
			.optimise = {.optimiser = _OPTIMISER_MAX, .rate = -1, .momentum = 0.9f, .decay = 1e-4f, .clip = 5,
				.warm = 0.02f}},
	};
	char checkpoint[4096];
	int option, at, r;

	while ((option = getopt_long(argc, argv, "o:h", options, &at)) >= 0) {
		if (option == 'h')
			return help();
		if (option == '?')
			return tool_usage(&command_train, "unknown option or missing value");
		if (!parse_option(&t, option, optarg))
			return tool_usage(&command_train, "'%s' is no value for --%s", optarg,
				option == 'o' ? "output" : options[at].name);
	}
	if (optind + 1 != argc || !t.import.output || !t.data)
		return tool_usage(&command_train,
			"give one ONNX file, --data to train with, and the file to write with -o");
	t.import.onnx = argv[optind];
	r = settle(&t, checkpoint, sizeof checkpoint);
	return r ?: run(&t);
}
