/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building and running graphs. Memory is shared where an operation may overwrite what it reads: results of
 * element-wise steps take the place of their input, and the gradient of an input takes the place of the
 * gradient of the output, which nobody needs by then.
 */
#include "convert/train/graph.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/train/op.h"

#define NONE UINT32_MAX

/**
 * struct build - while a graph is made
 * @uses: [n_values]; @maker: [n_values], the node, NONE: none
 */
struct build {
	struct train_graph *g;
	uint32_t sets, *uses, *maker;
	const bool *single;
	bool *written;
};

static const struct train_op_class *class_of(enum net_kind kind)
{
	static const struct train_op_class *const classes[_NET_KIND_MAX] = {
		[NET_CONVOLUTION] = &train_op_convolution,
		[NET_LINEAR] = &train_op_linear,
		[NET_BATCH_NORM] = &train_op_norm,
		[NET_CLIP] = &train_op_clip,
		[NET_ADD] = &train_op_add,
		[NET_AFFINE] = &train_op_affine,
		[NET_MAX_POOL] = &train_op_pool,
		[NET_AVERAGE_POOL] = &train_op_pool,
		[NET_CONCAT] = &train_op_move,
		[NET_PAD] = &train_op_move,
		[NET_SLICE] = &train_op_move,
		[NET_RESHAPE] = &train_op_move,
		[NET_TRANSPOSE] = &train_op_move,
		[NET_SIGMOID] = &train_op_sigmoid,
	};

	return classes[kind];
}

int train_layout(dnnl_memory_desc_t *ret, const struct train_graph *g, const struct train_value *v,
	struct error *reterr)
{
	dnnl_dims_t image = {g->batch, v->shape.dims[0], v->shape.dims[1], v->shape.dims[2]};
	dnnl_dims_t flat = {g->batch, (dnnl_dim_t) v->elements};
	bool is_image = v->shape.n == 3;

	return dnn_errno(dnnl_memory_desc_init_by_tag(ret, is_image ? 4 : 2, is_image ? image : flat, dnnl_f32,
				 is_image ? dnnl_nhwc : dnnl_ab), "layout", reterr);
}

float *train_op_gradient(struct train_graph *g, struct train_op *op, uint32_t k)
{
	return op->direct[k] ? g->values[op->inputs[k]].grad : g->scratch;
}

int train_op_gradient_done(struct train_graph *g, struct train_op *op, uint32_t k, struct error *reterr)
{
	return op->direct[k] ? 0 : dnn_call_run(&op->add[k], &g->dnn, reterr);
}

static void build_done(struct build *b)
{
	free(b->uses);
	free(b->maker);
	free(b->written);
}

static int index_net(struct build *b, const struct net *n)
{
	b->uses = calloc(n->n_values, sizeof *b->uses);
	b->maker = malloc(n->n_values * sizeof *b->maker);
	b->written = calloc(n->n_values, sizeof *b->written);
	if (!b->uses || !b->maker || !b->written)
		return -ENOMEM;
	memset(b->maker, 0xff, n->n_values * sizeof *b->maker);
	for (uint32_t i = 0; i < n->n_nodes; i++) {
		b->maker[n->nodes[i].output] = i;
		for (uint32_t k = 0; k < n->nodes[i].n_inputs; k++)
			b->uses[n->nodes[i].inputs[k]]++;
	}
	b->uses[n->output]++;
	return 0;
}

static bool is_rectifier(const struct net_node *n)
{
	return n->kind == NET_CLIP && n->low == 0 && n->high == INFINITY && !n->bits;
}

static float *copies(const float *from, size_t n, uint32_t sets)
{
	float *ret = dnn_floats(n * sets);

	for (uint32_t s = 0; ret && from && s < sets; s++)
		memcpy(ret + s * n, from, n * sizeof *ret);
	return ret;
}

static int add_matrix(struct build *b, uint32_t node, bool bare)
{
	struct train_graph *g = b->g;
	const struct net_node *n = &g->net->nodes[node];
	const struct net_shape *in = &g->net->values[n->inputs[0]].shape;
	struct train_matrix *m = &g->matrices[g->n_matrices++];

	*m = (struct train_matrix){.node = node, .rows = n->outputs,
		.sets = b->single && b->single[node] ? 1 : b->sets,
		.columns = n->kind == NET_LINEAR ? in->dims[in->n - 1]
						 : in->dims[0] / n->groups * n->kernel[0] * n->kernel[1]};
	m->hat = copies(n->weight, (size_t) m->rows * m->columns, 1);
	m->grad = dnn_floats((size_t) m->rows * m->columns);
	if (bare) {
		m->bias = copies(n->bias, m->rows, m->sets);
		m->bias_grad = dnn_floats((size_t) m->rows * m->sets);
	}
	return m->hat && m->grad && (!bare || (m->bias && m->bias_grad)) ? 0 : -ENOMEM;
}

