/* SPDX-License-Identifier: Apache-2.0 */
#include "free_network.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "convert/model_write.h"

#define SIDE 32
#define COLUMNS FREE_NETWORK_INPUT_BYTES
#define WORDS (COLUMNS / 64)

_Static_assert(SIDE *SIDE == FREE_NETWORK_INPUT_BYTES, "one byte per pixel");

static uint8_t table[1][256];
static uint64_t plane[WORDS];
static float alpha[COLUMNS / 128], bias[1];

static const struct op neutral = {
	.kernel_h = 1,
	.kernel_w = 1,
	.stride_h = 1,
	.stride_w = 1,
	.dilation_h = 1,
	.dilation_w = 1,
	.groups = 1,
	.step = {1, 1, 1},
	.activation_bits = 8,
	.clamp_high = 255,
	.n_inputs = 1,
};

static struct value values[] = {
	{ELEMENT_U8, {SIDE, SIDE, 1}, 1, 0},
	{ELEMENT_U8, {1, 1, COLUMNS}, 1, 0},
	{ELEMENT_F32, {1, 1, 1}, 1, 0},
};

static struct matrix matrix = {
	.rows = 1,
	.columns = COLUMNS,
	.row_bits = COLUMNS,
	.group_columns = 128,
	.groups = COLUMNS / 128,
	.planes = 1,
	.alpha = alpha,
	.bias = bias,
};

static void make_ops(struct op ops[3])
{
	for (uint32_t i = 0; i < 3; i++) {
		ops[i] = neutral;
		ops[i].inputs[0] = i > 0 ? i - 1 : 0;
		ops[i].output = i;
	}
	ops[0].kind = OP_INPUT;
	ops[0].n_inputs = 0;
	ops[0].table = table;
	ops[0].n_tables = 1;
	ops[1].kind = OP_RESHAPE;
	ops[2].kind = OP_CONVOLUTION;
}

int free_network_memfd(void)
{
	uint64_t *planes[1] = {plane}, *const * matrices[1] = {planes};
	struct op ops[3];
	struct network n = {
		.fd = -1,
		.name = "free",
		.method = "none",
		.values = values,
		.n_values = 3,
		.ops = ops,
		.n_ops = 3,
		.matrices = &matrix,
		.n_matrices = 1,
		.input = 0,
		.output = 2,
		.input_pixels = true,
		.pixel_scale = 1,
		.pixel_std = {1, 1, 1, 1},
	};
	struct error why = {};
	int fd, r;

	for (int i = 0; i < 256; i++)
		table[0][i] = (uint8_t) i;
	for (size_t i = 0; i < ARRAY_SIZE(alpha); i++)
		alpha[i] = 1;
	make_ops(ops);
	fd = memfd_create("free-network", MFD_CLOEXEC);
	r = fd < 0 ? fd : model_write_fd(fd, &n, matrices, &why);
	if (r < 0) {
		fprintf(stderr, "free network: %s\n", error_text(&why, r));
		exit(1);
	}
	return fd;
}
