/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many methods at many widths on one network: a table that can be gone on with. Ranges and inputs are looked at
 * once; each row is in the file as soon as it is known, and a row that is there is not measured again.
 */
#pragma once

#include "convert/export.h"
#include "engine/threads.h"

#define SWEEP_WIDTHS_MAX 8

/**
 * struct sweep_row - one line of the table
 * @bytes: of planes and scales at this width
 * @seconds: to quantize and correct, ranges and inputs known already
 * @top1, @top5, @images: with the integer engine; @float_top1, @float_images: the same weights, activations in
 *	fp32
 */
struct sweep_row {
	char method[32];
	uint32_t bits;
	uint64_t bytes;
	double seconds, top1, top5, float_top1;
	uint32_t images, float_images;
};

/**
 * struct sweep - what to do
 * @folder: for sweep.csv, sweep.md, sweep.svg; made when it is not there
 * @methods: [n_methods]; @bits: [n_bits], falling
 * @calibrate: or NULL: methods that need data are left out
 * @limit: items of @data for the integer engine, 0: all; @float_limit: for fp32 activations, 0: none
 * @told: called with each new row, how many are done and there, and the seconds that are left
 */
struct sweep {
	const char *onnx, *folder, *data, *labels, *calibrate;
	const struct quantizer **methods;
	uint32_t n_methods, bits[SWEEP_WIDTHS_MAX], n_bits;
	struct preprocess preprocess;
	uint32_t samples, limit, float_limit, edge_planes, group_columns, activation_bits;
	struct threads *threads;
	const struct progress *progress;
	void (*told)(void *userdata, const struct sweep_row *row, uint32_t done, uint32_t total, double left);
	void *userdata;
};

/** sweep_run() - measure what is missing, then write table and plot. Return: 0 or a negative errno with words */
int sweep_run(const struct sweep *s, struct error *reterr);

/**
 * struct sweep_table - the rows of a folder; the first is fp32, bits 32
 */
struct sweep_table {
	struct sweep_row *rows;
	uint32_t n;
};

void sweep_table_done(struct sweep_table *t);

/** sweep_read() - rows of FOLDER/sweep.csv, none when there is no such file. Return: 0; -EBADMSG with the line */
int sweep_read(struct sweep_table *ret, const char *folder, struct error *reterr);

/** sweep_append() - one row more, on disk when this returns */
int sweep_append(const char *folder, const struct sweep_row *row, struct error *reterr);

/** sweep_find() - Return: the row, or NULL */
const struct sweep_row *sweep_find(const struct sweep_table *t, const char *method, uint32_t bits);

/** sweep_write() - FOLDER/sweep.md and FOLDER/sweep.svg from the rows */
int sweep_write(const struct sweep_table *t, const char *folder, const char *title, struct error *reterr);
