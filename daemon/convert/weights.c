/* SPDX-License-Identifier: Apache-2.0 */
/* The matrices of an export: quantized, packed, written. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "convert/export.h"
#include "convert/integer.h"
#include "convert/model_write.h"

static int pack_planes(struct export_matrix *m)
{
	const struct coded *c = &m->coded;
	uint32_t row_bits = bits_row_bits(c->columns, m->depthwise);

	for (uint32_t p = 0; p < c->planes; p++) {
		m->planes[p] = calloc(bits_plane_words(c->rows, row_bits), sizeof(uint64_t));
		if (!m->planes[p])
			return -ENOMEM;
		for (uint32_t r = 0; r < c->rows; r++)
			for (uint32_t t = 0; t < c->columns; t++)
				if (c->codes[(size_t) r * c->columns + t] >> (c->planes - 1 - p) & 1)
					bits_set(m->planes[p], (uint64_t) r * row_bits + t);
	}
	return 0;
}

static int quantize_matrix(struct export *e, struct export_matrix *m, struct error *reterr)
{
	const struct export_options *x = &e->options;
	struct quantize_options o = {.planes = m->fixed ? x->edge_planes : x->planes,
		.group_columns = m->columns <= x->group_columns ? m->columns : x->group_columns,
		.per_tensor = x->per_tensor, .seed = x->seed};
	int r;

	if (o.planes == 8 && (m->fixed || e->whole_grid)) {
		r = integer_grid(&m->coded, m->row_scale, m->weight, m->rows, m->columns);
		return r < 0 ? r : pack_planes(m);
	}
	o.planes = MIN_OF(MAX_OF(o.planes, x->quantizer->planes_min), x->quantizer->planes_max);
	r = x->quantizer->run(&m->coded, m->weight, m->rows, m->columns, &o, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", e->net->nodes[m->net_node].name);
	integer_codes(&m->coded, m->weight);
	return pack_planes(m);
}

/* Without correction every width is what the planes say. */
static int corrections_init(struct export_matrix *m)
{
	size_t n = (size_t) m->coded.planes * m->rows;

	m->gain_at = malloc(n * sizeof *m->gain_at);
	m->bias_at = malloc(n * sizeof *m->bias_at);
	if (!m->gain_at || !m->bias_at)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		m->gain_at[i] = m->row_scale[i % m->rows];
		m->bias_at[i] = m->bias[i % m->rows];
	}
	return 0;
}

/* Few columns, linear bottlenecks: networks with depthwise layers lose much by the eighth bit. */
static bool needs_whole_grid(const struct export *e)
{
	for (uint32_t i = 0; i < e->n_matrices; i++)
		if (e->matrices[i].depthwise)
			return strcmp(e->options.quantizer->name, "bcq") == 0;
	return false;
}

int export_weights(struct export *e, const struct progress *progress, struct error *reterr)
{
	uint64_t all = 0, done = 0;
	int r = 0;

	for (uint32_t i = 0; i < e->n_matrices; i++)
		all += (uint64_t) e->matrices[i].rows * e->matrices[i].columns;
	e->whole_grid = needs_whole_grid(e);
	for (uint32_t i = 0; r >= 0 && i < e->n_matrices; i++) {
		r = quantize_matrix(e, &e->matrices[i], reterr);
		if (r >= 0)
			r = corrections_init(&e->matrices[i]);
		done += (uint64_t) e->matrices[i].rows * e->matrices[i].columns;
		progress_step(progress, "quantizing", done, all);
	}
	return r;
}

static void fill_matrix(struct matrix *to, const struct export_matrix *m)
{
	const struct coded *c = &m->coded;

	*to = (struct matrix){.rows = c->rows, .columns = c->columns,
		.row_bits = bits_row_bits(c->columns, m->depthwise), .group_columns = c->group_columns,
		.groups = c->groups, .planes = c->planes, .fixed = m->fixed,
		.depthwise = m->depthwise, .shared_levels = c->shared_levels, .coding = c->coding,
		.alpha = c->alpha, .offset = c->offset, .level = c->level, .bias = m->bias,
		.gain_at = m->gain_at, .bias_at = m->bias_at, .sensitivity = m->sensitivity};
}

static void fill_words(struct network *n, const struct export *e, const struct export_words *words)
{
	(void) snprintf(n->name, sizeof n->name, "%s", words->name);
	(void) snprintf(n->method, sizeof n->method, "%s", words->method);
	(void) snprintf(n->data, sizeof n->data, "%s", words->data ? words->data : "");
	memcpy(n->source_hash, e->net->source_hash, sizeof n->source_hash);
	n->labels = words->labels;
	n->n_labels = words->n_labels;
	n->accuracies = words->accuracies;
	n->n_accuracies = words->n_accuracies;
	n->input_pixels = e->pixels;
	n->input_bgr = e->preprocess.bgr;
	n->pixel_scale = e->preprocess.scale;
	memcpy(n->pixel_mean, e->preprocess.mean, sizeof n->pixel_mean);
	memcpy(n->pixel_std, e->preprocess.std, sizeof n->pixel_std);
}

int export_write(struct export *e, const char *path, const struct export_words *words,
	struct error *reterr)
{
	_cleanup_free_ struct matrix *matrices = calloc(e->n_matrices, sizeof *matrices);
	_cleanup_free_ uint64_t *const **planes = calloc(e->n_matrices, sizeof *planes);
	struct network n = {.fd = -1, .values = e->values, .n_values = e->n_values, .ops = e->ops,
		.n_ops = e->n_ops, .matrices = matrices, .n_matrices = e->n_matrices,
		.output = e->output};

	if (!matrices || !planes)
		return -ENOMEM;
	for (uint32_t i = 0; i < e->n_matrices; i++) {
		fill_matrix(&matrices[i], &e->matrices[i]);
		planes[i] = e->matrices[i].planes;
		if (!matrices[i].fixed)
			n.planes_max = MAX_OF(n.planes_max, matrices[i].planes);
	}
	fill_words(&n, e, words);
	return model_write(path, &n, (uint64_t *const *const *) planes, reterr);
}
