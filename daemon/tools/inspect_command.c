/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model inspect: what a model file says. */
#include <math.h>
#include <stdio.h>

#include "convert/card.h"
#include "tools/inspect_plan.h"
#include "tools/tool.h"
#include "tools/tune_cache.h"

static int inspect_main(int argc, char **argv);

const struct command command_inspect = {
	.name = "inspect",
	.summary = "layers, widths, sizes, provenance, accuracy",
	.run = inspect_main,
	.help = "bitshed-model inspect NET.gguf [--json] [--plan [--bits N] [--cache FOLDER]]\n"
		"\n"
		"  --json    for programs\n"
		"  --plan    which kernel runs each layer on this processor, and what others would take\n"
		"  --bits N  at this width (the widest)\n"
		"  --cache FOLDER  with measured times of kernels, see tune\n",
};

static const struct option options[] = {
	{"json", no_argument, NULL, 'j'},
	{"plan", no_argument, NULL, 'p'},
	{"bits", required_argument, NULL, 'b'},
	{"cache", required_argument, NULL, 'c'},
	{"help", no_argument, NULL, 'h'},
	{},
};

static uint64_t weights_of(const struct network *n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++)
		sum += (uint64_t) n->matrices[i].rows * n->matrices[i].columns;
	return sum;
}

static uint64_t plane_bytes(const struct network *n, uint32_t planes)
{
	uint64_t sum = n->fixed_bytes;

	for (uint32_t i = 0; i < planes; i++)
		sum += n->plane_bytes[i];
	return sum;
}

static const struct op *op_of(const struct network *n, uint32_t matrix)
{
	for (uint32_t i = 0; i < n->n_ops; i++)
		if ((n->ops[i].kind == OP_CONVOLUTION || n->ops[i].kind == OP_DEPTHWISE) &&
			n->ops[i].matrix == matrix)
			return &n->ops[i];
	return NULL;
}

static void print_layers(const struct network *n)
{
	printf("\nlayer  operation    kernel  output        rows  columns  planes  activations\n");
	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];
		const struct op *op = op_of(n, i);
		const struct shape *s = op ? &n->values[op->output].shape : NULL;
		char shape[40] = "";

		if (s)
			(void) snprintf(shape, sizeof shape, "%ux%ux%u", s->height, s->width, s->channels);
		printf("%5u  %-11s  %2ux%-2u   %-12s  %4u  %7u  %u%-5s  %u\n", i,
			op ? op_kind_name(op->kind) : "", op ? op->kernel_h : 0, op ? op->kernel_w : 0,
			shape, m->rows, m->columns, m->planes, m->fixed ? " kept" : "",
			op ? op->activation_bits : 8);
	}
}

static const struct accuracy *card_row(const struct network *n, double bits)
{
	for (uint32_t i = 0; i < n->n_accuracies; i++)
		if (n->accuracies[i].bits == (float) bits)
			return &n->accuracies[i];
	return NULL;
}

static void print_card_row(const struct accuracy *a)
{
	double low, high;

	card_interval(a->top1, a->images, &low, &high);
	printf("  %6.2f  %5.2f to %-5.2f  %6.2f  %6u", a->top1, low, high, a->top5, a->images);
	if (a->snr != 0)
		printf("  %6.1f dB", a->snr);
}

/* Matrices may have fewer planes than the widest. */
static double average_planes(const struct network *n, uint32_t planes)
{
	double bits = 0, weights = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];
		double count = (double) m->rows * m->columns;

		bits += m->fixed ? 0 : MIN_OF(m->planes, planes) * count;
		weights += m->fixed ? 0 : count;
	}
	return weights > 0 ? bits / weights : planes;
}

static void print_widths(const struct network *n)
{
	if (n->n_accuracies > 0)
		printf("\naccuracy on %s, %s, intervals of 95 %%\n",
			n->accuracy_data[0] ? n->accuracy_data : "data not named",
			n->accuracies[0].against == ACCURACY_FP32 ? "right is what fp32 says" : "by its labels");
	printf("\n bits  plane bytes%s\n", n->n_accuracies > 0 ? "   top-1  interval         top-5  images" : "");
	for (uint32_t p = n->planes_max; p > 0; p--) {
		const struct accuracy *a = card_row(n, p);

		printf("%5u  %11llu", p, (unsigned long long) plane_bytes(n, p));
		if (a)
			print_card_row(a);
		if (average_planes(n, p) < p)
			printf("  (%.3g on average)", average_planes(n, p));
		printf("\n");
	}
	for (uint32_t i = 0; i < n->n_accuracies; i++)
		if (n->accuracies[i].bits != floorf(n->accuracies[i].bits)) {
			printf("%5g  %11s", (double) n->accuracies[i].bits, "");
			print_card_row(&n->accuracies[i]);
			printf("\n");
		}
}

