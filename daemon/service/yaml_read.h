/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading YAML texts of operators. Every complaint comes with its place: "file:line:column: what was
 * expected", the line, a caret. Anchors, aliases and tags are refused. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/error.h"

/**
 * struct yaml_reader - one text while it is read
 * @event: the one that is looked at now
 * @name: of the text, for messages; @text: need not be terminated
 */
struct yaml_reader {
	yaml_parser_t parser;
	yaml_event_t event;
	const char *name, *text;
	size_t size;
	struct error *reterr;
};

/**
 * yaml_read_document() - call @read with the first event of the text's only document
 * @r: @name, @text, @size and @reterr are set, the rest is zeros
 *
 * Return: what @read returned if negative; 0, also for an empty text; -EINVAL or -ENOMEM with words.
 */
int yaml_read_document(struct yaml_reader *r, int (*read)(struct yaml_reader *r));

/** yaml_next_node() - the next event, refusing anchors, aliases and tags. Return: 0, -EINVAL, -ENOMEM */
int yaml_next_node(struct yaml_reader *r);


/** yaml_complain() - words with their place, the line and a caret. Return: -EINVAL */
int yaml_complain(const struct yaml_reader *r, yaml_mark_t mark, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** yaml_quote() - a value of the file inside a message: short and printable. Return: @ret */
const char *yaml_quote(char ret[40], const char *value);

/** yaml_scalar() - Return: NULL when the event is no scalar, or holds bytes that end a C string early */
const char *yaml_scalar(const struct yaml_reader *r);

/** yaml_is_null() - nothing, "~" or "null", without quotes */
bool yaml_is_null(const struct yaml_reader *r);
