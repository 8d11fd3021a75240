/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop. A step is: one batch; forward, loss, backward; one step of the optimiser.
 *
 * The widths of a nested method learn one after the other. What is best for one plane is not for four: trained
 * together they meet half way, where none is good. So the narrowest has half of the run, and then it stays as it is,
 * and with it all that every width shares; the next has half of the rest with the first plane given; the widest has
 * what is left. The rate falls to nothing each time, and starts lower, as wide ones have less to learn.
 *
 *	t	0 ------------- 1/2 ----- 3/4 -- 7/8 -- 1	of a run with four widths
 *	learns	1		2	  3	 4
 */
#include "convert/train/trainer.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "convert/train/checkpoint.h"
#include "convert/train/inputs.h"
#include "convert/train/prepare.h"

/* Place among the layers by size, the largest first. */
static uint32_t order_of(const struct trainer *t, uint32_t i)
{
	const struct train_matrix *m = t->graph->matrices;
	uint32_t order = 0;

	for (uint32_t j = 0; j < t->n_layers; j++) {
		uint64_t a = (uint64_t) m[j].rows * m[j].columns, b = (uint64_t) m[i].rows * m[i].columns;

		order += a > b || (a == b && j < i);
	}
	return order;
}

/* What each width has of its own, or all share: it settles with the first of those that use it. */
static int add_sets(struct trainer *t, float *value, float *grad, size_t n, uint32_t sets)
{
	int r = 0;

	for (uint32_t s = 0; r >= 0 && s < sets; s++) {
		r = train_store_param(&t->store, value + s * n, grad + s * n, n, false, 1);
		if (r >= 0)
			t->store.params[r].settles = s + 1;
	}
	return MIN_OF(r, 0);
}

static int add_layer(struct trainer *t, uint32_t i, struct error *reterr)
{
	const struct train_matrix *m = &t->graph->matrices[i];
	const struct net_node *n = &t->net->nodes[m->node];
	struct train_layer *l = &t->layers[i];
	size_t size = (size_t) m->rows * m->columns;
	int r;

	*l = (struct train_layer){.rows = m->rows, .columns = m->columns, .planes = t->options->planes,
		.taps = n->kind == NET_CONVOLUTION ? n->kernel[0] * n->kernel[1] : 1, .order = order_of(t, i), .index = i,
		.n_layers = t->n_layers, .seed = draw_u64(t->options->seed, 1000 + i),
		.average = t->options->average, .fixed = t->single[m->node], .store = &t->store};
	l->weight = dnn_floats(size);
	l->weight_grad = dnn_floats(size);
	if (!l->weight || !l->weight_grad)
		return -ENOMEM;
	memcpy(l->weight, m->hat, size * sizeof *l->weight);
	r = train_store_param(&t->store, l->weight, l->weight_grad, size, true, 1);
	if (r >= 0) {
		l->param = (uint32_t) r;
		r = 0;
	}
	if (r >= 0 && l->fixed)
		t->store.params[l->param].settles = 1;
	if (r >= 0 && m->bias)
		r = add_sets(t, m->bias, m->bias_grad, m->rows, m->sets);
	if (r >= 0 && !l->fixed && t->options->method->init)
		r = t->options->method->init(l, reterr);
	return r;
}

static int add_norms(struct trainer *t)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < t->graph->n_norms; i++) {
		const struct train_norm *n = &t->graph->norms[i];
		size_t size = (size_t) n->sets * n->channels;

		r = add_sets(t, n->scale_shift, n->scale_shift_grad, 2 * (size_t) n->channels, n->sets);
		if (r >= 0)
			r = train_store_block(&t->store, n->mean, size * sizeof *n->mean);
		if (r >= 0)
			r = train_store_block(&t->store, n->variance, size * sizeof *n->variance);
	}
	for (uint32_t i = 0; r >= 0 && i < t->graph->n_rounds; i++)
		r = add_sets(t, &t->graph->rounds[i].step, &t->graph->rounds[i].step_grad, 1, 1);
	return r;
}

