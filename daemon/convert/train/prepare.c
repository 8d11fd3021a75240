/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/prepare.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/train/loader.h"

#define EPSILON 1e-5f

static bool is_matrix(const struct net_node *n)
{
	return n->kind == NET_CONVOLUTION || n->kind == NET_LINEAR;
}

static size_t row_length(const struct net *net, const struct net_node *n)
{
	const struct net_shape *in = &net->values[n->inputs[0]].shape;

	if (n->kind == NET_LINEAR)
		return in->dims[in->n - 1];
	return (size_t) in->dims[0] / n->groups * n->kernel[0] * n->kernel[1];
}

size_t prepare_weights(const struct net *net, const struct net_node *n)
{
	return n->outputs * row_length(net, n);
}

static float *copy(const float *from, size_t n)
{
	float *ret = from ? malloc(n * sizeof *ret) : NULL;

	return ret ? memcpy(ret, from, n * sizeof *ret) : NULL;
}

/* A folded net has no BATCH_NORM; AFFINE has one weight for each output, matrices a row. */
static int copy_node(struct net *to, const struct net *from, const struct net_node *n)
{
	int i = net_add_node(to, n->kind, n->name);
	struct net_node *c = i < 0 ? NULL : &to->nodes[i];
	size_t row = is_matrix(n) ? row_length(from, n) : 1;
	char *name;

	if (!c)
		return i;
	name = c->name;
	*c = *n;
	c->name = name;
	c->mean = c->variance = c->bn_mean = c->bn_deviation = NULL;
	c->weight = copy(n->weight, n->outputs * row);
	c->bias = copy(n->bias, n->outputs);
	return (n->weight && !c->weight) || (n->bias && !c->bias) ? -ENOMEM : i;
}

static int copy_net(struct net **ret, const struct net *from)
{
	_cleanup_(net_freep) struct net *n = net_new(from->name);
	int r = n ? 0 : -ENOMEM;

	for (uint32_t i = 0; r >= 0 && i < from->n_values; i++)
		r = net_add_value(n, from->values[i].name, &from->values[i].shape);
	if (r < 0)
		return r;
	n->input = from->input;
	n->output = from->output;
	n->input_hwc = from->input_hwc;
	memcpy(n->source_hash, from->source_hash, sizeof n->source_hash);
	*ret = take_ptr(n);
	return 0;
}

/* Rows of unit length; what they were goes into @scale. */
static void unit_rows(struct net_node *n, size_t row, float *scale)
{
	for (uint32_t o = 0; o < n->outputs; o++) {
		float *w = n->weight + o * row;
		double square = 0;

		for (size_t i = 0; i < row; i++)
			square += (double) w[i] * w[i];
		scale[o] = square > 0 ? (float) sqrt(square) : 1;
		for (size_t i = 0; i < row; i++)
			w[i] /= scale[o];
	}
}

static int add_norm(struct net *n, uint32_t conv)
{
	const struct net_node *before = &n->nodes[conv];
	uint32_t channels = before->outputs, output = before->output;
	struct net_shape shape = n->values[output].shape;
	int value = net_add_value(n, "", &shape), node;
	struct net_node *norm;

	node = value < 0 ? value : net_add_node(n, NET_BATCH_NORM, before->name);
	if (node < 0)
		return node;
	norm = &n->nodes[node];
	norm->outputs = channels;
	norm->inputs[norm->n_inputs++] = n->nodes[conv].output = (uint32_t) value;
	norm->output = output;
	norm->epsilon = EPSILON;
	norm->weight = malloc(channels * sizeof(float));
	norm->bias = n->nodes[conv].bias ?: calloc(channels, sizeof(float));
	norm->mean = calloc(channels, sizeof(float));
	norm->variance = malloc(channels * sizeof(float));
	n->nodes[conv].bias = NULL;
	if (!norm->weight || !norm->bias || !norm->mean || !norm->variance)
		return -ENOMEM;
	unit_rows(&n->nodes[conv], row_length(n, &n->nodes[conv]), norm->weight);
	for (uint32_t c = 0; c < channels; c++)
		norm->variance[c] = 1 - EPSILON;
	return 0;
}

