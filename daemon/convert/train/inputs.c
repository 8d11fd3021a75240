/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/inputs.h"

#include <string.h>

#include "convert/train/loader.h"

/* What output element @at of a sample reads in group @group. @from: the sample, NHWC. */
static void gather_window(const struct train_graph *g, const struct net_node *n, const float *from, size_t at,
	uint32_t group, float *x)
{
	const struct net_shape *in = &g->values[n->inputs[0]].shape;
	size_t width_out = g->values[n->output].shape.dims[2];
	size_t inputs = in->dims[0], height = in->dims[1], width = in->dims[2], each = inputs / n->groups;

	for (size_t c = group * each; c < (group + 1) * each; c++)
		for (size_t ky = 0; ky < n->kernel[0]; ky++)
			for (size_t kx = 0; kx < n->kernel[1]; kx++) {
				/* Left of the image wraps around to far right of it. */
				size_t row = at / width_out * n->stride[0] + ky * n->dilation[0] - n->pads[0];
				size_t column = at % width_out * n->stride[1] + kx * n->dilation[1] - n->pads[1];

				*x++ = row < height && column < width ? from[(row * width + column) * inputs + c] : 0;
			}
}

void train_inputs(const struct train_graph *g, uint32_t matrix, uint32_t n, uint64_t key, float *x)
{
	const struct train_matrix *m = &g->matrices[matrix];
	const struct net_node *node = &g->net->nodes[m->node];
	const struct train_value *in = &g->values[node->inputs[0]];
	const struct net_shape *out = &g->values[node->output].shape;
	bool image = node->kind == NET_CONVOLUTION;
	size_t places = image ? (size_t) out->dims[1] * out->dims[2] : in->elements / m->columns;

	for (uint32_t i = 0; i < n; i++, x += m->columns) {
		uint64_t at = draw_u64(key, i) % (g->batch * places);

		if (image)
			gather_window(g, node, in->data + at / places * in->elements, at % places, i % node->groups, x);
		else
			memcpy(x, in->data + at * m->columns, m->columns * sizeof *x);
	}
}
