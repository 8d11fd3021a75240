/* SPDX-License-Identifier: Apache-2.0 */
/* Steps on single elements: clip, sigmoid, sums, affine steps that no matrix took up. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/train/op.h"

/* From the result, so that the input may be overwritten. */
static dnnl_alg_kind_t function_of(const struct net_node *n)
{
	if (n->kind == NET_SIGMOID)
		return dnnl_eltwise_logistic_use_dst_for_bwd;
	return n->low == 0 && n->high == INFINITY ? dnnl_eltwise_relu_use_dst_for_bwd
						  : dnnl_eltwise_clip_v2_use_dst_for_bwd;
}

static int function_init(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	dnnl_alg_kind_t f = function_of(op->node);
	bool clips = f == dnnl_eltwise_clip_v2_use_dst_for_bwd;
	float a = clips ? op->node->low : 0, b = clips ? op->node->high : 0;
	dnnl_eltwise_desc_t desc;
	dnnl_memory_desc_t md;
	int r = train_layout(&md, g, &g->values[op->output], reterr);

	if (r >= 0)
		r = dnn_errno(dnnl_eltwise_forward_desc_init(&desc, dnnl_forward_training, f, &md, a, b),
			"function", reterr);
	if (r >= 0)
		r = dnn_call_init(&op->forward, &g->dnn, &desc, NULL, "function", reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->forward, &g->dnn, DNNL_ARG_SRC, g->values[op->inputs[0]].data, reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->forward, &g->dnn, DNNL_ARG_DST, g->values[op->output].data, reterr);
	if (r < 0 || !g->gradients || !op->wanted[0])
		return r;
	r = dnn_errno(dnnl_eltwise_backward_desc_init(&desc, f, &md, &md, a, b), "function", reterr);
	if (r >= 0)
		r = dnn_call_init(&op->backward, &g->dnn, &desc, op->forward.desc, "function", reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->backward, &g->dnn, DNNL_ARG_DST, g->values[op->output].data, reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->backward, &g->dnn, DNNL_ARG_DIFF_DST, g->values[op->output].grad, reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->backward, &g->dnn, DNNL_ARG_DIFF_SRC, train_op_gradient(g, op, 0), reterr);
	return r;
}

static int call_forward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	return dnn_call_run(&op->forward, &g->dnn, reterr);
}

static int function_backward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	int r;

	if (!op->wanted[0])
		return 0;
	r = dnn_call_run(&op->backward, &g->dnn, reterr);
	return r < 0 ? r : train_op_gradient_done(g, op, 0, reterr);
}

static int add_init(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	dnnl_binary_desc_t desc;
	dnnl_memory_desc_t md;
	int r = train_layout(&md, g, &g->values[op->output], reterr);

	if (r >= 0)
		r = dnn_errno(dnnl_binary_desc_init(&desc, dnnl_binary_add, &md, &md, &md), "add", reterr);
	if (r >= 0)
		r = dnn_call_init(&op->forward, &g->dnn, &desc, NULL, "add", reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->forward, &g->dnn, DNNL_ARG_SRC_0, g->values[op->inputs[0]].data, reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->forward, &g->dnn, DNNL_ARG_SRC_1, g->values[op->inputs[1]].data, reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->forward, &g->dnn, DNNL_ARG_DST, g->values[op->output].data, reterr);
	return r;
}

static int add_backward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_value *out = &g->values[op->output];
	int r = 0;

	for (uint32_t k = 0; r >= 0 && k < op->n_inputs; k++) {
		float *to = op->wanted[k] ? train_op_gradient(g, op, k) : out->grad;

		if (to != out->grad)
			memcpy(to, out->grad, g->batch * out->elements * sizeof *to);
		if (op->wanted[k])
			r = train_op_gradient_done(g, op, k, reterr);
	}
	return r;
}

static int nothing_init(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	return 0;
}

/* Channels are the last dimension in memory; one scale for all, or one for each channel. */
static int affine_forward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_value *in = &g->values[op->inputs[0]], *out = &g->values[op->output];
	size_t n = g->batch * out->elements, channels = op->node->outputs;

	for (size_t i = 0; i < n; i++)
		out->data[i] = in->data[i] * op->node->weight[i % channels] + op->node->bias[i % channels];
	return 0;
}

static int affine_backward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_value *out = &g->values[op->output];
	size_t n = g->batch * out->elements, channels = op->node->outputs;
	float *to;

	if (!op->wanted[0])
		return 0;
	to = train_op_gradient(g, op, 0);
	for (size_t i = 0; i < n; i++)
		to[i] = out->grad[i] * op->node->weight[i % channels];
	return train_op_gradient_done(g, op, 0, reterr);
}

const struct train_op_class train_op_clip = {function_init, call_forward, function_backward};
const struct train_op_class train_op_sigmoid = {function_init, call_forward, function_backward};
const struct train_op_class train_op_add = {add_init, call_forward, add_backward};
const struct train_op_class train_op_affine = {nothing_init, affine_forward, affine_backward};
