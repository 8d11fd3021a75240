/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model evaluate: accuracy and speed of each width on labelled data. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "convert/card.h"
#include "engine/lower.h"
#include "engine/recode.h"
#include "tools/evaluate_device.h"
#include "tools/measure_options.h"
#include "tools/tool.h"

static int evaluate_main(int argc, char **argv);

const struct command command_evaluate = {
	.name = "evaluate",
	.summary = "accuracy and speed of each width",
	.run = evaluate_main,
	.help = "bitshed-model evaluate NET.gguf --data DATA [OPTIONS...]\n"
		"\n"
		"  --data DATA       CIFAR-10 binary file, MNIST idx file, .npy file, or folder of pictures\n"
		"  --labels FILE     labels of DATA, where they are not found in it or beside it\n"
		"  --bits LIST       widths, like 4,3,2.5,2 (all whole ones of the file)\n"
		"  --limit N         only the first N items\n"
		"  --store           keep the results in the file: its accuracy card\n"
		"  --reencoded       with the planes that the daemon computes for what stays at a low width;\n"
		"                    widths that were calibrated keep the file's, as in the daemon\n"
		"  --threads N       (all processors)\n"
		"  --device DEVICE   where to compute: cpu, opencl, or part of the name of an OpenCL device\n"
		"  --json            for programs\n",
};

static const struct option options[] = {
	{"data", required_argument, NULL, 'd'},
	{"labels", required_argument, NULL, 'l'},
	{"bits", required_argument, NULL, 'b'},
	{"limit", required_argument, NULL, 'n'},
	{"threads", required_argument, NULL, 't'},
	{"device", required_argument, NULL, 'D'},
	{"store", no_argument, NULL, 's'},
	{"reencoded", no_argument, NULL, 'r'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{},
};

/** struct arguments - @device: NULL: the processor */
struct arguments {
	const char *model, *device;
	bool reencoded;
	struct measure_options measure;
};

static int parse(struct arguments *a, int argc, char **argv)
{
	const struct command *c = &command_evaluate;
	int option, r;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == 'D') {
			a->device = optarg;
			continue;
		}
		if (option == 'r') {
			a->reencoded = true;
			continue;
		}
		r = measure_option(c, &a->measure, option);
		if (r != EXIT_SUCCESS || a->measure.help)
			return r;
	}
	if (optind + 1 != argc || !a->measure.data)
		return tool_usage(c, "give one model file, and labelled data with --data");
	if (a->reencoded && a->measure.store)
		return tool_usage(c, "the file's card is of its own planes: give --store or --reencoded");
	if (a->device && strcmp(a->device, "cpu") == 0)
		a->device = NULL;
	if (a->reencoded && a->device)
		return tool_usage(c, "the processor computes planes anew, and with them: give --device or --reencoded");
	a->model = argv[optind];
	return EXIT_SUCCESS;
}

static void print_width(const struct arguments *a, bool first, const struct accuracy *row,
	const struct outputs *o)
{
	double speed = o->seconds > 0 ? o->count / o->seconds : 0, low, high;

	card_interval(row->top1, row->images, &low, &high);
	if (a->measure.json)
		printf("%s{\"bits\":%g,\"top1\":%.2f,\"top5\":%.2f,\"top1_low\":%.2f,\"top1_high\":%.2f,"
		       "\"images\":%u,\"images_per_second\":%.1f}",
			first ? "" : ", ", row->bits, row->top1, row->top5, low, high, row->images, speed);
	else
		printf("%5g  %6.2f  %6.2f  %5.2f to %-5.2f  %7u  %9.1f\n", row->bits, row->top1, row->top5,
			low, high, row->images, speed);
	(void) fflush(stdout);
}

static void print_head(const struct arguments *a, const struct network *n)
{
	if (!a->measure.json) {
		printf(" bits   top-1   top-5  95 %% interval   images   images/s\n");
		return;
	}
	printf("{\"network\":");
	json_string(n->name);
	printf(",\"data\":");
	json_string(tool_base_name(a->measure.data));
	printf(",\"widths\":[");
}

