/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/card.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "convert/model_write.h"
#include "engine/lower.h"

#define Z95 1.959964

void card_interval(double percent, uint32_t n, double *ret_low, double *ret_high)
{
	double p = percent / 100, z2 = Z95 * Z95, whole = n + z2;
	double middle = (p * n + z2 / 2) / whole;
	double half = Z95 * sqrt(p * (1 - p) * n + z2 / 4) / whole;

	*ret_low = n ? 100 * fmax(middle - half, 0) : 0;
	*ret_high = n ? 100 * fmin(middle + half, 1) : 100;
}

/* Without labels, the fp32 network's first class is what is right. */
static void count_agreement(struct accuracy *a, const struct outputs *o, const struct outputs *reference)
{
	uint32_t count = MIN_OF(o->count, reference->count), n = MIN_OF(5, o->classes), first = 0, among = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t top[5], right = 0;

		outputs_top(o->values + (size_t) i * o->classes, o->classes, n, top);
		outputs_top(reference->values + (size_t) i * o->classes, o->classes, 1, &right);
		first += top[0] == right;
		for (uint32_t j = 0; j < n; j++)
			among += top[j] == right;
	}
	a->against = ACCURACY_FP32;
	a->images = count;
	a->top1 = count ? 100.0f * (float) first / (float) count : 0;
	a->top5 = count ? 100.0f * (float) among / (float) count : 0;
}

int card_rate(struct accuracy *a, const struct outputs *o, const struct outputs *reference,
	const struct samples *samples, struct error *reterr)
{
	double top1, top5, same, snr = 0;

	a->images = evaluate_accuracy(o, samples, evaluate_label_offset(o->classes, samples->data), &top1, &top5);
	a->top1 = (float) top1;
	a->top5 = (float) top5;
	a->against = ACCURACY_LABELS;
	if (reference)
		evaluate_agreement(o, reference, &same, &snr);
	if (a->images == 0 && reference)
		count_agreement(a, o, reference);
	a->snr = (float) fmin(fmax(snr, -ACCURACY_SNR_MAX), ACCURACY_SNR_MAX);
	if (a->images == 0)
		return error_set(reterr, -ENODATA, "no labels in the data or beside them");
	return 0;
}

int card_measure(struct accuracy *ret, struct network *n, double bits, struct samples *samples,
	const struct outputs *reference, uint32_t limit, struct threads *threads,
	const struct progress *progress, struct outputs *ret_outputs, struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	_cleanup_(outputs_done) struct outputs out = {};
	struct accuracy a = {.bits = (float) bits};
	int r = model_build(&model, n, bits, reterr);

	if (r >= 0)
		r = evaluate_outputs(&out, model, samples, limit, threads, progress, reterr);
	if (r >= 0)
		r = card_rate(&a, &out, reference, samples, reterr);
	if (r < 0)
		return r;
	*ret = a;
	if (ret_outputs) {
		*ret_outputs = out;
		out = (struct outputs){};
	}
	return 0;
}

/**
 * struct copy - a network as it is written again
 * @planes: [n_matrices], each [planes] pointers into @acquired
 */
struct copy {
	struct network network;
	struct plane *acquired[BITS_PLANES_MAX], *fixed;
	uint64_t *(*planes)[BITS_PLANES_MAX];
	uint64_t *const **rows;
};

static void copy_done(struct copy *c)
{
	for (uint32_t i = 0; i < BITS_PLANES_MAX; i++)
		(void) plane_unref(c->acquired[i]);
	(void) plane_unref(c->fixed);
	free(c->network.matrices);
	free(c->planes);
	free(c->rows);
}

static void point_matrix(struct copy *c, const struct network *n, uint32_t i)
{
	const struct matrix *m = &n->matrices[i];
	uint64_t words = bits_plane_words(m->rows, m->row_bits);

	for (uint32_t p = 0; p < m->planes; p++) {
		const struct plane *plane = m->fixed ? c->fixed : c->acquired[p];
		uint64_t at = m->fixed ? m->plane_word + p * words : plane->matrix_word[i];

		c->planes[i][p] = (uint64_t *) plane->words + at;
	}
	c->rows[i] = c->planes[i];
}

static int copy_init(struct copy *c, struct network *n, struct error *reterr)
{
	int r = 0;

	c->network = *n;
	c->network.matrices = malloc((n->n_matrices + 1) * sizeof *n->matrices);
	c->planes = calloc(n->n_matrices + 1, sizeof *c->planes);
	c->rows = calloc(n->n_matrices + 1, sizeof *c->rows);
	if (!c->network.matrices || !c->planes || !c->rows)
		return -ENOMEM;
	memcpy(c->network.matrices, n->matrices, n->n_matrices * sizeof *n->matrices);
	if (n->fixed_bytes > 0)
		r = plane_acquire(&c->fixed, n, PLANE_FIXED, NULL, reterr);
	for (uint32_t p = 0; r >= 0 && p < n->planes_max; p++)
		r = n->plane_bytes[p] > 0 ? plane_acquire(&c->acquired[p], n, p, NULL, reterr) : 0;
	for (uint32_t i = 0; r >= 0 && i < n->n_matrices; i++)
		point_matrix(c, n, i);
	return r;
}

int card_store(const char *path, struct network *n, const struct accuracy *accuracies, uint32_t n_accuracies,
	const char *data, struct error *reterr)
{
	_cleanup_(copy_done) struct copy c = {};
	int r;

	if (n_accuracies > ACCURACIES_MAX)
		return error_set(reterr, -EINVAL, "a card holds %u widths", ACCURACIES_MAX);
	r = copy_init(&c, n, reterr);
	if (r < 0)
		return r;
	c.network.accuracies = (struct accuracy *) accuracies;
	c.network.n_accuracies = n_accuracies;
	(void) snprintf(c.network.accuracy_data, sizeof c.network.accuracy_data, "%s", data);
	return model_write(path, &c.network, (uint64_t *const *const *) c.rows, reterr);
}
