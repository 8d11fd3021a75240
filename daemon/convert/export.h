/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a net (fp32, CHW, convert/net.h) to a network (integers, NHWC, engine/op.h), in steps that each
 * fill more of one struct export:
 *
 *	export_graph()		operations, shapes, matrices with their columns in engine order
 *	calibrate_*()		what each fp32 value looks like (calibrate.h)
 *	export_scales()		scale and zero point of each value; clamps, gains, tables
 *	export_weights()	planes and scales of each matrix
 *	correct_*()		gain and bias per width (correct.h)
 *	export_write()		the file
 *
 * The order of elements. An engine value holds the elements of a net value in NHWC order. What a net does
 * to that order without computing (flatten, reshape, transpose) costs nothing here: each net value carries
 * the order in which its engine value holds it, and the next matrix permutes its columns.
 */
#pragma once

#include "convert/calibrate.h"
#include "convert/dataset.h"
#include "convert/net.h"
#include "convert/progress.h"
#include "convert/quantize/quantizer.h"
#include "engine/model.h"

/**
 * struct place - where a net value lives in the engine
 * @value: engine value, UINT32_MAX: nowhere (inside a fused operation)
 * @order: [elements], engine element e is net element order[e]; NULL: the standard order of its shape
 */
struct place {
	uint32_t value;
	uint32_t *order;
};

/**
 * struct export_value - what the engine's struct value will be made from
 * @net_value: whose fp32 range it has
 * @tie: values with one tie share scale and zero point (union-find parent)
 * @bits: activation bits
 * @exact: low and high are known, not measured: the network was trained with them
 */
struct export_value {
	uint32_t net_value, tie, bits;
	bool exact;
	float low, high;
};

enum export_function {
	FUNCTION_NONE,
	FUNCTION_CLIP,
	FUNCTION_AFFINE,
	FUNCTION_SIGMOID,
};

/**
 * struct export_op - beside each op: what its numbers will be made from
 * @low, @high: clip after the operation
 * @function: of OP_TABLE; @a, @b: x * a + b
 */
struct export_op {
	float low, high;
	enum export_function function;
	float a, b;
};

/**
 * struct export_matrix - a weight matrix on its way
 * @net_node: where it comes from
 * @op: index of the operation that uses it
 * @weight: [rows][columns], columns in engine order
 * @bias: [rows]
 * @row_scale: [rows], what the coded weights of a row are multiplied with; 1 for most
 * @planes: [coded.planes], packed, plane 0 the most significant
 * @gain_at, @bias_at: [coded.planes][rows]; @sensitivity: [coded.planes]
 */
struct export_matrix {
	uint32_t net_node, op, rows, columns;
	bool depthwise, fixed;
	float *weight, *bias, *row_scale;
	struct coded coded;
	uint64_t *planes[BITS_PLANES_MAX];
	float *gain_at, *bias_at, *sensitivity;
};

struct export_given;
struct export_follow;
struct second_moment;

/**
 * struct export_options - of an import
 * @edge_planes: planes of the first and last matrix, never shed; 0: like the others
 * @activation_bits: 1..8
 * @clip: how ranges are chosen
 * @planes_of: [n_matrices], planes of each matrix that sheds, in place of @planes; or NULL
 * @moments: [n_matrices], of the inputs, borrowed; NULL: measured when they are needed
 * @given: by training; NULL: every matrix is quantized here
 * @follow: NULL: every matrix is quantized for what it reads in the fp32 network
 * @whole_grid: matrices of eight planes are plain int8: best at eight planes, poor at few
 */
struct export_options {
	const struct quantizer *quantizer;
	uint32_t planes, edge_planes, group_columns, activation_bits;
	bool per_tensor, whole_grid;
	uint64_t seed;
	enum calibrate_clip clip;
	const uint32_t *planes_of;
	const struct second_moment *moments;
	const struct export_given *given;
	const struct export_follow *follow;
};

/**
 * struct export - a network in the making
 * @agreement, @output_error: of the widest width to fp32, over the calibration samples: part of the first
 *	classes that is the same, mean square over that of the outputs; correct_widths() measures them
 */
struct export {
	const struct net *net;
	struct export_options options;
	bool pixels, whole_grid;
	struct shape input_shape;
	struct preprocess preprocess;
	struct place *places; /* [net->n_values] */
	uint32_t *uses;	      /* [net->n_values], how many nodes read it */
	bool *is_float;	      /* [net->n_values], computed in float by the engine */
	bool *fused;	      /* [net->n_nodes], done as a part of another node */
	struct value *values;
	struct export_value *value_infos;
	uint32_t n_values;
	struct op *ops;
	struct export_op *op_infos;
	uint32_t n_ops;
	struct export_matrix *matrices;
	uint32_t n_matrices;
	uint32_t output;
	double agreement, output_error;
};

