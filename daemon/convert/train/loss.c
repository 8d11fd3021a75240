/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/loss.h"

#include <math.h>

/* Class @c of softmax(x / t) is exp((x[c] - most) / t) / sum. */
static double softmax_sum(const float *x, uint32_t classes, float t, float *most)
{
	double sum = 0;

	*most = x[0];
	for (uint32_t c = 1; c < classes; c++)
		*most = fmaxf(*most, x[c]);
	for (uint32_t c = 0; c < classes; c++)
		sum += (double) expf((x[c] - *most) / t);
	return sum;
}

static uint32_t first_class(const float *x, uint32_t classes)
{
	uint32_t best = 0;

	for (uint32_t c = 1; c < classes; c++)
		if (x[c] > x[best])
			best = c;
	return best;
}

static double label_part(const struct loss *l, const float *x, int32_t label, uint32_t classes, float weight,
	float *grad)
{
	float most, even = l->smoothing / (float) classes;
	double sum = softmax_sum(x, classes, 1, &most), loss = 0;

	for (uint32_t c = 0; c < classes; c++) {
		double log_p = (double) (x[c] - most) - log(sum);
		float want = even + ((int32_t) c == label ? 1 - l->smoothing : 0);

		loss -= (double) want * log_p;
		grad[c] += weight * ((float) exp(log_p) - want);
	}
	return loss * (double) weight;
}

/* Kullback-Leibler from teacher to student; times t^2, so that t does not change the gradient's size. */
static double teacher_part(const struct loss *l, const float *x, const float *teacher, uint32_t classes,
	float weight, float *grad)
{
	float t = l->temperature, most, teacher_most;
	double sum = softmax_sum(x, classes, t, &most), loss = 0;
	double teacher_sum = softmax_sum(teacher, classes, t, &teacher_most);

	for (uint32_t c = 0; c < classes; c++) {
		double log_p = (double) ((x[c] - most) / t) - log(sum);
		double log_q = (double) ((teacher[c] - teacher_most) / t) - log(teacher_sum), q = exp(log_q);

		loss += q * (log_q - log_p);
		grad[c] += weight * t * (float) (exp(log_p) - q);
	}
	return loss * (double) (weight * t * t);
}

void loss_gradient(const struct loss *l, const float *logits, const float *teacher, const int32_t *labels,
	uint32_t n, uint32_t classes, float scale, float *grad, struct loss_sum *sum)
{
	float distil = teacher ? l->distil : 0;

	for (uint32_t i = 0; i < n; i++) {
		const float *x = logits + (size_t) i * classes;
		float *g = grad + (size_t) i * classes;
		double loss = 0;

		for (uint32_t c = 0; c < classes; c++)
			g[c] = 0;
		if (labels[i] < 0)
			continue;
		if (distil < 1)
			loss += label_part(l, x, labels[i], classes, 1 - distil, g);
		if (distil > 0)
			loss += teacher_part(l, x, teacher + (size_t) i * classes, classes, distil, g);
		for (uint32_t c = 0; c < classes; c++)
			g[c] *= scale / (float) n;
		sum->loss += loss;
		sum->right += first_class(x, classes) == (uint32_t) labels[i];
		sum->samples++;
	}
}
