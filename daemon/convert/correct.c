/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching the fp32 network's statistics at every width, by the integer engine itself.
 *
 * All calibration samples are held between two steps of the plan at once. At a matrix, its sums must be
 * seen before they are clipped to eight bits: the step runs first with a gain and a bias per row that lay
 * the row's whole distribution into 0..255 (a window), which measures mean and deviation to a thousandth;
 * then again with the correction.
 */
#include "convert/correct.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/bench.h"
#include "engine/lower.h"

#define WINDOW_DEVIATIONS 6.0
#define WINDOW_TRIES 4
#define GAIN_MAX 8.0
/* Of the part of the samples with the same first class; 512 samples know it to about this. */
#define AGREEMENT_NOISE 0.02

/**
 * struct window - what the rows of one matrix are measured with
 * @low, @step: [rows], q = (real - low) / step
 * @sums: [threads][rows][3]: of q, of q * q, and how many lay at an end
 */
struct window {
	double *low, *step;
	float *gain, *bias;
	uint64_t *sums;
	bool again;
};

struct pass {
	struct export *e;
	const struct calibration *calibration;
	struct bench *b;
	struct model *model;
	struct plan *plan;
	uint32_t step, planes;
	struct window *window;
	int r;
};

static void window_done(struct window *w)
{
	free(w->low);
	free(w->step);
	free(w->gain);
	free(w->bias);
	free(w->sums);
}

static int window_init(struct window *w, uint32_t rows, uint32_t threads)
{
	w->low = calloc(rows, sizeof *w->low);
	w->step = calloc(rows, sizeof *w->step);
	w->gain = calloc(rows, sizeof *w->gain);
	w->bias = calloc(rows, sizeof *w->bias);
	w->sums = calloc((size_t) threads * rows * 3, sizeof *w->sums);
	return w->low && w->step && w->gain && w->bias && w->sums ? 0 : -ENOMEM;
}

static void run_sample(void *userdata, uint32_t task, uint32_t thread)
{
	struct pass *p = userdata;
	struct workspace w = bench_space(p->b, task, thread);
	const struct op *op = &p->model->network->ops[p->step];
	const struct value *v = &p->model->network->values[op->output];
	const uint8_t *q;
	size_t pixels = (size_t) v->shape.height * v->shape.width;
	uint32_t rows = v->shape.channels;
	uint64_t *sums;

	exec_step(p->plan, &w, NULL, p->b->pixels ? INPUT_PIXELS : INPUT_FLOATS,
		p->b->inputs + task * p->b->input_bytes, p->step);
	if (!p->window || v->element == ELEMENT_F32)
		return;
	q = exec_value(p->plan, &w, op->output);
	sums = p->window->sums + (size_t) thread * rows * 3;
	for (size_t i = 0; i < pixels; i++, q += rows)
		for (uint32_t c = 0; c < rows; c++) {
			sums[3 * c] += q[c];
			sums[3 * c + 1] += (uint32_t) q[c] * q[c];
			sums[3 * c + 2] += q[c] == 0 || q[c] == 255;
		}
}

/* The layer's own gain and bias, turned to (real - low) / step - zero point. */
static void set_window(struct pass *p, const struct layer *own, uint32_t rows, const struct value *out)
{
	struct window *w = p->window;

	for (uint32_t i = 0; i < rows; i++) {
		double factor = out->scale / w->step[i];

		w->gain[i] = (float) (own->gain[i] * factor);
		w->bias[i] = (float) (own->bias[i] * factor - w->low[i] / w->step[i] - out->zero_point);
	}
}

/* Mean and deviation of each row from the sums; rows that left their window get a wider one. */
static void read_window(struct pass *p, uint32_t rows, uint64_t n, double *mean, double *deviation)
{
	struct window *w = p->window;

	w->again = false;
	for (uint32_t i = 0; i < rows; i++) {
		uint64_t s[3] = {0};
		double m, square;

		for (uint32_t t = 0; t < p->b->n_threads; t++)
			for (int k = 0; k < 3; k++)
				s[k] += w->sums[((size_t) t * rows + i) * 3 + (size_t) k];
		m = (double) s[0] / (double) n;
		square = fmax((double) s[1] / (double) n - m * m - 1.0 / 12, 0);
		mean[i] = m * w->step[i] + w->low[i];
		deviation[i] = sqrt(square) * w->step[i];
		if (s[2] * 500 > n) {
			w->again = true;
			w->low[i] = mean[i] - 320 * w->step[i];
			w->step[i] *= 2.5;
		}
	}
}

