/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oneDNN as the training engine uses it: primitives whose memory never moves, so that a primitive and its
 * arguments are one thing that is made once and run often.
 */
#pragma once

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

#define DNN_ARGUMENTS_MAX 8

/**
 * struct dnn - the library's CPU engine and one stream
 */
struct dnn {
	dnnl_engine_t engine;
	dnnl_stream_t stream;
};

/**
 * struct dnn_call - a primitive with its arguments; a zeroed one is empty
 * @owned: memory behind arguments that nobody else has
 */
struct dnn_call {
	dnnl_primitive_t primitive;
	dnnl_primitive_desc_t desc;
	dnnl_exec_arg_t args[DNN_ARGUMENTS_MAX];
	void *owned[DNN_ARGUMENTS_MAX];
	int n_args;
};

/** dnn_init() - Return: 0; -ENOTSUP without a CPU engine; -ENOMEM */
int dnn_init(struct dnn *d, struct error *reterr);
void dnn_done(struct dnn *d);

/** dnn_errno() - Return: 0, -ENOMEM or -ENOTSUP with words, for what the library said to @what */
int dnn_errno(dnnl_status_t status, const char *what, struct error *reterr);

/** dnn_floats() - @n zeroed floats on a cache line, or NULL; free() */
float *dnn_floats(size_t n);

/**
 * dnn_call_init() - a primitive from its operation descriptor
 * @op: any of the library's descriptors
 * @hint: of the forward pass, for backward ones; else NULL
 */
int dnn_call_init(struct dnn_call *c, const struct dnn *d, const void *op, dnnl_primitive_desc_t hint,
	const char *what, struct error *reterr);
void dnn_call_done(struct dnn_call *c);

/** dnn_call_bind() - argument @arg lies at @data, in the layout that the primitive asks for */
int dnn_call_bind(struct dnn_call *c, const struct dnn *d, int arg, void *data, struct error *reterr);

/** dnn_call_own() - as dnn_call_bind(), with memory of its own. Return: the memory or NULL */
void *dnn_call_own(struct dnn_call *c, const struct dnn *d, int arg, struct error *reterr);


/** dnn_call_run() - Return: 0 or an errno with words */
int dnn_call_run(const struct dnn_call *c, const struct dnn *d, struct error *reterr);

/**
 * dnn_reorder() - a call that copies between a plain layout and the layout of argument @of of @other
 * @plain: of @data
 * @into: true: from @data into the argument; false: back
 */
int dnn_reorder(struct dnn_call *c, const struct dnn *d, const dnnl_memory_desc_t *plain, float *data,
	const struct dnn_call *other, int of, bool into, struct error *reterr);
