/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fewer and simpler nodes with the same results: steps that are a scale and a shift per channel go into
 * weights, padding into convolutions, moves of elements into the order of columns.
 *
 * One pass over the nodes for each rule. A node that is done with is marked dead (_NET_KIND_MAX) and
 * swept at the end; the index of uses is kept up to date, so that a pass takes linear time on any file.
 * A rule looks only at values with a single use: nobody else sees what it changes.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/net.h"

#define NONE UINT32_MAX

struct fold {
	struct net *net;
	uint32_t *uses;	 /* per value; the net's output is one */
	uint32_t *user;	 /* the node, when there is one use */
	uint32_t *maker; /* the node, NONE for the input */
};

static int index_net(struct fold *f)
{
	const struct net *n = f->net;

	f->uses = calloc(n->n_values, 3 * sizeof *f->uses);
	if (!f->uses)
		return -ENOMEM;
	f->user = f->uses + n->n_values;
	f->maker = f->user + n->n_values;
	for (uint32_t i = 0; i < n->n_values; i++)
		f->maker[i] = f->user[i] = NONE;
	for (uint32_t i = 0; i < n->n_nodes; i++) {
		f->maker[n->nodes[i].output] = i;
		for (uint32_t k = 0; k < n->nodes[i].n_inputs; k++) {
			f->uses[n->nodes[i].inputs[k]]++;
			f->user[n->nodes[i].inputs[k]] = i;
		}
	}
	f->uses[n->output]++;
	f->user[n->output] = NONE;
	return 0;
}

/* The only node that reads what @n makes, or NULL. */
static struct net_node *only_user(struct fold *f, const struct net_node *n)
{
	uint32_t user = f->user[n->output];

	return f->uses[n->output] == 1 && user != NONE ? &f->net->nodes[user] : NULL;
}

/* The node before @n when @n is its only user, or NULL. */
static struct net_node *only_source(struct fold *f, const struct net_node *n)
{
	uint32_t value = n->inputs[0];

	return f->uses[value] == 1 && f->maker[value] != NONE ? &f->net->nodes[f->maker[value]] : NULL;
}

/* @from makes what @n made. */
static void drop_into_source(struct fold *f, struct net_node *n, struct net_node *from)
{
	from->output = n->output;
	f->maker[from->output] = (uint32_t) (from - f->net->nodes);
	n->kind = _NET_KIND_MAX;
}

/* @to, the only user of @n, reads what @n read. */
static void drop_into_user(struct fold *f, struct net_node *n, struct net_node *to)
{
	to->inputs[0] = n->inputs[0];
	if (f->uses[n->inputs[0]] == 1)
		f->user[n->inputs[0]] = (uint32_t) (to - f->net->nodes);
	n->kind = _NET_KIND_MAX;
}

static bool has_weights(const struct net_node *n)
{
	return n->kind == NET_CONVOLUTION || n->kind == NET_LINEAR;
}

/* Weights per output */
static size_t row_length(const struct fold *f, const struct net_node *n)
{
	const struct net_shape *in = &f->net->values[n->inputs[0]].shape;

	if (n->kind == NET_LINEAR)
		return net_elements(in);
	return (size_t) in->dims[0] / n->groups * n->kernel[0] * n->kernel[1];
}

static int need_bias(struct net_node *n)
{
	if (!n->bias)
		n->bias = calloc(n->outputs, sizeof *n->bias);
	return n->bias ? 0 : -ENOMEM;
}

/* Batch normalisation as scale and shift; statistics gone. */
static int to_affine(struct net_node *n, const float *gamma, const float *beta, struct error *reterr)
{
	n->weight = calloc(n->outputs, sizeof *n->weight);
	n->bias = calloc(n->outputs, sizeof *n->bias);
	if (!n->weight || !n->bias)
		return -ENOMEM;
	for (uint32_t c = 0; c < n->outputs; c++) {
		float deviation = sqrtf(n->variance[c] + n->epsilon);

		if (!(deviation > 0))
			return error_set(reterr, -EBADMSG, "%s: variance of channel %u is %g", n->name,
				c, (double) n->variance[c]);
		n->weight[c] = gamma[c] / deviation;
		n->bias[c] = beta[c] - n->mean[c] * n->weight[c];
	}
	n->kind = NET_AFFINE;
	free(n->mean);
	free(n->variance);
	n->mean = n->variance = NULL;
	return 0;
}

