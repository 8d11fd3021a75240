/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NumPy's .npy, versions 1 to 3: magic, version, header length, a Python dictionary, the elements.
 * Written from the format's description in NumPy's manual (numpy.lib.format).
 */
#include "convert/dataset_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

#define NPY_DIMS_MAX 5

/* @kind: 'u', 'i', 'f', 'b'; @size in bytes */
struct npy {
	char kind;
	uint32_t size, n_dims;
	uint64_t dims[NPY_DIMS_MAX];
	const uint8_t *elements;
};

/* The text after "'key':", without blanks. Return: NULL when the key is missing. */
static const char *header_value(const char *header, const char *key)
{
	char quoted[32];
	const char *p;

	(void) snprintf(quoted, sizeof quoted, "'%s':", key);
	p = strstr(header, quoted);
	if (!p)
		return NULL;
	p += strlen(quoted);
	return p + strspn(p, " ");
}

static int parse_type(struct npy *n, const char *header, struct error *reterr)
{
	const char *p = header_value(header, "descr");
	char order, kind, end;
	unsigned size;

	if (!p || sscanf(p, "'%c%c%2u%c", &order, &kind, &size, &end) != 4 || end != '\'')
		return error_set(reterr, -ENOTSUP, ".npy: the element type is not a plain number");
	if (order == '>' && size > 1)
		return error_set(reterr, -ENOTSUP, ".npy: big-endian elements are not supported");
	if (size != 1 && size != 2 && size != 4 && size != 8)
		return error_set(
			reterr, -ENOTSUP, ".npy: elements of %u bytes are not supported", size);
	n->kind = kind;
	n->size = size;
	return 0;
}

static int parse_shape(struct npy *n, const char *header, struct error *reterr)
{
	const char *p = header_value(header, "shape");

	if (!p || *p++ != '(')
		return error_set(reterr, -EBADMSG, ".npy: the header has no shape");
	for (;;) {
		char *end;

		p += strspn(p, " ,");
		if (*p == ')')
			return 0;
		if (n->n_dims == NPY_DIMS_MAX)
			return error_set(
				reterr, -ENOTSUP, ".npy: more than %d dimensions", NPY_DIMS_MAX);
		errno = 0;
		n->dims[n->n_dims++] = strtoull(p, &end, 10);
		if (errno || end == p || *p == '-')
			return error_set(
				reterr, -EBADMSG, ".npy: the shape is not a list of numbers");
		p = end;
	}
}

static int check_extent(const struct npy *n, size_t left, struct error *reterr)
{
	size_t bytes = n->size;

	for (uint32_t i = 0; i < n->n_dims; i++) {
		if (n->dims[i] == 0)
			return error_set(reterr, -EBADMSG, ".npy: dimension %u is 0", i);
		if (!bytes_mul(&bytes, bytes, n->dims[i]))
			return error_set(
				reterr, -EBADMSG, ".npy: the shape does not fit in memory");
	}
	if (bytes > left)
		return error_set(reterr, -EBADMSG,
			".npy: the shape needs %zu bytes, the file has %zu", bytes, left);
	return 0;
}

static int npy_parse(struct npy *ret, const struct file_map *map, struct error *reterr)
{
	size_t start = 10, length;
	struct npy n = {0};
	char header[4096];
	const char *order;
	int r;

	if (map->size < 12)
		return error_set(reterr, -EBADMSG, ".npy: the header is cut short");
	if (map->data[6] < 1 || map->data[6] > 3)
		return error_set(reterr, -ENOTSUP, ".npy: version %u is not known", map->data[6]);
	length = bytes_u16(map->data + 8);
	if (map->data[6] > 1) {
		start = 12;
		length = bytes_u32(map->data + 8);
	}
	if (length > map->size - start || length >= sizeof header)
		return error_set(reterr, -EBADMSG, ".npy: the header is cut short or too long");
	memcpy(header, map->data + start, length);
	header[length] = 0;
	order = header_value(header, "fortran_order");
	if (!order || strncmp(order, "False", 5) != 0)
		return error_set(reterr, -ENOTSUP, ".npy: only C order is supported");
	r = parse_type(&n, header, reterr);
	if (r < 0)
		return r;
	r = parse_shape(&n, header, reterr);
	if (r < 0)
		return r;
	if (n.n_dims == 0)
		return error_set(reterr, -ENOTSUP, ".npy: a single number is no data set");
	r = check_extent(&n, map->size - start - length, reterr);
	if (r < 0)
		return r;
	n.elements = map->data + start + length;
	*ret = n;
	return 0;
}

static bool is_channels(uint64_t n)
{
	return n == 1 || n == 3;
}

