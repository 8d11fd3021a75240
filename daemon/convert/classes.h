/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Object class clustering (methods A4): classes that a low width confuses with each other go into one cluster, and
 * a task that only has to tell clusters apart is served by fewer bits.
 */
#pragma once

#include "convert/evaluate.h"

#define CLASSES_MAX 1024

/**
 * struct clusters - @of: [classes], which cluster each class is in, numbered from 0 by their lowest class
 */
struct clusters {
	uint32_t classes, n;
	uint16_t of[CLASSES_MAX];
};

/**
 * classes_confusion() - how often the first class of an answer is this when the label is that
 * @ret: [classes][classes], rows are labels
 *
 * Return: how many samples had a label.
 */
uint32_t classes_confusion(uint32_t *ret, const struct outputs *o, const struct samples *samples, int label_offset);

/**
 * classes_cluster() - merge the classes that are confused most until @n clusters are left
 * @confusion: [classes][classes]
 *
 * Average linkage on (C + C^T) / 2 without its diagonal; of equals the lower numbers merge first.
 * Return: 0; -EINVAL for more than CLASSES_MAX classes or @n of 0; -ENOMEM.
 */
int classes_cluster(struct clusters *ret, const uint32_t *confusion, uint32_t classes, uint32_t n);

/**
 * classes_accuracy() - percent of samples whose cluster is right: the one with the largest sum of probabilities
 * @ret_first: the cluster of the first class instead
 */
double classes_accuracy(const struct outputs *o, const struct samples *samples, int label_offset,
	const struct clusters *c, double *ret_first);
