/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/transform.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "convert/quantize/eigen.h"

#define BLOCKS 4
#define BLOCK_ROWS_MIN 8
#define DAMPING 1e-6

static const char *const names[] = {[TRANSFORM_KLT] = "klt", [TRANSFORM_ELT] = "elt"};

enum transform_kind transform_find(const char *name)
{
	for (enum transform_kind k = TRANSFORM_KLT; k <= TRANSFORM_ELT; k++)
		if (strcmp(names[k], name) == 0)
			return k;
	return TRANSFORM_NONE;
}

const char *transform_name(enum transform_kind kind)
{
	return names[kind];
}

static uint32_t columns_of(const struct net *net, const struct net_node *n)
{
	return net->values[n->inputs[0]].shape.dims[0] / n->groups * n->kernel[0] * n->kernel[1];
}

static bool is_matrix(const struct net_node *n)
{
	return n->kind == NET_CONVOLUTION || n->kind == NET_LINEAR;
}

bool transform_serves(const struct net *net, uint32_t node)
{
	const struct net_node *n = &net->nodes[node];
	bool before = false, after = false;

	for (uint32_t i = 0; i < net->n_nodes; i++) {
		before |= i < node && is_matrix(&net->nodes[i]);
		after |= i > node && is_matrix(&net->nodes[i]);
	}
	return before && after && n->kind == NET_CONVOLUTION && n->groups == 1 && n->outputs >= 2 * BLOCK_ROWS_MIN &&
		n->outputs * 4 <= columns_of(net, n);
}

/**
 * struct split - one convolution on its way
 * @t: [n][columns], rows of length 1; @s: [n][n], row-major, column k goes with row k of @t
 * @lambda: [n], falling; @kept: rows that stay
 */
struct split {
	uint32_t n, columns, kept;
	double *t, *s, *lambda, *u, *l, *c;
};

static void split_done(struct split *p)
{
	free(p->t);
	free(p->s);
	free(p->lambda);
	free(p->u);
	free(p->l);
	free(p->c);
}

static int split_init(struct split *p, uint32_t n, uint32_t columns)
{
	size_t square = (size_t) n * n;

	p->n = n;
	p->columns = columns;
	p->t = malloc((size_t) n * columns * sizeof *p->t);
	p->s = malloc(square * sizeof *p->s);
	p->u = malloc(square * sizeof *p->u);
	p->l = malloc(square * sizeof *p->l);
	p->c = malloc(square * sizeof *p->c);
	p->lambda = malloc(n * sizeof *p->lambda);
	return p->t && p->s && p->u && p->l && p->c && p->lambda ? 0 : -ENOMEM;
}

/* p->l: the factor of G, the identity without one or where it is degenerate. */
static void make_factor(struct split *p, const double *gradient)
{
	size_t n = p->n;
	double trace = 0;

	for (size_t i = 0; gradient && i < n; i++)
		trace += gradient[i * n + i];
	if (gradient && trace > 0) {
		memcpy(p->l, gradient, n * n * sizeof *p->l);
		for (size_t i = 0; i < n; i++)
			p->l[i * n + i] += DAMPING * trace / (double) n;
		if (eigen_cholesky(p->l, p->n))
			return;
	}
	memset(p->l, 0, n * n * sizeof *p->l);
	for (size_t i = 0; i < n; i++)
		p->l[i * n + i] = 1;
}

/* p->c = L^T W W^T L / columns; p->t holds L^T W meanwhile. */
static void make_covariance(struct split *p, const float *weight)
{
	size_t n = p->n, columns = p->columns;

	memset(p->t, 0, n * columns * sizeof *p->t);
	for (size_t k = 0; k < n; k++)
		for (size_t i = 0; i <= k; i++)
			for (size_t t = 0; t < columns; t++)
				p->t[i * columns + t] += p->l[k * n + i] * (double) weight[k * columns + t];
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j <= i; j++) {
			double sum = 0;

			for (size_t t = 0; t < columns; t++)
				sum += p->t[i * columns + t] * p->t[j * columns + t];
			p->c[i * n + j] = p->c[j * n + i] = sum / (double) columns;
		}
}

