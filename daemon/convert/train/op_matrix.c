/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution and linear nodes. The library chooses how weights lie in memory; ours lie as in the net. */
#include <errno.h>
#include <string.h>

#include "convert/train/op.h"

/**
 * struct shapes - the layouts of one matrix node; @any: weights as the library likes them
 */
struct shapes {
	dnnl_memory_desc_t in, out, plain, any, bias;
	dnnl_dims_t stride, dilation, before, after;
	bool linear;
};

static dnnl_status_t convolution_shapes(struct shapes *s, const struct train_graph *g,
	const struct train_op *op)
{
	const struct net_node *n = op->node;
	const struct net_shape *in = &g->values[op->inputs[0]].shape, *out = &g->values[op->output].shape;
	dnnl_dims_t w = {n->groups, n->outputs / n->groups, in->dims[0] / n->groups, n->kernel[0],
		n->kernel[1]};
	bool grouped = n->groups > 1;
	const dnnl_dim_t *dims = grouped ? w : w + 1;
	dnnl_status_t r;

	for (unsigned d = 0; d < 2; d++) {
		dnnl_dim_t reach = (dnnl_dim_t) n->dilation[d] * (n->kernel[d] - 1) + 1;

		s->stride[d] = n->stride[d];
		s->dilation[d] = n->dilation[d] - 1;
		s->before[d] = n->pads[d];
		s->after[d] = (dnnl_dim_t) (out->dims[1 + d] - 1) * n->stride[d] + reach -
			in->dims[1 + d] - n->pads[d];
	}
	r = dnnl_memory_desc_init_by_tag(&s->plain, grouped ? 5 : 4, dims, dnnl_f32,
		grouped ? dnnl_goihw : dnnl_oihw);
	if (r == dnnl_success)
		r = dnnl_memory_desc_init_by_tag(&s->any, grouped ? 5 : 4, dims, dnnl_f32,
			dnnl_format_tag_any);
	return r;
}

/* Rows of several vectors in one sample are as many samples. */
static dnnl_status_t linear_shapes(struct shapes *s, const struct train_graph *g, const struct train_op *op,
	const struct train_matrix *m)
{
	dnnl_dim_t n = (dnnl_dim_t) (g->batch * g->values[op->inputs[0]].elements / m->columns);
	dnnl_dims_t in = {n, m->columns}, out = {n, m->rows}, w = {m->rows, m->columns};
	dnnl_status_t r = dnnl_memory_desc_init_by_tag(&s->in, 2, in, dnnl_f32, dnnl_ab);

	s->linear = true;
	if (r == dnnl_success)
		r = dnnl_memory_desc_init_by_tag(&s->out, 2, out, dnnl_f32, dnnl_ab);
	if (r == dnnl_success)
		r = dnnl_memory_desc_init_by_tag(&s->plain, 2, w, dnnl_f32, dnnl_ab);
	if (r == dnnl_success)
		r = dnnl_memory_desc_init_by_tag(&s->any, 2, w, dnnl_f32, dnnl_format_tag_any);
	return r;
}

static int shapes_init(struct shapes *s, const struct train_graph *g, const struct train_op *op,
	struct error *reterr)
{
	const struct train_matrix *m = &g->matrices[op->index];
	dnnl_dims_t rows = {m->rows};
	int r = 0;

	if (op->node->kind == NET_LINEAR) {
		r = dnn_errno(linear_shapes(s, g, op, m), "linear", reterr);
	} else {
		r = train_layout(&s->in, g, &g->values[op->inputs[0]], reterr);
		if (r >= 0)
			r = train_layout(&s->out, g, &g->values[op->output], reterr);
		if (r >= 0)
			r = dnn_errno(convolution_shapes(s, g, op), "convolution", reterr);
	}
	if (r >= 0)
		r = dnn_errno(dnnl_memory_desc_init_by_tag(&s->bias, 1, rows, dnnl_f32, dnnl_a), "bias", reterr);
	return r;
}

static int forward_init(struct train_graph *g, struct train_op *op, const struct shapes *s, float *bias,
	struct error *reterr)
{
	const dnnl_memory_desc_t *b = bias ? &s->bias : NULL;
	dnnl_inner_product_desc_t linear;
	dnnl_convolution_desc_t conv;
	dnnl_status_t status = s->linear
		? dnnl_inner_product_forward_desc_init(&linear, dnnl_forward_training, &s->in, &s->any, b, &s->out)
		: dnnl_dilated_convolution_forward_desc_init(&conv, dnnl_forward_training,
			  dnnl_convolution_direct, &s->in, &s->any, b, &s->out, s->stride, s->dilation,
			  s->before, s->after);
	struct dnn_call *c = &op->forward;
	int r = dnn_errno(status, "forward", reterr);

	if (r >= 0)
		r = dnn_call_init(c, &g->dnn, s->linear ? (void *) &linear : &conv, NULL, "forward", reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_SRC, g->values[op->inputs[0]].data, reterr);
	if (r >= 0 && !dnn_call_own(c, &g->dnn, DNNL_ARG_WEIGHTS, reterr))
		r = -ENOMEM;
	if (r >= 0 && bias)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_BIAS, bias, reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DST, g->values[op->output].data, reterr);
	if (r >= 0)
		r = dnn_reorder(&op->weights_in, &g->dnn, &s->plain, g->matrices[op->index].hat, c,
			DNNL_ARG_WEIGHTS, true, reterr);
	return r;
}

