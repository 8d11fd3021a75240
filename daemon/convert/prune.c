/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/prune.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STAY_PART 4
#define STAY_LEAST 8

/**
 * struct channel - of a value that may lose it
 * @maker: the convolution; @index: its row
 * @score: what it is worth, for each of the weights that go with it
 */
struct channel {
	uint32_t maker, index;
	double score;
};

/**
 * struct prune
 * @value: [n_nodes], what readers of a convolution's output read, behind its clip; NONE: it keeps its channels
 * @maker: [n_values], the node that makes what readers read; NONE
 * @left: [n_nodes], rows that it has yet
 * @dropped: [n_nodes][outputs]
 */
struct prune {
	struct net *net;
	const struct calibration *c;
	uint32_t *value, *maker, *left;
	bool **dropped;
	struct channel *channels;
	size_t n_channels;
};

#define NONE UINT32_MAX

static void prune_done(struct prune *p)
{
	for (uint32_t i = 0; p->dropped && i < p->net->n_nodes; i++)
		free(p->dropped[i]);
	free(p->dropped);
	free(p->value);
	free(p->maker);
	free(p->left);
	free(p->channels);
}

static size_t taps(const struct net_node *n)
{
	return (size_t) n->kernel[0] * n->kernel[1];
}

static uint32_t inputs_of(const struct net *net, const struct net_node *n)
{
	return net->values[n->inputs[0]].shape.dims[0];
}

static bool is_plain(const struct net_node *n)
{
	return n->kind == NET_CONVOLUTION && n->groups == 1;
}

/* The only reader of @value, or NULL. */
static const struct net_node *only_reader(const struct net *net, uint32_t value)
{
	const struct net_node *found = NULL;

	for (uint32_t i = 0; i < net->n_nodes; i++)
		for (uint32_t k = 0; k < net->nodes[i].n_inputs; k++)
			if (net->nodes[i].inputs[k] == value) {
				if (found)
					return NULL;
				found = &net->nodes[i];
			}
	return found;
}

static bool read_by_convolutions(const struct net *net, uint32_t value)
{
	bool any = false;

	for (uint32_t i = 0; i < net->n_nodes; i++)
		for (uint32_t k = 0; k < net->nodes[i].n_inputs; k++)
			if (net->nodes[i].inputs[k] == value) {
				if (!is_plain(&net->nodes[i]))
					return false;
				any = true;
			}
	return any && value != net->output;
}

/* Which value of @node's could lose channels. */
static uint32_t find_value(const struct net *net, uint32_t node)
{
	const struct net_node *n = &net->nodes[node], *clip;
	uint32_t value = n->output;

	if (!is_plain(n) || value == net->output)
		return NONE;
	clip = only_reader(net, value);
	if (clip && clip->kind == NET_CLIP)
		value = clip->output;
	return read_by_convolutions(net, value) ? value : NONE;
}

/* Sum of squares of the weights that read channel @index of @value. */
static double read_energy(const struct net *net, uint32_t value, uint32_t index)
{
	double energy = 0;

	for (uint32_t i = 0; i < net->n_nodes; i++) {
		const struct net_node *n = &net->nodes[i];

		if (!is_plain(n) || n->inputs[0] != value)
			continue;
		for (uint32_t row = 0; row < n->outputs; row++) {
			const float *w = n->weight + ((size_t) row * inputs_of(net, n) + index) * taps(n);

			for (size_t t = 0; t < taps(n); t++)
				energy += (double) w[t] * (double) w[t];
		}
	}
	return energy;
}

/* That would go with a channel of @node now. */
static double weights_of(const struct prune *p, uint32_t node)
{
	const struct net *net = p->net;
	uint32_t before = p->maker[net->nodes[node].inputs[0]];
	double inputs = before == NONE ? inputs_of(net, &net->nodes[node]) : p->left[before];
	double weights = inputs * (double) taps(&net->nodes[node]);

	for (uint32_t i = 0; i < net->n_nodes; i++)
		if (is_plain(&net->nodes[i]) && net->nodes[i].inputs[0] == p->value[node])
			weights += (double) p->left[i] * (double) taps(&net->nodes[i]);
	return weights;
}

static void add_channels(struct prune *p, uint32_t node)
{
	const struct net_node *n = &p->net->nodes[node];
	struct channel *first = p->channels + p->n_channels;
	double all = 0, weights = weights_of(p, node);

	for (uint32_t k = 0; k < n->outputs; k++) {
		struct channel *to = &p->channels[p->n_channels++];
		double mean, deviation;

		*to = (struct channel){.maker = node, .index = k};
		calibration_channel(p->c, p->value[node], k, &mean, &deviation);
		to->score = deviation * deviation * read_energy(p->net, p->value[node], k);
		all += to->score;
	}
	for (uint32_t k = 0; k < n->outputs; k++)
		first[k].score = all > 0 ? first[k].score / all / weights : 0;
}