/* What comes out of @n is scaled and shifted: so can its rows be, and what is known of its results. */
static int fold_backward(struct fold *f, struct net_node *n, struct net_node *affine)
{
	size_t row = row_length(f, n);
	int r = need_bias(n);

	if (r < 0)
		return r;
	for (uint32_t o = 0; o < n->outputs; o++) {
		uint32_t c = affine->outputs == 1 ? 0 : o;
		float scale = affine->weight[c];

		for (size_t i = 0; i < row; i++)
			n->weight[o * row + i] *= scale;
		n->bias[o] = n->bias[o] * scale + affine->bias[c];
		if (n->bn_mean) {
			n->bn_mean[o] = n->bn_mean[o] * scale + affine->bias[c];
			n->bn_deviation[o] *= fabsf(scale);
		}
	}
	drop_into_source(f, affine, n);
	return 0;
}

/* What normalisation by @gamma and @beta makes of anything. */
static int record_statistics(struct net_node *n, const float *gamma, const float *beta)
{
	free(n->bn_mean);
	free(n->bn_deviation);
	n->bn_mean = calloc(n->outputs, sizeof *n->bn_mean);
	n->bn_deviation = calloc(n->outputs, sizeof *n->bn_deviation);
	if (!n->bn_mean || !n->bn_deviation)
		return -ENOMEM;
	for (uint32_t c = 0; c < n->outputs; c++) {
		n->bn_mean[c] = beta[c];
		n->bn_deviation[c] = fabsf(gamma[c]);
	}
	return 0;
}

static int fold_batch_norm(struct fold *f, struct net_node *n, struct error *reterr)
{
	struct net_node *source = only_source(f, n);
	_cleanup_free_ float *beta = n->bias, *gamma = n->weight;
	int r;

	n->weight = n->bias = NULL;
	r = to_affine(n, gamma, beta, reterr);
	if (r < 0 || !source || !has_weights(source) || source->outputs != n->outputs)
		return r;
	r = fold_backward(f, source, n);
	return r < 0 ? r : record_statistics(source, gamma, beta);
}

/* Element @i of @elements under an affine of one or more channels */
static size_t channel_of(const struct net_node *affine, size_t i, size_t elements)
{
	return i / (elements / affine->outputs);
}

static int fold_into_linear(struct fold *f, struct net_node *affine, struct net_node *linear)
{
	size_t row = row_length(f, linear);
	int r = need_bias(linear);

	if (r < 0)
		return r;
	for (uint32_t o = 0; o < linear->outputs; o++)
		for (size_t i = 0; i < row; i++) {
			size_t c = channel_of(affine, i, row);

			linear->bias[o] += linear->weight[o * row + i] * affine->bias[c];
			linear->weight[o * row + i] *= affine->weight[c];
		}
	return 0;
}

static int fold_into_convolution(struct fold *f, struct net_node *affine, struct net_node *conv)
{
	size_t row = row_length(f, conv), taps = (size_t) conv->kernel[0] * conv->kernel[1];
	size_t per_group = conv->outputs / conv->groups;
	int r = need_bias(conv);

	if (r < 0)
		return r;
	for (uint32_t o = 0; o < conv->outputs; o++)
		for (size_t i = 0; i < row; i++) {
			size_t channel = o / per_group * (row / taps) + i / taps;
			size_t c = affine->outputs == 1 ? 0 : channel;

			conv->bias[o] += conv->weight[o * row + i] * affine->bias[c];
			conv->weight[o * row + i] *= affine->weight[c];
		}
	return 0;
}

/* Padding is zero after the shift; a shift moved behind it would reach into the padding. */
static bool exact_before(const struct net_node *affine, const struct net_node *conv)
{
	bool shifts = false;

	for (uint32_t c = 0; c < affine->outputs; c++)
		shifts |= affine->bias[c] != 0;
	return !shifts || !(conv->pads[0] | conv->pads[1] | conv->pads[2] | conv->pads[3]);
}

