/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/classes.h"

#include <errno.h>
#include <math.h>
#include <string.h>

uint32_t classes_confusion(uint32_t *ret, const struct outputs *o, const struct samples *samples, int label_offset)
{
	uint32_t known = 0;

	memset(ret, 0, (size_t) o->classes * o->classes * sizeof *ret);
	for (uint32_t i = 0; i < o->count; i++) {
		int label = dataset_label(samples->data, i);
		uint32_t top = 0;

		if (label < 0 || (uint32_t) (label + label_offset) >= o->classes)
			continue;
		outputs_top(o->values + (size_t) i * o->classes, o->classes, 1, &top);
		ret[(size_t) (label + label_offset) * o->classes + top]++;
		known++;
	}
	return known;
}

/**
 * struct merging - @sum: [classes][classes], confusions between clusters, named by their lowest class
 * @size: of each; 0: part of another
 */
struct merging {
	uint32_t classes;
	double *sum;
	uint32_t size[CLASSES_MAX];
};

static void most_confused(const struct merging *m, uint32_t *ret_a, uint32_t *ret_b)
{
	double most = -1;

	for (uint32_t a = 0; a < m->classes; a++)
		for (uint32_t b = a + 1; m->size[a] > 0 && b < m->classes; b++) {
			double mean = m->size[b]
				? m->sum[(size_t) a * m->classes + b] / ((double) m->size[a] * m->size[b])
				: -2;

			if (mean > most) {
				most = mean;
				*ret_a = a;
				*ret_b = b;
			}
		}
}

static void merge(struct merging *m, struct clusters *c, uint32_t a, uint32_t b)
{
	for (uint32_t i = 0; i < m->classes; i++) {
		m->sum[(size_t) a * m->classes + i] += m->sum[(size_t) b * m->classes + i];
		m->sum[(size_t) i * m->classes + a] = m->sum[(size_t) a * m->classes + i];
		if (c->of[i] == b)
			c->of[i] = (uint16_t) a;
	}
	m->size[a] += m->size[b];
	m->size[b] = 0;
}

/* Names become numbers from 0. */
static void number(struct clusters *c)
{
	uint16_t next = 0, place[CLASSES_MAX];

	for (uint32_t i = 0; i < c->classes; i++) {
		if (c->of[i] == i)
			place[i] = next++;
		c->of[i] = place[c->of[i]];
	}
}

int classes_cluster(struct clusters *ret, const uint32_t *confusion, uint32_t classes, uint32_t n)
{
	_cleanup_free_ double *sum = NULL;
	struct merging m = {.classes = classes};
	struct clusters c = {.classes = classes, .n = classes};

	if (classes == 0 || classes > CLASSES_MAX || n == 0)
		return -EINVAL;
	m.sum = sum = calloc((size_t) classes * classes, sizeof *sum);
	if (!sum)
		return -ENOMEM;
	for (size_t i = 0; i < classes; i++) {
		m.size[i] = 1;
		c.of[i] = (uint16_t) i;
		for (size_t j = 0; j < classes; j++)
			sum[i * classes + j] =
				i == j ? 0 : (confusion[i * classes + j] + confusion[j * classes + i]) / 2.0;
	}
	for (; c.n > n; c.n--) {
		uint32_t a = 0, b = 0;

		most_confused(&m, &a, &b);
		merge(&m, &c, a, b);
	}
	number(&c);
	*ret = c;
	return 0;
}

/* The cluster with the largest sum of exp(value - largest): probabilities of logits, and near enough of those. */
static uint32_t heaviest(const float *values, const struct clusters *c)
{
	double mass[CLASSES_MAX] = {0};
	float most = -INFINITY;
	uint32_t best = 0;

	for (uint32_t j = 0; j < c->classes; j++)
		most = fmaxf(most, values[j]);
	for (uint32_t j = 0; j < c->classes; j++)
		mass[c->of[j]] += exp((double) (values[j] - most));
	for (uint32_t k = 1; k < c->n; k++)
		if (mass[k] > mass[best])
			best = k;
	return best;
}

/* Outputs that are probabilities already are added as they are. */
static uint32_t likeliest(const float *values, const struct clusters *c)
{
	double mass[CLASSES_MAX] = {0}, whole = 0;
	bool negative = false;
	uint32_t best = 0;

	for (uint32_t j = 0; j < c->classes; j++) {
		whole += (double) values[j];
		negative |= values[j] < 0;
		mass[c->of[j]] += (double) values[j];
	}
	if (negative || fabs(whole - 1) > 0.05)
		return heaviest(values, c);
	for (uint32_t k = 1; k < c->n; k++)
		if (mass[k] > mass[best])
			best = k;
	return best;
}

double classes_accuracy(const struct outputs *o, const struct samples *samples, int label_offset,
	const struct clusters *c, double *ret_first)
{
	uint32_t known = 0, right = 0, first = 0;

	for (uint32_t i = 0; i < o->count; i++) {
		const float *values = o->values + (size_t) i * o->classes;
		int label = dataset_label(samples->data, i);
		uint32_t top = 0, want;

		if (label < 0 || (uint32_t) (label + label_offset) >= c->classes)
			continue;
		want = c->of[label + label_offset];
		outputs_top(values, o->classes, 1, &top);
		known++;
		right += likeliest(values, c) == want;
		first += c->of[top] == want;
	}
	*ret_first = known ? 100.0 * first / known : 0;
	return known ? 100.0 * right / known : 0;
}
