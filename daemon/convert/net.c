/* SPDX-License-Identifier: Apache-2.0 */
/* Building and freeing nets; the arrays grow to the next power of two. */
#include "convert/net.h"

#include <errno.h>
#include <math.h>
#include <string.h>

struct net *net_new(const char *name)
{
	struct net *n = calloc(1, sizeof *n);

	if (!n)
		return NULL;
	n->name = strdup(name);
	return n->name ? n : net_free(n);
}

void net_node_done(struct net_node *node)
{
	free(node->name);
	free(node->weight);
	free(node->bias);
	free(node->mean);
	free(node->variance);
	free(node->bn_mean);
	free(node->bn_deviation);
	free(node->kept);
	memset(node, 0, sizeof *node);
}

struct net *net_free(struct net *n)
{
	if (!n)
		return NULL;
	for (uint32_t i = 0; i < n->n_nodes; i++)
		net_node_done(&n->nodes[i]);
	for (uint32_t i = 0; i < n->n_values; i++)
		free(n->values[i].name);
	free(n->nodes);
	free(n->values);
	free(n->name);
	free(n);
	return NULL;
}

/* Makes room for one more: memory doubles whenever the count is a power of two. */
static void *grow(void *array, uint32_t n, size_t size)
{
	if (n & (n - 1))
		return array;
	return reallocarray(array, n ? 2 * (size_t) n : 1, size);
}

int net_add_value(struct net *n, const char *name, const struct net_shape *shape)
{
	struct net_value *values;
	char *copy;

	if (n->n_values >= INT32_MAX / 2)
		return -ENOMEM;
	values = grow(n->values, n->n_values, sizeof *values);
	if (!values)
		return -ENOMEM;
	n->values = values;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	values[n->n_values] = (struct net_value){.name = copy, .shape = *shape};
	return (int) n->n_values++;
}

int net_add_node(struct net *n, enum net_kind kind, const char *name)
{
	struct net_node *nodes;
	char *copy;

	if (n->n_nodes >= INT32_MAX / 2)
		return -ENOMEM;
	nodes = grow(n->nodes, n->n_nodes, sizeof *nodes);
	if (!nodes)
		return -ENOMEM;
	n->nodes = nodes;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	nodes[n->n_nodes] = (struct net_node){
		.kind = kind,
		.name = copy,
		.kernel = {1, 1},
		.stride = {1, 1},
		.dilation = {1, 1},
		.groups = 1,
		.low = -INFINITY,
		.high = INFINITY,
	};
	return (int) n->n_nodes++;
}

size_t net_elements(const struct net_shape *s)
{
	size_t elements = 1;

	for (uint32_t i = 0; i < s->n; i++)
		elements *= s->dims[i];
	return elements;
}

const char *net_kind_name(enum net_kind kind)
{
	static const char *const names[_NET_KIND_MAX] = {
		[NET_INPUT] = "input",
		[NET_CONVOLUTION] = "convolution",
		[NET_LINEAR] = "linear",
		[NET_BATCH_NORM] = "batch normalisation",
		[NET_CLIP] = "clip",
		[NET_ADD] = "add",
		[NET_AFFINE] = "affine",
		[NET_MAX_POOL] = "max pool",
		[NET_AVERAGE_POOL] = "average pool",
		[NET_CONCAT] = "concat",
		[NET_PAD] = "pad",
		[NET_SLICE] = "slice",
		[NET_RESHAPE] = "reshape",
		[NET_TRANSPOSE] = "transpose",
		[NET_SIGMOID] = "sigmoid",
		[NET_SOFTMAX] = "softmax",
	};

	return names[kind];
}

double net_weights(const struct net *net)
{
	double all = 0;

	for (uint32_t i = 0; i < net->n_nodes; i++) {
		const struct net_node *n = &net->nodes[i];
		const struct net_shape *s = &net->values[n->inputs[0]].shape;

		if (n->kind == NET_LINEAR)
			all += (double) n->outputs * s->dims[s->n - 1];
		else if (n->kind == NET_CONVOLUTION)
			all += (double) n->outputs * s->dims[0] / n->groups * n->kernel[0] * n->kernel[1];
	}
	return all;
}
