/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/sensitivity.h"

#include <errno.h>
#include <math.h>

#include "convert/evaluate.h"
#include "engine/lower.h"

/* Outputs are probabilities already, or become so. */
static void to_probabilities(double *p, const float *values, uint32_t n)
{
	double sum = 0, most = -INFINITY, whole = 0;
	bool negative = false;

	for (uint32_t i = 0; i < n; i++) {
		most = fmax(most, (double) values[i]);
		whole += (double) values[i];
		negative |= values[i] < 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		bool done = !negative && fabs(whole - 1) < 0.05;

		p[i] = done ? (double) values[i] + 1e-6 : exp((double) values[i] - most) + 1e-9;
		sum += p[i];
	}
	for (uint32_t i = 0; i < n; i++)
		p[i] /= sum;
}

/* Mean over samples of sum p log(p / q), @reference the p. */
static int divergence(double *ret, const struct outputs *o, const struct outputs *reference)
{
	uint32_t n = o->classes;
	_cleanup_free_ double *p = malloc(2 * (size_t) n * sizeof *p);
	double *q = p + n, sum = 0;

	if (!p)
		return -ENOMEM;
	for (uint32_t i = 0; i < o->count; i++) {
		to_probabilities(p, reference->values + (size_t) i * n, n);
		to_probabilities(q, o->values + (size_t) i * n, n);
		for (uint32_t j = 0; j < n; j++)
			sum += p[j] * log(p[j] / q[j]);
	}
	*ret = o->count ? fmax(sum / o->count, 0) : 0;
	return 0;
}

/**
 * struct probe - @planes: [n_matrices], all but one at the top
 */
struct probe {
	struct network *network;
	struct samples *samples;
	uint32_t limit, *planes;
	struct outputs reference;
	struct threads *threads;
};

static void probe_done(struct probe *p)
{
	outputs_done(&p->reference);
	free(p->planes);
	network_unref(p->network);
}

static int run(struct probe *p, struct outputs *ret, struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	int r = model_build_mixed(&model, p->network, p->planes, reterr);

	return r < 0 ? r : evaluate_outputs(ret, model, p->samples, p->limit, p->threads, NULL, reterr);
}

static int measure_matrix(struct probe *p, uint32_t matrix, float *to, struct error *reterr)
{
	uint32_t all = p->planes[matrix], measured = MIN_OF(all - 1, SENSITIVITY_WIDTHS);
	int r = 0;

	for (uint32_t k = 1; r >= 0 && k <= measured; k++) {
		_cleanup_(outputs_done) struct outputs out = {};
		double d = 0;

		p->planes[matrix] = k;
		r = run(p, &out, reterr);
		if (r >= 0)
			r = divergence(&d, &out, &p->reference);
		to[k - 1] = (float) d;
	}
	p->planes[matrix] = all;
	for (uint32_t k = measured + 1; k <= all; k++)
		to[k - 1] = k < all ? to[k - 2] / 4 : 0;
	for (uint32_t k = all - 1; k > 0; k--) /* noise of few samples */
		to[k - 1] = fmaxf(to[k - 1], to[k]);
	return r;
}

static int probe_init(struct probe *p, struct error *reterr)
{
	p->planes = malloc((p->network->n_matrices + 1) * sizeof *p->planes);
	if (!p->planes)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->network->n_matrices; i++)
		p->planes[i] = p->network->matrices[i].planes;
	return run(p, &p->reference, reterr);
}

int sensitivity_measure(struct export *e, struct samples *samples, uint32_t limit, const char *path,
	struct threads *threads, const struct progress *progress, struct error *reterr)
{
	_cleanup_(probe_done) struct probe p = {.samples = samples, .limit = limit, .threads = threads};
	int r = export_network(&p.network, e, path, reterr);

	if (r >= 0)
		r = probe_init(&p, reterr);
	for (uint32_t i = 0; r >= 0 && i < e->n_matrices; i++) {
		struct export_matrix *m = &e->matrices[i];

		progress_step(progress, "measuring sensitivities", i, e->n_matrices);
		if (m->fixed)
			continue;
		free(m->sensitivity);
		m->sensitivity = calloc(m->coded.planes, sizeof *m->sensitivity);
		r = m->sensitivity ? measure_matrix(&p, i, m->sensitivity, reterr) : -ENOMEM;
	}
	return r;
}
