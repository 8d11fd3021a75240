/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a trained graph to a model file: the widest width is the net that is exported; codes and scales are
 * the method's, gains and biases per width the normalisation's; and the ranges of activations are those of
 * all widths.
 */
#include "convert/train/train.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "convert/onnx_write.h"
#include "convert/train/prepare.h"

/**
 * struct given - what the export asks for
 * @order: an export of the same net with the codes in place of the weights: it moves columns as the real
 *	one does. @coded: [n_layers]
 */
struct given {
	struct trainer *trainer;
	struct net *codes;
	struct export *order;
	struct coded *coded;
	struct export_given given;
};

static void given_done(struct given *g)
{
	for (uint32_t i = 0; g->coded && i < g->trainer->n_layers; i++)
		coded_done(&g->coded[i]);
	for (uint32_t i = 0; g->given.others && i < g->given.n_others; i++)
		net_free(g->given.others[i]);
	free(g->given.others);
	free(g->coded);
	export_free(g->order);
	net_free(g->codes);
}

static int take_corrections(const struct given *g, struct export_matrix *m, uint32_t matrix)
{
	size_t planes = m->coded.planes;
	const struct trainer *t = g->trainer;

	m->gain_at = malloc(planes * m->rows * sizeof *m->gain_at);
	m->bias_at = malloc(planes * m->rows * sizeof *m->bias_at);
	if (!m->gain_at || !m->bias_at)
		return -ENOMEM;
	for (uint32_t p = 0; p < planes; p++)
		prepare_gain(t->graph, matrix, t->widths > 1 ? p : 0, m->gain_at + p * m->rows,
			m->bias_at + p * m->rows);
	return 0;
}

/* Matrices come in the order of the net's nodes, as in the graph. */
static int given_codes(void *userdata, struct export_matrix *m, uint32_t index, struct error *reterr)
{
	const struct given *g = userdata;
	struct coded *c = &g->coded[index];
	const float *codes = g->order->matrices[index].weight;

	if (c->planes == 0)
		return 0;
	m->coded = *c;
	*c = (struct coded){};
	for (size_t i = 0; i < (size_t) m->rows * m->columns; i++)
		m->coded.codes[i] = (uint8_t) codes[i];
	return take_corrections(g, m, index) < 0 ? -ENOMEM : 1;
}

static int collect_codes(struct given *g, const struct train *t, struct error *reterr)
{
	struct trainer *tr = g->trainer;
	uint32_t matrix = 0;
	int r = prepare_fold(&g->codes, tr->rounded, tr->graph, tr->widths - 1);

	g->coded = calloc(tr->n_layers + 1, sizeof *g->coded);
	if (r < 0 || !g->coded)
		return r < 0 ? r : -ENOMEM;
	for (uint32_t i = 0; r >= 0 && i < g->codes->n_nodes; i++) {
		struct net_node *n = &g->codes->nodes[i];
		struct coded *c = &g->coded[matrix];

		if (n->kind != NET_CONVOLUTION && n->kind != NET_LINEAR)
			continue;
		if (!tr->layers[matrix].fixed)
			r = tr->options->method->codes(&tr->layers[matrix], c, reterr);
		for (size_t k = 0; c->codes && k < (size_t) c->rows * c->columns; k++)
			n->weight[k] = c->codes[k];
		matrix++;
	}
	if (r < 0)
		return r;
	return export_graph(&g->order, g->codes, &t->import.options, NULL, (struct shape){}, reterr);
}

/* A method may have left fewer planes than it was given. */
static void name_width(struct train *t, const struct given *g)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < g->trainer->n_layers; i++)
		most = MAX_OF(most, g->coded[i].planes);
	if (g->trainer->widths == 1 && most)
		t->accuracies[0].bits = (float) most;
}

