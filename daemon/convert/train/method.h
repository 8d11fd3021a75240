/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retraining methods. methods.inc is the list: one file and one row per method; options, help, tests and
 * comparisons come from it.
 *
 * A method sees each matrix as a layer: latent weights, which the optimiser moves, the weights that the
 * network multiplies with, which the method makes from them, and the way of the gradient back. In each step
 *
 *	prepare()	once: whatever follows from the latent weights
 *	weights()	for the width whose turn it is, before its forward pass
 *	inputs()	after it, of a layer that looks at what its matrix reads
 *	gradient()	for it, after its backward pass
 *	stepped()	once, after the optimiser: regularisers, freezing, schedules
 *	together()	once, after that, for all layers, fixed ones too: what compares layers
 *
 * and at the end codes(): what weights() gives at that time, as planes.
 */
#pragma once

#include "convert/quantize/quantizer.h"
#include "convert/train/graph.h"
#include "convert/train/optimise.h"

struct train_method;

/**
 * struct train_layer - a matrix in the net's order of columns
 * @taps: columns that belong to one input channel: kernel height times width
 * @weight, @weight_grad: [rows][columns]
 * @param: index of the weights in the store
 * @average: bits of an average weight that are asked for, of methods that choose; 0: not said
 * @order: how many layers have more weights; @index: how many lie in front of it
 * @planes: the widest width
 * @look: set by prepare(): inputs() is called in this step
 * @fixed: keeps eight bits at any width: no business of a method
 * @own: the method's
 */
struct train_layer {
	uint32_t rows, columns, taps, planes, param, order, index, n_layers;
	uint64_t seed;
	float average;
	bool fixed, look;
	float *weight, *weight_grad;
	struct train_store *store;
	void *own;
};

/**
 * struct train_moment - where in a run we are
 * @t: part of it that is done, 0 .. 1; @rate: learning rate of this step
 * @settled: of a nested method: so many widths, the narrowest first, stay as they are from now on
 */
struct train_moment {
	double t;
	float rate;
	uint32_t settled;
	uint64_t step, steps;
	const struct optimise *optimise;
};

/**
 * struct train_method
 * @nested: trains all widths, one after the other, else the widest only
 * @init: from the weights as they are. Members may be NULL where there is nothing to do, but @weights and
 *	@codes; without @gradient it goes straight through
 * @inputs: @x: [n][columns], drawn from the batch
 * @codes: ret->alpha_at too for nested ones; codes in the net's order of columns. The scales are those of
 *	the rows as they are trained
 */
struct train_method {
	const char *name, *help;
	uint32_t planes_min, planes_max, planes_default;
	bool nested;
	int (*init)(struct train_layer *l, struct error *reterr);
	int (*prepare)(struct train_layer *l, const struct train_moment *m);
	void (*weights)(struct train_layer *l, uint32_t planes, float *hat);
	int (*inputs)(struct train_layer *l, const float *x, uint32_t n);
	void (*gradient)(struct train_layer *l, uint32_t planes, const float *grad);
	int (*stepped)(struct train_layer *l, const struct train_moment *m);
	int (*together)(struct train_layer *layers, uint32_t n, const struct train_moment *m);
	int (*codes)(struct train_layer *l, struct coded *ret, struct error *reterr);
	void (*done)(struct train_layer *l);
};

#define TRAIN_METHOD(id) extern const struct train_method train_##id;
#include "convert/train/methods.inc"
#undef TRAIN_METHOD

/** train_method_find() - Return: the row or NULL */
const struct train_method *train_method_find(const char *name);

extern const struct train_method *const train_methods[];
extern const uint32_t n_train_methods;

/** method_straight() - the gradient as it is: what layers without gradient() do */
void method_straight(struct train_layer *l, const float *grad);
