/* SPDX-License-Identifier: Apache-2.0 */
/* An ONNX file to a model file, with everything between. */
#pragma once

#include "convert/export.h"
#include "convert/transform.h"
#include "engine/threads.h"

enum import_equalise {
	EQUALISE_TRY, /* where the width is worth a second try: with @follow, or when eight planes say too little */
	EQUALISE_YES,
	EQUALISE_NO,
};

/**
 * struct import - what to do
 * @calibrate, @calibrate_labels: data set, or NULL: ranges from batch normalisation
 * @preprocess: valid when @has_preprocess; else pixels are taken as they are
 * @equalise: whether the channels between two matrices get one range
 * @transform: convolutions become two: a basis and weights in it
 * @gradients: for TRANSFORM_ELT: [n_nodes] of net, filled in for the nodes of transform_serves(), the caller frees
 *	each
 * @keep_nested: keep nested planes even where plain int8 would agree better with fp32 at eight
 * @correct: match the fp32 network's statistics at each width; without @calibrate as batch normalisation
 *	foresees them
 * @evaluate, @evaluate_labels: data set for the accuracy card, or NULL
 * @sensitivity: how many samples tell what each matrix costs at fewer planes; 0: the file does not say
 * @average_bits: above 0: planes of each matrix by those sensitivities, up to options.planes (needs
 *	@calibrate and @sensitivity); of each weight that the net had; below 1 the
 *	@transform leaves out rows, without one channels go (prune.h)
 * @follow: matrices one after the other, each for what those before it make of its inputs (needs @calibrate);
 *	NULL: each by itself
 * @labels: names of the classes, one a line, or NULL
 * @method: what the file says about its weights; NULL: the quantizer's name
 */
struct import {
	const char *onnx, *output, *calibrate, *evaluate, *evaluate_labels, *labels,
		*method;
	enum transform_kind transform;
	int (*gradients)(double **ret, const struct net *net, struct samples *samples, struct error *reterr);
	struct preprocess preprocess;
	enum import_equalise equalise;
	bool has_preprocess, keep_nested, correct;
	uint32_t samples, sensitivity;
	double average_bits;
	struct export_options options;
	struct threads *threads;
	const struct progress *progress;
	export_follow_fn *follow;
};

/** import_net() - read and fold an ONNX file. Return: as onnx_read() */
int import_net(struct net **ret, const char *path, struct error *reterr);

/** import_run() - the whole way; writes i->output or nothing. Return: 0 or a negative errno with words */
int import_run(const struct import *i, struct error *reterr);

/** import_write() - the way from the net on. @net: folded; taken, on failure too */
int import_write(const struct import *i, struct net *net, struct error *reterr);
