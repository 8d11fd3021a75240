/* SPDX-License-Identifier: Apache-2.0 */
/* Typed access to what gguf.c has read. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "engine/gguf.h"

#define LABEL_MAX 1023

static const char *const type_names[_GGUF_TYPE_MAX] = {
	[GGUF_U8] = "u8",	  [GGUF_I8] = "i8",	    [GGUF_U16] = "u16", [GGUF_I16] = "i16",
	[GGUF_U32] = "u32",	  [GGUF_I32] = "i32",	    [GGUF_F32] = "f32", [GGUF_BOOL] = "bool",
	[GGUF_STRING] = "string", [GGUF_ARRAY] = "array",   [GGUF_U64] = "u64", [GGUF_I64] = "i64",
	[GGUF_F64] = "f64",
};

static int compare_key(const void *key, const void *entry)
{
	return strcmp(key, ((const struct gguf_entry *) entry)->key);
}

static struct gguf_entry *find(const struct gguf *g, const char *key)
{
	if (g->n_entries == 0)
		return NULL;
	return bsearch(key, g->entries, g->n_entries, sizeof *g->entries, compare_key);
}

bool gguf_has(const struct gguf *g, const char *key)
{
	return find(g, key);
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
	for (uint32_t i = 0; i < g->n_tensors; i++)
		if (strcmp(g->tensors[i].name, name) == 0)
			return &g->tensors[i];
	return NULL;
}

static int get(struct gguf *g, const char *key, enum gguf_type type, enum gguf_type element,
	struct gguf_entry **ret, struct error *reterr)
{
	struct gguf_entry *e = find(g, key);

	if (!e)
		return error_set(reterr, -EBADMSG, "key '%s' is missing", key);
	if (e->type != type || e->element != element)
		return error_set(reterr, -EBADMSG, "key '%s': expected %s%s, found %s%s", key,
			type == GGUF_ARRAY ? "array of " : "", type_names[element],
			e->type == GGUF_ARRAY ? "array of " : "", type_names[e->element]);
	e->used = true;
	*ret = e;
	return 0;
}

int gguf_scalar(struct gguf *g, const char *key, enum gguf_type type, const uint8_t **ret,
	struct error *reterr)
{
	struct gguf_entry *e = NULL;
	int r;

	r = get(g, key, type, type, &e, reterr);
	if (r >= 0)
		*ret = e->data;
	return r;
}

int gguf_array(struct gguf *g, const char *key, enum gguf_type element, uint64_t max,
	const uint8_t **ret, uint64_t *ret_count, struct error *reterr)
{
	struct gguf_entry *e = NULL;
	int r;

	r = get(g, key, GGUF_ARRAY, element, &e, reterr);
	if (r < 0)
		return r;
	if (e->count > max)
		return error_set(reterr, -EBADMSG, "key '%s': %lu elements, at most %lu are allowed", key,
			e->count, max);
	*ret = e->data;
	*ret_count = e->count;
	return 0;
}

/* Bytes of the UTF-8 sequence at @p, 0 when it is not one; overlong forms and surrogates are none. */
static size_t utf8_length(const uint8_t *p, size_t size)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = p[0] < 0x80 ? 1 : (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : 4;
	uint32_t code = n == 1 ? p[0] : p[0] & (0x7fU >> n);

	if (n == 1)
		return 1;
	if ((n == 4 && (p[0] & 0xf8) != 0xf0) || n > size)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	return code < smallest[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

/* Texts go to terminals and onto the bus. */
static bool text_valid(const uint8_t *p, size_t size)
{
	for (size_t i = 0, n; i < size; i += n) {
		n = utf8_length(p + i, size - i);
		if (n == 0 || p[i] < 0x20 || p[i] == 0x7f)
			return false;
	}
	return true;
}

static int check_text(const char *key, const uint8_t *data, size_t max, struct error *reterr)
{
	uint64_t length = bytes_u64(data);

	if (length > max)
		return error_set(reterr, -EBADMSG, "key '%s': a text of %lu bytes, at most %zu are allowed",
			key, length, max);
	if (!text_valid(data + 8, length))
		return error_set(reterr, -EBADMSG, "key '%s': not printable UTF-8", key);
	return 0;
}

int gguf_text(struct gguf *g, const char *key, char *text, size_t size, struct error *reterr)
{
	struct gguf_entry *e = NULL;
	int r;

	r = get(g, key, GGUF_STRING, GGUF_STRING, &e, reterr);
	if (r < 0)
		return r;
	r = check_text(key, e->data, size - 1, reterr);
	if (r < 0)
		return r;
	memcpy(text, e->data + 8, bytes_u64(e->data));
	text[bytes_u64(e->data)] = '\0';
	return 0;
}

/* Total bytes with a NUL each. */
static int measure_texts(const struct gguf_entry *e, size_t *ret, struct error *reterr)
{
	const uint8_t *p = e->data;
	size_t total = 0;
	int r;

	for (uint64_t i = 0; i < e->count; i++) {
		r = check_text(e->key, p, LABEL_MAX, reterr);
		if (r < 0)
			return r;
		total += bytes_u64(p) + 1;
		p += 8 + bytes_u64(p);
	}
	*ret = total;
	return 0;
}

int gguf_texts(struct gguf *g, const char *key, uint32_t max, char ***ret, uint32_t *ret_count,
	struct error *reterr)
{
	struct gguf_entry *e = NULL;
	const uint8_t *p;
	size_t total = 0;
	char **texts, *to;
	int r;

	r = get(g, key, GGUF_ARRAY, GGUF_STRING, &e, reterr);
	if (r < 0)
		return r;
	if (e->count > max)
		return error_set(reterr, -EBADMSG, "key '%s': %lu elements, at most %u are allowed", key,
			e->count, max);
	r = measure_texts(e, &total, reterr);
	if (r < 0)
		return r;
	texts = e->count > 0 ? malloc(e->count * sizeof *texts + total) : NULL;
	if (!texts && e->count > 0)
		return -ENOMEM;
	p = e->data;
	to = (char *) (texts + e->count);
	for (uint64_t i = 0; i < e->count; i++) {
		uint64_t length = bytes_u64(p);

		texts[i] = to;
		memcpy(to, p + 8, length);
		to[length] = '\0';
		to += length + 1;
		p += 8 + length;
	}
	*ret = texts;
	*ret_count = (uint32_t) e->count;
	return 0;
}

int gguf_check_used(const struct gguf *g, const char *prefix, struct error *reterr)
{
	for (uint32_t i = 0; i < g->n_entries; i++)
		if (!g->entries[i].used && strncmp(g->entries[i].key, prefix, strlen(prefix)) == 0)
			return error_set(reterr, -ENOTSUP, "key '%s' is not known", g->entries[i].key);
	return 0;
}
