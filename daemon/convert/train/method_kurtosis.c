/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BD-BNN (methods B6): the weights of a layer are pushed towards two modes by the gradient of (kurtosis -
 * target)^2, so that one plane loses less. First the network in full precision, then with that as a teacher
 * the binary one (as BWN), whose latent weights mimic the teacher's distribution: a loss on the divergence of
 * the softmax over all weights of a layer. The original network's answers are asked for by --distil.
 *
 * Our choices: the mean over the layers as in the paper's code, the published target 1.4 of the middle
 * layers for all; the teacher takes TEACHER of the run; softmax of weights in deviations, because rows have
 * unit length here; a mean and a deviation count as constant to the divergence.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/train/binary.h"

#define TARGET 1.4
#define LAMBDA 1.0
#define MIMIC 1.0
#define TEACHER 0.3

/**
 * struct kurtosis - of one layer
 * @teacher: [rows][columns], its softmax; @taught: it is there
 */
struct kurtosis {
	float *teacher;
	bool taught;
};

static size_t size_of(const struct train_layer *l)
{
	return (size_t) l->rows * l->columns;
}

static int kurtosis_init(struct train_layer *l, struct error *reterr)
{
	struct kurtosis *k = l->own = calloc(1, sizeof *k);
	int r;

	if (!k || !(k->teacher = calloc(size_of(l), sizeof *k->teacher)))
		return -ENOMEM;
	r = train_store_block(l->store, k->teacher, size_of(l) * sizeof *k->teacher);
	return r < 0 ? r : train_store_block(l->store, &k->taught, sizeof k->taught);
}

static void spread(const struct train_layer *l, double *mean, double *deviation)
{
	double n = (double) size_of(l), square = 0;

	*mean = 0;
	for (size_t i = 0; i < size_of(l); i++)
		*mean += (double) l->weight[i] / n;
	for (size_t i = 0; i < size_of(l); i++)
		square += ((double) l->weight[i] - *mean) * ((double) l->weight[i] - *mean) / n;
	*deviation = sqrt(square) + 1e-12;
}

/* d kurt / d w_i = 4 / (n sd) (z_i^3 - mean z^3 - z_i kurt) */
static void add_kurtosis(struct train_layer *l, double mean, double deviation)
{
	double n = (double) size_of(l), third = 0, kurtosis = 0, factor;

	for (size_t i = 0; i < size_of(l); i++) {
		double z = ((double) l->weight[i] - mean) / deviation;

		third += z * z * z / n;
		kurtosis += z * z * z * z / n;
	}
	factor = LAMBDA / l->n_layers * 2 * (kurtosis - TARGET) * 4 / (n * deviation);
	for (size_t i = 0; i < size_of(l); i++) {
		double z = ((double) l->weight[i] - mean) / deviation;

		l->weight_grad[i] += (float) (factor * (z * z * z - third - z * kurtosis));
	}
}

/* What softmax divides by; weights in deviations are small enough as they are. */
static double exponential_sum(const struct train_layer *l, double mean, double deviation)
{
	double sum = 0;

	for (size_t i = 0; i < size_of(l); i++)
		sum += exp(((double) l->weight[i] - mean) / deviation);
	return sum;
}

/* Of KL(teacher | softmax z): softmax z - teacher, by z. */
static void add_mimicking(struct train_layer *l, double mean, double deviation)
{
	const struct kurtosis *k = l->own;
	double all = exponential_sum(l, mean, deviation), factor = MIMIC / l->n_layers / deviation;

	for (size_t i = 0; i < size_of(l); i++) {
		double own = exp(((double) l->weight[i] - mean) / deviation) / all;

		l->weight_grad[i] += (float) (factor * (own - (double) k->teacher[i]));
	}
}

static int kurtosis_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct kurtosis *k = l->own;
	double mean, deviation, all;

	if (k->taught || m->t < TEACHER)
		return 0;
	spread(l, &mean, &deviation);
	all = exponential_sum(l, mean, deviation);
	for (size_t i = 0; i < size_of(l); i++)
		k->teacher[i] = (float) (exp(((double) l->weight[i] - mean) / deviation) / all);
	k->taught = true;
	return 0;
}

static void kurtosis_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	if (((const struct kurtosis *) l->own)->taught)
		binary_weights(l, planes, hat);
	else
		memcpy(hat, l->weight, size_of(l) * sizeof *hat);
}

static void kurtosis_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	double mean, deviation;

	method_straight(l, grad);
	spread(l, &mean, &deviation);
	add_kurtosis(l, mean, deviation);
	if (((const struct kurtosis *) l->own)->taught)
		add_mimicking(l, mean, deviation);
}

static int kurtosis_stepped(struct train_layer *l, const struct train_moment *m)
{
	return ((const struct kurtosis *) l->own)->taught ? binary_clip(l, m) : 0;
}

static void kurtosis_done(struct train_layer *l)
{
	struct kurtosis *k = l->own;

	if (k)
		free(k->teacher);
	free(k);
}

const struct train_method train_kurtosis = {
	.name = "kurtosis",
	.help = "one plane, weights pushed into two modes, then mimicked (BD-BNN)",
	.planes_min = 1,
	.planes_max = 1,
	.planes_default = 1,
	.init = kurtosis_init,
	.prepare = kurtosis_prepare,
	.weights = kurtosis_weights,
	.gradient = kurtosis_gradient,
	.stepped = kurtosis_stepped,
	.codes = binary_codes,
	.done = kurtosis_done,
};
