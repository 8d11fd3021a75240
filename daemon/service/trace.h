/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A day of inputs as a CSV text: the first line names "seconds" and inputs as in rules, each
 * further line is a moment. Numbers are in %, s, W, C, C/min; an empty cell is unknown, and
 * what a line does not know is not carried over.
 */
#pragma once

#include <stdio.h>

#include "service/policy.h"

#define TRACE_COLUMNS_MAX 64

/**
 * struct trace - @senses, @ofs: of each column, the first one is "seconds"; @seconds: of the
 * last line
 */
struct trace {
	FILE *file;
	const char *name;
	char *line;
	size_t line_size;
	uint32_t n_lines, n_columns;
	int senses[TRACE_COLUMNS_MAX];
	char ofs[TRACE_COLUMNS_MAX][32];
	double seconds;
};

/**
 * trace_open() - and read the heads. @name: a path that outlives @ret. Return: 0, -EINVAL with
 * words, an errno
 */
int trace_open(struct trace *ret, const char *name, struct error *reterr);

/** trace_open_stream() - the same of an open stream, which is closed in any case */
int trace_open_stream(struct trace *ret, FILE *file, const char *name, struct error *reterr);
void trace_done(struct trace *t);

/**
 * trace_next() - one line; @ret->now_nsec is its second, counted from 1. Return: 1, 0 at the
 * end, -EINVAL with words
 */
int trace_next(struct trace *t, struct policy_inputs *ret, struct error *reterr);

/** struct trace_cell - one input as a trace has it; @value: "" when it is not known */
struct trace_cell {
	char head[56], value[40];
};

/** trace_cell() - the input number @i, with the same heads in the same order each time. Return: is there one? */
bool trace_cell(const struct policy_inputs *in, uint32_t i, struct trace_cell *ret);
