/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/gguf.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/fd.h"

#define HEADER_STEP (UINT64_C(256) << 10)
#define DIMENSIONS_MAX 4

static const uint8_t type_bytes[_GGUF_TYPE_MAX] = {
	[GGUF_U8] = 1,	[GGUF_I8] = 1,	[GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
	[GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

/* What is left of the copied header. -ENODATA means "more of the file may help". */
struct cursor {
	const uint8_t *begin, *p, *end;
};

static int cursor_take(struct cursor *c, uint64_t size, const uint8_t **ret)
{
	if (size > (uint64_t) (c->end - c->p))
		return -ENODATA;
	*ret = c->p;
	c->p += size;
	return 0;
}

static int cursor_u32(struct cursor *c, uint32_t *ret)
{
	const uint8_t *p = NULL;
	int r = cursor_take(c, 4, &p);

	if (r >= 0)
		*ret = bytes_u32(p);
	return r;
}

static int cursor_u64(struct cursor *c, uint64_t *ret)
{
	const uint8_t *p = NULL;
	int r = cursor_take(c, 8, &p);

	if (r >= 0)
		*ret = bytes_u64(p);
	return r;
}

/* Names go into messages and onto the bus, so only harmless characters are let in. */
static bool name_valid(const char *name)
{
	return name[0] &&
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
			strlen(name);
}

static int cursor_name(struct cursor *c, char name[GGUF_KEY_MAX + 1], const char *what, uint64_t i,
	struct error *reterr)
{
	const uint8_t *p = NULL;
	uint64_t length = 0;
	int r;

	r = cursor_u64(c, &length);
	if (r < 0)
		return r;
	if (length == 0 || length > GGUF_KEY_MAX)
		return error_set(reterr, -EBADMSG, "%s %lu: its name has %lu bytes, not 1 to %u", what, i,
			length, GGUF_KEY_MAX);
	r = cursor_take(c, length, &p);
	if (r < 0)
		return r;
	memcpy(name, p, length);
	name[length] = '\0';
	if (strlen(name) != length || !name_valid(name))
		return error_set(reterr, -EBADMSG,
			"%s %lu: its name has characters other than letters, digits and ._-", what, i);
	return 0;
}

static int skip_string(struct cursor *c, const char *key, struct error *reterr)
{
	const uint8_t *p = NULL;
	uint64_t length = 0;
	int r;

	r = cursor_u64(c, &length);
	if (r < 0)
		return r;
	if (length > GGUF_TEXT_MAX)
		return error_set(reterr, -EBADMSG, "key '%s': a string of %lu bytes is too long", key,
			length);
	return cursor_take(c, length, &p);
}

static int skip_elements(struct cursor *c, const struct gguf_entry *e, struct error *reterr)
{
	const uint8_t *p = NULL;
	int r;

	if (e->element != GGUF_STRING) {
		/* A count beyond the header can never be satisfied: no need to multiply it. */
		if (e->count > GGUF_HEADER_MAX)
			return error_set(reterr, -EBADMSG, "key '%s': an array of %lu elements is too long",
				e->key, e->count);
		return cursor_take(c, e->count * type_bytes[e->element], &p);
	}
	for (uint64_t i = 0; i < e->count; i++) {
		r = skip_string(c, e->key, reterr);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_type(struct cursor *c, const char *key, enum gguf_type *ret, struct error *reterr)
{
	uint32_t type = 0;
	int r;

	r = cursor_u32(c, &type);
	if (r < 0)
		return r;
	if (type >= _GGUF_TYPE_MAX)
		return error_set(reterr, -ENOTSUP, "key '%s': type %u is not known", key, type);
	*ret = (enum gguf_type) type;
	return 0;
}

static int read_entry(struct cursor *c, uint64_t i, struct gguf_entry *e, struct error *reterr)
{
	int r;

	r = cursor_name(c, e->key, "key", i, reterr);
	if (r < 0)
		return r;
	r = read_type(c, e->key, &e->type, reterr);
	if (r < 0)
		return r;
	e->element = e->type;
	e->count = 1;
	if (e->type == GGUF_ARRAY) {
		r = read_type(c, e->key, &e->element, reterr);
		if (r < 0)
			return r;
		if (e->element == GGUF_ARRAY)
			return error_set(reterr, -ENOTSUP, "key '%s': an array of arrays is not known",
				e->key);
		r = cursor_u64(c, &e->count);
		if (r < 0)
			return r;
	}
	e->data = c->p;
	return skip_elements(c, e, reterr);
}

static int read_dimensions(struct cursor *c, const char *name, uint64_t *ret_elements,
	struct error *reterr)
{
	uint64_t elements = 1, d = 0;
	uint32_t n = 0;
	int r;

	r = cursor_u32(c, &n);
	if (r < 0)
		return r;
	if (n == 0 || n > DIMENSIONS_MAX)
		return error_set(reterr, -EBADMSG, "tensor '%s': %u dimensions, not 1 to %u", name, n,
			DIMENSIONS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		r = cursor_u64(c, &d);
		if (r < 0)
			return r;
		if (d == 0 || !bytes_mul(&elements, elements, d))
			return error_set(reterr, -EBADMSG, "tensor '%s': dimension %u is %lu", name, i, d);
	}
	*ret_elements = elements;
	return 0;
}

static int read_tensor(struct cursor *c, uint64_t i, struct gguf_tensor *t, struct error *reterr)
{
	uint64_t elements = 0;
	int r;

	r = cursor_name(c, t->name, "tensor", i, reterr);
	if (r < 0)
		return r;
	r = read_dimensions(c, t->name, &elements, reterr);
	if (r < 0)
		return r;
	r = cursor_u32(c, &t->type);
	if (r < 0)
		return r;
	if (t->type != GGUF_TENSOR_F32 && t->type != GGUF_TENSOR_I8)
		return error_set(reterr, -ENOTSUP, "tensor '%s': type %u is neither F32 nor I8", t->name,
			t->type);
	if (!bytes_mul(&t->bytes, elements, t->type == GGUF_TENSOR_F32 ? 4 : 1))
		return error_set(reterr, -EBADMSG, "tensor '%s': %lu elements are too many", t->name,
			elements);
	return cursor_u64(c, &t->offset);
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct gguf_entry *) a)->key, ((const struct gguf_entry *) b)->key);
}

static int compare_tensors(const void *a, const void *b)
{
	uint64_t x = ((const struct gguf_tensor *) a)->offset;
	uint64_t y = ((const struct gguf_tensor *) b)->offset;

	return (x > y) - (x < y);
}

static int sort_entries(struct gguf *g, struct error *reterr)
{
	if (g->n_entries > 0)
		qsort(g->entries, g->n_entries, sizeof *g->entries, compare_entries);
	for (uint32_t i = 1; i < g->n_entries; i++)
		if (strcmp(g->entries[i - 1].key, g->entries[i].key) == 0)
			return error_set(reterr, -EBADMSG, "key '%s' appears twice", g->entries[i].key);
	return 0;
}

/* Makes offsets count from the start of the file. */
static int place_tensors(struct gguf *g, uint64_t header_bytes, struct error *reterr)
{
	uint64_t data = bytes_align(header_bytes, GGUF_ALIGNMENT);
	uint64_t end = 0;

	for (uint32_t i = 0; i < g->n_tensors; i++) {
		struct gguf_tensor *t = &g->tensors[i];

		if (t->offset % GGUF_ALIGNMENT != 0)
			return error_set(reterr, -EBADMSG, "tensor '%s': offset %lu is not aligned to %u",
				t->name, t->offset, GGUF_ALIGNMENT);
		if (!bytes_add(&t->offset, t->offset, data) || t->offset > g->file_bytes ||
			t->bytes > g->file_bytes - t->offset)
			return error_set(reterr, -EBADMSG, "tensor '%s' lies beyond the end of the file",
				t->name);
	}
	if (g->n_tensors > 0)
		qsort(g->tensors, g->n_tensors, sizeof *g->tensors, compare_tensors);
	for (uint32_t i = 0; i < g->n_tensors; i++) {
		if (g->tensors[i].offset < end)
			return error_set(reterr, -EBADMSG, "tensors '%s' and '%s' overlap",
				g->tensors[i - 1].name, g->tensors[i].name);
		end = g->tensors[i].offset + g->tensors[i].bytes;
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(g->tensors[i].name, g->tensors[j].name) == 0)
				return error_set(reterr, -EBADMSG, "tensor '%s' appears twice",
					g->tensors[i].name);
	}
	return 0;
}

static int read_counts(struct gguf *g, struct cursor *c, struct error *reterr)
{
	uint32_t magic = 0, version = 0;
	uint64_t n_tensors = 0, n_entries = 0;

	if (cursor_u32(c, &magic) < 0 || magic != GGUF_MAGIC)
		return error_set(reterr, -EBADMSG, "not a GGUF file");
	if (cursor_u32(c, &version) < 0 || cursor_u64(c, &n_tensors) < 0 ||
		cursor_u64(c, &n_entries) < 0)
		return -ENODATA;
	if (version != GGUF_VERSION)
		return error_set(reterr, -ENOTSUP, "GGUF version %u, not %u", version, GGUF_VERSION);
	if (n_tensors > GGUF_TENSORS_MAX)
		return error_set(reterr, -EBADMSG, "%lu tensors, at most %u are allowed", n_tensors,
			GGUF_TENSORS_MAX);
	/* The shortest key takes 14 bytes: a small file cannot make us allocate for many. */
	if (n_entries > GGUF_ENTRIES_MAX || n_entries > g->file_bytes / 14)
		return error_set(reterr, -EBADMSG, "%lu keys are too many", n_entries);
	g->n_entries = (uint32_t) n_entries;
	g->n_tensors = (uint32_t) n_tensors;
	g->entries = calloc(n_entries + 1, sizeof *g->entries);
	g->tensors = calloc(n_tensors + 1, sizeof *g->tensors);
	return g->entries && g->tensors ? 0 : -ENOMEM;
}

static int parse(struct gguf *g, size_t size, struct error *reterr)
{
	struct cursor c = {g->header, g->header, g->header + size};
	int r;

	r = read_counts(g, &c, reterr);
	for (uint32_t i = 0; r >= 0 && i < g->n_entries; i++)
		r = read_entry(&c, i, &g->entries[i], reterr);
	for (uint32_t i = 0; r >= 0 && i < g->n_tensors; i++)
		r = read_tensor(&c, i, &g->tensors[i], reterr);
	if (r < 0)
		return r;
	r = sort_entries(g, reterr);
	if (r < 0)
		return r;
	return place_tensors(g, (uint64_t) (c.p - c.begin), reterr);
}

void gguf_done(struct gguf *g)
{
	free(g->header);
	free(g->entries);
	free(g->tensors);
	*g = (struct gguf) {0};
}

static int read_part(struct gguf *g, int fd, uint64_t size, struct error *reterr)
{
	uint64_t file_bytes = g->file_bytes;
	int r;

	gguf_done(g);
	g->file_bytes = file_bytes;
	g->header = malloc(size + 1);
	if (!g->header)
		return -ENOMEM;
	r = fd_read_at(fd, g->header, size, 0);
	if (r < 0)
		return r == -ENODATA ? error_set(reterr, -EBADMSG, "the file shrank while it was read") : r;
	return parse(g, size, reterr);
}

int gguf_read(struct gguf *ret, int fd, struct error *reterr)
{
	struct gguf g = {0};
	struct error e = {0};
	struct stat st;
	uint64_t whole, size;
	int r;

	*ret = (struct gguf) {0};
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return error_set(reterr, -EBADMSG, "not a regular file");
	g.file_bytes = (uint64_t) st.st_size;
	whole = MIN_OF(g.file_bytes, GGUF_HEADER_MAX);
	size = MIN_OF(whole, HEADER_STEP);
	/* The header does not say how long it is: read more until it ends inside of what was read. */
	r = read_part(&g, fd, size, &e);
	while (r == -ENODATA && size < whole) {
		size = MIN_OF(whole, size * 4);
		r = read_part(&g, fd, size, &e);
	}
	if (r == -ENODATA)
		r = error_set(&e, -EBADMSG, whole < g.file_bytes ? "the header is longer than 16 MiB"
								 : "the file ends inside its header");
	if (r < 0) {
		gguf_done(&g);
		return error_set(reterr, r, "%s", error_text(&e, r));
	}
	*ret = g;
	return 0;
}
