/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of an fp32 net's values over samples, and the ranges that follow from them. */
#include "convert/calibrate.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/clip.h"

/* Samples are dealt to lanes, and lanes are added up in their order: sums of floats do not depend on how
 * many threads there are. */
#define LANES 8

struct lane {
	struct value_statistics *values;
	struct reference *reference;
	uint8_t *pixels;
	float *input;
	int r;
};

struct run {
	const struct net *net;
	struct samples *samples;
	uint32_t n, done, outputs_each;
	float *outputs;
	struct lane lanes[LANES];
	const struct progress *progress;
};

static void statistics_free(struct value_statistics *v, uint32_t n)
{
	for (uint32_t i = 0; v && i < n; i++) {
		free(v[i].bins);
		free(v[i].sum);
		free(v[i].square);
		free(v[i].peak);
	}
	free(v);
}

struct calibration *calibration_free(struct calibration *c)
{
	if (!c)
		return NULL;
	if (c->net)
		statistics_free(c->values, c->net->n_values);
	free(c->outputs);
	free(c);
	return NULL;
}

static struct value_statistics *statistics_new(const struct net *net, bool bins)
{
	struct value_statistics *v = calloc(net->n_values, sizeof *v);

	for (uint32_t i = 0; v && i < net->n_values; i++) {
		const struct net_shape *s = &net->values[i].shape;

		v[i].channels = s->n == 3 ? s->dims[0] : (uint32_t) net_elements(s);
		v[i].sum = calloc(v[i].channels, sizeof *v[i].sum);
		v[i].square = calloc(v[i].channels, sizeof *v[i].square);
		v[i].peak = calloc(v[i].channels, sizeof *v[i].peak);
		v[i].bins = bins ? calloc(CALIBRATE_BINS, sizeof *v[i].bins) : NULL;
		v[i].limit = 0x1p-20f;
		v[i].low = INFINITY;
		v[i].high = -INFINITY;
		if (!v[i].sum || !v[i].square || !v[i].peak || (bins && !v[i].bins)) {
			statistics_free(v, net->n_values);
			return NULL;
		}
	}
	return v;
}

int calibration_new(struct calibration **ret, const struct net *net, bool bins)
{
	_cleanup_(calibration_freep) struct calibration *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->net = net;
	c->values = statistics_new(net, bins);
	if (!c->values)
		return -ENOMEM;
	*ret = take_ptr(c);
	return 0;
}

/* Twice the range in the same bins: two neighbours become one. */
static void widen(struct value_statistics *v)
{
	const int half = CALIBRATE_BINS / 2;
	uint64_t wide[CALIBRATE_BINS] = {0};

	for (int i = 0; i < CALIBRATE_BINS; i++)
		wide[half + ((i - half) >> 1)] += v->bins[i];
	memcpy(v->bins, wide, sizeof wide);
	v->limit *= 2;
}

static void count_values(struct value_statistics *v, const float *x, size_t n)
{
	float low = v->low, high = v->high, factor;

	for (size_t i = 0; i < n; i++) {
		low = x[i] < low ? x[i] : low;
		high = x[i] > high ? x[i] : high;
	}
	v->low = low;
	v->high = high;
	while (fmaxf(-low, high) >= v->limit && v->limit < 0x1p100f)
		widen(v);
	factor = CALIBRATE_BINS / 2 / v->limit;
	for (size_t i = 0; i < n; i++) {
		float at = x[i] * factor + CALIBRATE_BINS / 2;

		v->bins[at >= 0 && at < CALIBRATE_BINS ? (int) at : 0]++;
	}
}

static void count_channels(struct value_statistics *v, const float *x, size_t n)
{
	size_t pixels = n / v->channels;

	for (uint32_t c = 0; c < v->channels; c++) {
		double sum = 0, square = 0;
		float peak = v->peak[c];

		for (size_t i = 0; i < pixels; i++) {
			double y = x[c * pixels + i];

			sum += y;
			square += y * y;
			peak = fmaxf(peak, fabsf(x[c * pixels + i]));
		}
		v->sum[c] += sum;
		v->square[c] += square;
		v->peak[c] = peak;
	}
	v->count += pixels;
}

static int lane_open(struct run *run, struct lane *l)
{
	size_t n = samples_elements(run->samples);
	int r = reference_new(&l->reference, run->net);

	if (r < 0)
		return r;
	l->values = statistics_new(run->net, true);
	l->pixels = malloc(n);
	l->input = malloc(n * sizeof *l->input);
	return l->values && l->pixels && l->input ? 0 : -ENOMEM;
}