static bool is_depthwise(const struct net *net, const struct net_node *n)
{
	return n->kind == NET_CONVOLUTION && n->groups > 1 && n->groups == n->outputs &&
		n->groups == net->values[n->inputs[0]].shape.dims[0];
}

void prepare_fixed(const struct net *net, uint32_t edge_planes, bool *fixed)
{
	uint32_t first = UINT32_MAX, last = 0;
	uint64_t all = 0, depthwise = 0;

	for (uint32_t i = 0; i < net->n_nodes; i++) {
		const struct net_node *n = &net->nodes[i];

		fixed[i] = false;
		if (!is_matrix(n))
			continue;
		first = MIN_OF(first, i);
		last = i;
		all += prepare_weights(net, n);
		depthwise += is_depthwise(net, n) ? prepare_weights(net, n) : 0;
	}
	for (uint32_t i = first; i <= last && edge_planes; i++) {
		bool edge = i == first || i == last;
		uint64_t size = is_matrix(&net->nodes[i]) ? prepare_weights(net, &net->nodes[i]) : UINT64_MAX;

		fixed[i] = (edge && size <= all / 20) || (is_depthwise(net, &net->nodes[i]) && depthwise <= all / 5);
	}
}

/* Whether a ReLU made it, maybe with pools and moves behind it. */
static bool is_positive(const struct net *n, uint32_t value)
{
	for (uint32_t i = n->n_nodes; i-- > 0;) {
		const struct net_node *node = &n->nodes[i];

		if (node->output != value)
			continue;
		if (node->kind == NET_CLIP || node->kind == NET_SIGMOID)
			return node->kind == NET_SIGMOID || node->low >= 0;
		if (node->kind != NET_MAX_POOL && node->kind != NET_AVERAGE_POOL && node->kind != NET_RESHAPE)
			return false;
		value = node->inputs[0];
	}
	return false;
}

/* One clip for all matrices that read value @from. */
static int round_value(struct net *n, uint32_t from, uint32_t bits, uint32_t *rounded)
{
	struct net_shape shape = n->values[from].shape;
	int value, node;

	if (rounded[from])
		return 0;
	value = net_add_value(n, "", &shape);
	node = value < 0 ? value : net_add_node(n, NET_CLIP, "rounding");
	if (node < 0)
		return node;
	n->nodes[node].inputs[n->nodes[node].n_inputs++] = from;
	n->nodes[node].output = rounded[from] = (uint32_t) value;
	n->nodes[node].low = 0;
	n->nodes[node].bits = bits;
	return 0;
}

int prepare_rounding(struct net **ret, const struct net *folded, uint32_t bits, uint32_t edge_planes)
{
	_cleanup_free_ bool *fixed = calloc(folded->n_nodes + 1, sizeof *fixed);
	_cleanup_free_ uint32_t *rounded = calloc(folded->n_values, sizeof *rounded);
	_cleanup_(net_freep) struct net *n = NULL;
	int r = fixed && rounded ? copy_net(&n, folded) : -ENOMEM;

	if (r < 0)
		return r;
	prepare_fixed(folded, edge_planes, fixed);
	for (uint32_t i = 0; r >= 0 && i < folded->n_nodes; i++) {
		const struct net_node *node = &folded->nodes[i];
		bool rounds = bits && is_matrix(node) && !fixed[i] && is_positive(folded, node->inputs[0]);

		if (rounds)
			r = round_value(n, node->inputs[0], bits, rounded);
		if (r >= 0)
			r = copy_node(n, folded, node);
		if (r >= 0 && rounds)
			n->nodes[r].inputs[0] = rounded[node->inputs[0]];
	}
	if (r < 0)
		return r;
	*ret = take_ptr(n);
	return 0;
}

static uint32_t last_matrix(const struct net *n)
{
	uint32_t last = UINT32_MAX;

	for (uint32_t i = 0; i < n->n_nodes; i++)
		if (is_matrix(&n->nodes[i]))
			last = i;
	return last;
}