static int add_norm(struct build *b, uint32_t node)
{
	struct train_graph *g = b->g;
	const struct net_node *n = &g->net->nodes[node];
	struct train_norm *m = &g->norms[g->n_norms++];
	uint32_t maker = b->maker[n->inputs[0]];

	*m = (struct train_norm){.node = node, .channels = n->outputs, .epsilon = n->epsilon, .matrix = NONE,
		.sets = maker != NONE && b->single && b->single[maker] ? 1 : b->sets};
	for (uint32_t i = 0; i < g->n_matrices; i++)
		if (g->matrices[i].node == maker)
			m->matrix = i;
	m->scale_shift = dnn_floats((size_t) 2 * m->channels * m->sets);
	m->scale_shift_grad = dnn_floats((size_t) 2 * m->channels * m->sets);
	m->mean = copies(n->mean, m->channels, m->sets);
	m->variance = copies(n->variance, m->channels, m->sets);
	if (!m->scale_shift || !m->scale_shift_grad || !m->mean || !m->variance)
		return -ENOMEM;
	for (uint32_t s = 0; s < m->sets; s++)
		for (uint32_t c = 0; c < m->channels; c++) {
			m->scale_shift[(2 * s) * m->channels + c] = n->weight[c];
			m->scale_shift[(2 * s + 1) * m->channels + c] = n->bias[c];
		}
	return 0;
}

/* The node that alone reads @value, or NONE. */
static uint32_t only_user(const struct build *b, uint32_t value)
{
	const struct net *n = b->g->net;

	for (uint32_t i = 0; b->uses[value] == 1 && i < n->n_nodes; i++)
		for (uint32_t k = 0; k < n->nodes[i].n_inputs; k++)
			if (n->nodes[i].inputs[k] == value)
				return i;
	return NONE;
}

static int add_op(struct build *b, uint32_t node, bool *skip, struct error *reterr)
{
	struct train_graph *g = b->g;
	const struct net_node *n = &g->net->nodes[node];
	uint32_t user = only_user(b, n->output);
	const struct net_node *next = user == NONE ? NULL : &g->net->nodes[user];
	struct train_op *op = &g->ops[g->n_ops];
	int r = 0;

	if (n->kind == NET_INPUT || *skip)
		return 0;
	if (n->kind == NET_SOFTMAX && n->output == g->net->output) {
		g->output = n->inputs[0];
		return 0;
	}
	if (!class_of(n->kind))
		return error_set(reterr, -ENOTSUP, "%s: %s cannot be trained", n->name, net_kind_name(n->kind));
	*op = (struct train_op){.class = n->bits ? &train_op_round : class_of(n->kind), .node = n,
		.n_inputs = n->n_inputs, .output = n->output};
	g->n_ops++;
	memcpy(op->inputs, n->inputs, sizeof op->inputs);
	for (uint32_t k = 0; k < n->n_inputs; k++)
		op->wanted[k] = n->inputs[k] != g->net->input;
	if (n->kind == NET_CONVOLUTION || n->kind == NET_LINEAR) {
		op->index = g->n_matrices;
		r = add_matrix(b, node, n->bias || !next || next->kind != NET_BATCH_NORM);
	} else if (n->bits) {
		op->index = g->n_rounds;
		g->rounds[g->n_rounds++] = (struct train_round){.node = node};
	} else if (n->kind == NET_BATCH_NORM) {
		op->index = g->n_norms;
		r = add_norm(b, node);
		op->rectify = next && is_rectifier(next);
		if (op->rectify) {
			op->output = next->output;
			skip[user - node] = true;
		}
	}
	return r;
}

static int add_ops(struct build *b, struct error *reterr)
{
	const struct net *n = b->g->net;
	_cleanup_free_ bool *skip = calloc(n->n_nodes, sizeof *skip);
	int r = skip ? 0 : -ENOMEM;

	for (uint32_t i = 0; r >= 0 && i < n->n_nodes; i++)
		r = add_op(b, i, &skip[i], reterr);
	return r;
}

/* Steps that work from their result cannot see it overwritten. */
static bool is_function(const struct train_op *op)
{
	return op->class == &train_op_clip || op->class == &train_op_sigmoid;
}