/* Column k of S solves L^T x = V_k. */
static void make_basis(struct split *p, uint32_t k)
{
	size_t n = p->n;
	const double *v = p->u + (size_t) k * n;

	for (size_t i = n; i-- > 0;) {
		double x = v[i];

		for (size_t j = i + 1; j < n; j++)
			x -= p->l[j * n + i] * p->s[j * n + k];
		p->s[i * n + k] = x / p->l[i * n + i];
	}
}

/* T = V^T L^T W, then rows of length 1 and what they had in S. */
static void make_factors(struct split *p)
{
	size_t n = p->n, columns = p->columns;
	double *row = p->c; /* of L^T W: done with; @t is overwritten a column at a time */

	for (uint32_t k = 0; k < n; k++)
		make_basis(p, k);
	for (size_t t = 0; t < columns; t++) {
		for (size_t i = 0; i < n; i++)
			row[i] = p->t[i * columns + t];
		for (size_t k = 0; k < n; k++) {
			double sum = 0;

			for (size_t i = 0; i < n; i++)
				sum += p->u[k * n + i] * row[i];
			p->t[k * columns + t] = sum;
		}
	}
	for (size_t k = 0; k < n; k++) {
		double length = sqrt(fmax(p->lambda[k], 0) * (double) columns);

		for (size_t t = 0; length > 0 && t < columns; t++)
			p->t[k * columns + t] /= length;
		for (size_t i = 0; i < n; i++)
			p->s[i * n + k] *= length;
	}
}

/* Bits per row when the water stands at the energy of row @kept: what those above it need. */
static double rate_of(const struct split *p, uint32_t kept)
{
	double bits = 0;

	for (uint32_t k = 0; k < kept; k++)
		bits += 0.5 * log2(p->lambda[k] / p->lambda[kept]);
	return bits / p->n;
}

/*
 * How many rows are worth a bit at @bits each on average. At one plane for each row that stays, the file must not
 * grow beyond that either.
 */
static uint32_t rows_worth(const struct split *p, double bits)
{
	double all = bits * p->n * p->columns;
	uint32_t kept = BLOCK_ROWS_MIN;

	if (bits <= 0)
		return p->n;
	while (kept < p->n && p->lambda[kept] > 0 && rate_of(p, kept) < bits &&
		(double) (kept + 1) * (p->columns + p->n) <= all)
		kept++;
	return kept;
}

static int add_value(struct net *net, const char *name, const struct net_shape *like, uint32_t channels)
{
	struct net_shape s = *like;

	s.dims[0] = channels;
	return net_add_value(net, name, &s);
}

/* Rows @first .. @end - 1 of T. Return: its output value */
static int add_block(struct net *net, const struct net_node *old, const struct split *p, uint32_t first,
	uint32_t end)
{
	size_t n = (size_t) (end - first) * p->columns;
	char name[256];
	struct net_node *node;
	int value, at;

	(void) snprintf(name, sizeof name, "%s.rows%u", old->name, first);
	value = add_value(net, name, &net->values[old->output].shape, end - first);
	at = value < 0 ? value : net_add_node(net, NET_CONVOLUTION, name);
	if (at < 0)
		return at;
	node = &net->nodes[at];
	node->inputs[0] = old->inputs[0];
	node->n_inputs = 1;
	node->output = (uint32_t) value;
	node->outputs = end - first;
	memcpy(node->kernel, old->kernel, sizeof node->kernel);
	memcpy(node->stride, old->stride, sizeof node->stride);
	memcpy(node->dilation, old->dilation, sizeof node->dilation);
	memcpy(node->pads, old->pads, sizeof node->pads);
	node->weight = malloc(n * sizeof *node->weight);
	node->bias = calloc(end - first, sizeof *node->bias);
	if (!node->weight || !node->bias)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		node->weight[i] = (float) p->t[(size_t) first * p->columns + i];
	return value;
}