static int measure_u8(struct pass *p, struct layer *layer, uint32_t rows, double *mean, double *deviation)
{
	_cleanup_(window_done) struct window w = {};
	const struct layer own = *layer;
	struct op *op = &p->model->network->ops[p->step];
	const struct value *out = &p->model->network->values[op->output];
	uint64_t n = (uint64_t) p->b->n_samples * out->shape.height * out->shape.width;
	uint8_t low = op->clamp_low, high = op->clamp_high;
	int r = window_init(&w, rows, p->b->n_threads);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < rows; i++) {
		double range = WINDOW_DEVIATIONS * fmax(deviation[i], 1e-4 * out->scale);

		w.low[i] = mean[i] - range;
		w.step[i] = 2 * range / 255;
	}
	p->window = &w;
	op->clamp_low = 0;
	op->clamp_high = 255;
	layer->gain = w.gain;
	layer->bias = w.bias;
	for (int try = 0; try < WINDOW_TRIES; try++) {
		set_window(p, &own, rows, out);
		memset(w.sums, 0, (size_t) p->b->n_threads * rows * 3 * sizeof *w.sums);
		threads_run(p->b->threads, run_sample, p, p->b->n_samples);
		read_window(p, rows, n, mean, deviation);
		if (!w.again)
			break;
	}
	*layer = own;
	op->clamp_low = low;
	op->clamp_high = high;
	p->window = NULL;
	return 0;
}

static void measure_f32(struct pass *p, uint32_t rows, double *mean, double *deviation)
{
	const struct op *op = &p->model->network->ops[p->step];
	const struct value *v = &p->model->network->values[op->output];
	size_t pixels = (size_t) v->shape.height * v->shape.width;
	double n = (double) pixels * p->b->n_samples;

	threads_run(p->b->threads, run_sample, p, p->b->n_samples);
	for (uint32_t c = 0; c < rows; c++) {
		double sum = 0, square = 0;

		for (uint32_t i = 0; i < p->b->n_samples; i++) {
			struct workspace w = bench_space(p->b, i, 0);
			const float *x = exec_value(p->plan, &w, op->output);

			for (size_t j = 0; j < pixels; j++) {
				double y = x[j * rows + c];

				sum += y;
				square += y * y;
			}
		}
		mean[c] = sum / n;
		deviation[c] = sqrt(fmax(square / n - mean[c] * mean[c], 0));
	}
}

/* What the fp32 network gives at this matrix, over the same samples. */
static void targets(const struct pass *p, uint32_t matrix, uint32_t rows, double *mean, double *deviation)
{
	const struct export_matrix *m = &p->e->matrices[matrix];
	uint32_t value = p->e->net->nodes[m->net_node].output;

	for (uint32_t i = 0; i < rows; i++)
		calibration_channel(p->calibration, value, i, &mean[i], &deviation[i]);
}

/* From what was measured and what is wanted to the file's gain and bias. */
static void choose(const struct pass *p, uint32_t planes, uint32_t matrix, const double *have_mean,
	const double *have_deviation)
{
	struct export_matrix *m = &p->e->matrices[matrix];
	float *gain_at = m->gain_at + (size_t) (planes - 1) * m->rows;
	float *bias_at = m->bias_at + (size_t) (planes - 1) * m->rows;

	for (uint32_t i = 0; i < m->rows; i++) {
		double mean, deviation, g = 1, b;

		calibration_channel(p->calibration, p->e->net->nodes[m->net_node].output, i, &mean,
			&deviation);
		if (have_deviation[i] > 1e-3 * deviation && deviation > 1e-9)
			g = fmin(fmax(deviation / have_deviation[i], 1 / GAIN_MAX), GAIN_MAX);
		b = mean - g * (have_mean[i] - m->bias[i]);
		gain_at[i] = (float) (g * m->row_scale[i]);
		bias_at[i] = (float) b;
	}
}