static int fold_into_affine(struct net_node *first, struct net_node *second)
{
	uint32_t n = MAX_OF(first->outputs, second->outputs);
	float *scale = calloc(n, sizeof *scale), *shift = calloc(n, sizeof *shift);

	if (!scale || !shift) {
		free(scale);
		free(shift);
		return -ENOMEM;
	}
	for (uint32_t c = 0; c < n; c++) {
		uint32_t a = first->outputs == 1 ? 0 : c, b = second->outputs == 1 ? 0 : c;

		scale[c] = first->weight[a] * second->weight[b];
		shift[c] = first->bias[a] * second->weight[b] + second->bias[b];
	}
	free(second->weight);
	free(second->bias);
	second->weight = scale;
	second->bias = shift;
	second->outputs = n;
	return 0;
}

static int fold_forward(struct fold *f, struct net_node *affine)
{
	struct net_node *user = only_user(f, affine), *target = user;
	int r = 0;

	while (target && target->kind == NET_RESHAPE)
		target = only_user(f, target);
	if (!target)
		return 0;
	if (target->kind == NET_LINEAR)
		r = fold_into_linear(f, affine, target);
	else if (target == user && user->kind == NET_CONVOLUTION && exact_before(affine, user))
		r = fold_into_convolution(f, affine, user);
	else if (target == user && user->kind == NET_AFFINE)
		r = fold_into_affine(affine, user);
	else
		return 0;
	if (r >= 0)
		drop_into_user(f, affine, user);
	return r;
}

static int fold_affine(struct fold *f, struct net_node *n)
{
	struct net_node *source = only_source(f, n);

	if (source && has_weights(source) && (n->outputs == 1 || n->outputs == source->outputs))
		return fold_backward(f, source, n);
	return fold_forward(f, n);
}

static void fold_pad(struct fold *f, struct net_node *n)
{
	struct net_node *user = only_user(f, n);

	/* Of three dimensions, pads of the first stay. */
	if (!user || user->kind != NET_CONVOLUTION || n->pads[0] || n->pads[3])
		return;
	for (unsigned d = 0; d < 2; d++) {
		user->pads[d] += n->pads[1 + d];
		user->pads[2 + d] += n->pads[4 + d];
	}
	drop_into_user(f, n, user);
}

/* Images that come as HWC and are turned first: the net takes CHW, the caller turns them. */
static bool fold_input(struct fold *f, struct net_node *n)
{
	const struct net *net = f->net;

	if (n->inputs[0] != net->input || f->uses[net->input] != 1 ||
		net->values[n->output].shape.n != 3 || n->perm[0] != 2 || n->perm[1] != 0)
		return false;
	f->net->input = n->output;
	f->net->input_hwc = true;
	f->maker[n->output] = NONE;
	n->kind = _NET_KIND_MAX;
	return true;
}

/* Where each column of a row goes when the elements before it are no longer moved. */
static int move_columns(struct fold *f, const struct net_node *transpose, struct net_node *linear)
{
	const struct net_shape *in = &f->net->values[transpose->inputs[0]].shape;
	const struct net_shape *out = &f->net->values[transpose->output].shape;
	size_t row = row_length(f, linear), strides[NET_DIMS_MAX], stride = 1;
	_cleanup_free_ float *old = reallocarray(NULL, row, sizeof *old);
	_cleanup_free_ size_t *from = reallocarray(NULL, row, sizeof *from);

	if (!old || !from)
		return -ENOMEM;
	for (uint32_t d = in->n; d-- > 0; stride *= in->dims[d])
		strides[d] = stride;
	for (size_t i = 0; i < row; i++) {
		size_t rest = i;

		from[i] = 0;
		for (uint32_t d = out->n; d-- > 0; rest /= out->dims[d])
			from[i] += rest % out->dims[d] * strides[transpose->perm[d]];
	}
	for (uint32_t o = 0; o < linear->outputs; o++) {
		memcpy(old, linear->weight + o * row, row * sizeof *old);
		for (size_t i = 0; i < row; i++)
			linear->weight[o * row + from[i]] = old[i];
	}
	return 0;
}

static int fold_transpose(struct fold *f, struct net_node *n)
{
	struct net_node *user = only_user(f, n), *target = user;
	int r;

	if (fold_input(f, n))
		return 0;
	while (target && target->kind == NET_RESHAPE)
		target = only_user(f, target);
	if (!target || target->kind != NET_LINEAR)
		return 0;
	r = move_columns(f, n, target);
	if (r >= 0)
		drop_into_user(f, n, user);
	return r;
}