static void lane_run(void *userdata, uint32_t task, uint32_t thread)
{
	struct run *run = userdata;
	struct lane *l = &run->lanes[task];
	uint32_t total = dataset_count(run->samples->data);

	l->r = lane_open(run, l);
	for (uint32_t i = task; l->r >= 0 && i < run->n; i += LANES) {
		l->r = samples_chw(run->samples, (uint32_t) ((uint64_t) i * total / run->n), l->pixels,
			l->input);
		if (l->r < 0)
			break;
		reference_run(l->reference, l->input);
		memcpy(run->outputs + (size_t) i * run->outputs_each,
			reference_value(l->reference, run->net->output), run->outputs_each * sizeof(float));
		for (uint32_t v = 0; v < run->net->n_values; v++) {
			const float *x = reference_value(l->reference, v);
			size_t n = net_elements(&run->net->values[v].shape);

			count_values(&l->values[v], x, n);
			count_channels(&l->values[v], x, n);
		}
		progress_step(run->progress, "calibrating",
			__atomic_add_fetch(&run->done, 1, __ATOMIC_RELAXED), run->n);
	}
	/* The interpreter holds every value of the net: not longer than needed. */
	l->reference = reference_free(l->reference);
}

static void add_lane(struct value_statistics *to, struct value_statistics *from)
{
	while (to->limit < from->limit)
		widen(to);
	while (from->limit < to->limit)
		widen(from);
	for (int i = 0; i < CALIBRATE_BINS; i++)
		to->bins[i] += from->bins[i];
	for (uint32_t c = 0; c < to->channels; c++) {
		to->sum[c] += from->sum[c];
		to->square[c] += from->square[c];
		to->peak[c] = fmaxf(to->peak[c], from->peak[c]);
	}
	to->low = fminf(to->low, from->low);
	to->high = fmaxf(to->high, from->high);
	to->count += from->count;
}

static void run_done(struct run *run)
{
	for (uint32_t i = 0; i < LANES; i++) {
		statistics_free(run->lanes[i].values, run->net->n_values);
		free(run->lanes[i].pixels);
		free(run->lanes[i].input);
	}
}

int calibrate_samples(struct calibration **ret, const struct net *net, struct samples *samples,
	uint32_t limit, struct threads *threads, const struct progress *progress,
	struct error *reterr)
{
	_cleanup_(calibration_freep) struct calibration *c = NULL;
	_cleanup_(run_done) struct run run = {.net = net, .samples = samples, .progress = progress};
	int r;

	run.n = MIN_OF(limit, dataset_count(samples->data));
	if (run.n == 0)
		return error_set(reterr, -EINVAL, "the calibration data are empty");
	r = calibration_new(&c, net, true);
	if (r < 0)
		return r;
	c->samples = run.n;
	c->outputs_each = run.outputs_each = (uint32_t) net_elements(&net->values[net->output].shape);
	c->outputs = run.outputs = calloc((size_t) run.n * run.outputs_each, sizeof *c->outputs);
	if (!c->outputs)
		return -ENOMEM;
	threads_run(threads, lane_run, &run, LANES);
	for (uint32_t i = 0; i < LANES; i++) {
		if (run.lanes[i].r < 0)
			return error_set(reterr, run.lanes[i].r, "the calibration data cannot be read");
		for (uint32_t v = 0; v < net->n_values; v++)
			add_lane(&c->values[v], &run.lanes[i].values[v]);
	}
	*ret = take_ptr(c);
	return 0;
}

void calibration_widen(struct calibration *c, const struct calibration *other)
{
	for (uint32_t i = 0; i < c->net->n_values; i++) {
		struct value_statistics *to = &c->values[i];
		const struct value_statistics *from = &other->values[i];

		to->low = fminf(to->low, from->low);
		to->high = fmaxf(to->high, from->high);
		for (uint32_t k = 0; k < to->channels; k++)
			to->peak[k] = fmaxf(to->peak[k], from->peak[k]);
	}
}

void calibration_restore(struct calibration *c, struct calibration *was)
{
	float *outputs = c->outputs;

	for (uint32_t i = 0; i < was->net->n_values; i++) {
		struct value_statistics other = c->values[i];

		if (other.channels != was->values[i].channels)
			continue;
		c->values[i] = was->values[i];
		was->values[i] = other;
	}
	c->outputs = was->outputs;
	was->outputs = outputs;
}

void calibration_range(const struct calibration *c, uint32_t value, enum calibrate_clip clip,
	uint32_t bits, float *ret_low, float *ret_high)
{
	const struct value_statistics *v = &c->values[value];
	float low = fminf(v->low, 0), high = fmaxf(v->high, 0);

	if (clips[clip].choose && v->bins && high > low)
		clips[clip].choose(v, bits, &low, &high);
	*ret_low = low;
	*ret_high = high;
}

void calibration_channel(const struct calibration *c, uint32_t value, uint32_t channel,
	double *ret_mean, double *ret_deviation)
{
	const struct value_statistics *v = &c->values[value];
	double n = v->count ? (double) v->count : 1, mean = v->sum[channel] / n;

	*ret_mean = mean;
	*ret_deviation = sqrt(fmax(v->square[channel] / n - mean * mean, 0));
}