static int place_data(struct build *b)
{
	struct train_graph *g = b->g;
	size_t largest = 0;

	for (uint32_t i = 0; i < g->net->n_values; i++) {
		struct train_value *v = &g->values[i];

		v->shape = g->net->values[i].shape;
		v->elements = net_elements(&v->shape);
		largest = MAX_OF(largest, v->elements);
	}
	g->scratch = dnn_floats(g->batch * largest);
	g->values[g->net->input].data = dnn_floats(g->batch * g->values[g->net->input].elements);
	g->values[g->net->input].owns_data = true;
	if (!g->scratch || !g->values[g->net->input].data)
		return -ENOMEM;
	for (uint32_t i = 0; i < g->n_ops; i++) {
		const struct train_op *op = &g->ops[i];
		struct train_value *out = &g->values[op->output];
		uint32_t in = op->inputs[0];
		const struct train_op_class *maker = NULL;

		for (uint32_t j = 0; j < i; j++)
			if (g->ops[j].output == in)
				maker = g->ops[j].class;
		if (is_function(op) && b->uses[in] == 1 && maker && maker != &train_op_clip &&
			maker != &train_op_sigmoid) {
			out->data = g->values[in].data;
			continue;
		}
		out->data = dnn_floats(g->batch * out->elements);
		out->owns_data = true;
		if (!out->data)
			return -ENOMEM;
	}
	return 0;
}

/* Backwards: who is the first to know a gradient, and whose memory it can take. */
static int place_gradients(struct build *b)
{
	struct train_graph *g = b->g;
	struct train_value *last = &g->values[g->output];

	last->grad = dnn_floats(g->batch * last->elements);
	last->owns_grad = true;
	if (!last->grad)
		return -ENOMEM;
	for (uint32_t i = g->n_ops; i-- > 0;) {
		struct train_op *op = &g->ops[i];
		bool taken = !is_function(op) && op->class != &train_op_add &&
			op->class != &train_op_norm && op->class != &train_op_round;

		for (uint32_t k = 0; k < op->n_inputs; k++) {
			struct train_value *in = &g->values[op->inputs[k]];

			op->direct[k] = !b->written[op->inputs[k]];
			b->written[op->inputs[k]] = true;
			if (!op->direct[k] || !op->wanted[k])
				continue;
			if (!taken) {
				in->grad = g->values[op->output].grad;
				taken = true;
				continue;
			}
			in->grad = dnn_floats(g->batch * in->elements);
			in->owns_grad = true;
			if (!in->grad)
				return -ENOMEM;
		}
	}
	return 0;
}

static int init_add(struct train_graph *g, struct train_op *op, uint32_t k, struct error *reterr)
{
	struct train_value *v = &g->values[op->inputs[k]];
	struct dnn_call *c = &op->add[k];
	dnnl_binary_desc_t desc;
	dnnl_memory_desc_t md;
	int r = train_layout(&md, g, v, reterr);

	if (r >= 0)
		r = dnn_errno(dnnl_binary_desc_init(&desc, dnnl_binary_add, &md, &md, &md), "add", reterr);
	if (r >= 0)
		r = dnn_call_init(c, &g->dnn, &desc, NULL, "add", reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_SRC_0, v->grad, reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_SRC_1, g->scratch, reterr);
	if (r >= 0)
		r = dnn_call_bind(c, &g->dnn, DNNL_ARG_DST, v->grad, reterr);
	return r;
}

static int init_ops(struct train_graph *g, struct error *reterr)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < g->n_ops; i++) {
		struct train_op *op = &g->ops[i];

		r = op->class->init(g, op, reterr);
		for (uint32_t k = 0; r >= 0 && g->gradients && k < op->n_inputs; k++)
			if (!op->direct[k] && op->wanted[k])
				r = init_add(g, op, k, reterr);
		if (r < 0)
			return error_prefix(reterr, r, "%s", op->node->name);
	}
	return r;
}