/* The layer with the file's gain and bias. */
static void apply(struct pass *p, const struct layer *layer, uint32_t matrix)
{
	const struct export_matrix *m = &p->e->matrices[matrix];
	const struct op *op = &p->model->network->ops[p->step];
	const struct value *out = &p->model->network->values[op->output];
	double scale = out->element == ELEMENT_F32 ? 1 : out->scale;
	const float *gain_at = m->gain_at + (size_t) (layer->planes - 1) * m->rows;
	const float *bias_at = m->bias_at + (size_t) (layer->planes - 1) * m->rows;

	for (uint32_t i = 0; i < m->rows; i++) {
		double g = (double) gain_at[i] / m->row_scale[i];

		p->b->bias[i] = (float) (g * (layer->bias[i] - m->bias[i] / scale) + bias_at[i] / scale);
		p->b->gain[i] = (float) (g * layer->gain[i]);
	}
}

/* No correction: what the planes say. */
static void reset(struct export_matrix *m, uint32_t planes)
{
	for (uint32_t i = 0; i < m->rows; i++) {
		m->gain_at[(size_t) (planes - 1) * m->rows + i] = m->row_scale[i];
		m->bias_at[(size_t) (planes - 1) * m->rows + i] = m->bias[i];
	}
}

/* Matrices that keep their planes have one correction for all widths, that of the widest. */
static bool is_decided(const struct pass *p, uint32_t matrix)
{
	return p->e->matrices[matrix].fixed && p->planes < p->model->network->planes_max;
}

static int measure_step(struct pass *p, struct layer *layer, uint32_t matrix)
{
	const struct op *op = &p->model->network->ops[p->step];
	uint32_t rows = p->e->matrices[matrix].rows;
	_cleanup_free_ double *mean = calloc(rows, sizeof *mean);
	_cleanup_free_ double *deviation = calloc(rows, sizeof *deviation);
	int r = 0;

	if (!mean || !deviation)
		return -ENOMEM;
	targets(p, matrix, rows, mean, deviation);
	if (p->model->network->values[op->output].element == ELEMENT_F32)
		measure_f32(p, rows, mean, deviation);
	else
		r = measure_u8(p, layer, rows, mean, deviation);
	if (r >= 0)
		choose(p, layer->planes, matrix, mean, deviation);
	return r;
}

static int correct_step(struct pass *p)
{
	const struct op *op = &p->model->network->ops[p->step];
	struct layer *layer = &p->model->layers[op->matrix], own = *layer;
	int r = is_decided(p, op->matrix) ? 0 : measure_step(p, layer, op->matrix);

	if (r < 0)
		return r;
	apply(p, layer, op->matrix);
	layer->gain = p->b->gain;
	layer->bias = p->b->bias;
	threads_run(p->b->threads, run_sample, p, p->b->n_samples);
	*layer = own;
	return 0;
}

static uint32_t largest(const float *x, uint32_t n)
{
	uint32_t at = 0;

	for (uint32_t i = 1; i < n; i++)
		at = x[i] > x[at] ? i : at;
	return at;
}

/**
 * struct distance - of all outputs, as the last step left them, to the fp32 network's
 * @error: squared difference over the square of fp32's
 * @agreement: part of the samples with the same first class
 */
struct distance {
	double error, agreement;
};

static struct distance measure_output(const struct pass *p)
{
	uint32_t n = p->calibration->outputs_each, same = 0;
	double error = 0, square = 0;

	for (uint32_t i = 0; i < p->b->n_samples; i++) {
		struct workspace w = bench_space(p->b, i, 0);
		const float *x = exec_value(p->plan, &w, p->model->network->output);
		const float *y = p->calibration->outputs + (size_t) i * n;

		for (uint32_t c = 0; c < n; c++) {
			error += ((double) x[c] - (double) y[c]) * ((double) x[c] - (double) y[c]);
			square += (double) y[c] * (double) y[c];
		}
		same += largest(x, n) == largest(y, n);
	}
	return (struct distance){.error = square > 0 ? error / square : error,
		.agreement = (double) same / p->b->n_samples};
}

