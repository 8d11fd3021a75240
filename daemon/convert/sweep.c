/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/sweep.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "convert/card.h"
#include "convert/correct.h"
#include "convert/decode.h"
#include "convert/import.h"
#include "convert/second_moment.h"
#include "engine/lower.h"

#define MOMENTS_BYTES_MAX (UINT64_C(1) << 30)
#define MOMENTS_COLUMNS_MAX 4608
#define NESTED_PLANES 4 /* and fewer come from one file; more have one of their own */

/**
 * struct work - what stays the same from row to row
 * @moments: [n_matrices] of any export of this net, shared by all; NULL: each measures its own
 * @start_nsec, @new_rows: for the time that is left
 */
struct work {
	const struct sweep *s;
	struct net *net;
	struct dataset *data, *calibrate;
	struct samples samples, calibrate_samples;
	struct calibration *calibration;
	struct second_moment *moments;
	uint32_t n_moments;
	struct sweep_table table;
	uint64_t start_nsec;
	uint32_t new_rows, done, total;
	char scratch[4096];
};

static void work_done(struct work *w)
{
	for (uint32_t i = 0; i < w->n_moments; i++)
		second_moment_done(&w->moments[i]);
	free(w->moments);
	sweep_table_done(&w->table);
	calibration_free(w->calibration);
	dataset_free(w->calibrate);
	dataset_free(w->data);
	net_free(w->net);
}

