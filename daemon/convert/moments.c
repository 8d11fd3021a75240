/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges without data (methods C6.3, C6.4): each channel is taken for a Gaussian. Where batch
 * normalisation was folded its statistics say mean and deviation; elsewhere they are propagated through
 * the weights as if inputs were independent. A range is mean +- 6 deviations, cut by the clips.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/calibrate.h"

#define DEVIATIONS 6.0

static double density(double x)
{
	return exp(-x * x / 2) * 0.3989422804014327;
}

static double probability(double x)
{
	return 0.5 * erfc(-x * 0.7071067811865476);
}

static struct value_statistics *of(const struct calibration *c, uint32_t value)
{
	return &c->values[value];
}

/* Per channel: sum holds the mean, square the mean of squares, count is one. */
static void set_channel(struct value_statistics *v, uint32_t channel, double mean, double variance)
{
	double deviation = sqrt(fmax(variance, 0));

	v->sum[channel] = mean;
	v->square[channel] = mean * mean + fmax(variance, 0);
	v->low = fminf(v->low, (float) (mean - DEVIATIONS * deviation));
	v->high = fmaxf(v->high, (float) (mean + DEVIATIONS * deviation));
}

static void get_channel(const struct value_statistics *v, uint32_t channel, double *mean, double *variance)
{
	*mean = v->sum[channel];
	*variance = fmax(v->square[channel] - *mean * *mean, 0);
}

/* Mean and variance of a Gaussian cut to [low, high]. */
static void clipped(double *mean, double *variance, double low, double high)
{
	double m = *mean, s = sqrt(*variance), a, b, pa, pb, da, db, first, second;

	if (s < 1e-12) {
		*mean = fmin(fmax(m, low), high);
		return;
	}
	a = (low - m) / s;
	b = (high - m) / s;
	pa = isinf(low) ? 0 : probability(a);
	pb = isinf(high) ? 1 : probability(b);
	da = isinf(low) ? 0 : density(a);
	db = isinf(high) ? 0 : density(b);
	first = m * (pb - pa) + s * (da - db);
	second = (m * m + s * s) * (pb - pa) + 2 * m * s * (da - db) +
		 s * s * ((isinf(low) ? 0 : a * da) - (isinf(high) ? 0 : b * db));
	if (!isinf(low)) {
		first += low * pa;
		second += low * low * pa;
	}
	if (!isinf(high)) {
		first += high * (1 - pb);
		second += high * high * (1 - pb);
	}
	*mean = first;
	*variance = fmax(second - first * first, 0);
}

/* Which channel of a flat or image input column @c of a matrix reads. */
static uint32_t input_channel(const struct calibration *c, const struct net_node *n, uint32_t row,
	uint32_t column)
{
	const struct value_statistics *in = of(c, n->inputs[0]);
	uint32_t inputs = in->channels / n->groups, taps;

	if (n->kind == NET_LINEAR)
		return column % in->channels;
	taps = n->kernel[0] * n->kernel[1];
	return row / (n->outputs / n->groups) * inputs + column / taps;
}

static void matrix_moments(struct calibration *c, const struct net_node *n)
{
	const struct net_shape *s = &c->net->values[n->inputs[0]].shape;
	const struct value_statistics *in = of(c, n->inputs[0]);
	struct value_statistics *out = of(c, n->output);
	uint32_t columns = n->kind == NET_LINEAR ? s->dims[s->n - 1]
						 : in->channels / n->groups * n->kernel[0] * n->kernel[1];

	for (uint32_t r = 0; r < n->outputs && r < out->channels; r++) {
		double mean = n->bias ? n->bias[r] : 0, variance = 0, m, v;

		for (uint32_t t = 0; !n->bn_mean && t < columns; t++) {
			double w = n->weight[(size_t) r * columns + t];

			get_channel(in, input_channel(c, n, r, t), &m, &v);
			mean += w * m;
			variance += w * w * v;
		}
		if (n->bn_mean) {
			mean = n->bn_mean[r];
			variance = (double) n->bn_deviation[r] * n->bn_deviation[r];
		}
		set_channel(out, r, mean, variance);
	}
}

/* Values whose channels are those of their inputs, or cannot be told apart: the nearest guess. */
static void other_moments(struct calibration *c, const struct net_node *n)
{
	struct value_statistics *out = of(c, n->output);

	for (uint32_t i = 0; i < out->channels; i++) {
		double mean = 0, variance = 0, m, v;

		for (uint32_t j = 0; j < n->n_inputs && (j == 0 || n->kind == NET_ADD); j++) {
			const struct value_statistics *in = of(c, n->inputs[j]);

			get_channel(in, in->channels == out->channels ? i : i % in->channels, &m, &v);
			mean += m;
			variance += v;
		}
		if (n->kind == NET_CLIP)
			clipped(&mean, &variance, n->low, n->high);
		if (n->kind == NET_AFFINE && n->weight) {
			uint32_t at = n->outputs == 1 ? 0 : i;

			mean = mean * n->weight[at] + (n->bias ? n->bias[at] : 0);
			variance *= (double) n->weight[at] * n->weight[at];
		}
		set_channel(out, i, mean, variance);
	}
}

/* Pools and moves keep the range of what they read; a clip and a sigmoid have bounds of their own. */
static void bound_range(struct calibration *c, const struct net_node *n)
{
	struct value_statistics *out = of(c, n->output);
	float low = INFINITY, high = -INFINITY;

	for (uint32_t j = 0; j < n->n_inputs; j++) {
		low = fminf(low, of(c, n->inputs[j])->low);
		high = fmaxf(high, of(c, n->inputs[j])->high);
	}
	switch (n->kind) {
	case NET_CLIP:
		out->low = fmaxf(low, n->low);
		out->high = fminf(high, n->high);
		break;
	case NET_SIGMOID:
	case NET_SOFTMAX:
		out->low = 0;
		out->high = 1;
		break;
	case NET_MAX_POOL:
	case NET_AVERAGE_POOL:
	case NET_CONCAT:
	case NET_PAD:
	case NET_SLICE:
	case NET_RESHAPE:
	case NET_TRANSPOSE:
		out->low = low;
		out->high = high;
		break;
	case NET_INPUT:
	case NET_CONVOLUTION:
	case NET_LINEAR:
	case NET_BATCH_NORM:
	case NET_ADD:
	case NET_AFFINE:
	case _NET_KIND_MAX:
		break;
	}
}

int calibrate_batch_norm(struct calibration **ret, const struct net *net, float input_low,
	float input_high, struct error *reterr)
{
	_cleanup_(calibration_freep) struct calibration *c = NULL;
	double range = (double) input_high - input_low;
	int r = calibration_new(&c, net, false);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < of(c, net->input)->channels; i++)
		set_channel(of(c, net->input), i, (input_low + input_high) / 2, range * range / 12);
	of(c, net->input)->low = input_low;
	of(c, net->input)->high = input_high;
	for (uint32_t i = 0; i < net->n_nodes; i++) {
		const struct net_node *n = &net->nodes[i];

		if (n->kind == NET_INPUT)
			continue;
		if (n->kind == NET_CONVOLUTION || n->kind == NET_LINEAR)
			matrix_moments(c, n);
		else
			other_moments(c, n);
		bound_range(c, n);
	}
	for (uint32_t i = 0; i < net->n_values; i++)
		of(c, i)->count = 1;
	*ret = take_ptr(c);
	return 0;
}
