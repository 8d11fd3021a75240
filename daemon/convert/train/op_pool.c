/* SPDX-License-Identifier: Apache-2.0 */
/* Largest and mean value of windows. */
#include <errno.h>

#include "convert/train/op.h"

/**
 * struct window - as the library wants it
 */
struct window {
	dnnl_memory_desc_t in, out;
	dnnl_dims_t stride, kernel, dilation, before, after;
	dnnl_alg_kind_t kind;
};

static int window_init(struct window *w, const struct train_graph *g, const struct train_op *op,
	struct error *reterr)
{
	const struct train_value *in = &g->values[op->inputs[0]], *out = &g->values[op->output];
	const struct net_node *n = op->node;
	int r = train_layout(&w->in, g, in, reterr);

	for (unsigned d = 0; d < 2; d++) {
		w->stride[d] = n->stride[d];
		w->kernel[d] = n->kernel[d];
		w->dilation[d] = n->dilation[d] - 1;
		w->before[d] = n->pads[d];
		w->after[d] = (dnnl_dim_t) (out->shape.dims[1 + d] - 1) * n->stride[d] +
			(dnnl_dim_t) n->dilation[d] * (n->kernel[d] - 1) + 1 - in->shape.dims[1 + d] -
			n->pads[d];
	}
	w->kind = n->kind == NET_MAX_POOL ? dnnl_pooling_max
		: n->count_padding	  ? dnnl_pooling_avg_include_padding
					  : dnnl_pooling_avg_exclude_padding;
	return r < 0 ? r : train_layout(&w->out, g, out, reterr);
}

static int pool_backward_init(struct train_graph *g, struct train_op *op, const struct window *w,
	void *workspace, struct error *reterr)
{
	struct dnn_call *c = &op->backward;
	dnnl_pooling_v2_desc_t desc;
	int r = dnn_errno(dnnl_pooling_v2_backward_desc_init(&desc, w->kind, &w->in, &w->out, w->stride,
				  w->kernel, w->dilation, w->before, w->after), "pool", reterr);

	if (r >= 0)
		r = dnn_call_init(c, &g->dnn, &desc, op->forward.desc, "pool", reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DIFF_DST, g->values[op->output].grad, reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DIFF_SRC, train_op_gradient(g, op, 0), reterr);
	if (r >= 0 && workspace)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_WORKSPACE, workspace, reterr);
	return r;
}

static int pool_init(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	dnnl_pooling_v2_desc_t desc;
	void *workspace = NULL;
	struct window w = {};
	int r = window_init(&w, g, op, reterr);

	if (r >= 0)
		r = dnn_errno(dnnl_pooling_v2_forward_desc_init(&desc, dnnl_forward_training, w.kind, &w.in,
				      &w.out, w.stride, w.kernel, w.dilation, w.before, w.after),
			"pool", reterr);
	if (r >= 0)
		r = dnn_call_init(&op->forward, &g->dnn, &desc, NULL, "pool", reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->forward, &g->dnn, DNNL_ARG_SRC, g->values[op->inputs[0]].data, reterr);
	if (r >= 0)
		r = dnn_call_bind(&op->forward, &g->dnn, DNNL_ARG_DST, g->values[op->output].data, reterr);
	if (r >= 0 && w.kind == dnnl_pooling_max) {
		workspace = dnn_call_own(&op->forward, &g->dnn, DNNL_ARG_WORKSPACE, reterr);
		r = workspace ? 0 : -ENOMEM;
	}
	if (r < 0 || !g->gradients || !op->wanted[0])
		return r;
	return pool_backward_init(g, op, &w, workspace, reterr);
}

static int pool_forward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	return dnn_call_run(&op->forward, &g->dnn, reterr);
}

static int pool_backward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	int r;

	if (!op->wanted[0])
		return 0;
	r = dnn_call_run(&op->backward, &g->dnn, reterr);
	return r < 0 ? r : train_op_gradient_done(g, op, 0, reterr);
}

const struct train_op_class train_op_pool = {pool_init, pool_forward, pool_backward};