static int open_data(struct work *w, struct error *reterr)
{
	const struct sweep *s = w->s;
	struct shape want = graph_shape(&w->net->values[w->net->input].shape);
	int r = dataset_open(&w->data, s->data, s->labels, reterr);

	if (r >= 0)
		r = samples_init(&w->samples, w->data, &s->preprocess, want, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", s->data);
	if (!s->calibrate)
		return 0;
	r = dataset_open(&w->calibrate, s->calibrate, NULL, reterr);
	if (r >= 0)
		r = samples_init(&w->calibrate_samples, w->calibrate, &s->preprocess, want, reterr);
	return r < 0 ? error_prefix(reterr, r, "%s", s->calibrate) : 0;
}

static int calibrate(struct work *w, struct error *reterr)
{
	const struct preprocess *p = &w->s->preprocess;
	float low = -1, high = 1;

	if (w->s->calibrate)
		return calibrate_samples(&w->calibration, w->net, &w->calibrate_samples, w->s->samples,
			w->s->threads, w->s->progress, reterr);
	if (w->samples.pixels) {
		low = (0 - p->mean[0]) / p->std[0];
		high = (255 * p->scale - p->mean[0]) / p->std[0];
	}
	return calibrate_batch_norm(&w->calibration, w->net, low, high, reterr);
}

static int make_export(struct work *w, struct export **ret, const struct quantizer *q, uint32_t planes,
	struct error *reterr)
{
	const struct sweep *s = w->s;
	struct export_options o = {.quantizer = q, .planes = planes, .edge_planes = s->edge_planes,
		.group_columns = s->group_columns, .activation_bits = s->activation_bits, .seed = 1,
		.moments = w->moments};
	struct shape pixels = w->samples.pixels ? w->samples.shape : (struct shape){};
	int r = export_graph(ret, w->net, &o, w->samples.pixels ? &s->preprocess : NULL, pixels, reterr);

	return r < 0 ? r : export_scales(*ret, w->calibration, reterr);
}

/* All inputs at once, when they fit; the order of matrices is that of the net, whatever the method. */
static int measure_moments(struct work *w, struct error *reterr)
{
	_cleanup_(export_freep) struct export *e = NULL;
	_cleanup_free_ bool *wanted = NULL;
	uint64_t bytes = 0;
	int r = make_export(w, &e, quantizer_find("bcq"), 4, reterr);

	if (r < 0)
		return r;
	wanted = calloc(e->n_matrices + 1, sizeof *wanted);
	w->moments = calloc(e->n_matrices + 1, sizeof *w->moments);
	if (!wanted || !w->moments)
		return -ENOMEM;
	w->n_moments = e->n_matrices;
	for (uint32_t i = 0; i < e->n_matrices; i++) {
		wanted[i] = !e->matrices[i].fixed && e->matrices[i].columns <= MOMENTS_COLUMNS_MAX;
		bytes += wanted[i] ? second_moment_bytes(e, i) : 0;
	}
	if (bytes > MOMENTS_BYTES_MAX) {
		free(w->moments);
		w->moments = NULL;
		w->n_moments = 0;
		return 0;
	}
	return second_moments(w->moments, wanted, e, &w->calibrate_samples, w->s->samples, w->s->threads,
		w->s->progress, reterr);
}

static bool is_nested(const struct quantizer *q)
{
	return q == quantizer_find("bcq") || (!q->run && !q->rows);
}

static bool serves(const struct sweep *s, const struct quantizer *q, uint32_t bits)
{
	return (q->run || s->calibrate) && bits >= q->planes_min && bits <= q->planes_max;
}

static int keep(struct work *w, const struct sweep_row *row, struct error *reterr)
{
	double each;
	int r = sweep_append(w->s->folder, row, reterr);

	if (r < 0)
		return r;
	w->done++;
	w->new_rows++;
	each = (double) (clock_now_nsec() - w->start_nsec) / (double) NSEC_PER_SEC / w->new_rows;
	if (w->s->told)
		w->s->told(w->s->userdata, row, w->done, w->total, each * (w->total - w->done));
	return 0;
}

static int measure_fp32(struct work *w, struct error *reterr)
{
	_cleanup_(outputs_done) struct outputs out = {};
	struct sweep_row row = {.method = "fp32", .bits = 32};
	int r;

	if (sweep_find(&w->table, "fp32", 32))
		return 0;
	r = evaluate_reference(&out, w->net, &w->samples, w->s->limit, w->s->threads, w->s->progress, reterr);
	if (r < 0)
		return r;
	row.images = evaluate_accuracy(&out, &w->samples, evaluate_label_offset(out.classes, w->data), &row.top1,
		&row.top5);
	if (row.images == 0)
		return error_set(reterr, -ENODATA, "%s: no labels in it or beside it", w->s->data);
	row.float_top1 = row.top1;
	row.float_images = row.images;
	return keep(w, &row, reterr);
}

static int measure_float(struct work *w, const struct export *e, const struct model *m, struct sweep_row *row,
	struct error *reterr)
{
	_cleanup_(net_freep) struct net *net = NULL;
	_cleanup_(outputs_done) struct outputs out = {};
	double top5;
	int r = import_net(&net, w->s->onnx, reterr);

	if (r >= 0)
		r = decode_weights(net, e, m);
	if (r >= 0)
		r = evaluate_reference(&out, net, &w->samples, w->s->float_limit, w->s->threads, w->s->progress,
			reterr);
	if (r < 0)
		return r;
	row->float_images = evaluate_accuracy(&out, &w->samples, evaluate_label_offset(out.classes, w->data),
		&row->float_top1, &top5);
	return 0;
}

/* Planes in use and all scales: what this width takes of the file. */
static uint64_t bytes_at(const struct network *n, uint32_t planes)
{
	uint64_t sum = n->fixed_bytes + n->scales_bytes;

	for (uint32_t p = 0; p < planes && p < n->planes_max; p++)
		sum += n->plane_bytes[p];
	return sum;
}

static int measure_width(struct work *w, const struct quantizer *q, struct export *e, struct network *n,
	uint32_t bits, double seconds, struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *m = NULL;
	struct sweep_row row = {.bits = bits, .bytes = bytes_at(n, bits), .seconds = seconds};
	struct accuracy a = {};
	int r = card_measure(&a, n, MIN_OF(bits, n->planes_max), &w->samples, NULL, w->s->limit, w->s->threads,
		w->s->progress, NULL, reterr);

	(void) snprintf(row.method, sizeof row.method, "%s", q->name);
	row.top1 = (double) a.top1;
	row.top5 = (double) a.top5;
	row.images = a.images;
	if (r >= 0 && w->s->float_limit > 0)
		r = model_build(&m, n, MIN_OF(bits, n->planes_max), reterr);
	if (r >= 0 && m)
		r = measure_float(w, e, m, &row, reterr);
	return r < 0 ? r : keep(w, &row, reterr);
}

/* One file, and the widths of it that are wanted and not known. */
static int measure_file(struct work *w, const struct quantizer *q, uint32_t planes, struct error *reterr)
{
	_cleanup_(export_freep) struct export *e = NULL;
	_cleanup_(network_unrefp) struct network *n = NULL;
	const struct sweep *s = w->s;
	uint64_t start;
	double seconds;
	int r = make_export(w, &e, q, planes, reterr);

	start = clock_now_nsec();
	if (r >= 0)
		r = export_weights(e, s->calibrate ? &w->calibrate_samples : NULL, s->samples, s->threads,
			s->progress, reterr);
	if (r >= 0 && s->calibrate && is_nested(q))
		r = correct_widths(e, w->calibration, &w->calibrate_samples, w->scratch, s->threads, s->progress,
			reterr);
	else if (r >= 0 && s->calibrate)
		r = correct_widest(e, w->calibration, &w->calibrate_samples, w->scratch, s->threads, s->progress,
			reterr);
	else if (r >= 0)
		r = correct_without_data(e, w->calibration, w->scratch, reterr);
	if (r >= 0)
		r = export_network(&n, e, w->scratch, reterr);
	seconds = (double) (clock_now_nsec() - start) / (double) NSEC_PER_SEC;
	for (uint32_t i = 0; r >= 0 && i < s->n_bits; i++)
		if ((s->bits[i] == planes || (is_nested(q) && s->bits[i] < planes && planes <= NESTED_PLANES)) &&
			!sweep_find(&w->table, q->name, s->bits[i]))
			r = measure_width(w, q, e, n, s->bits[i], seconds, reterr);
	return r < 0 ? error_prefix(reterr, r, "%s, %u planes", q->name, planes) : r;
}

/* The file that a nested method serves @bits from: the same one whatever is measured already. */
static uint32_t nested_planes(const struct sweep *s, uint32_t bits)
{
	for (uint32_t i = 0; i < s->n_bits && bits <= NESTED_PLANES; i++)
		if (s->bits[i] <= NESTED_PLANES)
			return s->bits[i];
	return bits;
}

static int measure_method(struct work *w, const struct quantizer *q, struct error *reterr)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < w->s->n_bits; i++) {
		uint32_t bits = w->s->bits[i];

		if (!serves(w->s, q, bits) || sweep_find(&w->table, q->name, bits))
			continue;
		r = measure_file(w, q, is_nested(q) ? nested_planes(w->s, bits) : bits, reterr);
		if (is_nested(q) && bits <= NESTED_PLANES)
			break;
	}
	return r;
}

