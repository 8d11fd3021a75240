/* SPDX-License-Identifier: Apache-2.0 */
/* How good a model is: accuracy and speed of one width, agreement with the fp32 network. */
#pragma once

#include "convert/net.h"
#include "convert/progress.h"
#include "convert/sample.h"
#include "engine/model.h"
#include "engine/threads.h"

/**
 * struct outputs - what a network says to the first samples: [count][classes]
 */
struct outputs {
	uint32_t count, classes;
	float *values;
	double seconds;
};

void outputs_done(struct outputs *o);

/**
 * evaluate_outputs() - the integer engine's answers
 * @limit: 0: all samples
 *
 * Whole samples are dealt to @threads. Return: 0; -EINVAL when the model does not take such data; an
 * error of reading or of plan_new().
 */
int evaluate_outputs(struct outputs *ret, struct model *model, struct samples *samples, uint32_t limit,
	struct threads *threads, const struct progress *progress, struct error *reterr);

/** evaluate_reference() - the fp32 interpreter's answers */
int evaluate_reference(struct outputs *ret, const struct net *net, struct samples *samples,
	uint32_t limit, struct threads *threads, const struct progress *progress,
	struct error *reterr);

/**
 * evaluate_accuracy() - percent of samples whose label is the first, or among the first five
 * @label_offset: added to the labels: networks with a class for the background count from one
 *
 * Return: how many samples had a label; 0: both are 0.
 */
uint32_t evaluate_accuracy(const struct outputs *o, const struct samples *samples, int label_offset,
	double *ret_top1, double *ret_top5);

/** evaluate_label_offset() - networks of 1001 classes count the background as class 0 */
int evaluate_label_offset(uint32_t classes, const struct dataset *data);

/** evaluate_agreement() - percent of samples with the same first class, and the SNR of @o in dB */
void evaluate_agreement(const struct outputs *o, const struct outputs *reference, double *ret_percent,
	double *ret_snr);

/** outputs_top() - indices of the @n largest values, largest first, the lower index first of equals */
void outputs_top(const float *values, uint32_t classes, uint32_t n, uint32_t *ret);
