/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/gguf_write.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define FIXED_BYTES 24 /* magic, version, counts */

static const uint8_t zeros[GGUF_ALIGNMENT];

static void put(struct gguf_writer *w, const void *data, size_t size)
{
	if (w->error < 0)
		return;
	if (w->size + size > w->room) {
		size_t room = MAX_OF(w->room * 2, w->size + size);
		uint8_t *p = realloc(w->data, room);

		if (!p) {
			w->error = -ENOMEM;
			return;
		}
		w->data = p;
		w->room = room;
	}
	memcpy(w->data + w->size, data, size);
	w->size += size;
}

static void put_u32(struct gguf_writer *w, uint32_t v)
{
	put(w, &v, sizeof v);
}

static void put_string(struct gguf_writer *w, const char *text)
{
	uint64_t length = strlen(text);

	put(w, &length, sizeof length);
	put(w, text, length);
}

void gguf_writer_init(struct gguf_writer *w)
{
	*w = (struct gguf_writer) {0};
	put(w, zeros, FIXED_BYTES);
}

void gguf_writer_done(struct gguf_writer *w)
{
	free(w->data);
	*w = (struct gguf_writer) {0};
}

static size_t type_bytes(enum gguf_type type)
{
	switch (type) {
	case GGUF_U8:
	case GGUF_I8:
	case GGUF_BOOL:
		return 1;
	case GGUF_U16:
	case GGUF_I16:
		return 2;
	case GGUF_U32:
	case GGUF_I32:
	case GGUF_F32:
		return 4;
	case GGUF_U64:
	case GGUF_I64:
	case GGUF_F64:
		return 8;
	case GGUF_STRING:
	case GGUF_ARRAY:
	case _GGUF_TYPE_MAX:
		break;
	}
	return 0;
}

static void put_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
	put_string(w, key);
	put_u32(w, type);
	w->n_entries++;
}

static void put_array_head(struct gguf_writer *w, const char *key, enum gguf_type element, uint64_t count)
{
	put_key(w, key, GGUF_ARRAY);
	put_u32(w, element);
	put(w, &count, sizeof count);
}

void gguf_put_scalar(struct gguf_writer *w, const char *key, enum gguf_type type, const void *value)
{
	put_key(w, key, type);
	put(w, value, type_bytes(type));
}

void gguf_put_array(struct gguf_writer *w, const char *key, enum gguf_type element, const void *values,
	uint64_t count)
{
	put_array_head(w, key, element, count);
	if (count > 0)
		put(w, values, count * type_bytes(element));
}

void gguf_put_text(struct gguf_writer *w, const char *key, const char *text)
{
	put_key(w, key, GGUF_STRING);
	put_string(w, text);
}

void gguf_put_texts(struct gguf_writer *w, const char *key, char *const *texts, uint64_t count)
{
	put_array_head(w, key, GGUF_STRING, count);
	for (uint64_t i = 0; i < count; i++)
		put_string(w, texts[i]);
}

uint64_t gguf_put_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint64_t bytes)
{
	uint64_t elements = type == GGUF_TENSOR_F32 ? bytes / sizeof(float) : bytes;
	uint64_t offset = w->data_bytes;

	put_string(w, name);
	put_u32(w, 1);
	put(w, &elements, sizeof elements);
	put_u32(w, type);
	put(w, &offset, sizeof offset);
	w->n_tensors++;
	w->data_bytes = bytes_align(w->data_bytes + bytes, GGUF_ALIGNMENT);
	return offset;
}

int gguf_writer_finish(struct gguf_writer *w)
{
	uint32_t magic = GGUF_MAGIC, version = GGUF_VERSION;

	put(w, zeros, bytes_align(w->size, GGUF_ALIGNMENT) - w->size);
	if (w->error < 0)
		return w->error;
	memcpy(w->data, &magic, 4);
	memcpy(w->data + 4, &version, 4);
	memcpy(w->data + 8, &w->n_tensors, 8);
	memcpy(w->data + 16, &w->n_entries, 8);
	return 0;
}
