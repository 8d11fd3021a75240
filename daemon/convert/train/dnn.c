/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/dnn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE 64

int dnn_errno(dnnl_status_t status, const char *what, struct error *reterr)
{
	if (status == dnnl_success)
		return 0;
	if (status == dnnl_out_of_memory)
		return error_set(reterr, -ENOMEM, "%s: no memory", what);
	return error_set(reterr, -ENOTSUP, "%s: oneDNN cannot do this here (status %d)", what, (int) status);
}

int dnn_init(struct dnn *d, struct error *reterr)
{
	int r = dnn_errno(dnnl_engine_create(&d->engine, dnnl_cpu, 0), "engine", reterr);

	if (r >= 0)
		r = dnn_errno(dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags),
			"stream", reterr);
	return r;
}

void dnn_done(struct dnn *d)
{
	if (d->stream)
		(void) dnnl_stream_destroy(d->stream);
	if (d->engine)
		(void) dnnl_engine_destroy(d->engine);
	*d = (struct dnn){};
}

float *dnn_floats(size_t n)
{
	size_t bytes = (n * sizeof(float) + LINE - 1) / LINE * LINE;
	float *ret = aligned_alloc(LINE, MAX_OF(bytes, (size_t) LINE));

	return ret ? memset(ret, 0, MAX_OF(bytes, (size_t) LINE)) : NULL;
}

int dnn_call_init(struct dnn_call *c, const struct dnn *d, const void *op, dnnl_primitive_desc_t hint,
	const char *what, struct error *reterr)
{
	dnnl_status_t s = dnnl_primitive_desc_create(&c->desc, op, NULL, d->engine, hint);

	if (s == dnnl_success)
		s = dnnl_primitive_create(&c->primitive, c->desc);
	return dnn_errno(s, what, reterr);
}

void dnn_call_done(struct dnn_call *c)
{
	for (int i = 0; i < c->n_args; i++) {
		(void) dnnl_memory_destroy(c->args[i].memory);
		free(c->owned[i]);
	}
	if (c->primitive)
		(void) dnnl_primitive_destroy(c->primitive);
	if (c->desc)
		(void) dnnl_primitive_desc_destroy(c->desc);
	*c = (struct dnn_call){};
}

static const dnnl_memory_desc_t *layout(const struct dnn_call *c, int arg)
{
	return dnnl_primitive_desc_query_md(c->desc, dnnl_query_exec_arg_md, arg);
}

static int add_argument(struct dnn_call *c, const struct dnn *d, int arg, const dnnl_memory_desc_t *md,
	void *data, void *owned, struct error *reterr)
{
	dnnl_memory_t memory;
	int r = dnn_errno(dnnl_memory_create(&memory, md, d->engine, data), "memory", reterr);

	if (r < 0)
		return r;
	c->args[c->n_args] = (dnnl_exec_arg_t){arg, memory};
	c->owned[c->n_args++] = owned;
	return 0;
}

int dnn_call_bind(struct dnn_call *c, const struct dnn *d, int arg, void *data, struct error *reterr)
{
	return add_argument(c, d, arg, layout(c, arg), data, NULL, reterr);
}

void *dnn_call_own(struct dnn_call *c, const struct dnn *d, int arg, struct error *reterr)
{
	const dnnl_memory_desc_t *md = layout(c, arg);
	void *data = dnn_floats(dnnl_memory_desc_get_size(md) / sizeof(float) + 1);

	if (!data) {
		(void) error_set(reterr, -ENOMEM, "no memory");
		return NULL;
	}
	if (add_argument(c, d, arg, md, data, data, reterr) < 0) {
		free(data);
		return NULL;
	}
	return data;
}

int dnn_call_run(const struct dnn_call *c, const struct dnn *d, struct error *reterr)
{
	return dnn_errno(dnnl_primitive_execute(c->primitive, d->stream, c->n_args, c->args), "run", reterr);
}

static void *argument_data(const struct dnn_call *c, int arg)
{
	void *data = NULL;

	for (int i = 0; i < c->n_args; i++)
		if (c->args[i].arg == arg)
			(void) dnnl_memory_get_data_handle(c->args[i].memory, &data);
	return data;
}

int dnn_reorder(struct dnn_call *c, const struct dnn *d, const dnnl_memory_desc_t *plain, float *data,
	const struct dnn_call *other, int of, bool into, struct error *reterr)
{
	const dnnl_memory_desc_t *theirs = layout(other, of);
	const dnnl_memory_desc_t *from = into ? plain : theirs, *to = into ? theirs : plain;
	void *their_data = argument_data(other, of);
	dnnl_status_t s = dnnl_reorder_primitive_desc_create(&c->desc, from, d->engine, to, d->engine, NULL);
	int r;

	if (s == dnnl_success)
		s = dnnl_primitive_create(&c->primitive, c->desc);
	r = dnn_errno(s, "reorder", reterr);
	if (r >= 0)
		r = add_argument(c, d, DNNL_ARG_FROM, from, into ? (void *) data : their_data, NULL, reterr);
	if (r >= 0)
		r = add_argument(c, d, DNNL_ARG_TO, to, into ? their_data : (void *) data, NULL, reterr);
	return r;
}