int train_graph_new(struct train_graph **ret, const struct net *net, uint32_t batch, uint32_t sets,
	const bool *single, bool gradients, struct error *reterr)
{
	_cleanup_(train_graph_freep) struct train_graph *g = calloc(1, sizeof *g);
	_cleanup_(build_done) struct build b = {.g = g, .sets = sets, .single = single};
	int r;

	if (!g)
		return -ENOMEM;
	*g = (struct train_graph){.net = net, .batch = batch, .gradients = gradients, .momentum = 0.1f,
		.output = net->output};
	g->values = calloc(net->n_values, sizeof *g->values);
	g->ops = calloc(net->n_nodes, sizeof *g->ops);
	g->matrices = calloc(net->n_nodes, sizeof *g->matrices);
	g->norms = calloc(net->n_nodes, sizeof *g->norms);
	g->rounds = calloc(net->n_nodes, sizeof *g->rounds);
	if (!g->values || !g->ops || !g->matrices || !g->norms || !g->rounds)
		return -ENOMEM;
	r = dnn_init(&g->dnn, reterr);
	if (r >= 0)
		r = index_net(&b, net);
	if (r >= 0)
		r = add_ops(&b, reterr);
	if (r >= 0)
		r = place_data(&b);
	if (r >= 0 && gradients)
		r = place_gradients(&b);
	if (r >= 0)
		r = init_ops(g, reterr);
	if (r < 0)
		return r;
	*ret = take_ptr(g);
	return 0;
}

static void op_done(struct train_op *op)
{
	struct dnn_call *calls[] = {&op->forward, &op->infer, &op->backward, &op->backward_weights,
		&op->weights_in, &op->weights_back, &op->weights_out};

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		dnn_call_done(calls[i]);
	for (uint32_t k = 0; k < op->n_inputs; k++)
		dnn_call_done(&op->add[k]);
	free(op->map);
	free(op->working);
	free(op->working_grad);
	free(op->mean);
	free(op->variance);
}

struct train_graph *train_graph_free(struct train_graph *g)
{
	if (!g)
		return NULL;
	for (uint32_t i = 0; i < g->n_ops; i++)
		op_done(&g->ops[i]);
	for (uint32_t i = 0; i < g->n_matrices; i++) {
		free(g->matrices[i].hat);
		free(g->matrices[i].grad);
		free(g->matrices[i].bias);
		free(g->matrices[i].bias_grad);
	}
	for (uint32_t i = 0; i < g->n_norms; i++) {
		free(g->norms[i].scale_shift);
		free(g->norms[i].scale_shift_grad);
		free(g->norms[i].mean);
		free(g->norms[i].variance);
	}
	for (uint32_t i = 0; g->values && i < g->net->n_values; i++) {
		if (g->values[i].owns_data)
			free(g->values[i].data);
		if (g->values[i].owns_grad)
			free(g->values[i].grad);
	}
	dnn_done(&g->dnn);
	free(g->values);
	free(g->ops);
	free(g->matrices);
	free(g->norms);
	free(g->rounds);
	free(g->scratch);
	free(g);
	return NULL;
}

float *train_graph_input(struct train_graph *g)
{
	return g->values[g->net->input].data;
}

/* The operations of the nodes from @begin on and in front of @end. */
static int run_nodes(struct train_graph *g, uint32_t begin, uint32_t end, struct error *reterr)
{
	const struct net_node *nodes = g->net->nodes;
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < g->n_ops && g->ops[i].node < nodes + end; i++)
		if (g->ops[i].node >= nodes + begin)
			r = g->ops[i].class->forward(g, &g->ops[i], reterr);
	return r < 0 ? r : dnn_errno(dnnl_stream_wait(g->dnn.stream), "run", reterr);
}

int train_graph_forward(struct train_graph *g, struct error *reterr)
{
	return run_nodes(g, 0, g->net->n_nodes, reterr);
}

int train_graph_reach(struct train_graph *g, uint32_t node, struct error *reterr)
{
	return run_nodes(g, 0, node, reterr);
}

int train_graph_pass(struct train_graph *g, uint32_t node, struct error *reterr)
{
	return run_nodes(g, 0, node + 1, reterr);
}

int train_graph_part(struct train_graph *g, uint32_t first, uint32_t last, struct error *reterr)
{
	return run_nodes(g, first, last + 1, reterr);
}

int train_graph_part_backward(struct train_graph *g, uint32_t first, uint32_t last, struct error *reterr)
{
	const struct net_node *nodes = g->net->nodes;
	int r = 0;

	for (uint32_t i = g->n_ops; r >= 0 && i-- > 0;)
		if (g->ops[i].node >= nodes + first && g->ops[i].node <= nodes + last)
			r = g->ops[i].class->backward(g, &g->ops[i], reterr);
	return r < 0 ? r : dnn_errno(dnnl_stream_wait(g->dnn.stream), "run", reterr);
}

int train_graph_backward(struct train_graph *g, struct error *reterr)
{
	return train_graph_part_backward(g, 0, g->net->n_nodes - 1, reterr);
}