/* Which dimension of [N, a, b, c] is the channel: told by its size, the last one when both could
 * be. */
static int pixel_shape(
	struct dataset *d, const struct npy *n, uint64_t shape[3], struct error *reterr)
{
	const uint64_t *dims = n->dims;

	if (n->n_dims == 3) {
		memcpy(shape, (uint64_t[3]){dims[1], dims[2], 1}, 3 * sizeof shape[0]);
		return 0;
	}
	if (n->n_dims != 4 || (!is_channels(dims[3]) && !is_channels(dims[1])))
		return error_set(reterr, -ENOTSUP,
			".npy: uint8 images must be [N,H,W], [N,H,W,1 or 3] or [N,1 or 3,H,W]");
	d->channels_first = !is_channels(dims[3]);
	if (d->channels_first)
		memcpy(shape, (uint64_t[3]){dims[2], dims[3], dims[1]}, 3 * sizeof shape[0]);
	else
		memcpy(shape, dims + 1, 3 * sizeof shape[0]);
	return 0;
}

/* Features keep their order; only their number matters. Three dimensions at most get names. */
static void feature_shape(const struct npy *n, uint64_t shape[3])
{
	shape[0] = n->n_dims > 2 ? n->dims[1] : 1;
	shape[1] = n->n_dims > 2 ? n->dims[2] : 1;
	shape[2] = n->n_dims == 2 ? n->dims[1] : 1;
	for (uint32_t i = 3; i < n->n_dims; i++)
		shape[2] *= n->dims[i];
}

int dataset_read_npy(struct dataset *d, struct error *reterr)
{
	uint64_t shape[3] = {0};
	struct npy n;
	int r;

	r = npy_parse(&n, &d->map, reterr);
	if (r < 0)
		return r;
	d->pixels = n.kind == 'u' && n.size == 1;
	if (!d->pixels && !(n.kind == 'f' && n.size == 4))
		return error_set(
			reterr, -ENOTSUP, ".npy: data must be uint8 images or float32 features");
	if (n.n_dims < 2 || n.dims[0] > INT32_MAX)
		return error_set(reterr, -ENOTSUP, ".npy: data must be [N, ...]");
	if (d->pixels) {
		r = pixel_shape(d, &n, shape, reterr);
		if (r < 0)
			return r;
	} else
		feature_shape(&n, shape);
	/* check_extent() has bounded the product. */
	d->stride = shape[0] * shape[1] * shape[2] * n.size;
	if (d->stride > DATASET_ITEM_BYTES_MAX)
		return error_set(
			reterr, -EFBIG, ".npy: an item of %zu bytes is too large", d->stride);
	d->count = (uint32_t) n.dims[0];
	d->height = (uint32_t) shape[0];
	d->width = (uint32_t) shape[1];
	d->channels = (uint32_t) shape[2];
	d->items = n.elements;
	return 0;
}

static int64_t load_integer(const uint8_t *p, uint32_t size, bool is_signed)
{
	switch (size) {
	case 1:
		return is_signed ? (int8_t) *p : *p;
	case 2:
		return is_signed ? (int16_t) bytes_u16(p) : bytes_u16(p);
	case 4:
		return is_signed ? (int64_t) (int32_t) bytes_u32(p) : (int64_t) bytes_u32(p);
	default:
		return (int64_t) bytes_u64(
			p); /* an unsigned one above the range becomes negative: refused */
	}
}

int npy_labels(
	int32_t **ret_labels, uint32_t *ret_count, const struct file_map *map, struct error *reterr)
{
	_cleanup_free_ int32_t *labels = NULL;
	struct npy n;
	int r;

	r = npy_parse(&n, map, reterr);
	if (r < 0)
		return r;
	if (n.kind != 'i' && n.kind != 'u')
		return error_set(reterr, -ENOTSUP, ".npy: labels must be integers");
	if (n.n_dims > 2 || (n.n_dims == 2 && n.dims[1] != 1) || n.dims[0] > INT32_MAX)
		return error_set(reterr, -ENOTSUP, ".npy: labels must be one vector");
	labels = calloc(n.dims[0], sizeof *labels);
	if (!labels)
		return -ENOMEM;
	for (size_t i = 0; i < n.dims[0]; i++) {
		int64_t v = load_integer(n.elements + i * n.size, n.size, n.kind == 'i');

		if (v < -1 || v > INT32_MAX)
			return error_set(reterr, -EBADMSG, ".npy: label %zu is out of range", i);
		labels[i] = (int32_t) v;
	}
	*ret_labels = take_ptr(labels);
	*ret_count = (uint32_t) n.dims[0];
	return 0;
}
