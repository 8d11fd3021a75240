/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kurtosis regularisation of BD-BNN (methods B6): the weights of a layer are pushed towards two modes by the
 * gradient of (kurtosis - target)^2, so that one plane loses less. Binarised as BWN.
 *
 * Our choices: the mean over the layers as in the paper's code, the published target 1.4 of the middle
 * layers for all, no distribution mimicking: the teacher's logits are asked for by --distil.
 */
#include <math.h>

#include "convert/train/binary.h"

#define TARGET 1.4
#define LAMBDA 1.0

/* d kurt / d w_i = 4 / (n sd) (z_i^3 - mean z^3 - z_i kurt) */
static void add_gradient(struct train_layer *l)
{
	size_t n = (size_t) l->rows * l->columns;
	double mean = 0, square = 0, third = 0, kurtosis = 0, deviation, factor;

	for (size_t i = 0; i < n; i++)
		mean += (double) l->weight[i] / (double) n;
	for (size_t i = 0; i < n; i++)
		square += ((double) l->weight[i] - mean) * ((double) l->weight[i] - mean) / (double) n;
	deviation = sqrt(square) + 1e-12;
	for (size_t i = 0; i < n; i++) {
		double z = ((double) l->weight[i] - mean) / deviation;

		third += z * z * z / (double) n;
		kurtosis += z * z * z * z / (double) n;
	}
	factor = LAMBDA / l->n_layers * 2 * (kurtosis - TARGET) * 4 / ((double) n * deviation);
	for (size_t i = 0; i < n; i++) {
		double z = ((double) l->weight[i] - mean) / deviation;

		l->weight_grad[i] += (float) (factor * (z * z * z - third - z * kurtosis));
	}
}

static void kurtosis_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	method_straight(l, grad);
	add_gradient(l);
}

const struct train_method train_kurtosis = {
	.name = "kurtosis",
	.help = "one plane, weights pushed into two modes (BD-BNN)",
	.planes_min = 1,
	.planes_max = 1,
	.planes_default = 1,
	.weights = binary_weights,
	.gradient = kurtosis_gradient,
	.stepped = binary_clip,
	.codes = binary_codes,
};