static void print_text(const struct network *n)
{
	const struct shape *in = &n->values[n->input].shape, *out = &n->values[n->output].shape;

	printf("name         %s\n", n->name);
	printf("method       %s%s%s\n", n->method, n->data[0] ? ", calibrated on " : "", n->data);
	printf("source       sha256 %s\n", n->source_hash);
	printf("input        %ux%ux%u%s\n", in->height, in->width, in->channels,
		n->input_pixels ? n->input_bgr ? ", pixels (used as BGR)" : ", pixels" : ", floats");
	if (n->input_pixels)
		printf("             x = (pixel * %g - mean) / std, mean %g %g %g, std %g %g %g\n",
			n->pixel_scale, n->pixel_mean[0], n->pixel_mean[1], n->pixel_mean[2],
			n->pixel_std[0], n->pixel_std[1], n->pixel_std[2]);
	printf("output       %ux%ux%u, %u labels\n", out->height, out->width, out->channels, n->n_labels);
	printf("weights      %llu in %u layers, %u operations\n", (unsigned long long) weights_of(n),
		n->n_matrices, n->n_ops);
	print_layers(n);
	print_widths(n);
}

static void json_field(const char *name, const char *text)
{
	printf("\"%s\":", name);
	json_string(text);
	printf(",");
}

static void json_layers(const struct network *n)
{
	printf("\"layers\":[");
	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];
		const struct op *op = op_of(n, i);

		printf("%s{\"operation\":", i ? "," : "");
		json_string(op ? op_kind_name(op->kind) : "");
		printf(",\"rows\":%u,\"columns\":%u,\"planes\":%u,\"kept\":%s,\"activation_bits\":%u}", m->rows,
			m->columns, m->planes, m->fixed ? "true" : "false", op ? op->activation_bits : 8);
	}
	printf("],");
}

static void json_widths(const struct network *n)
{
	json_field("accuracy_data", n->accuracy_data);
	json_field("accuracy_against",
		n->n_accuracies > 0 && n->accuracies[0].against == ACCURACY_FP32 ? "fp32" : "labels");
	printf("\"widths\":[");
	for (uint32_t p = n->planes_max; p > 0; p--) {
		const struct accuracy *a = card_row(n, p);
		double low, high;

		printf("%s{\"bits\":%u,\"average_bits\":%.4g,\"plane_bytes\":%llu",
			p == n->planes_max ? "" : ",", p, average_planes(n, p),
			(unsigned long long) plane_bytes(n, p));
		if (a) {
			card_interval(a->top1, a->images, &low, &high);
			printf(",\"top1\":%.2f,\"top5\":%.2f,\"top1_low\":%.2f,\"top1_high\":%.2f,\"images\":%u",
				a->top1, a->top5, low, high, a->images);
		}
		if (a && a->snr != 0)
			printf(",\"snr_db\":%.2f", a->snr);
		printf("}");
	}
	printf("]}\n");
}

static void print_json(const struct network *n)
{
	const struct shape *in = &n->values[n->input].shape, *out = &n->values[n->output].shape;

	printf("{");
	json_field("network", n->name);
	json_field("method", n->method);
	json_field("source_sha256", n->source_hash);
	json_field("calibrated_on", n->data);
	printf("\"input\":{\"shape\":[%u,%u,%u],\"pixels\":%s,\"color\":\"%s\"},", in->height, in->width,
		in->channels, n->input_pixels ? "true" : "false", n->input_bgr ? "bgr" : "rgb");
	printf("\"output\":[%u,%u,%u],\"weights\":%llu,", out->height, out->width, out->channels,
		(unsigned long long) weights_of(n));
	json_layers(n);
	json_widths(n);
}

static int inspect_main(int argc, char **argv)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	struct error error = {};
	const char *bits = NULL, *cache = NULL;
	bool json = false, plan = false;
	float width;
	int option, r;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == 'h')
			return tool_help(&command_inspect);
		if (option == 'j')
			json = true;
		else if (option == 'p')
			plan = true;
		else if (option == 'b')
			bits = optarg;
		else if (option == 'c')
			cache = optarg;
		else
			return tool_usage(&command_inspect, "unknown option");
	}
	if ((bits || cache) && !plan)
		return tool_usage(&command_inspect, "--bits and --cache go with --plan");
	if (optind + 1 != argc)
		return tool_usage(&command_inspect, "give one model file");
	r = tool_network(&n, argv[optind], &error);
	if (r < 0)
		return tool_fail(&command_inspect, &error, r);
	width = (float) n->planes_max;
	if (cache)
		tune_cache_use(cache);
	if (plan) {
		r = bits ? tool_widths(n, bits, &width, 1, &error) : 0;
		if (r >= 0)
			r = inspect_plan(n, (double) width, json, &error);
		return r < 0 ? tool_fail(&command_inspect, &error, r) : EXIT_SUCCESS;
	}
	if (json)
		print_json(n);
	else
		print_text(n);
	return EXIT_SUCCESS;
}