static int fold_node(struct fold *f, struct net_node *n, struct error *reterr)
{
	struct net_node *user;

	switch (n->kind) {
	case NET_BATCH_NORM:
		return fold_batch_norm(f, n, reterr);
	case NET_PAD:
		fold_pad(f, n);
		return 0;
	case NET_TRANSPOSE:
		return fold_transpose(f, n);
	case NET_RESHAPE:
		user = only_user(f, n);
		if (user && user->kind == NET_RESHAPE)
			drop_into_user(f, n, user);
		return 0;
	case NET_INPUT:
	case NET_CONVOLUTION:
	case NET_LINEAR:
	case NET_CLIP:
	case NET_ADD:
	case NET_AFFINE:
	case NET_MAX_POOL:
	case NET_AVERAGE_POOL:
	case NET_CONCAT:
	case NET_SLICE:
	case NET_SIGMOID:
	case NET_SOFTMAX:
	case _NET_KIND_MAX:
		break;
	}
	return 0;
}

static int fold_nodes(struct fold *f, struct error *reterr)
{
	int r = 0;

	for (uint32_t i = 0; i < f->net->n_nodes && r >= 0; i++)
		r = fold_node(f, &f->net->nodes[i], reterr);
	for (uint32_t i = 0; i < f->net->n_nodes && r >= 0; i++)
		if (f->net->nodes[i].kind == NET_AFFINE)
			r = fold_affine(f, &f->net->nodes[i]);
	return r;
}

/* Nodes that the output does not need are freed, the others move up. */
static void sweep_nodes(struct net *n, bool *needed)
{
	uint32_t kept = 0;

	needed[n->input] = needed[n->output] = true;
	for (uint32_t i = n->n_nodes; i-- > 0;) {
		struct net_node *node = &n->nodes[i];

		if (node->kind == _NET_KIND_MAX || !needed[node->output]) {
			node->kind = _NET_KIND_MAX;
			continue;
		}
		for (uint32_t k = 0; k < node->n_inputs; k++)
			needed[node->inputs[k]] = true;
	}
	for (uint32_t i = 0; i < n->n_nodes; i++) {
		if (n->nodes[i].kind == _NET_KIND_MAX)
			net_node_done(&n->nodes[i]);
		else
			n->nodes[kept++] = n->nodes[i];
	}
	n->n_nodes = kept;
}

static void sweep_values(struct net *n, const bool *needed, uint32_t *place)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < n->n_values; i++) {
		if (!needed[i]) {
			free(n->values[i].name);
			continue;
		}
		place[i] = kept;
		n->values[kept++] = n->values[i];
	}
	n->n_values = kept;
	n->input = place[n->input];
	n->output = place[n->output];
	for (uint32_t i = 0; i < n->n_nodes; i++) {
		n->nodes[i].output = place[n->nodes[i].output];
		for (uint32_t k = 0; k < n->nodes[i].n_inputs; k++)
			n->nodes[i].inputs[k] = place[n->nodes[i].inputs[k]];
	}
}

static int sweep(struct net *n)
{
	_cleanup_free_ bool *needed = calloc(n->n_values, sizeof *needed);
	_cleanup_free_ uint32_t *place = calloc(n->n_values, sizeof *place);

	if (!needed || !place)
		return -ENOMEM;
	sweep_nodes(n, needed);
	sweep_values(n, needed, place);
	return 0;
}

static bool all_finite(const float *f, size_t n)
{
	for (size_t i = 0; f && i < n; i++)
		if (!isfinite(f[i]))
			return false;
	return true;
}

static int check_weights(struct fold *f, struct error *reterr)
{
	for (uint32_t i = 0; i < f->net->n_nodes; i++) {
		const struct net_node *n = &f->net->nodes[i];
		size_t row = has_weights(n) ? row_length(f, n) : 1;

		if (!all_finite(n->weight, n->outputs * row) || !all_finite(n->bias, n->outputs))
			return error_set(reterr, -EBADMSG, "%s: weights that are not finite", n->name);
	}
	return 0;
}

int fold_net(struct net *n, struct error *reterr)
{
	struct fold f = {.net = n};
	int r;

	/* Dead ends first: their reads would count as uses. */
	r = sweep(n);
	if (r >= 0)
		r = index_net(&f);
	if (r >= 0)
		r = fold_nodes(&f, reterr);
	free(f.uses);
	if (r >= 0)
		r = sweep(n);
	return r < 0 ? r : check_weights(&f, reterr);
}