static void set_weights(struct trainer *t, uint32_t planes)
{
	for (uint32_t i = 0; i < t->n_layers; i++) {
		struct train_layer *l = &t->layers[i];
		float *hat = t->graph->matrices[i].hat;

		if (l->fixed)
			memcpy(hat, l->weight, (size_t) l->rows * l->columns * sizeof *hat);
		else
			t->options->method->weights(l, planes, hat);
	}
}

static uint64_t steps_per_epoch(const struct trainer *t)
{
	return MAX_OF(loader_count(t->data) / t->options->batch, 1);
}

/* Statistics of set g->set over @batches, whole pictures as they are. */
static int take_statistics(struct trainer *t, uint32_t batches, uint32_t done, uint32_t all,
	struct error *reterr)
{
	struct train_graph *g = t->graph;
	float momentum = g->momentum;
	int r = 0;

	g->training = true;
	for (uint32_t i = 0; r >= 0 && i < batches; i++) {
		progress_step(t->options->progress, "statistics", done + i, all);
		loader_batch(t->data, i * t->options->batch, t->options->batch, false, train_graph_input(g),
			t->labels);
		g->momentum = 1 / (float) (i + 1);
		r = train_graph_forward(g, reterr);
	}
	g->momentum = momentum;
	return r;
}

static uint32_t statistics_batches(const struct trainer *t)
{
	return (uint32_t) MIN_OF((uint64_t) t->options->recalibrate, steps_per_epoch(t));
}

/*
 * A new norm is the identity. It takes the statistics of what flows through the network as it is, so that
 * with them it still is. Those of a single batch would not do: a channel's mean is off by a tenth of its
 * deviation then, in every layer, and inference loses what training has to win back.
 */
static int adopt_statistics(struct trainer *t, struct error *reterr)
{
	struct train_graph *g = t->graph;
	uint32_t batches = t->options->scratch ? 1 : statistics_batches(t);
	int r;

	for (uint32_t i = 0; i < t->n_layers; i++)
		memcpy(g->matrices[i].hat, t->layers[i].weight,
			(size_t) t->layers[i].rows * t->layers[i].columns * sizeof(float));
	g->adopt = !t->options->scratch;
	r = take_statistics(t, batches, 0, batches, reterr);
	for (uint32_t i = 0; g->adopt && i < g->n_norms; i++)
		train_norm_adopt(&g->norms[i]);
	g->adopt = false;
	return r;
}

static uint64_t text_key(const char *text)
{
	uint64_t n = 0;

	for (; *text; text++)
		n = n * 31 + (unsigned char) *text;
	return n;
}

/* What one run is, for its checkpoint. Not its length: it may be made longer or shorter on the way. */
static uint64_t run_key(const struct trainer *t)
{
	const struct train_options *o = t->options;
	uint64_t key = draw_u64(o->seed, loader_key(t->data));
	const float floats[] = {o->optimise.rate, o->optimise.momentum, o->optimise.decay, o->optimise.clip,
		o->loss.smoothing, o->loss.distil, o->loss.temperature, o->optimise.warm, o->average};
	const uint32_t numbers[] = {o->planes, o->edge_planes, o->activation_bits, o->batch, o->scratch,
		o->optimise.optimiser, o->optimise.schedule};

	for (size_t i = 0; i < ARRAY_SIZE(floats); i++)
		key = draw_u64(key, (uint64_t) (floats[i] * 1e6f));
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		key = draw_u64(key, numbers[i]);
	key = draw_u64(key, text_key(o->method->name));
	key = draw_u64(key, text_key(t->folded->source_hash));
	return o->teacher ? draw_u64(key, text_key(o->teacher->source_hash)) : key;
}

