/* SPDX-License-Identifier: Apache-2.0 */
/* Items of a data set as a network wants them. */
#include "convert/sample.h"

#include <errno.h>

int samples_init(struct samples *ret, struct dataset *data, const struct preprocess *preprocess,
	struct shape want, struct error *reterr)
{
	struct samples s = {.data = data, .pixels = dataset_is_pixels(data)};
	bool image = want.height > 1 && want.width > 1;
	int r;

	if (preprocess)
		s.preprocess = *preprocess;
	if (s.pixels && image) {
		r = dataset_resize(data, want.height, want.width);
		if (r < 0 && r != -ENOTSUP && r != -EINVAL)
			return error_prefix(reterr, r, "pictures cannot be resized");
	}
	dataset_shape(data, &s.shape.height, &s.shape.width, &s.shape.channels);
	if (shape_elements(s.shape) != shape_elements(want) ||
		(s.pixels && image && s.shape.channels != want.channels))
		return error_set(reterr, -EINVAL,
			"the data's items are %ux%ux%u (height, width, channels), the network takes %ux%ux%u",
			s.shape.height, s.shape.width, s.shape.channels, want.height, want.width,
			want.channels);
	*ret = s;
	return 0;
}

int samples_chw(struct samples *s, uint32_t i, uint8_t *pixels, float *ret)
{
	int r;

	if (!s->pixels)
		return dataset_floats(s->data, i, ret);
	r = dataset_pixels(s->data, i, pixels);
	if (r >= 0)
		preprocess_chw(&s->preprocess, pixels, s->shape.height, s->shape.width,
			s->shape.channels, ret);
	return r;
}