static void count(struct work *w)
{
	w->total = w->done = 0;
	for (uint32_t m = 0; m < w->s->n_methods; m++)
		for (uint32_t i = 0; i < w->s->n_bits; i++) {
			const struct quantizer *q = w->s->methods[m];

			w->total += serves(w->s, q, w->s->bits[i]);
			w->done += serves(w->s, q, w->s->bits[i]) && sweep_find(&w->table, q->name, w->s->bits[i]);
		}
	w->total++;
	w->done += sweep_find(&w->table, "fp32", 32) != NULL;
}

static int measure_all(struct work *w, struct error *reterr)
{
	int r = calibrate(w, reterr);

	if (r >= 0 && w->s->calibrate)
		r = measure_moments(w, reterr);
	w->start_nsec = clock_now_nsec();
	if (r >= 0)
		r = measure_fp32(w, reterr);
	for (uint32_t m = 0; r >= 0 && m < w->s->n_methods; m++)
		r = measure_method(w, w->s->methods[m], reterr);
	return r;
}

int sweep_run(const struct sweep *s, struct error *reterr)
{
	_cleanup_(work_done) struct work w = {.s = s};
	int r = import_net(&w.net, s->onnx, reterr);

	if (r >= 0 && mkdir(s->folder, 0777) < 0 && errno != EEXIST)
		r = error_set(reterr, -errno, "%s: %s", s->folder, error_text(NULL, -errno));
	if (r >= 0)
		r = sweep_read(&w.table, s->folder, reterr);
	if (r >= 0)
		r = open_data(&w, reterr);
	if (r < 0)
		return r;
	(void) snprintf(w.scratch, sizeof w.scratch, "%s/model", s->folder);
	count(&w);
	if (w.done < w.total)
		r = measure_all(&w, reterr);
	if (r < 0)
		return r;
	sweep_table_done(&w.table);
	r = sweep_read(&w.table, s->folder, reterr);
	return r < 0 ? r : sweep_write(&w.table, s->folder, w.net->name, reterr);
}
