/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model classes: which classes a width confuses, and how few bits tell groups of them apart. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "convert/classes.h"
#include "engine/lower.h"
#include "tools/measure_options.h"
#include "tools/tool.h"

static int classes_main(int argc, char **argv);

const struct command command_classes = {
	.name = "classes",
	.summary = "classes that a width confuses, accuracy per cluster of them",
	.run = classes_main,
	.help = "bitshed-model classes NET.gguf --data DATA [OPTIONS...]\n"
		"\n"
		"Puts classes that are confused into clusters, and prints how often each width finds the right\n"
		"cluster. Clusters are made on the first half of the data and measured on the second.\n"
		"\n"
		"  --data DATA       CIFAR-10 binary file, MNIST idx file, .npy file, or folder of pictures\n"
		"  --labels FILE     labels of DATA, where they are not found in it or beside it\n"
		"  --bits LIST       widths, like 4,3,2.5,2 (all whole ones of the file)\n"
		"  --clusters LIST   how many, like 5,3,2 (half of the classes, a quarter, 2)\n"
		"  --by BITS         the width whose confusions count (the narrowest of LIST)\n"
		"  --limit N         only the first N items\n"
		"  --threads N       (all processors)\n"
		"  --json            for programs\n",
};

static const struct option options[] = {
	{"data", required_argument, NULL, 'd'},
	{"labels", required_argument, NULL, 'l'},
	{"bits", required_argument, NULL, 'b'},
	{"clusters", required_argument, NULL, 'C'},
	{"by", required_argument, NULL, 'B'},
	{"limit", required_argument, NULL, 'n'},
	{"threads", required_argument, NULL, 't'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{},
};

#define CLUSTERINGS_MAX 16

struct arguments {
	const char *model;
	struct measure_options measure;
	float clusters[CLUSTERINGS_MAX], by;
	uint32_t n_clusters;
};

/**
 * struct session - @half: samples that clusters are made of, those after it are measured
 */
struct session {
	struct arguments *a;
	struct network *network;
	struct dataset *data;
	struct samples samples;
	struct threads *threads;
	const struct progress *progress;
	struct clusters clusters[CLUSTERINGS_MAX];
	uint32_t half;
	bool any;
};

static void session_done(struct session *s)
{
	threads_free(s->threads);
	dataset_free(s->data);
	network_unref(s->network);
}

static int parse(struct arguments *a, int argc, char **argv)
{
	const struct command *c = &command_classes;
	int option, r;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == 'C') {
			a->n_clusters = tool_floats(optarg, a->clusters, CLUSTERINGS_MAX);
			if (a->n_clusters == 0)
				return tool_usage(c, "--clusters takes numbers like 5,3,2");
		} else if (option == 'B') {
			if (tool_floats(optarg, &a->by, 1) != 1)
				return tool_usage(c, "--by takes a width");
		} else {
			r = measure_option(c, &a->measure, option);
			if (r != EXIT_SUCCESS || a->measure.help)
				return r;
		}
	}
	if (optind + 1 != argc || !a->measure.data)
		return tool_usage(c, "give one model file, and labelled data with --data");
	a->model = argv[optind];
	return EXIT_SUCCESS;
}

static int answers(struct session *s, struct outputs *ret, double bits, struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	int r = model_build(&model, s->network, bits, reterr);

	if (r >= 0)
		r = evaluate_outputs(ret, model, &s->samples, s->a->measure.limit, s->threads, s->progress, reterr);
	return r < 0 ? error_prefix(reterr, r, "%g bits", bits) : r;
}

static void default_clusters(struct arguments *a, uint32_t classes)
{
	if (a->n_clusters > 0)
		return;
	a->clusters[a->n_clusters++] = (float) ((classes + 1) / 2);
	if (classes > 8)
		a->clusters[a->n_clusters++] = (float) ((classes + 3) / 4);
	a->clusters[a->n_clusters++] = 2;
}

static int make_clusters(struct session *s, struct error *reterr)
{
	_cleanup_(outputs_done) struct outputs o = {};
	_cleanup_free_ uint32_t *confusion = NULL;
	int r = answers(s, &o, (double) s->a->by, reterr);

	if (r < 0)
		return r;
	s->half = o.count / 2;
	o.count = s->half;
	if (o.classes > CLASSES_MAX)
		return error_set(reterr, -EINVAL, "%u classes, at most %u can be clustered", o.classes, CLASSES_MAX);
	default_clusters(s->a, o.classes);
	confusion = calloc((size_t) o.classes * o.classes, sizeof *confusion);
	if (!confusion)
		return -ENOMEM;
	if (classes_confusion(confusion, &o, &s->samples, evaluate_label_offset(o.classes, s->data)) == 0)
		return error_set(reterr, -ENODATA, "no labels in the data or beside them");
	for (uint32_t i = 0; r >= 0 && i < s->a->n_clusters; i++)
		r = classes_cluster(&s->clusters[i], confusion, o.classes,
			(uint32_t) (s->a->clusters[i] >= 1 ? s->a->clusters[i] : 0));
	return r == -EINVAL ? error_set(reterr, r, "--clusters takes numbers from 1 on") : r;
}

