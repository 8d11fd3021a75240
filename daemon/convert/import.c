/* SPDX-License-Identifier: Apache-2.0 */
/* An ONNX file to a model file, with everything between. */
#include "convert/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "convert/card.h"
#include "convert/correct.h"
#include "convert/equalise.h"
#include "convert/evaluate.h"
#include "convert/file.h"
#include "convert/labels.h"
#include "convert/prune.h"
#include "convert/sensitivity.h"
#include "engine/lower.h"

/* Part of the first classes that the widest width should share with fp32. */
#define AGREEMENT_WANTED 0.98

int import_net(struct net **ret, const char *path, struct error *reterr)
{
	_cleanup_(file_unmap) struct file_map map = {};
	_cleanup_(net_freep) struct net *net = NULL;
	int r = file_map(&map, path, reterr);

	if (r < 0)
		return error_prefix(reterr, r, "%s", path);
	r = onnx_read(&net, map.data, map.size, NULL, reterr);
	if (r >= 0)
		r = fold_net(net, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", path);
	*ret = take_ptr(net);
	return 0;
}

/**
 * struct work - what an import holds on its way
 * @original: the net before it lost channels, to follow and to measure against; @whole: what it says; NULL: it did not
 */
struct work {
	struct net *net, *original;
	struct dataset *data;
	struct samples samples;
	struct calibration *calibration, *whole;
	struct export *export;
	struct labels labels;
	bool pixels;
	double dropped; /* weights, by the transform or with their channels; below 0: added */
};

static void work_done(struct work *w)
{
	export_free(w->export);
	calibration_free(w->calibration);
	calibration_free(w->whole);
	dataset_free(w->data);
	labels_done(&w->labels);
	net_free(w->net);
	net_free(w->original);
}

static void follow_done(struct export_follow *f)
{
	if (f->close)
		(void) f->close(f->userdata);
}

static int open_data(struct work *w, const struct import *i, struct error *reterr)
{
	const struct net_shape *s = &w->net->values[w->net->input].shape;
	int r;

	/* Without data the number of channels is what tells pictures from features. */
	w->pixels = i->has_preprocess || (!i->calibrate && s->n == 3 && s->dims[0] == 3);
	if (!i->calibrate)
		return 0;
	r = dataset_open(&w->data, i->calibrate, NULL, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", i->calibrate);
	w->pixels = dataset_is_pixels(w->data);
	return samples_init(&w->samples, w->data, &i->preprocess, graph_shape(s), reterr);
}

static int calibrate_widths(struct work *w, const struct import *i, struct error *reterr)
{
	const struct export_given *given = i->options.given;
	int r = calibrate_samples(&w->calibration, w->net, &w->samples, i->samples, i->threads, i->progress,
		reterr);

	if (r >= 0 && w->whole)
		calibration_restore(w->calibration, w->whole);
	for (uint32_t k = 0; r >= 0 && given && k < given->n_others; k++) {
		_cleanup_(calibration_freep) struct calibration *c = NULL;

		r = calibrate_samples(&c, given->others[k], &w->samples, i->samples, i->threads, i->progress,
			reterr);
		if (r >= 0)
			calibration_widen(w->calibration, c);
	}
	return r;
}

static int calibrate(struct work *w, const struct import *i, struct error *reterr)
{
	const struct preprocess *p = &i->preprocess;
	float low = -1, high = 1;

	if (i->calibrate)
		return calibrate_widths(w, i, reterr);
	if (w->pixels) {
		low = (0 - p->mean[0]) / p->std[0];
		high = (255 * p->scale - p->mean[0]) / p->std[0];
	}
	return calibrate_batch_norm(&w->calibration, w->net, low, high, reterr);
}

/* The statistics are those of the net as it was: build() measures again. */
static int equalise(struct work *w, const struct import *i, struct error *reterr)
{
	int r = i->calibrate ? calibrate(w, i, reterr) : 0;

	if (r >= 0)
		r = equalise_net(w->net, w->calibration);
	w->calibration = calibration_free(w->calibration);
	return r;
}

static int transform(struct work *w, const struct import *i, struct error *reterr)
{
	uint32_t n = w->net->n_nodes;
	double **gradients = calloc((size_t) n + 1, sizeof *gradients), before = net_weights(w->net);
	int r = gradients ? 0 : -ENOMEM;

	if (r >= 0 && i->transform == TRANSFORM_ELT)
		r = i->gradients(gradients, w->net, &w->samples, reterr);
	if (r >= 0)
		r = transform_net(w->net, gradients, i->average_bits);
	for (uint32_t k = 0; gradients && k < n; k++)
		free(gradients[k]);
	free(gradients);
	w->dropped = before - net_weights(w->net);
	return r;
}

/*
 * Fewer channels, so that those that stay have a plane each: on ResNet-20 that is better than fewer yet and a second
 * plane for some. What they say is held against the net as it was; on the way to that only if its channels keep their
 * scales.
 */
static int prune(struct work *w, const struct import *i, struct error *reterr)
{
	double before = net_weights(w->net);
	int r = calibrate(w, i, reterr);

	if (r < 0)
		return r;
	w->whole = take_ptr(w->calibration);
	if (i->follow || i->evaluate)
		r = import_net(&w->original, i->onnx, reterr);
	if (r >= 0)
		r = prune_net(w->net, w->whole, i->average_bits, reterr);
	if (i->equalise == EQUALISE_YES)
		w->whole = calibration_free(w->whole);
	w->dropped = before - net_weights(w->net);
	return r;
}

/* "models/net.onnx" is called net. */
static void name_of(char *ret, size_t size, const char *path)
{
	const char *base = strrchr(path, '/');
	char *dot;

	(void) snprintf(ret, size, "%s", base ? base + 1 : path);
	dot = strrchr(ret, '.');
	if (dot && dot != ret)
		*dot = 0;
}

static int write_model(struct work *w, const struct import *i, struct error *reterr)
{
	char name[64], data[64] = "", method[64];
	struct export_words words = {.name = name, .method = i->method ?: i->transform ? method : i->options.quantizer->name,
		.data = data, .labels = w->labels.names, .n_labels = w->labels.n};

	name_of(name, sizeof name, i->onnx);
	if (i->transform)
		(void) snprintf(method, sizeof method, "%s-%s", transform_name(i->transform), i->options.quantizer->name);
	if (i->calibrate)
		name_of(data, sizeof data, i->calibrate);
	return export_write(w->export, i->output, &words, reterr);
}

/* Matrix by matrix, or each by itself. */
static int quantize(struct work *w, const struct import *i, struct error *reterr)
{
	_cleanup_(follow_done) struct export_follow follow = {};
	int r = i->follow ? i->follow(&follow, w->net, w->whole ? w->original : w->net, &w->samples, i->samples,
				    i->threads, reterr) : 0;

	if (r < 0)
		return r;
	w->export->options.follow = i->follow ? &follow : NULL;
	r = export_weights(w->export, i->calibrate ? &w->samples : NULL, i->samples, i->threads, i->progress,
		reterr);
	w->export->options.follow = NULL;
	return r;
}

static int build_with(struct work *w, const struct import *i, const struct export_options *options,
	struct error *reterr)
{
	struct shape pixels = w->data && w->pixels ? w->samples.shape : (struct shape){};
	int r = export_graph(&w->export, w->net, options, w->pixels ? &i->preprocess : NULL, pixels,
		reterr);

	if (r >= 0 && !w->calibration)
		r = calibrate(w, i, reterr);
	if (r >= 0)
		r = export_scales(w->export, w->calibration, reterr);
	if (r >= 0)
		r = quantize(w, i, reterr);
	if (r >= 0 && i->correct && i->calibrate)
		r = correct_widths(w->export, w->calibration, &w->samples, i->output, i->threads,
			i->progress, reterr);
	if (r >= 0 && i->correct && !i->calibrate)
		r = correct_without_data(w->export, w->calibration, i->output, reterr);
	if (r < 0 || i->sensitivity == 0 || !i->calibrate)
		return r;
	return sensitivity_measure(w->export, &w->samples, i->sensitivity, i->output, i->threads, i->progress,
		reterr);
}

/* Bits of each weight that may lose planes, for an average of @bits of those that there were before the transform. */
static double bits_to_spend(const struct work *w, const struct network *n, double bits)
{
	double weights = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++)
		weights += n->matrices[i].fixed ? 0 : (double) n->matrices[i].rows * n->matrices[i].columns;
	return weights > 0 ? bits * ((weights + w->dropped) / weights) : bits;
}

/* What a file with the same planes everywhere would lose, matrix by matrix, says who gets how many. */
static int allocate(struct work *w, const struct import *i, uint32_t **ret, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_free_ uint32_t *planes = NULL;
	int r = export_network(&n, w->export, i->output, reterr);

	if (r < 0)
		return r;
	planes = malloc((n->n_matrices + 1) * sizeof *planes);
	if (!planes)
		return -ENOMEM;
	r = lower_spend(planes, n, bits_to_spend(w, n, i->average_bits), 1, n->planes_max);
	if (r == -ERANGE)
		return error_set(reterr, r, "an average of %g bits: one plane is the least", i->average_bits);
	*ret = take_ptr(planes);
	return r;
}

static int build(struct work *w, const struct import *i, struct error *reterr)
{
	struct export_options options = i->options;
	_cleanup_free_ uint32_t *planes = NULL;
	int r = build_with(w, i, &options, reterr);

	if (r < 0 || i->average_bits <= 0)
		return r;
	r = allocate(w, i, &planes, reterr);
	if (r < 0)
		return r;
	options.planes_of = planes;
	w->export = export_free(w->export);
	return build_with(w, i, &options, reterr);
}

/* Nested planes at their widest did not keep the first class often enough, and more could be done. */
static bool wants_second(const struct work *w, const struct import *i)
{
	const struct export_options *o = &i->options;

	return i->calibrate && i->correct && !i->keep_nested && !o->quantizer->run && !o->given &&
		o->planes == 8 && o->activation_bits == 8 && i->average_bits <= 0 &&
		w->export->agreement < AGREEMENT_WANTED;
}

/* One width, made with care: whether it gains by equal channels is seen by trying. */
static bool wants_equalised(const struct import *i)
{
	return i->follow && i->correct && i->equalise == EQUALISE_TRY && i->average_bits <= 0 && !i->transform;
}

/* By the calibration samples at the widest width, which all eight planes seldom let say anything but the same. */
static bool is_nearer(const struct export *a, const struct export *b)
{
	return a->output_error < b->output_error;
}

/* Where more is lost, what counts is the class. */
static bool is_right_more_often(const struct export *a, const struct export *b)
{
	return a->agreement > b->agreement || (a->agreement >= b->agreement && is_nearer(a, b));
}

/* Again with @options and what the net has become; the first one stays unless the other is better. */
static int build_other(struct work *w, const struct import *i, const struct export_options *options,
	bool (*is_better)(const struct export *a, const struct export *b), struct error *reterr)
{
	_cleanup_(export_freep) struct export *first = take_ptr(w->export);
	int r;

	w->calibration = calibration_free(w->calibration);
	r = build_with(w, i, options, reterr);
	if (r >= 0 && !is_better(w->export, first)) {
		export_free(w->export);
		w->export = take_ptr(first);
	}
	return r;
}

/* The widest width at the cost of the narrow ones: channels on one range, plain int8. */
static int build_second(struct work *w, const struct import *i, struct error *reterr)
{
	struct export_options options = i->options;
	int r = i->equalise == EQUALISE_TRY ? equalise_net(w->net, w->calibration) : 0;

	if (r < 0 || (r == 0 && w->export->whole_grid))
		return r;
	options.whole_grid = true;
	return build_other(w, i, &options, is_nearer, reterr);
}

static int build_equalised(struct work *w, const struct import *i, struct error *reterr)
{
	int r = equalise_net(w->net, w->calibration);

	return r <= 0 ? r : build_other(w, i, &i->options, is_right_more_often, reterr);
}

/* The accuracy card: the file is measured as it will be run, then written again with the results. */
static int measure(struct work *w, const struct import *i, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(dataset_freep) struct dataset *data = NULL;
	_cleanup_(outputs_done) struct outputs reference = {};
	_cleanup_close_ int fd = open(i->output, O_RDONLY | O_CLOEXEC);
	struct accuracy accuracies[BITS_PLANES_MAX];
	struct samples samples;
	char name[64];
	int r = fd < 0 ? -errno : network_open(&n, fd, reterr);

	if (r >= 0)
		r = dataset_open(&data, i->evaluate, i->evaluate_labels, reterr);
	if (r >= 0)
		r = samples_init(&samples, data, &i->preprocess, n->values[n->input].shape, reterr);
	if (r >= 0 && dataset_label(data, 0) < 0)
		r = evaluate_reference(&reference, w->original ?: w->net, &samples, 0, i->threads, i->progress, reterr);
	for (uint32_t p = 0; r >= 0 && p < n->planes_max; p++)
		r = card_measure(&accuracies[p], n, n->planes_max - p, &samples,
			reference.values ? &reference : NULL, 0, i->threads, i->progress, NULL, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", i->evaluate);
	name_of(name, sizeof name, i->evaluate);
	return card_store(i->output, n, accuracies, n->planes_max, name, reterr);
}

int import_run(const struct import *i, struct error *reterr)
{
	struct net *net = NULL;
	int r = import_net(&net, i->onnx, reterr);

	return r < 0 ? r : import_write(i, net, reterr);
}

int import_write(const struct import *i, struct net *net, struct error *reterr)
{
	_cleanup_(work_done) struct work w = {.net = net};
	int r = 0;

	if (r >= 0 && i->labels)
		r = labels_read(&w.labels, i->labels, reterr);
	if (r >= 0)
		r = open_data(&w, i, reterr);
	if (r >= 0 && i->transform)
		r = transform(&w, i, reterr);
	if (r >= 0 && !i->transform && i->average_bits > 0 && i->average_bits < 1)
		r = prune(&w, i, reterr);
	if (r >= 0 && i->equalise == EQUALISE_YES)
		r = equalise(&w, i, reterr);
	if (r >= 0)
		r = build(&w, i, reterr);
	if (r >= 0 && wants_second(&w, i))
		r = build_second(&w, i, reterr);
	else if (r >= 0 && wants_equalised(i))
		r = build_equalised(&w, i, reterr);
	if (r < 0)
		return r;
	r = write_model(&w, i, reterr);
	return r < 0 || !i->evaluate ? r : measure(&w, i, reterr);
}
