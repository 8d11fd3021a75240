/* SPDX-License-Identifier: Apache-2.0 */
/* No quantization: the weights themselves. For networks that are to be quantized afterwards. */
#include <string.h>

#include "convert/train/method.h"

static void fp32_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	memcpy(hat, l->weight, (size_t) l->rows * l->columns * sizeof *hat);
}

const struct train_method train_fp32 = {
	.name = "fp32",
	.help = "full precision, planes by the default quantizer afterwards",
	.planes_min = 1,
	.planes_max = BITS_PLANES_MAX,
	.planes_default = 4,
	.weights = fp32_weights,
};
