/* SPDX-License-Identifier: Apache-2.0 */
/* Batch normalisation, with the ReLU behind it when there is one: it saves a pass over memory each way. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/train/op.h"

static int call_init(struct train_graph *g, struct train_op *op, struct dnn_call *c, dnnl_prop_kind_t kind,
	unsigned flags, struct error *reterr)
{
	const struct train_norm *n = &g->norms[op->index];
	dnnl_batch_normalization_desc_t desc;
	dnnl_memory_desc_t md;
	int r = train_layout(&md, g, &g->values[op->output], reterr);

	flags |= dnnl_use_scaleshift | (op->rectify ? dnnl_fuse_norm_relu : 0);
	if (r >= 0)
		r = dnn_errno(kind == dnnl_backward
				? dnnl_batch_normalization_backward_desc_init(&desc, kind, &md, &md, n->epsilon, flags)
				: dnnl_batch_normalization_forward_desc_init(&desc, kind, &md, n->epsilon, flags),
			"batch normalisation", reterr);
	if (r >= 0)
		r = dnn_call_init(c, &g->dnn, &desc, kind == dnnl_backward ? op->forward.desc : NULL,
			"batch normalisation", reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_SRC, g->values[op->inputs[0]].data, reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_MEAN, op->mean, reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_VARIANCE, op->variance, reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_SCALE_SHIFT, op->working, reterr);
	if (r >= 0 && kind != dnnl_backward)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DST, g->values[op->output].data, reterr);
	return r;
}

static int backward_init(struct train_graph *g, struct train_op *op, void *workspace, struct error *reterr)
{
	struct dnn_call *c = &op->backward;
	int r = call_init(g, op, c, dnnl_backward, 0, reterr);

	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DIFF_DST, g->values[op->output].grad, reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DIFF_SRC, train_op_gradient(g, op, 0), reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DIFF_SCALE_SHIFT, op->working_grad, reterr);
	if (r >= 0 && workspace)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_WORKSPACE, workspace, reterr);
	return r;
}

static int norm_init(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	uint32_t channels = g->norms[op->index].channels;
	void *workspace = NULL;
	int r;

	op->working = dnn_floats((size_t) 2 * channels);
	op->working_grad = dnn_floats((size_t) 2 * channels);
	op->mean = dnn_floats(channels);
	op->variance = dnn_floats(channels);
	if (!op->working || !op->working_grad || !op->mean || !op->variance)
		return -ENOMEM;
	r = call_init(g, op, &op->infer, dnnl_forward_inference, dnnl_use_global_stats, reterr);
	if (r >= 0)
		r = call_init(g, op, &op->forward, dnnl_forward_training, 0, reterr);
	if (r >= 0 && op->rectify) {
		workspace = dnn_call_own(&op->forward, &g->dnn, DNNL_ARG_WORKSPACE, reterr);
		r = workspace ? 0 : -ENOMEM;
	}
	return r < 0 || !g->gradients ? r : backward_init(g, op, workspace, reterr);
}

static size_t set_of(const struct train_graph *g, const struct train_norm *n)
{
	return MIN_OF(g->set, n->sets - 1);
}

/*
 * What is kept moves to the batch by @part. Deviation between batches counts as well: with @part 1, 1/2, 1/3, ...
 * it is the mean and the variance of all samples so far.
 */
static void follow(float *kept_mean, float *kept_variance, float mean, float variance, float part)
{
	float d = mean - *kept_mean;

	*kept_mean += part * d;
	*kept_variance += part * (variance - *kept_variance + (1 - part) * d * d);
}

/* y = scale x + shift, whatever the statistics of x in this batch. */
static int pass_through(struct train_graph *g, struct train_op *op, const struct train_norm *n,
	struct error *reterr)
{
	uint32_t channels = n->channels;

	for (uint32_t c = 0; c < channels; c++) {
		float scale = op->working[c];

		op->working[c] = scale * sqrtf(op->variance[c] + n->epsilon);
		op->working[channels + c] += scale * op->mean[c];
	}
	return dnn_call_run(&op->forward, &g->dnn, reterr);
}

void train_norm_adopt(const struct train_norm *n)
{
	uint32_t channels = n->channels;
	float *scale = n->scale_shift, *shift = scale + channels;

	for (uint32_t c = 0; c < channels; c++) {
		shift[c] += scale[c] * n->mean[c];
		scale[c] *= sqrtf(n->variance[c] + n->epsilon);
	}
	for (uint32_t s = 1; s < n->sets; s++) {
		memcpy(n->scale_shift + (size_t) s * 2 * channels, scale, 2 * channels * sizeof *scale);
		memcpy(n->mean + (size_t) s * channels, n->mean, channels * sizeof *n->mean);
		memcpy(n->variance + (size_t) s * channels, n->variance, channels * sizeof *n->variance);
	}
}

static int norm_forward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_norm *n = &g->norms[op->index];
	size_t set = set_of(g, n), bytes = n->channels * sizeof(float);
	float *mean = n->mean + set * n->channels, *variance = n->variance + set * n->channels;
	int r;

	memcpy(op->working, n->scale_shift + set * 2 * n->channels, 2 * bytes);
	if (!g->training) {
		memcpy(op->mean, mean, bytes);
		memcpy(op->variance, variance, bytes);
		return dnn_call_run(&op->infer, &g->dnn, reterr);
	}
	r = dnn_call_run(&op->forward, &g->dnn, reterr);
	for (uint32_t c = 0; c < n->channels; c++)
		follow(&mean[c], &variance[c], op->mean[c], op->variance[c], g->momentum);
	return r < 0 || !g->adopt ? r : pass_through(g, op, n, reterr);
}

static int norm_backward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_norm *n = &g->norms[op->index];
	float *grad = n->scale_shift_grad + set_of(g, n) * 2 * n->channels;
	int r = dnn_call_run(&op->backward, &g->dnn, reterr);

	for (uint32_t c = 0; c < 2 * n->channels; c++)
		grad[c] += op->working_grad[c];
	return r < 0 ? r : train_op_gradient_done(g, op, 0, reterr);
}

const struct train_op_class train_op_norm = {norm_init, norm_forward, norm_backward};