static int open_log(struct trainer *t, struct error *reterr)
{
	static const char head[] = "epoch,planes,loss,accuracy,rate,seconds\n";

	if (!t->options->log)
		return 0;
	t->log_fd = open(t->options->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (t->log_fd < 0)
		return error_set(reterr, -errno, "%s: %m", t->options->log);
	if (lseek(t->log_fd, 0, SEEK_END) == 0 && write(t->log_fd, head, sizeof head - 1) < 0)
		return error_set(reterr, -errno, "%s: %m", t->options->log);
	return 0;
}

static int add_teachers(struct trainer *t, struct error *reterr)
{
	const struct train_options *o = t->options;
	int r = teachers_init(&t->teachers, t->folded, o->batch);

	if (r >= 0)
		r = teachers_add(&t->teachers, t->folded, o->batch, reterr);
	return r < 0 || !o->teacher ? r : teachers_add(&t->teachers, o->teacher, o->batch, reterr);
}

static int trainer_init(struct trainer *t, struct error *reterr)
{
	const struct train_options *o = t->options;
	int r = prepare_rounding(&t->rounded, t->folded, o->activation_bits, o->edge_planes);

	if (r >= 0)
		r = prepare_net(&t->net, t->rounded);

	if (r >= 0 && o->scratch)
		prepare_random(t->net, o->seed);
	t->single = calloc(t->net ? t->net->n_nodes + 1 : 1, sizeof *t->single);
	if (r >= 0 && !t->single)
		r = -ENOMEM;
	if (r >= 0)
		prepare_fixed(t->net, o->edge_planes, t->single);
	if (r >= 0)
		r = train_graph_new(&t->graph, t->net, o->batch, t->widths, t->single, true, reterr);
	if (r >= 0 && o->loss.distil > 0)
		r = add_teachers(t, reterr);
	if (r < 0)
		return r;
	t->n_layers = t->graph->n_matrices;
	t->layers = calloc(t->n_layers + 1, sizeof *t->layers);
	t->labels = calloc(o->batch, sizeof *t->labels);
	if (!t->layers || !t->labels)
		return -ENOMEM;
	r = train_store_block(&t->store, &t->counters, sizeof t->counters);
	for (uint32_t i = 0; r >= 0 && i < t->n_layers; i++)
		r = add_layer(t, i, reterr);
	if (r >= 0)
		r = add_norms(t);
	if (r >= 0)
		r = adopt_statistics(t, reterr);
	if (r >= 0 && o->checkpoint)
		r = checkpoint_load(o->checkpoint, &t->store, run_key(t), reterr);
	return r < 0 ? r : open_log(t, reterr);
}

int trainer_new(struct trainer **ret, const struct net *folded, struct loader *data,
	const struct train_options *options, struct error *reterr)
{
	_cleanup_(trainer_freep) struct trainer *t = calloc(1, sizeof *t);
	int r;

	if (!t)
		return -ENOMEM;
	t->log_fd = -1;
	t->folded = folded;
	t->data = data;
	t->options = options;
	t->widths = options->method->nested ? options->planes : 1;
	r = trainer_init(t, reterr);
	if (r < 0)
		return r;
	*ret = take_ptr(t);
	return 0;
}

struct trainer *trainer_free(struct trainer *t)
{
	if (!t)
		return NULL;
	for (uint32_t i = 0; t->layers && i < t->n_layers; i++) {
		if (t->options->method->done && !t->layers[i].fixed)
			t->options->method->done(&t->layers[i]);
		free(t->layers[i].weight);
		free(t->layers[i].weight_grad);
	}
	train_store_done(&t->store);
	free(t->layers);
	free(t->labels);
	free(t->single);
	train_graph_free(t->graph);
	teachers_done(&t->teachers);
	net_free(t->net);
	net_free(t->rounded);
	close_fdp(&t->log_fd);
	free(t);
	return NULL;
}

#define LOOK 256 /* places of a batch */

/* Layers that ask for it see what their matrix has read. */
static int show_inputs(struct trainer *t)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && t->options->method->inputs && i < t->n_layers; i++) {
		struct train_layer *l = &t->layers[i];
		_cleanup_free_ float *x = l->look ? malloc((size_t) LOOK * l->columns * sizeof *x) : NULL;

		if (!l->look)
			continue;
		if (!x)
			return -ENOMEM;
		train_inputs(t->graph, i, LOOK, draw_u64(l->seed, t->counters.step), x);
		r = t->options->method->inputs(l, x, LOOK);
	}
	return r;
}