/* All blocks side by side. Return: the value */
static int add_blocks(struct net *net, const struct net_node *old, const struct split *p)
{
	uint32_t blocks = MIN_OF((uint32_t) BLOCKS, MAX_OF(p->kept / BLOCK_ROWS_MIN, 1u)), inputs[BLOCKS];
	int value = 0, at;

	for (uint32_t b = 0; b < blocks; b++) {
		value = add_block(net, old, p, p->kept * b / blocks, p->kept * (b + 1) / blocks);
		if (value < 0)
			return value;
		inputs[b] = (uint32_t) value;
	}
	if (blocks == 1)
		return value;
	value = add_value(net, old->name, &net->values[old->output].shape, p->kept);
	at = value < 0 ? value : net_add_node(net, NET_CONCAT, old->name);
	if (at < 0)
		return at;
	memcpy(net->nodes[at].inputs, inputs, blocks * sizeof *inputs);
	net->nodes[at].n_inputs = blocks;
	net->nodes[at].output = (uint32_t) value;
	return value;
}

/* S takes over bias, statistics and output of @old. */
static int add_basis(struct net *net, struct net_node *old, const struct split *p, uint32_t input)
{
	struct net_node *node;
	char name[256];
	int at;

	(void) snprintf(name, sizeof name, "%s.basis", old->name);
	at = net_add_node(net, NET_CONVOLUTION, name);
	if (at < 0)
		return at;
	node = &net->nodes[at];
	node->inputs[0] = input;
	node->n_inputs = 1;
	node->output = old->output;
	node->outputs = p->n;
	node->bias = take_ptr(old->bias);
	node->bn_mean = take_ptr(old->bn_mean);
	node->bn_deviation = take_ptr(old->bn_deviation);
	node->weight = malloc((size_t) p->n * p->kept * sizeof *node->weight);
	if (!node->weight)
		return -ENOMEM;
	for (size_t i = 0; i < p->n; i++)
		for (size_t k = 0; k < p->kept; k++)
			node->weight[i * p->kept + k] = (float) p->s[i * p->n + k];
	return 0;
}

static int split_node(struct net *net, struct net_node *old, const double *gradient, double bits)
{
	_cleanup_(split_done) struct split p = {};
	int r = split_init(&p, old->outputs, columns_of(net, old));

	if (r < 0)
		return r;
	make_factor(&p, gradient);
	make_covariance(&p, old->weight);
	eigen_symmetric(p.c, p.lambda, p.u, p.n);
	make_factors(&p);
	p.kept = rows_worth(&p, bits);
	r = add_blocks(net, old, &p);
	return r < 0 ? r : add_basis(net, old, &p, (uint32_t) r);
}

/* As it is. */
static int move_node(struct net *net, struct net_node *old)
{
	int at = net_add_node(net, old->kind, "");

	if (at < 0)
		return at;
	net_node_done(&net->nodes[at]);
	net->nodes[at] = *old;
	*old = (struct net_node){};
	return 0;
}

int transform_net(struct net *net, double *const *gradients, double bits)
{
	_cleanup_free_ bool *wanted = calloc((size_t) net->n_nodes + 1, sizeof *wanted);
	struct net_node *old = net->nodes;
	uint32_t n = net->n_nodes;
	int r = wanted ? 0 : -ENOMEM, split = 0;

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n; i++)
		wanted[i] = transform_serves(net, i);
	net->nodes = NULL;
	net->n_nodes = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (r >= 0)
			r = wanted[i] ? split_node(net, &old[i], gradients ? gradients[i] : NULL, bits)
				      : move_node(net, &old[i]);
		split += r >= 0 && wanted[i];
		net_node_done(&old[i]);
	}
	free(old);
	return r < 0 ? r : split;
}