/* Return: 0; 1: this width stays as it is in the file, as in the daemon; negative errno */
static int reencode(struct network **ret, struct network *n, double bits, struct error *reterr)
{
	static const atomic_bool go_on;
	_cleanup_(recode_freep) struct recode *recode = NULL;
	int r;

	if (bits != floor(bits) || !recode_helps(n, (uint32_t) bits))
		return 1;
	r = recode_new(&recode, n, (uint32_t) bits, reterr);
	if (r >= 0)
		r = recode_run(recode, &go_on);
	return r < 0 ? r : recode_network(recode, ret, reterr);
}

/** struct place - who computes: @device, or @threads when there is none */
struct place {
	struct threads *threads;
	struct evaluate_device *device;
};

static int measure_on_device(struct evaluate_device *d, const struct arguments *a, struct network *n,
	struct samples *samples, const struct progress *progress, float bits, struct accuracy *ret,
	struct outputs *ret_outputs, struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	int r = model_build(&model, n, bits, reterr);

	if (r >= 0)
		r = evaluate_device_outputs(
			d, ret_outputs, model, samples, a->measure.limit, progress, reterr);
	ret->bits = bits;
	return r < 0 ? r : card_rate(ret, ret_outputs, NULL, samples, reterr);
}

static int evaluate_width(const struct arguments *a, struct network *n, struct samples *samples,
	const struct place *place, const struct progress *progress, float bits, bool first,
	struct accuracy *ret, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *reencoded = NULL;
	_cleanup_(outputs_done) struct outputs out = {};
	int r = a->reencoded ? reencode(&reencoded, n, (double) bits, reterr) : 0;

	if (r >= 0 && place->device)
		r = measure_on_device(
			place->device, a, n, samples, progress, bits, ret, &out, reterr);
	else if (r >= 0)
		r = card_measure(ret, reencoded ?: n, bits, samples, NULL, a->measure.limit,
			place->threads, progress, &out, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%g bits", bits);
	print_width(a, first, ret, &out);
	return 0;
}

static int evaluate_widths(const struct arguments *a, struct network *n, struct samples *samples,
	const struct place *place, const struct progress *progress, struct error *reterr)
{
	struct accuracy rows[WIDTHS_MAX] = {};
	float widths[WIDTHS_MAX];
	int r, count = r = tool_widths(n, a->measure.bits, widths, WIDTHS_MAX, reterr);

	if (r < 0)
		return r;
	print_head(a, n);
	for (int i = 0; i < count; i++) {
		r = evaluate_width(a, n, samples, place, progress, widths[i], i == 0, &rows[i], reterr);
		if (r < 0)
			return r;
	}
	if (a->measure.json)
		printf("]}\n");
	if (a->measure.store)
		r = card_store(a->model, n, rows, (uint32_t) count, tool_base_name(a->measure.data), reterr);
	return r;
}

static int evaluate(const struct arguments *a, struct meter *meter, struct error *reterr)
{
	_cleanup_(evaluate_device_freep) struct evaluate_device *device = NULL;
	_cleanup_(threads_freep) struct threads *threads = NULL;
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(dataset_freep) struct dataset *data = NULL;
	struct samples samples;
	int r = tool_network(&n, a->model, reterr);

	if (r >= 0)
		r = tool_samples(&samples, &data, n, a->measure.data, a->measure.labels, reterr);
	if (r >= 0 && a->device)
		r = evaluate_device_open(&device, strcmp(a->device, "opencl") == 0 ? "" : a->device,
			a->model, reterr);
	else if (r >= 0)
		r = threads_new(&threads, a->measure.threads);
	if (r < 0)
		return r;
	return evaluate_widths(
		a, n, &samples, &(struct place){threads, device}, &meter->progress, reterr);
}

static int evaluate_main(int argc, char **argv)
{
	struct arguments a = {.measure.threads = threads_available()};
	struct error error = {};
	struct meter meter;
	int r = parse(&a, argc, argv);

	if (a.measure.help)
		return tool_help(&command_evaluate);
	if (r != EXIT_SUCCESS)
		return r;
	meter_init(&meter);
	r = evaluate(&a, &meter, &error);
	meter_done(&meter);
	return r < 0 ? tool_fail(&command_evaluate, &error, r) : EXIT_SUCCESS;
}