static int run_width(struct trainer *t, uint32_t set, struct error *reterr)
{
	struct train_graph *g = t->graph;
	struct train_value *out = train_graph_output(g);
	uint32_t planes = trainer_planes(t, set);
	int r;

	g->set = set;
	set_weights(t, planes);
	r = train_graph_forward(g, reterr);
	if (r >= 0)
		r = show_inputs(t);
	if (r < 0)
		return r;
	loss_gradient(&t->options->loss, out->data, t->teachers.answers,
		t->labels, t->options->batch, (uint32_t) out->elements, 1, out->grad,
		&t->counters.epoch[set]);
	if (!isfinite(t->counters.epoch[set].loss))
		return error_set(reterr, -EDOM, "the loss is no number any more after %llu steps: try a lower --rate",
			(unsigned long long) t->counters.step);
	r = train_graph_backward(g, reterr);
	for (uint32_t i = 0; r >= 0 && i < t->n_layers; i++) {
		struct train_layer *l = &t->layers[i];

		if (!l->fixed && t->options->method->gradient)
			t->options->method->gradient(l, planes, g->matrices[i].grad);
		else
			method_straight(l, g->matrices[i].grad);
	}
	return r;
}

static int for_layers(struct trainer *t, int (*call)(struct train_layer *, const struct train_moment *))
{
	int r = 0;

	for (uint32_t i = 0; call && r >= 0 && i < t->n_layers; i++)
		if (!t->layers[i].fixed)
			r = call(&t->layers[i], &t->moment);
	return r;
}

/* Whose turn it is: what has settled stays so, in a run that is made longer, too. Return: steps of the turn */
static uint64_t find_turn(struct trainer *t, uint64_t steps)
{
	struct train_counters *c = &t->counters;
	uint64_t left = steps - MIN_OF(c->turn, steps);

	while (c->settled + 1 < t->widths && c->step >= c->turn + left / 2) {
		c->turn += left / 2;
		left -= left / 2;
		c->settled++;
	}
	return c->settled + 1 < t->widths ? left / 2 : left;
}

static void set_moment(struct trainer *t)
{
	const struct optimise *o = &t->options->optimise;
	uint64_t steps = steps_per_epoch(t) * t->options->epochs, step = t->counters.step;
	uint64_t length = find_turn(t, steps);
	uint32_t settled = t->counters.settled;

	t->moment = (struct train_moment){.t = (double) step / (double) MAX_OF(steps, 1), .step = step,
		.steps = steps, .optimise = o, .settled = settled,
		.rate = ldexpf(optimise_rate(o, step - t->counters.turn, length), -(int) settled)};
	for (uint32_t i = 0; i < t->store.n_params; i++) {
		struct train_param *p = &t->store.params[i];

		p->frozen |= p->settles && settled >= p->settles;
	}
}

static int run_step(struct trainer *t, uint32_t at, struct error *reterr)
{
	const struct train_options *o = t->options;
	struct train_graph *g = t->graph;
	int r = 0;

	set_moment(t);
	loader_batch(t->data, at * o->batch, o->batch, true, train_graph_input(g), t->labels);
	if (t->teachers.n)
		r = teachers_ask(&t->teachers, train_graph_input(g), reterr);
	g->training = true;
	train_store_clear(&t->store);
	if (r >= 0)
		r = for_layers(t, o->method->prepare);
	if (r >= 0)
		r = run_width(t, t->moment.settled, reterr);
	if (r < 0)
		return r;
	optimise_step(&o->optimise, &t->store, t->moment.step - t->counters.turn, t->moment.rate);
	t->counters.step++;
	set_moment(t);
	r = for_layers(t, o->method->stepped);
	return r < 0 || !o->method->together ? r : o->method->together(t->layers, t->n_layers, &t->moment);
}