struct export *export_free(struct export *e);
DEFINE_CLEANUP(struct export *, export_free)

/**
 * export_graph() - the operations of @net
 * @net: must outlive the export
 * @preprocess: pixels are accepted and become x this way; NULL: floats only
 * @pixel_shape: height and width of the pictures when the net's input is not an image; channels 0: none
 *
 * Return: 0; -ENOTSUP naming the node; -ENOMEM.
 */
int export_graph(struct export **ret, const struct net *net, const struct export_options *options,
	const struct preprocess *preprocess, struct shape pixel_shape, struct error *reterr);

/** export_scales() - ranges to scales, clamps, gains and tables. Return: 0 or -ENOMEM */
int export_scales(struct export *e, const struct calibration *c, struct error *reterr);

/**
 * struct export_given - matrices that are coded already
 * @codes: fill in @m's coded, gain_at and bias_at. Return: 1; 0: quantize this one; or an errno
 * @others: [n_others], the same net at its other widths, whose values must fit, too
 */
struct export_given {
	int (*codes)(void *userdata, struct export_matrix *m, uint32_t index, struct error *reterr);
	void *userdata;
	struct net **others;
	uint32_t n_others;
};

/**
 * struct export_follow - matrices one after the other, each for what those before it make of its inputs
 * @inputs: before matrix @matrix is quantized: the second moment of what it will read, freed by the caller; its
 *	weights may change
 * @quantized: it has its codes; may change them, and those of the matrices before it
 * @close: frees @userdata
 */
struct export_follow {
	int (*inputs)(void *userdata, struct export *e, uint32_t matrix, struct second_moment *ret,
		struct error *reterr);
	int (*quantized)(void *userdata, struct export *e, uint32_t matrix, struct error *reterr);
	void *(*close)(void *userdata);
	void *userdata;
};

/**
 * export_follow_fn - make one for exports of @net
 * @teacher: what it should say: the same, or what it was before a transform that gave it more values
 * @net, @teacher, @samples, @threads: must outlive it; up to @limit samples are looked at
 */
typedef int export_follow_fn(struct export_follow *ret, const struct net *net, const struct net *teacher,
	struct samples *samples, uint32_t limit, struct threads *threads, struct error *reterr);

/**
 * export_weights() - quantize and pack every matrix
 * @samples: where the quantizer needs inputs, else NULL; up to @limit of them are looked at
 *
 * Return: 0, -ENOMEM, or the error of the quantizer or of reading.
 */
int export_weights(struct export *e, struct samples *samples, uint32_t limit, struct threads *threads,
	const struct progress *progress, struct error *reterr);

/**
 * struct export_words - what the file says beside the numbers
 * @labels: [n_labels]
 */
struct export_words {
	const char *name, *method, *data;
	char **labels;
	uint32_t n_labels;
};

/** export_write() - write the model file at @path. Return: as model_write() */
int export_write(struct export *e, const char *path, const struct export_words *words,
	struct error *reterr);

/** export_network() - @e as a network that can be run; through a file beside @path that is gone after it */
int export_network(struct network **ret, struct export *e, const char *path, struct error *reterr);

/* For graph.c and graph_ops.c. */

/** graph_shape() - the engine's shape of a net shape */
struct shape graph_shape(const struct net_shape *s);
/** graph_axis() - the engine's axis (0 height, 1 width, 2 channels) of axis @axis of a net shape */
uint32_t graph_axis(const struct net_shape *s, uint32_t axis);
/** graph_value() - a new engine value that stands for @net_value. Return: its index or -ENOMEM */
int graph_value(struct export *e, uint32_t net_value, struct shape shape, enum element element);
/** graph_op() - a new operation with plain members; inputs are engine values */
int graph_op(struct export *e, enum op_kind kind, const uint32_t *inputs, uint32_t n_inputs,
	uint32_t output, struct op **ret);
/** graph_place() - @net_value is engine value @value in @order (taken, freed on failure too) */
int graph_place(struct export *e, uint32_t net_value, uint32_t value, uint32_t *order);
/** graph_reshape() - the same elements of engine value @value under another shape. Return: the value */
int graph_reshape(struct export *e, uint32_t value, struct shape shape);
/** graph_tie() - two engine values share scale and zero point */
void graph_tie(struct export *e, uint32_t a, uint32_t b);
/** graph_order() - @place's order, written out. Return: [elements], owned by the caller, or NULL */
uint32_t *graph_order(const struct export *e, uint32_t net_value);
/** graph_node() - lower one node; in graph_ops.c */
int graph_node(struct export *e, uint32_t node, struct error *reterr);
