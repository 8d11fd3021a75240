/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which row of kernels.inc multiplies a layer fastest on this processor, measured rather than estimated.
 *
 *	tune_network()	times the rows, inside whole runs of a network		bitshed-model tune
 *	tune_write()	keeps the times in a folder, a file per processor and build
 *	tune_read()	takes them from there; tune_use(): for all plans of this process
 *	tune_pick()	the fastest row; what has not been measured goes by kernel_pick_product()
 *
 * A table only chooses among rows that fit, and those give the same bits: a wrong one costs time, never
 * an answer.
 */
#pragma once

#include "engine/kernels/kernel.h"
#include "engine/model.h"

/** struct tune_shape - what makes two products equally fast; @rows: of all groups; @columns: of the output */
struct tune_shape {
	uint32_t rows, words, group_words, planes, level, bits, columns, groups;
};

/** struct tune_row - @nsec: least time of a step of that shape with @kernel, on one thread */
struct tune_row {
	struct tune_shape shape;
	const struct kernel *kernel;
	uint64_t nsec;
};

#define TUNE_ROWS_MAX 4096

/** struct tune - @rows: by shape, then by their place in the list of kernels */
struct tune {
	uint32_t n;
	struct tune_row rows[TUNE_ROWS_MAX];
};

struct tune *tune_new(void);
struct tune *tune_free(struct tune *t);
DEFINE_CLEANUP(struct tune *, tune_free)

struct tune_shape tune_shape(
	const struct kernel_matrix *w, uint32_t columns, uint32_t bits, uint32_t groups);

/** tune_set() - in place of what the shape had for the kernel. Return: 0 or -ENOSPC */
int tune_set(struct tune *t, const struct tune_shape *shape, const struct kernel *k, uint64_t nsec);

/** tune_find() - Return: NULL, when not measured; @t may be NULL */
const struct tune_row *tune_find(
	const struct tune *t, const struct tune_shape *shape, const struct kernel *k);

/** tune_pick() - the fastest of @t that can do this, else as kernel_pick_product(); @groups: of the op */
const struct kernel *tune_pick(const struct tune *t, uint32_t cpu, const struct kernel_matrix *w,
	uint32_t columns, uint32_t bits, uint32_t groups);

/**
 * tune_use() - let plan_new() pick by @t from now on
 *
 * Takes @t, which may be NULL. Thread: one, before there is a second that makes plans.
 */
void tune_use(struct tune *t);
/** tune_used() - Return: NULL, when nothing was measured */
const struct tune *tune_used(void);

/**
 * tune_network() - time the rows that may be fastest for each product of @n at @bits, if @t has no time of them
 * @nsec: end after about this time; each row is run at least twice
 *
 * Return: how many times were new, or a negative errno.
 */
int tune_network(struct tune *t, struct network *n, double bits, uint32_t cpu, uint64_t nsec,
	struct error *reterr);

/**
 * tune_read() - what was measured on this processor with this build
 *
 * Return: 0, -ENOENT when nothing was, -EBADMSG with words when the file is not as tune_write() left it.
 */
int tune_read(struct tune **ret, int folder, struct error *reterr);
/** tune_write() - whole or not at all */
int tune_write(const struct tune *t, int folder, struct error *reterr);
