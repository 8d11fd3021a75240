/* SPDX-License-Identifier: Apache-2.0 */
/* Channels are the inner loop: neighbours in memory, and compilers vectorise it as it stands. */
#include <string.h>

#include "engine/kernels/rows.h"

void depthwise_scalar(const int8_t *weights, uint32_t n_taps, uint32_t channels,
	const uint8_t *const *taps, uint32_t pixel_stride, uint32_t count, int32_t *acc)
{
	for (uint32_t x = 0; x < count; x++) {
		int32_t *out = acc + (size_t) x * channels;

		memset(out, 0, channels * sizeof *out);
		for (uint32_t i = 0; i < n_taps; i++) {
			const uint8_t *q = taps[i] + (size_t) x * pixel_stride;
			const int8_t *w = weights + (size_t) i * channels;

			for (uint32_t c = 0; c < channels; c++)
				out[c] += w[c] * q[c];
		}
	}
}
