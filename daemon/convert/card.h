/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accuracy card: what each width of a model file was measured to be worth, kept in the file, so that
 * policies can say "at most two points worse".
 */
#pragma once

#include "convert/evaluate.h"

/**
 * card_measure() - one width
 * @reference: answers of the fp32 network on the same samples; NULL: compare with labels alone
 * @limit: 0: all samples
 * @ret_outputs: what the width answered, owned by the caller; or NULL
 *
 * With labels top-1 and top-5 count those; without, the first class of @reference.
 * Return: 0; -ENODATA when there are neither; else as model_build() and evaluate_outputs().
 */
int card_measure(struct accuracy *ret, struct network *n, double bits, struct samples *samples,
	const struct outputs *reference, uint32_t limit, struct threads *threads,
	const struct progress *progress, struct outputs *ret_outputs, struct error *reterr);

/** card_rate() - what answers are worth: all of @ret but its bits. Return: as card_measure() */
int card_rate(struct accuracy *ret, const struct outputs *o, const struct outputs *reference,
	const struct samples *samples, struct error *reterr);

/** card_interval() - bounds of a measured percentage at 95 % confidence (Wilson's score interval) */
void card_interval(double percent, uint32_t n, double *ret_low, double *ret_high);

/**
 * card_store() - replace the card of the model file at @path
 * @n: that file, open
 * @data: what was measured on
 *
 * The file is whole at any moment: a new one takes its name. Return: 0; -EINVAL for more widths than a card
 * holds; else as plane_acquire() and model_write().
 */
int card_store(const char *path, struct network *n, const struct accuracy *accuracies, uint32_t n_accuracies,
	const char *data, struct error *reterr);
