/* SPDX-License-Identifier: Apache-2.0 */
/* Scales of channels: who makes them, who reads them, how large. */
#include "convert/equalise.h"

#include <errno.h>
#include <math.h>

#include "base/cleanup.h"

#define READERS_MAX 64
#define ROUNDS 20
/* No channel counts as narrower than this part of the widest: other pictures may use it more. */
#define NARROWEST 0.01f
#define LOG_MOST 9.0f
/* How much of a measured range moves into the matrices that read it: their rounding errors are compensated
 * (calibrated_grid.c), those of values are not. Between two matrices it is half. */
#define MEASURED_SHARE 0.75f

/**
 * struct reader - a matrix that reads the channels of a value
 * @first: index of channel 0 in the first dimension of its input
 * @block: how many indices each channel has; more than one after flattening
 */
struct reader {
	struct net_node *node;
	int64_t first, block;
	uint32_t inputs;
};

/**
 * struct link - a matrix and all that its output reaches
 * @value: behind the clip
 * @steps: how many nodes were looked at: not more than READERS_MAX
 */
struct link {
	struct net *net;
	struct net_node *maker;
	uint32_t value, steps, n_readers;
	struct reader readers[READERS_MAX];
};

static bool follow(struct link *l, uint32_t value, int64_t first, int64_t block);

static bool is_matrix(const struct net_node *n)
{
	return n->kind == NET_CONVOLUTION || n->kind == NET_LINEAR;
}

static bool add_reader(struct link *l, struct net_node *n, int64_t first, int64_t block)
{
	const struct net_shape *s = &l->net->values[n->inputs[0]].shape;

	if (s->n != (n->kind == NET_LINEAR ? 1 : 3))
		return false;
	l->readers[l->n_readers++] = (struct reader){n, first, block, s->dims[0]};
	return true;
}

static bool follow_concat(struct link *l, const struct net_node *n, uint32_t input, int64_t first,
	int64_t block)
{
	if (n->axis != 0)
		return false;
	for (uint32_t i = 0; i < input; i++)
		first += l->net->values[n->inputs[i]].shape.dims[0];
	return follow(l, n->output, first, block);
}

/* Flattening multiplies the indices; other changes of the first dimension end the way. */
static bool follow_reshape(struct link *l, const struct net_node *n, int64_t first, int64_t block)
{
	const struct net_shape *from = &l->net->values[n->inputs[0]].shape;
	const struct net_shape *to = &l->net->values[n->output].shape;
	int64_t each = (int64_t) (net_elements(from) / from->dims[0]);

	if (to->dims[0] == from->dims[0])
		return follow(l, n->output, first, block);
	return to->n == 1 && follow(l, n->output, first * each, block * each);
}

/* A slice of rows and columns only. */
static bool is_whole(const struct net *net, const struct net_node *n)
{
	return net->values[n->inputs[0]].shape.dims[0] == net->values[n->output].shape.dims[0] &&
		n->step[0] == 1;
}

/* Input @input of node @n is what @first and @block tell of. */
static bool follow_node(struct link *l, struct net_node *n, uint32_t input, int64_t first, int64_t block)
{
	if (++l->steps >= READERS_MAX)
		return false;
	switch (n->kind) {
	case NET_CONVOLUTION:
	case NET_LINEAR:
		return add_reader(l, n, first, block);
	case NET_CLIP:
		return n->low == 0 && n->high == INFINITY && follow(l, n->output, first, block);
	case NET_MAX_POOL:
	case NET_AVERAGE_POOL:
		return follow(l, n->output, first, block);
	case NET_PAD:
		return follow(l, n->output, first + n->pads[0], block);
	case NET_SLICE:
		return is_whole(l->net, n) && follow(l, n->output, first, block);
	case NET_CONCAT:
		return follow_concat(l, n, input, first, block);
	case NET_RESHAPE:
		return follow_reshape(l, n, first, block);
	default:
		return false;
	}
}

/* Return: whether all that @value reaches can be scaled */
static bool follow(struct link *l, uint32_t value, int64_t first, int64_t block)
{
	if (value == l->net->output)
		return false;
	for (uint32_t i = 0; i < l->net->n_nodes; i++)
		for (uint32_t j = 0; j < l->net->nodes[i].n_inputs; j++)
			if (l->net->nodes[i].inputs[j] == value &&
				!follow_node(l, &l->net->nodes[i], j, first, block))
				return false;
	return true;
}

/* The ReLU that alone reads @value: what the network keeps in eight bits is what comes out of it. */
static bool find_relu(const struct net *net, uint32_t value, uint32_t *ret)
{
	uint32_t readers = 0;

	for (uint32_t i = 0; i < net->n_nodes; i++)
		for (uint32_t j = 0; j < net->nodes[i].n_inputs; j++)
			if (net->nodes[i].inputs[j] == value) {
				if (net->nodes[i].kind != NET_CLIP)
					return false;
				*ret = net->nodes[i].output;
				readers++;
			}
	return readers == 1;
}

