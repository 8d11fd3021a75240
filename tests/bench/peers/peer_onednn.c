/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_onednn NAME.convolutions: all convolutions of a network, u8 times s8 to u8 with bias, scales per
 * channel and ReLU, each in the layouts that oneDNN chooses, weights reordered before. Threads as
 * OMP_NUM_THREADS says.
 */
#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stdlib.h>

#include "peer.h"

#define CONVOLUTIONS_MAX 256

struct convolution {
	dnnl_primitive_t primitive;
	dnnl_exec_arg_t args[4];
};

static struct {
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	struct convolution list[CONVOLUTIONS_MAX];
	uint32_t count;
} all;

static void must(dnnl_status_t status, const char *what)
{
	if (status == dnnl_success)
		return;
	fprintf(stderr, "peer_onednn: %s: error %d\n", what, status);
	exit(1);
}

static dnnl_memory_t make_memory(const dnnl_memory_desc_t *md)
{
	dnnl_memory_t m;
	void *bytes;

	must(dnnl_memory_create(&m, md, all.engine, DNNL_MEMORY_ALLOCATE), "memory");
	must(dnnl_memory_get_data_handle(m, &bytes), "memory");
	memset(bytes, 1, dnnl_memory_desc_get_size(md));
	return m;
}

static dnnl_memory_desc_t any(int n, const dnnl_dims_t dims, dnnl_data_type_t type)
{
	dnnl_memory_desc_t md;

	must(dnnl_memory_desc_init_by_tag(&md, n, dims, type, dnnl_format_tag_any), "shape");
	return md;
}

static dnnl_primitive_attr_t make_attributes(int channels, bool relu)
{
	dnnl_primitive_attr_t attr;
	dnnl_post_ops_t ops;
	float *scales = calloc((size_t) channels, sizeof *scales);

	if (!scales)
		exit(1);
	for (int i = 0; i < channels; i++)
		scales[i] = 0.001f + 0.000001f * (float) i;
	must(dnnl_primitive_attr_create(&attr), "attributes");
	must(dnnl_primitive_attr_set_output_scales(attr, channels, 1 << 1, scales), "scales");
	free(scales);
	if (!relu)
		return attr;
	must(dnnl_post_ops_create(&ops), "post-ops");
	must(dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f), "ReLU");
	must(dnnl_primitive_attr_set_post_ops(attr, ops), "post-ops");
	(void) dnnl_post_ops_destroy(ops);
	return attr;
}

/* inputs, size, outputs, kernel, stride, pad, groups, relu */
static void add_convolution(const int c[8])
{
	struct convolution *to = &all.list[all.count++];
	const int out = (c[1] + 2 * c[5] - c[3]) / c[4] + 1, grouped = c[6] > 1;
	const dnnl_dims_t src = {1, c[0], c[1], c[1]}, dst = {1, c[2], out, out}, bias = {c[2]};
	const dnnl_dims_t weights = {c[2], c[0], c[3], c[3]};
	const dnnl_dims_t parts = {c[6], c[2] / c[6], c[0] / c[6], c[3], c[3]};
	const dnnl_dims_t strides = {c[4], c[4]}, pads = {c[5], c[5]};
	dnnl_memory_desc_t s = any(4, src, dnnl_u8), b = any(1, bias, dnnl_s32), d = any(4, dst, dnnl_u8);
	dnnl_memory_desc_t w = grouped ? any(5, parts, dnnl_s8) : any(4, weights, dnnl_s8);
	dnnl_primitive_attr_t attr = make_attributes(c[2], c[7]);
	dnnl_convolution_desc_t desc;
	dnnl_primitive_desc_t pd;

	must(dnnl_convolution_forward_desc_init(&desc, dnnl_forward_inference, dnnl_convolution_direct, &s,
		     &w, &b, &d, strides, pads, pads), "convolution");
	must(dnnl_primitive_desc_create(&pd, &desc, attr, all.engine, NULL), "primitive");
	must(dnnl_primitive_create(&to->primitive, pd), "primitive");
	to->args[0] = (dnnl_exec_arg_t) {DNNL_ARG_SRC,
		make_memory(dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0))};
	to->args[1] = (dnnl_exec_arg_t) {DNNL_ARG_WEIGHTS,
		make_memory(dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0))};
	to->args[2] = (dnnl_exec_arg_t) {DNNL_ARG_BIAS,
		make_memory(dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1))};
	to->args[3] = (dnnl_exec_arg_t) {DNNL_ARG_DST,
		make_memory(dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0))};
	(void) dnnl_primitive_desc_destroy(pd);
	(void) dnnl_primitive_attr_destroy(attr);
}

static uint64_t run(void *userdata)
{
	uint64_t begin = peer_now();

	for (uint32_t i = 0; i < all.count; i++)
		(void) dnnl_primitive_execute(all.list[i].primitive, all.stream, 4, all.list[i].args);
	(void) dnnl_stream_wait(all.stream);
	return peer_now() - begin;
}

int main(int argc, char **argv)
{
	FILE *f = argc > 1 ? fopen(argv[1], "re") : NULL;
	int c[8];

	if (!f) {
		fprintf(stderr, "usage: peer_onednn NAME.convolutions\n");
		return 2;
	}
	must(dnnl_engine_create(&all.engine, dnnl_cpu, 0), "engine");
	must(dnnl_stream_create(&all.stream, all.engine, dnnl_stream_default_flags), "stream");
	while (all.count < CONVOLUTIONS_MAX && fscanf(f, "%d %d %d %d %d %d %d %d", &c[0], &c[1], &c[2], &c[3],
						       &c[4], &c[5], &c[6], &c[7]) == 8)
		add_convolution(c);
	(void) fclose(f);
	peer_serve(run, NULL);
	return 0;
}