static int run_steps(struct pass *p, bool measured)
{
	const struct network *n = p->model->network;
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < n->n_ops; i++) {
		const struct op *op = &n->ops[i];
		bool matrix = op->kind == OP_CONVOLUTION || op->kind == OP_DEPTHWISE;

		p->step = i;
		if (matrix && (measured || is_decided(p, op->matrix)))
			r = correct_step(p);
		else
			threads_run(p->b->threads, run_sample, p, p->b->n_samples);
	}
	return r;
}

/*
 * Where little is lost, rounding the statistics back to fp32's can cost more than it mends: what leaves the smaller
 * error at the output stays. But an output that says nothing has a small error, too, smaller than one that is
 * right as often as not: what keeps noticeably more first classes is better whatever its error.
 */
static bool is_closer(const struct distance *a, const struct distance *b)
{
	if (fabs(a->agreement - b->agreement) > AGREEMENT_NOISE)
		return a->agreement > b->agreement;
	return a->error < b->error;
}

/* One width. */
static int correct_width(struct export *e, const struct calibration *c, struct bench *b,
	struct network *network, uint32_t planes, struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	struct pass p = {.e = e, .calibration = c, .b = b, .planes = planes};
	struct distance corrected, plain;
	bool plain_stays;
	int r = model_build(&model, network, planes, reterr);

	if (r >= 0)
		r = plan_new(&plan, model, cpu_flags(), reterr);
	if (r >= 0)
		r = bench_reserve(b, plan);
	if (r < 0)
		return r;
	p.model = model;
	p.plan = plan;
	r = run_steps(&p, true);
	if (r < 0)
		return r;
	corrected = measure_output(&p);
	r = run_steps(&p, false);
	if (r < 0)
		return r;
	plain = measure_output(&p);
	plain_stays = is_closer(&plain, &corrected);
	for (uint32_t i = 0; plain_stays && i < e->n_matrices; i++)
		if (!is_decided(&p, i))
			reset(&e->matrices[i], model->layers[i].planes);
	if (planes == network->planes_max) {
		e->output_error = plain_stays ? plain.error : corrected.error;
		e->agreement = plain_stays ? plain.agreement : corrected.agreement;
	}
	return 0;
}

static uint32_t rows_max(const struct export *e)
{
	uint32_t n = 1;

	for (uint32_t i = 0; i < e->n_matrices; i++)
		n = MAX_OF(n, e->matrices[i].rows);
	return n;
}

static int correct_from_widest(bool all, struct export *e, const struct calibration *c, struct samples *samples,
	const char *path, struct threads *threads, const struct progress *progress, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *network = NULL;
	_cleanup_(bench_done) struct bench b = {};
	int r = export_network(&network, e, path, reterr);
	uint32_t last = r >= 0 && !all ? network->planes_max : 1;

	if (r >= 0)
		r = bench_init(&b, samples, c->samples, rows_max(e), threads, reterr);
	/* The widest first: it decides for the matrices that keep their planes. */
	for (uint32_t p = r < 0 ? 0 : network->planes_max; r >= 0 && p >= last; p--) {
		progress_step(progress, "correcting", network->planes_max - p, network->planes_max);
		r = correct_width(e, c, &b, network, p, reterr);
	}
	progress_step(progress, "correcting", 1, 1);
	return r;
}

int correct_widths(struct export *e, const struct calibration *c, struct samples *samples,
	const char *path, struct threads *threads, const struct progress *progress,
	struct error *reterr)
{
	return correct_from_widest(true, e, c, samples, path, threads, progress, reterr);
}

int correct_widest(struct export *e, const struct calibration *c, struct samples *samples,
	const char *path, struct threads *threads, const struct progress *progress,
	struct error *reterr)
{
	return correct_from_widest(false, e, c, samples, path, threads, progress, reterr);
}