static bool link_find(struct link *l, struct net *net, uint32_t node)
{
	struct net_node *n = &net->nodes[node];
	const struct net_shape *s = &net->values[n->output].shape;

	*l = (struct link){.net = net, .maker = n};
	return is_matrix(n) && s->n == (n->kind == NET_LINEAR ? 1 : 3) &&
		find_relu(net, n->output, &l->value) && follow(l, n->output, 0, 1) &&
		l->n_readers > 0;
}

/* Columns of one index of the first dimension: the largest absolute weight, after multiplying with @by. */
static float column_scale(const struct reader *r, int64_t index, float by)
{
	const struct net_node *n = r->node;
	size_t taps = n->kind == NET_LINEAR ? 1 : (size_t) n->kernel[0] * n->kernel[1];
	uint32_t groups = n->kind == NET_LINEAR ? 1 : n->groups, each = r->inputs / groups;
	uint32_t rows = n->outputs / groups, first = (uint32_t) index / each * rows;
	float most = 0;

	for (uint32_t i = first; i < first + rows; i++) {
		float *w = n->weight + ((size_t) i * each + (uint32_t) index % each) * taps;

		for (size_t t = 0; t < taps; t++) {
			w[t] *= by;
			most = fmaxf(most, fabsf(w[t]));
		}
	}
	return most;
}

static float read_channel(const struct link *l, uint32_t channel, float by)
{
	float most = 0;

	for (uint32_t i = 0; i < l->n_readers; i++) {
		const struct reader *r = &l->readers[i];
		int64_t begin = r->first + channel * r->block;

		for (int64_t at = begin; at < begin + r->block; at++)
			if (at >= 0 && at < r->inputs)
				most = fmaxf(most, column_scale(r, at, by));
	}
	return most;
}

static size_t row_elements(const struct link *l)
{
	const struct net_node *n = l->maker;
	const struct net_shape *s = &l->net->values[n->inputs[0]].shape;

	return n->kind == NET_LINEAR ? s->dims[0]
				     : (size_t) s->dims[0] / n->groups * n->kernel[0] * n->kernel[1];
}

static float make_channel(const struct link *l, uint32_t channel, float by)
{
	const struct net_node *n = l->maker;
	size_t columns = row_elements(l);
	float *w = n->weight + channel * columns, most = 0;

	for (size_t i = 0; i < columns; i++) {
		w[i] *= by;
		most = fmaxf(most, fabsf(w[i]));
	}
	if (n->bias)
		n->bias[channel] *= by;
	if (n->bn_mean)
		n->bn_mean[channel] *= by;
	if (n->bn_deviation)
		n->bn_deviation[channel] *= by;
	return most;
}

static void scale_channel(const struct link *l, uint32_t channel, float by)
{
	(void) make_channel(l, channel, by);
	(void) read_channel(l, channel, 1 / by);
}

/* The widest element that the samples showed in each channel. Return: the widest of all */
static float measured(const struct link *l, const struct calibration *c, float *ret)
{
	const struct value_statistics *v = &c->values[l->value];
	float most = 0;

	for (uint32_t i = 0; i < l->maker->outputs; i++) {
		ret[i] = v->peak[i];
		most = fmaxf(most, ret[i]);
	}
	return most;
}

static float made(const struct link *l, float *ret)
{
	float most = 0;

	for (uint32_t i = 0; i < l->maker->outputs; i++) {
		ret[i] = make_channel(l, i, 1);
		most = fmaxf(most, ret[i]);
	}
	return most;
}

/* The factor between the geometric means is left as it is: only what differs between channels changes. */
static void equalise_link(const struct link *l, const struct calibration *c, float *range, float *scale)
{
	uint32_t n = l->maker->outputs;
	float most = c ? measured(l, c, range) : made(l, range), mean = 0;
	float share = c ? MEASURED_SHARE : 0.5f;

	if (!(most > 0) || !isfinite(most))
		return;
	for (uint32_t i = 0; i < n; i++) {
		float read = read_channel(l, i, 1);

		range[i] = fmaxf(range[i], NARROWEST * most);
		scale[i] = read > 0 ? (1 - share) * logf(read) - share * logf(range[i]) : -logf(range[i]);
		mean += scale[i] / (float) n;
	}
	for (uint32_t i = 0; i < n; i++)
		scale_channel(l, i, expf(fminf(fmaxf(scale[i] - mean, -LOG_MOST), LOG_MOST)));
}

static uint32_t channels_max(const struct net *net)
{
	uint32_t n = 1;

	for (uint32_t i = 0; i < net->n_nodes; i++)
		if (is_matrix(&net->nodes[i]))
			n = MAX_OF(n, net->nodes[i].outputs);
	return n;
}

int equalise_net(struct net *net, const struct calibration *c)
{
	bool seen = c && c->samples;
	uint32_t channels = channels_max(net);
	_cleanup_free_ float *range = calloc(channels, sizeof *range);
	_cleanup_free_ float *scale = calloc(channels, sizeof *scale);
	int scaled = 0;

	if (!range || !scale)
		return -ENOMEM;
	for (uint32_t round = 0; round < (seen ? 1 : ROUNDS); round++) {
		scaled = 0;
		for (uint32_t i = 0; i < net->n_nodes; i++) {
			struct link l;

			if (!link_find(&l, net, i))
				continue;
			equalise_link(&l, seen ? c : NULL, range, scale);
			scaled++;
		}
	}
	return scaled;
}
