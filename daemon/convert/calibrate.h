/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the values of an fp32 net look like: ranges of whole values, mean and deviation of channels.
 * Measured on calibration samples, or derived from the statistics of batch normalisation.
 */
#pragma once

#include "convert/net.h"
#include "convert/progress.h"
#include "convert/sample.h"
#include "engine/threads.h"

#define CALIBRATE_BINS 4096

enum calibrate_clip {
	CLIP_DEFAULT, /* min-max at 8 bits, where the peaks that decide a class cost few steps; mse below */
	CLIP_MSE,     /* least mean square error of the rounded and clipped values */
	CLIP_MIN_MAX, /* nothing is clipped */
	CLIP_PERCENTILE, /* all but a few of the values fit */
	CLIP_KL,      /* least divergence of the rounded values' distribution */
	CLIP_ACIQ,    /* in closed form, as if the values were normal or Laplace */
	_CLIP_MAX,
};

/**
 * struct value_statistics - of one net value
 * @low, @high: extremes
 * @bins: counts over [-limit, limit]; NULL without samples
 * @limit: a power of two; the histogram doubles its range when a larger value comes
 * @channels: first dimension of an image, all elements of a vector
 * @sum, @square: [channels], over all samples and positions, of @count elements each
 * @peak: [channels], the largest absolute element; zeros without samples
 */
struct value_statistics {
	float low, high, limit;
	uint64_t *bins;
	uint32_t channels;
	double *sum, *square;
	float *peak;
	uint64_t count;
};

/**
 * struct calibration - [net->n_values]
 * @samples: how many were used; 0: from batch normalisation
 * @outputs: [samples][outputs_each], what the fp32 network says to each, in their order; or NULL
 */
struct calibration {
	const struct net *net;
	struct value_statistics *values;
	uint32_t samples, outputs_each;
	float *outputs;
};

/** calibration_new() - empty statistics of every value; @bins: with histograms. Return: 0 or -ENOMEM */
int calibration_new(struct calibration **ret, const struct net *net, bool bins);
struct calibration *calibration_free(struct calibration *c);
DEFINE_CLEANUP(struct calibration *, calibration_free)

/**
 * calibrate_samples() - run up to @limit of @samples, spread evenly, through the fp32 interpreter
 *
 * The result does not depend on @threads. Return: 0, -ENOMEM, or an error of reading.
 */
int calibrate_samples(struct calibration **ret, const struct net *net, struct samples *samples,
	uint32_t limit, struct threads *threads, const struct progress *progress,
	struct error *reterr);

/**
 * calibrate_batch_norm() - without data: moments propagated from the statistics of folded batch
 * normalisation (methods C6.3, C6.4), else from the weights
 * @input_low, @input_high: range of the input
 */
int calibrate_batch_norm(struct calibration **ret, const struct net *net, float input_low,
	float input_high, struct error *reterr);

/** calibration_widen() - the extremes of @c hold those of @other, too: the same net with other weights */
void calibration_widen(struct calibration *c, const struct calibration *other);

/** calibration_restore() - what @was knows of the net before values lost channels, where they did not; @was gets @c's */
void calibration_restore(struct calibration *c, struct calibration *was);

/** calibration_range() - the range to quantize value @value with @bits; contains 0 */
void calibration_range(const struct calibration *c, uint32_t value, enum calibrate_clip clip,
	uint32_t bits, float *ret_low, float *ret_high);

/** calibration_channel() - mean and deviation of one channel */
void calibration_channel(const struct calibration *c, uint32_t value, uint32_t channel,
	double *ret_mean, double *ret_deviation);