static void print_clusters(const struct session *s)
{
	for (uint32_t i = 0; i < s->a->n_clusters && !s->a->measure.json; i++) {
		const struct clusters *c = &s->clusters[i];

		printf("%u clusters:", c->n);
		for (uint32_t k = 0; k < c->n; k++) {
			const char *separator = " {";

			for (uint32_t j = 0; j < c->classes; j++)
				if (c->of[j] == k) {
					bool named = j < s->network->n_labels;

					printf("%s", separator);
					if (named)
						printf("%s", s->network->labels[j]);
					else
						printf("%u", j);
					separator = ", ";
				}
			printf("}");
		}
		printf("\n");
	}
	if (s->a->measure.json)
		printf("{\"rows\":[");
	else
		printf("\n bits  clusters  right cluster  cluster of the first class\n");
}

static void print_row(struct session *s, double bits, uint32_t clusters, double right, double first)
{
	if (s->a->measure.json)
		printf("%s{\"bits\":%g,\"clusters\":%u,\"right\":%.2f,\"first\":%.2f}", s->any ? ", " : "", bits, clusters,
			right, first);
	else
		printf("%5g  %8u  %11.2f %%  %11.2f %%\n", bits, clusters, right, first);
	s->any = true;
}

/* The second half of the answers, with the labels that belong to it. */
static double accuracy_of(struct session *s, const struct outputs *o, const struct clusters *c, double *ret_first)
{
	int offset = evaluate_label_offset(o->classes, s->data);
	struct outputs part = *o;
	double first_all, first_half, all = classes_accuracy(o, &s->samples, offset, c, &first_all), half;
	double n = o->count, skipped = s->half;

	part.count = s->half;
	half = classes_accuracy(&part, &s->samples, offset, c, &first_half);
	*ret_first = (first_all * n - first_half * skipped) / (n - skipped);
	return (all * n - half * skipped) / (n - skipped);
}

static int measure_width(struct session *s, double bits, struct error *reterr)
{
	_cleanup_(outputs_done) struct outputs o = {};
	struct clusters each = {};
	double first = 0, right;
	int r = answers(s, &o, bits, reterr);

	if (r < 0)
		return r;
	each.classes = each.n = o.classes;
	for (uint32_t j = 0; j < o.classes; j++)
		each.of[j] = (uint16_t) j;
	right = accuracy_of(s, &o, &each, &first);
	print_row(s, bits, each.n, right, first);
	for (uint32_t i = 0; i < s->a->n_clusters; i++) {
		right = accuracy_of(s, &o, &s->clusters[i], &first);
		print_row(s, bits, s->clusters[i].n, right, first);
	}
	return 0;
}

static int run(struct session *s, struct error *reterr)
{
	const struct measure_options *m = &s->a->measure;
	bool narrowest = !(s->a->by > 0);
	float widths[WIDTHS_MAX];
	int count = 0, r = tool_network(&s->network, s->a->model, reterr);

	if (r >= 0)
		r = tool_samples(&s->samples, &s->data, s->network, m->data, m->labels, reterr);
	if (r >= 0)
		r = count = tool_widths(s->network, m->bits, widths, WIDTHS_MAX, reterr);
	if (r >= 0)
		r = threads_new(&s->threads, m->threads);
	for (int i = 0; r >= 0 && narrowest && i < count; i++)
		s->a->by = i == 0 ? widths[i] : fminf(s->a->by, widths[i]);
	if (r >= 0)
		r = make_clusters(s, reterr);
	if (r < 0)
		return r;
	print_clusters(s);
	for (int i = 0; r >= 0 && i < count; i++)
		r = measure_width(s, widths[i], reterr);
	if (m->json && r >= 0)
		printf("]}\n");
	return r;
}

static int classes_main(int argc, char **argv)
{
	struct arguments a = {.measure.threads = threads_available()};
	_cleanup_(session_done) struct session s = {.a = &a};
	struct error error = {};
	struct meter meter;
	int r = parse(&a, argc, argv);

	if (a.measure.help)
		return tool_help(&command_classes);
	if (r != EXIT_SUCCESS)
		return r;
	meter_init(&meter);
	s.progress = meter.terminal ? &meter.progress : NULL;
	r = run(&s, &error);
	meter_done(&meter);
	return r < 0 ? tool_fail(&command_classes, &error, r) : EXIT_SUCCESS;
}