static int other_widths(struct given *g)
{
	struct trainer *t = g->trainer;
	int r = 0;

	g->given.others = calloc(t->widths, sizeof *g->given.others);
	if (!g->given.others)
		return -ENOMEM;
	for (uint32_t s = 0; r >= 0 && s + 1 < t->widths; s++) {
		trainer_select(t, s);
		r = prepare_fold(&g->given.others[s], t->rounded, t->graph, s);
		g->given.n_others += r >= 0;
	}
	return r;
}

bool train_is_onnx(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && strcmp(dot, ".onnx") == 0;
}

static int write_onnx(struct train *t, struct trainer *tr, struct error *reterr)
{
	_cleanup_(net_freep) struct net *net = NULL;
	int r;

	trainer_select(tr, tr->widths - 1);
	r = prepare_fold(&net, tr->rounded, tr->graph, tr->widths - 1);
	return r < 0 ? r : onnx_write(net, t->import.output, reterr);
}

static int write_model(struct train *t, struct trainer *tr, struct error *reterr)
{
	_cleanup_(given_done) struct given g = {.trainer = tr};
	struct import i = t->import;
	struct net *net = NULL;
	int r;

	i.calibrate = t->data;
	i.method = t->options.method->name;
	if (t->options.method->codes) {
		i.correct = false;
		i.options.given = &g.given;
		g.given.codes = given_codes;
		g.given.userdata = &g;
		r = collect_codes(&g, t, reterr);
		if (r >= 0)
			r = other_widths(&g);
		if (r < 0)
			return r;
		name_width(t, &g);
	}
	trainer_select(tr, tr->widths - 1);
	r = prepare_fold(&net, tr->rounded, tr->graph, tr->widths - 1);
	return r < 0 ? r : import_write(&i, net, reterr);
}

static int measure(struct train *t, struct trainer *tr, struct shape shape, uint32_t classes,
	struct error *reterr)
{
	_cleanup_(loader_freep) struct loader *l = NULL;
	const struct import *i = &t->import;
	int r;

	if (!i->evaluate)
		return 0;
	r = loader_open(&l, i->evaluate, i->evaluate_labels, &i->preprocess, shape, classes,
		&(struct loader_options){}, reterr);
	for (uint32_t s = 0; r >= 0 && s < tr->widths; s++) {
		struct accuracy *a = &t->accuracies[s];
		double percent;

		r = trainer_accuracy(tr, l, s, &percent, reterr);
		*a = (struct accuracy){.bits = (float) trainer_planes(tr, s), .top1 = (float) percent,
			.images = loader_count(l)};
		t->n_accuracies = s + 1;
	}
	return r;
}

int train_net(struct train *t, const struct net *net, struct error *reterr)
{
	_cleanup_(loader_freep) struct loader *data = NULL;
	_cleanup_(trainer_freep) struct trainer *tr = NULL;
	struct shape shape = graph_shape(&net->values[net->input].shape);
	uint32_t classes = (uint32_t) net_elements(&net->values[net->output].shape);
	int r = loader_open(&data, t->data, t->data_labels, &t->import.preprocess, shape, classes, &t->loader,
		reterr);

	if (r >= 0)
		r = trainer_new(&tr, net, data, &t->options, reterr);
	if (r >= 0)
		r = trainer_run(tr, reterr);
	if (r >= 0)
		r = measure(t, tr, shape, classes, reterr);
	if (r >= 0)
		r = (train_is_onnx(t->import.output) ? write_onnx : write_model)(t, tr, reterr);
	if (r >= 0 && t->ret_net)
		r = prepare_fold(t->ret_net, tr->rounded, tr->graph, tr->widths - 1);
	if (r >= 0 && t->options.checkpoint)
		(void) unlink(t->options.checkpoint);
	return r;
}

int train_run(struct train *t, struct error *reterr)
{
	_cleanup_(net_freep) struct net *net = NULL, *teacher = NULL;
	int r = import_net(&net, t->import.onnx, reterr);

	if (r >= 0 && t->teacher)
		r = import_net(&teacher, t->teacher, reterr);
	t->options.teacher = teacher;
	if (r >= 0)
		r = train_net(t, net, reterr);
	t->options.teacher = NULL;
	return r;
}