static int prune_init(struct prune *p)
{
	const struct net *net = p->net;
	size_t n = (size_t) net->n_nodes + 1, channels = 1;

	p->value = malloc(n * sizeof *p->value);
	p->maker = malloc(((size_t) net->n_values + 1) * sizeof *p->maker);
	p->left = calloc(n, sizeof *p->left);
	p->dropped = calloc(n, sizeof *p->dropped);
	if (!p->value || !p->maker || !p->left || !p->dropped)
		return -ENOMEM;
	memset(p->maker, 0xff, net->n_values * sizeof *p->maker);
	for (uint32_t i = 0; i < net->n_nodes; i++) {
		p->value[i] = find_value(net, i);
		if (p->value[i] != NONE)
			p->maker[p->value[i]] = i;
		p->left[i] = net->nodes[i].outputs;
		p->dropped[i] = calloc((size_t) net->nodes[i].outputs + 1, sizeof **p->dropped);
		if (!p->dropped[i])
			return -ENOMEM;
		channels += net->nodes[i].outputs;
	}
	p->channels = calloc(channels, sizeof *p->channels);
	if (!p->channels)
		return -ENOMEM;
	for (uint32_t i = 0; i < net->n_nodes; i++)
		if (p->value[i] != NONE)
			add_channels(p, i);
	return 0;
}

static int by_score(const void *a, const void *b)
{
	const struct channel *x = a, *y = b;

	if (x->score != y->score)
		return x->score < y->score ? -1 : 1;
	return x->maker != y->maker ? (x->maker < y->maker ? -1 : 1) : (x->index > y->index) - (x->index < y->index);
}

/* Kept channels of @dropped move down. @outer rows of @n channels of @each numbers */
static void compact(float *w, size_t outer, uint32_t n, size_t each, const bool *dropped)
{
	float *to = w;

	for (size_t i = 0; i < outer * n; i++)
		if (!dropped[i % n]) {
			memmove(to, w + i * each, each * sizeof *to);
			to += each;
		}
}

static int drop_rows(struct net_node *n, size_t columns, const bool *dropped)
{
	float *const numbers[] = {n->bias, n->bn_mean, n->bn_deviation};

	compact(n->weight, 1, n->outputs, columns, dropped);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (numbers[i])
			compact(numbers[i], 1, n->outputs, 1, dropped);
	n->kept = malloc(n->outputs * sizeof *n->kept);
	if (!n->kept)
		return -ENOMEM;
	for (uint32_t i = 0, k = 0; i < n->outputs; i++)
		if (!dropped[i])
			n->kept[k++] = i;
	return 0;
}

/* What a reader sees of the channels that go becomes a bias: exact but at the edges, where padding is zero. */
static int drop_columns(const struct prune *p, struct net_node *n, uint32_t value, const bool *dropped)
{
	uint32_t inputs = inputs_of(p->net, n);

	n->bias = n->bias ?: calloc(n->outputs, sizeof *n->bias);
	if (!n->bias)
		return -ENOMEM;
	for (uint32_t k = 0; k < inputs; k++) {
		double mean, deviation;

		if (!dropped[k])
			continue;
		calibration_channel(p->c, value, k, &mean, &deviation);
		for (size_t row = 0; row < n->outputs; row++)
			for (size_t t = 0; t < taps(n); t++)
				n->bias[row] += (float) mean * n->weight[(row * inputs + k) * taps(n) + t];
	}
	compact(n->weight, n->outputs, inputs, taps(n), dropped);
	return 0;
}

/* All that node @node made and loses. */
static int apply(struct prune *p, uint32_t node)
{
	struct net_node *n = &p->net->nodes[node];
	uint32_t value = p->value[node];
	int r = drop_rows(n, inputs_of(p->net, n) * taps(n), p->dropped[node]);

	for (uint32_t i = 0; r >= 0 && i < p->net->n_nodes; i++)
		if (is_plain(&p->net->nodes[i]) && p->net->nodes[i].inputs[0] == value)
			r = drop_columns(p, &p->net->nodes[i], value, p->dropped[node]);
	n->outputs = p->left[node];
	p->net->values[n->output].shape.dims[0] = n->outputs;
	p->net->values[value].shape.dims[0] = n->outputs;
	return r;
}

int prune_net(struct net *net, const struct calibration *c, double keep, struct error *reterr)
{
	_cleanup_(prune_done) struct prune p = {.net = net, .c = c};
	double left = net_weights(net), wanted = keep * left;
	int r = prune_init(&p);

	if (r < 0)
		return r;
	qsort(p.channels, p.n_channels, sizeof *p.channels, by_score);
	for (size_t i = 0; i < p.n_channels && left > wanted; i++) {
		const struct channel *k = &p.channels[i];
		uint32_t least = MAX_OF(net->nodes[k->maker].outputs / STAY_PART, (uint32_t) STAY_LEAST);

		if (p.left[k->maker] <= least)
			continue;
		left -= weights_of(&p, k->maker);
		p.dropped[k->maker][k->index] = true;
		p.left[k->maker]--;
	}
	for (uint32_t i = 0; r >= 0 && i < net->n_nodes; i++)
		if (p.value[i] != NONE && p.left[i] < net->nodes[i].outputs)
			r = apply(&p, i);
	if (r >= 0 && left > wanted)
		r = error_set(reterr, -ERANGE, "only %.0f %% of the weights can go without a plane",
			100 - 100 * left / (wanted / keep));
	return r;
}