static int log_epoch(struct trainer *t, uint64_t epoch, struct error *reterr)
{
	double seconds = t->counters.seconds + (double) (clock_now_nsec() - t->started_nsec) * 1e-9;

	for (uint32_t s = 0; s < t->widths; s++) {
		struct loss_sum *sum = &t->counters.epoch[s];
		double n = (double) sum->samples;

		if (t->log_fd >= 0 && sum->samples &&
			dprintf(t->log_fd, "%llu,%u,%.5f,%.3f,%g,%.1f\n", (unsigned long long) epoch,
				trainer_planes(t, s), sum->loss / n, 100 * (double) sum->right / n,
				(double) t->moment.rate, seconds) < 0)
			return error_set(reterr, -errno, "%s: %m", t->options->log);
		*sum = (struct loss_sum){};
	}
	return 0;
}

static int save(struct trainer *t, struct error *reterr)
{
	uint64_t now = clock_now_nsec();

	t->counters.seconds += (double) (now - t->started_nsec) * 1e-9;
	t->started_nsec = t->saved_nsec = now;
	if (!t->options->checkpoint)
		return 0;
	return checkpoint_save(t->options->checkpoint, &t->store, run_key(t), reterr);
}

/* Statistics of the final weights. */
static int recalibrate(struct trainer *t, struct error *reterr)
{
	uint32_t batches = statistics_batches(t);
	int r = for_layers(t, t->options->method->prepare);

	loader_shuffle(t->data, t->options->epochs);
	for (uint32_t s = 0; r >= 0 && s < t->widths; s++) {
		t->graph->set = s;
		set_weights(t, trainer_planes(t, s));
		r = take_statistics(t, batches, s * batches, t->widths * batches, reterr);
	}
	t->graph->training = false;
	return r;
}

int trainer_run(struct trainer *t, struct error *reterr)
{
	const struct train_options *o = t->options;
	uint64_t each = steps_per_epoch(t), all = each * o->epochs, shuffled = UINT64_MAX;
	int r = 0;

	t->started_nsec = t->saved_nsec = clock_now_nsec();
	while (r >= 0 && t->counters.step < all) {
		uint64_t epoch = t->counters.step / each;

		if (epoch != shuffled)
			loader_shuffle(t->data, epoch);
		shuffled = epoch;
		progress_step(o->progress, "training", t->counters.step, all);
		r = run_step(t, (uint32_t) (t->counters.step % each), reterr);
		if (r >= 0 && t->counters.step % each == 0) {
			r = log_epoch(t, epoch, reterr);
			if (r >= 0)
				r = save(t, reterr);
		} else if (r >= 0 && clock_now_nsec() - t->saved_nsec > o->save_seconds * NSEC_PER_SEC) {
			r = save(t, reterr);
		}
	}
	set_moment(t);
	return r < 0 ? r : recalibrate(t, reterr);
}

void trainer_select(struct trainer *t, uint32_t set)
{
	t->graph->set = set;
	t->graph->training = false;
	set_weights(t, trainer_planes(t, set));
}

int trainer_accuracy(struct trainer *t, struct loader *data, uint32_t set, double *ret_percent,
	struct error *reterr)
{
	const struct train_options *o = t->options;
	struct train_value *out = train_graph_output(t->graph);
	struct loss_sum sum = {};
	int r = 0;

	trainer_select(t, set);
	for (uint32_t i = 0; r >= 0 && i < loader_count(data); i += o->batch) {
		loader_batch(data, i, o->batch, false, train_graph_input(t->graph), t->labels);
		r = train_graph_forward(t->graph, reterr);
		if (r >= 0)
			loss_gradient(&(struct loss){.temperature = 1}, out->data, NULL, t->labels, o->batch,
				(uint32_t) out->elements, 0, out->grad, &sum);
	}
	*ret_percent = 100 * (double) sum.right / (double) MAX_OF(sum.samples, 1);
	return r;
}