int prepare_net(struct net **ret, const struct net *folded)
{
	_cleanup_(net_freep) struct net *n = NULL;
	uint32_t last = last_matrix(folded);
	int r = copy_net(&n, folded);

	for (uint32_t i = 0; r >= 0 && i < folded->n_nodes; i++) {
		r = copy_node(n, folded, &folded->nodes[i]);
		if (r >= 0 && folded->nodes[i].kind == NET_CONVOLUTION && i != last)
			r = add_norm(n, (uint32_t) r);
	}
	if (r < 0)
		return r;
	*ret = take_ptr(n);
	return 0;
}

/* Sum of twelve uniform numbers less six: deviation 1. */
static float draw_normal(uint64_t key, uint64_t i)
{
	double sum = -6;

	for (uint64_t k = 0; k < 12; k++)
		sum += (double) (draw_u64(key, 12 * i + k) >> 11) / 9007199254740992.0;
	return (float) sum;
}

void prepare_random(struct net *net, uint64_t seed)
{
	for (uint32_t i = 0; i < net->n_nodes; i++) {
		struct net_node *n = &net->nodes[i];
		size_t row = is_matrix(n) ? row_length(net, n) : 0, all = n->outputs * row;
		uint64_t key = draw_u64(seed, i);

		for (size_t k = 0; k < all; k++)
			n->weight[k] = draw_normal(key, k) * sqrtf(2 / (float) row);
		if (row && n->bias)
			memset(n->bias, 0, n->outputs * sizeof *n->bias);
		for (uint32_t c = 0; n->kind == NET_BATCH_NORM && c < n->outputs; c++) {
			n->weight[c] = 1;
			n->bias[c] = 0;
		}
	}
}

static const struct train_norm *norm_of(const struct train_graph *g, uint32_t matrix)
{
	for (uint32_t i = 0; i < g->n_norms; i++)
		if (g->norms[i].matrix == matrix)
			return &g->norms[i];
	return NULL;
}

void prepare_gain(const struct train_graph *g, uint32_t matrix, uint32_t set, float *gain, float *bias)
{
	const struct train_matrix *m = &g->matrices[matrix];
	const struct train_norm *n = norm_of(g, matrix);
	uint32_t sets = n ? n->sets : m->sets;
	size_t at = MIN_OF(set, sets - 1);

	for (uint32_t o = 0; o < m->rows; o++) {
		float b = m->bias ? m->bias[(m->sets > 1 ? at : 0) * m->rows + o] : 0;

		gain[o] = 1;
		bias[o] = b;
		if (!n)
			continue;
		gain[o] = n->scale_shift[2 * at * n->channels + o] /
			sqrtf(n->variance[at * n->channels + o] + n->epsilon);
		bias[o] = n->scale_shift[(2 * at + 1) * n->channels + o] +
			gain[o] * (b - n->mean[at * n->channels + o]);
	}
}

static int fold_matrix(struct net_node *to, const struct train_graph *g, uint32_t matrix, uint32_t set)
{
	const struct train_matrix *m = &g->matrices[matrix];
	_cleanup_free_ float *gain = malloc(m->rows * sizeof *gain);

	if (!to->bias)
		to->bias = malloc(m->rows * sizeof *to->bias);
	if (!gain || !to->bias)
		return -ENOMEM;
	prepare_gain(g, matrix, set, gain, to->bias);
	for (size_t i = 0; i < (size_t) m->rows * m->columns; i++)
		to->weight[i] = m->hat[i] * gain[i / m->columns];
	return 0;
}

int prepare_fold(struct net **ret, const struct net *folded, const struct train_graph *g, uint32_t set)
{
	_cleanup_(net_freep) struct net *n = NULL;
	uint32_t matrix = 0, round = 0;
	int r = copy_net(&n, folded);

	for (uint32_t i = 0; r >= 0 && i < folded->n_nodes; i++)
		r = copy_node(n, folded, &folded->nodes[i]);
	for (uint32_t i = 0; r >= 0 && i < n->n_nodes; i++) {
		if (is_matrix(&n->nodes[i]))
			r = fold_matrix(&n->nodes[i], g, matrix++, set);
		if (n->nodes[i].bits)
			n->nodes[i].high = g->rounds[round++].step * (float) ((1u << n->nodes[i].bits) - 1);
	}
	if (r < 0)
		return r;
	*ret = take_ptr(n);
	return 0;
}
