/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model compare: the fp32 network against each width of its model file. */
#include <errno.h>
#include <stdio.h>

#include "convert/card.h"
#include "convert/import.h"
#include "tools/measure_options.h"
#include "tools/tool.h"

static int compare_main(int argc, char **argv);

const struct command command_compare = {
	.name = "compare",
	.summary = "the fp32 network against each width",
	.run = compare_main,
	.help = "bitshed-model compare NET.onnx NET.gguf --data DATA [OPTIONS...]\n"
		"\n"
		"Runs the ONNX network in fp32 with the preprocessing that NET.gguf states, and prints for each\n"
		"width how many items get the same first class, and the signal-to-noise ratio of the output.\n"
		"\n"
		"  --data DATA       CIFAR-10 binary file, MNIST idx file, .npy file, or folder of pictures\n"
		"  --labels FILE     labels of DATA, where they are not found in it or beside it\n"
		"  --bits LIST       widths, like 4,3,2.5,2 (all whole ones of the file)\n"
		"  --limit N         only the first N items\n"
		"  --store           keep the results in NET.gguf: its accuracy card\n"
		"  --threads N       (all processors)\n"
		"  --json            for programs\n",
};

static const struct option options[] = {
	{"data", required_argument, NULL, 'd'},
	{"labels", required_argument, NULL, 'l'},
	{"bits", required_argument, NULL, 'b'},
	{"limit", required_argument, NULL, 'n'},
	{"threads", required_argument, NULL, 't'},
	{"store", no_argument, NULL, 's'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{},
};

struct arguments {
	const char *onnx, *model;
	struct measure_options measure;
};

static int parse(struct arguments *a, int argc, char **argv)
{
	const struct command *c = &command_compare;
	int option, r;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		r = measure_option(c, &a->measure, option);
		if (r != EXIT_SUCCESS || a->measure.help)
			return r;
	}
	if (optind + 2 != argc || !a->measure.data)
		return tool_usage(c, "give an ONNX file, its model file, and data with --data");
	a->onnx = argv[optind];
	a->model = argv[optind + 1];
	return EXIT_SUCCESS;
}

/**
 * struct session - what stays the same for all widths
 */
struct session {
	const struct arguments *a;
	struct network *network;
	struct net *net;
	struct dataset *data;
	struct samples samples;
	struct outputs reference;
	struct threads *threads;
	const struct progress *progress;
	int label_offset;
};

static void session_done(struct session *s)
{
	threads_free(s->threads);
	outputs_done(&s->reference);
	dataset_free(s->data);
	net_free(s->net);
	network_unref(s->network);
}

static int session_open(struct session *s, struct error *reterr)
{
	const struct arguments *a = s->a;
	int r = tool_network(&s->network, a->model, reterr);

	if (r >= 0)
		r = import_net(&s->net, a->onnx, reterr);
	if (r >= 0 && net_elements(&s->net->values[s->net->output].shape) !=
			      shape_elements(s->network->values[s->network->output].shape))
		r = error_set(reterr, -EINVAL, "the two files are not the same network");
	if (r >= 0)
		r = tool_samples(&s->samples, &s->data, s->network, a->measure.data, a->measure.labels, reterr);
	if (r >= 0)
		r = threads_new(&s->threads, a->measure.threads);
	if (r >= 0)
		r = evaluate_reference(&s->reference, s->net, &s->samples, a->measure.limit, s->threads,
			s->progress, reterr);
	if (r >= 0)
		s->label_offset = evaluate_label_offset(s->reference.classes, s->data);
	return r;
}

static void print_reference(const struct session *s)
{
	double top1, top5;

	(void) evaluate_accuracy(&s->reference, &s->samples, s->label_offset, &top1, &top5);
	if (s->a->measure.json) {
		printf("{\"network\":");
		json_string(s->network->name);
		printf(",\"images\":%u,\"reference\":{\"top1\":%.2f,\"top5\":%.2f},\"widths\":[",
			s->reference.count, top1, top5);
	} else {
		printf(" bits   top-1   top-5   same first class   output SNR\n");
		printf(" fp32  %6.2f  %6.2f\n", top1, top5);
	}
}

static int compare_width(struct session *s, struct accuracy *row, double bits, bool first,
	struct error *reterr)
{
	_cleanup_(outputs_done) struct outputs out = {};
	double same, snr;
	int r = card_measure(row, s->network, bits, &s->samples, &s->reference, s->a->measure.limit,
		s->threads, s->progress, &out, reterr);

	if (r < 0)
		return error_prefix(reterr, r, "%g bits", bits);
	evaluate_agreement(&out, &s->reference, &same, &snr);
	if (s->a->measure.json)
		printf("%s{\"bits\":%g,\"top1\":%.2f,\"top5\":%.2f,\"agreement\":%.2f,\"snr_db\":%.2f}",
			first ? "" : ", ", bits, row->top1, row->top5, same, snr);
	else
		printf("%5g  %6.2f  %6.2f  %15.2f %%  %8.2f dB\n", bits, row->top1, row->top5, same, snr);
	(void) fflush(stdout);
	return 0;
}

static int compare(struct session *s, struct error *reterr)
{
	struct accuracy rows[WIDTHS_MAX];
	float widths[WIDTHS_MAX];
	int count, r = session_open(s, reterr);

	if (r >= 0)
		r = count = tool_widths(s->network, s->a->measure.bits, widths, WIDTHS_MAX, reterr);
	if (r < 0)
		return r;
	print_reference(s);
	for (int i = 0; r >= 0 && i < count; i++)
		r = compare_width(s, &rows[i], widths[i], i == 0, reterr);
	if (s->a->measure.json && r >= 0)
		printf("]}\n");
	if (r >= 0 && s->a->measure.store)
		r = card_store(s->a->model, s->network, rows, (uint32_t) count,
			tool_base_name(s->a->measure.data), reterr);
	return r;
}

static int compare_main(int argc, char **argv)
{
	struct arguments a = {.measure.threads = threads_available()};
	_cleanup_(session_done) struct session s = {.a = &a};
	struct error error = {};
	struct meter meter;
	int r = parse(&a, argc, argv);

	if (a.measure.help)
		return tool_help(&command_compare);
	if (r != EXIT_SUCCESS)
		return r;
	meter_init(&meter);
	s.progress = &meter.progress;
	r = compare(&s, &error);
	meter_done(&meter);
	return r < 0 ? tool_fail(&command_compare, &error, r) : EXIT_SUCCESS;
}
