/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/rows.h"

void softmax_scalar(const float *in, uint32_t count, float *out)
{
	float top, sum = 0.0f;

	if (count == 0)
		return;
	top = in[0];
	for (uint32_t i = 1; i < count; i++)
		top = in[i] > top ? in[i] : top;
	for (uint32_t i = 0; i < count; i++) {
		out[i] = kernel_exp(in[i] - top);
		sum += out[i];
	}
	for (uint32_t i = 0; i < count; i++)
		out[i] = out[i] / sum;
}
