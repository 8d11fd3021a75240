/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs of bitshed infer: a P6 image of exactly the model's size, or raw bytes. Whether raw bytes
 * are pixels or floats shows in how many there are. Pictures are not scaled here: how a network
 * wants that done is the application's knowledge ("convert IN.jpg -resize 32x32! OUT.ppm").
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

#define INPUT_BYTES_MAX ((size_t) 256 << 20)

static int read_all(const char *path, unsigned char **ret, size_t *ret_size)
{
	_cleanup_(cmd_freep) unsigned char *data = NULL;
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	size_t size = 0, room = 0;
	int r = 0;

	if (!f)
		return -errno;
	for (;;) {
		if (size == room) {
			unsigned char *more = room < INPUT_BYTES_MAX
						      ? realloc(data, room = room * 2 + 65536)
						      : NULL;

			if (!more) {
				r = -ENOMEM;
				break;
			}
			data = more;
		}
		size_t n = fread(data + size, 1, room - size, f);

		size += n;
		if (n == 0)
			break;
	}
	if (r == 0 && ferror(f))
		r = errno ? -errno : -EIO;
	if (f != stdin)
		(void) fclose(f);
	if (r < 0)
		return r;
	*ret = data;
	data = NULL;
	*ret_size = size;
	return 0;
}

/* A number of a P6 header, behind blanks and comments. Return: false when there is none. */
static bool header_number(const unsigned char **p, const unsigned char *end, uint32_t *ret)
{
	uint32_t v = 0;

	while (*p < end && (isspace(**p) || **p == '#')) {
		if (**p == '#')
			while (*p < end && **p != '\n')
				++*p;
		else
			++*p;
	}
	if (*p == end || !isdigit(**p))
		return false;
	for (; *p < end && isdigit(**p); ++*p) {
		if (v > 100000)
			return false;
		v = v * 10 + (uint32_t) (**p - '0');
	}
	*ret = v;
	return true;
}

/* Return: 0 with the first pixel, or an exit code, the reason has been told. */
static int find_pixels(const char *path, const unsigned char *data, size_t size,
	const struct bitshed_model *m, size_t *ret_offset)
{
	const unsigned char *p = data + 2, *end = data + size;
	uint32_t width, height, most;

	if (!header_number(&p, end, &width) || !header_number(&p, end, &height) ||
		!header_number(&p, end, &most) || p == end || most != 255) {
		(void) fprintf(
			stderr, "bitshed: %s: expected a P6 image with 8 bits per colour\n", path);
		return EXIT_CODE_FAILED;
	}
	p++;
	if (height != m->input_shape[0] || width != m->input_shape[1] || m->input_shape[2] != 3) {
		(void) fprintf(stderr,
			"bitshed: %s is %u x %u in colour, the model takes %u x %u with %u "
			"channel%s\n"
			"Scale it first, for example: convert IN -resize %ux%u! OUT.ppm\n",
			path, width, height, m->input_shape[1], m->input_shape[0],
			m->input_shape[2], m->input_shape[2] == 1 ? "" : "s", m->input_shape[1],
			m->input_shape[0]);
		return EXIT_CODE_FAILED;
	}
	if ((size_t) (end - p) < (size_t) width * height * 3) {
		(void) fprintf(stderr, "bitshed: %s is cut short\n", path);
		return EXIT_CODE_FAILED;
	}
	*ret_offset = (size_t) (p - data);
	return 0;
}

static int check_raw(
	const char *path, size_t size, const struct bitshed_model *m, enum bitshed_input *input)
{
	size_t values = (size_t) m->input_shape[0] * m->input_shape[1] * m->input_shape[2];

	if (*input == BITSHED_INPUT_DEFAULT && size == values * sizeof(float))
		*input = BITSHED_INPUT_FLOATS;
	else if (*input == BITSHED_INPUT_DEFAULT && size == values)
		*input = BITSHED_INPUT_PIXELS;
	if (*input != BITSHED_INPUT_DEFAULT &&
		size == (*input == BITSHED_INPUT_PIXELS ? values : values * sizeof(float)))
		return 0;
	(void) fprintf(stderr,
		"bitshed: %s has %zu bytes; the model takes %u x %u x %u (height, width, "
		"channels): "
		"%zu bytes of pixels or %zu of floats, or a P6 image\n",
		path, size, m->input_shape[0], m->input_shape[1], m->input_shape[2], values,
		values * sizeof(float));
	return EXIT_CODE_FAILED;
}

int input_read(const char *path, const struct bitshed_model *model, enum bitshed_input *input,
	void **ret, size_t *ret_size)
{
	_cleanup_(cmd_freep) unsigned char *data = NULL;
	size_t size = 0, offset = 0;
	int r = read_all(path, &data, &size);

	if (r < 0) {
		(void) fprintf(stderr, "bitshed: %s: %s\n", path, strerror(-r));
		return EXIT_CODE_FAILED;
	}
	if (size > 2 && memcmp(data, "P6", 2) == 0 && isspace(data[2])) {
		r = find_pixels(path, data, size, model, &offset);
		if (r)
			return r;
		*input = BITSHED_INPUT_PIXELS;
		size = (size_t) model->input_shape[0] * model->input_shape[1] * 3;
		memmove(data, data + offset, size);
	} else {
		r = check_raw(path, size, model, input);
		if (r)
			return r;
	}
	*ret = data;
	data = NULL;
	*ret_size = size;
	return 0;
}
