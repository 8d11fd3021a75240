/* SPDX-License-Identifier: Apache-2.0 */
/* An ONNX file and labelled data to a model file, by training. */
#pragma once

#include "convert/import.h"
#include "convert/train/trainer.h"

/**
 * struct train - what to do
 * @import: source, output (.onnx: the network itself, in full precision), preprocessing, threads,
 *	measuring; calibration is done with the training data
 * @data, @data_labels: to train with
 * @teacher: an ONNX file that answers too, see options.teacher; NULL: none
 * @loader: what is done to them
 * @accuracies: filled in: [widths] percent by the training engine of import.evaluate, at planes, from 1 up;
 *	or at the widest only. @n_accuracies: 0 without import.evaluate
 * @ret_net: where the trained net goes, folded, at its widest; owned by the caller. NULL: not wanted
 */
struct train {
	struct import import;
	const char *data, *data_labels, *teacher;
	struct loader_options loader;
	struct train_options options;
	struct accuracy accuracies[BITS_PLANES_MAX];
	uint32_t n_accuracies;
	struct net **ret_net;
};

/** train_is_onnx() - whether the output is an ONNX file, by its name */
bool train_is_onnx(const char *path);

/** train_run() - writes import.output and removes the checkpoint. Return: 0 or an errno with words */
int train_run(struct train *t, struct error *reterr);

/** train_net() - the same from a net; import.onnx only gives the model its name */
int train_net(struct train *t, const struct net *folded, struct error *reterr);
