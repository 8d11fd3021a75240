/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From bytes to protobuf-c's structures, for bytes of unknown origin. protobuf-c recurses into nested
 * messages and allocates as it goes, both without a bound of its own: nesting is checked in a pass of
 * our own before, and an allocator with a budget stands under it. It also knows every block: what
 * is freed does not depend on how protobuf-c leaves a message that it finds broken half way.
 */
#include "convert/onnx_import.h"

#include <errno.h>

#include "base/bytes.h"

#define NESTING_MAX 32
#define PARSE_BYTES_MAX (UINT64_C(4) << 30)

enum wire {
	WIRE_VARINT = 0,
	WIRE_64 = 1,
	WIRE_BYTES = 2,
	WIRE_32 = 5,
};

struct cursor {
	const uint8_t *p, *end;
};

static bool read_varint(struct cursor *c, uint64_t *ret)
{
	*ret = 0;
	for (unsigned shift = 0; shift < 70 && c->p < c->end; shift += 7) {
		uint8_t byte = *c->p++;

		if (shift < 64)
			*ret |= (uint64_t) (byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

static bool skip(struct cursor *c, uint64_t bytes)
{
	if (bytes > (size_t) (c->end - c->p))
		return false;
	c->p += bytes;
	return true;
}

static int check_message(const ProtobufCMessageDescriptor *type, struct cursor c, unsigned depth);

static int check_bytes(const ProtobufCMessageDescriptor *type, uint64_t number, struct cursor *c,
	unsigned depth)
{
	const ProtobufCFieldDescriptor *field;
	struct cursor inner;
	uint64_t size;

	if (!read_varint(c, &size))
		return -EBADMSG;
	inner = (struct cursor){c->p, c->p};
	if (!skip(c, size))
		return -EBADMSG;
	inner.end = c->p;
	field = number <= UINT32_MAX ?
		protobuf_c_message_descriptor_get_field(type, (unsigned) number) : NULL;
	if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE)
		return 0;
	if (depth == NESTING_MAX)
		return -ENOTSUP;
	return check_message(field->descriptor, inner, depth + 1);
}

static int check_message(const ProtobufCMessageDescriptor *type, struct cursor c, unsigned depth)
{
	uint64_t key, value;
	bool ok;

	while (c.p < c.end) {
		if (!read_varint(&c, &key))
			return -EBADMSG;
		if ((key & 7) == WIRE_BYTES) {
			int r = check_bytes(type, key >> 3, &c, depth);

			if (r < 0)
				return r;
			continue;
		}
		ok = (key & 7) == WIRE_VARINT ? read_varint(&c, &value) :
			(key & 7) == WIRE_64 ? skip(&c, 8) : (key & 7) == WIRE_32 && skip(&c, 4);
		if (!ok)
			return -EBADMSG;
	}
	return 0;
}

/* In front of each allocation; 16 bytes aligned, so what follows is too. */
struct block {
	struct list link;
	size_t size;
} __attribute__((aligned(16)));

static void *file_alloc(void *userdata, size_t size)
{
	struct onnx_file *f = userdata;
	struct block *b;

	if (size > f->bytes_left || size > SIZE_MAX - sizeof *b)
		return NULL;
	b = malloc(sizeof *b + size);
	if (!b)
		return NULL;
	b->size = size;
	list_append(&f->blocks, &b->link);
	f->bytes_left -= size;
	return b + 1;
}

static void file_free(void *userdata, void *p)
{
	struct onnx_file *f = userdata;
	struct block *b = p;

	if (!p)
		return;
	b--;
	f->bytes_left += b->size;
	list_remove(&b->link);
	free(b);
}

int onnx_file_parse(struct onnx_file *f, const uint8_t *data, size_t size, struct error *reterr)
{
	ProtobufCAllocator allocator = {file_alloc, file_free, f};
	int r;

	list_init(&f->blocks);
	f->bytes_left = PARSE_BYTES_MAX;
	r = check_message(&onnx__model_proto__descriptor, (struct cursor){data, data + size}, 0);
	if (r == -ENOTSUP)
		return error_set(reterr, r, "messages nested deeper than %u", NESTING_MAX);
	if (r < 0)
		return error_set(reterr, r, "not an ONNX file, or cut short");
	f->model = onnx__model_proto__unpack(&allocator, size, data);
	if (!f->model)
		return error_set(reterr, -EBADMSG, "not an ONNX file, broken, or too large");
	return 0;
}

void onnx_file_done(struct onnx_file *f)
{
	while (f->blocks.next && !list_empty(&f->blocks))
		file_free(f, list_entry(f->blocks.next, struct block, link) + 1);
	f->model = NULL;
}
