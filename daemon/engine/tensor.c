/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tensor.h"

uint64_t shape_elements(struct shape s)
{
	uint64_t area = (uint64_t) s.height * s.width;

	/* Each factor is below 2^32, so area cannot wrap; bounding it first keeps the product in range. */
	if (area == 0 || s.channels == 0 || area > SHAPE_ELEMENTS_MAX)
		return 0;
	if (area * s.channels > SHAPE_ELEMENTS_MAX)
		return 0;
	return area * s.channels;
}

size_t value_bytes(const struct value *v)
{
	return (size_t) shape_elements(v->shape) * (v->element == ELEMENT_F32 ? sizeof(float) : 1);
}