static int backward_data_init(struct train_graph *g, struct train_op *op, const struct shapes *s,
	struct error *reterr)
{
	dnnl_inner_product_desc_t linear;
	dnnl_convolution_desc_t conv;
	dnnl_status_t status = s->linear
		? dnnl_inner_product_backward_data_desc_init(&linear, &s->in, &s->any, &s->out)
		: dnnl_dilated_convolution_backward_data_desc_init(&conv, dnnl_convolution_direct, &s->in,
			  &s->any, &s->out, s->stride, s->dilation, s->before, s->after);
	struct dnn_call *c = &op->backward;
	int r = dnn_errno(status, "backward", reterr);

	if (r >= 0)
		r = dnn_call_init(c, &g->dnn, s->linear ? (void *) &linear : &conv, op->forward.desc,
			"backward", reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DIFF_SRC, train_op_gradient(g, op, 0), reterr);
	if (r >= 0 && !dnn_call_own(c, &g->dnn, DNNL_ARG_WEIGHTS, reterr))
		r = -ENOMEM;
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DIFF_DST, g->values[op->output].grad, reterr);
	if (r >= 0)
		r = dnn_reorder(&op->weights_back, &g->dnn, &s->plain, g->matrices[op->index].hat, c,
			DNNL_ARG_WEIGHTS, true, reterr);
	return r;
}

static int backward_weights_init(struct train_graph *g, struct train_op *op, const struct shapes *s,
	float *bias_grad, struct error *reterr)
{
	const dnnl_memory_desc_t *b = bias_grad ? &s->bias : NULL;
	dnnl_inner_product_desc_t linear;
	dnnl_convolution_desc_t conv;
	dnnl_status_t status = s->linear
		? dnnl_inner_product_backward_weights_desc_init(&linear, &s->in, &s->any, b, &s->out)
		: dnnl_dilated_convolution_backward_weights_desc_init(&conv, dnnl_convolution_direct, &s->in,
			  &s->any, b, &s->out, s->stride, s->dilation, s->before, s->after);
	struct dnn_call *c = &op->backward_weights;
	int r = dnn_errno(status, "gradient", reterr);

	if (r >= 0)
		r = dnn_call_init(c, &g->dnn, s->linear ? (void *) &linear : &conv, op->forward.desc,
			"gradient", reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_SRC, g->values[op->inputs[0]].data, reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DIFF_DST, g->values[op->output].grad, reterr);
	if (r >= 0 && !dnn_call_own(c, &g->dnn, DNNL_ARG_DIFF_WEIGHTS, reterr))
		r = -ENOMEM;
	if (r >= 0 && bias_grad)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DIFF_BIAS, bias_grad, reterr);
	if (r >= 0)
		r = dnn_reorder(&op->weights_out, &g->dnn, &s->plain, g->matrices[op->index].grad, c,
			DNNL_ARG_DIFF_WEIGHTS, false, reterr);
	return r;
}

static int matrix_init(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_matrix *m = &g->matrices[op->index];
	struct shapes s = {};
	int r = shapes_init(&s, g, op, reterr);

	if (m->bias) {
		op->working = dnn_floats(m->rows);
		op->working_grad = dnn_floats(m->rows);
		if (!op->working || !op->working_grad)
			return -ENOMEM;
	}
	if (r >= 0)
		r = forward_init(g, op, &s, op->working, reterr);
	if (r >= 0 && g->gradients && op->wanted[0])
		r = backward_data_init(g, op, &s, reterr);
	if (r >= 0 && g->gradients)
		r = backward_weights_init(g, op, &s, op->working_grad, reterr);
	return r;
}

/* Some nodes keep one set for all widths. */
static size_t set_of(const struct train_graph *g, uint32_t sets)
{
	return MIN_OF(g->set, sets - 1);
}

static int matrix_forward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_matrix *m = &g->matrices[op->index];
	int r = dnn_call_run(&op->weights_in, &g->dnn, reterr);

	if (m->bias)
		memcpy(op->working, m->bias + set_of(g, m->sets) * m->rows, m->rows * sizeof *m->bias);
	return r < 0 ? r : dnn_call_run(&op->forward, &g->dnn, reterr);
}

static int matrix_backward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_matrix *m = &g->matrices[op->index];
	int r = dnn_call_run(&op->backward_weights, &g->dnn, reterr);

	if (r >= 0)
		r = dnn_call_run(&op->weights_out, &g->dnn, reterr);
	for (uint32_t i = 0; m->bias && i < m->rows; i++)
		m->bias_grad[set_of(g, m->sets) * m->rows + i] += op->working_grad[i];
	if (r < 0 || !op->wanted[0])
		return r;
	r = dnn_call_run(&op->weights_back, &g->dnn, reterr);
	if (r >= 0)
		r = dnn_call_run(&op->backward, &g->dnn, reterr);
	return r < 0 ? r : train_op_gradient_done(g, op, 0, reterr);
}

const struct train_op_class train_op_convolution = {matrix_init, matrix_forward, matrix_backward};
const struct train_op_class train_op_linear = {matrix_init, matrix_forward, matrix_backward};
