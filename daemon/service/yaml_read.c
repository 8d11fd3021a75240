/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every YAML file of ours has in common: libyaml's events, and complaints with their place.
 *
 * Events rather than the document tree, because the tree resolves aliases before anyone can refuse them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "service/yaml_read.h"

/* One character of the text as one column of a terminal. Return: bytes taken. */
static size_t put_column(char *to, const char *p, size_t left)
{
	unsigned char c = (unsigned char) *p;
	size_t n = 1;

	*to = c == '\t' ? ' ' : c < 0x20 || c >= 0x7f ? '?' : (char) c;
	if (c >= 0xc0)
		while (n < left && ((unsigned char) p[n] & 0xc0) == 0x80)
			n++;
	return n;
}

/* Where line @line (from 0) begins; the end of the text when there are fewer. */
static const char *find_line(const struct yaml_reader *r, size_t line)
{
	const char *p = r->text, *end = r->text + r->size;

	for (; line > 0 && p < end; line--) {
		const char *newline = memchr(p, '\n', (size_t) (end - p));

		p = newline ? newline + 1 : end;
	}
	return p;
}

/* "\n    the line\n    ^" behind what @e holds, cut on both sides to what fits. */
static void append_excerpt(const struct yaml_reader *r, struct error *e, size_t line, size_t column)
{
	size_t used = strlen(e->text), room = sizeof e->text - used, width, first, n = 0, i = 0;
	const char *p = find_line(r, line), *end = r->text + r->size;
	char shown[sizeof e->text];

	if (room < 40)
		return;
	width = (room - 11) / 2;
	first = column >= width ? column - width + 1 : 0;
	while (p < end && *p != '\n' && *p != '\r' && n < width) {
		char c;

		p += put_column(&c, p, (size_t) (end - p));
		if (i++ >= first)
			shown[n++] = c;
	}
	shown[n] = '\0';
	(void) snprintf(e->text + used, room, "\n    %s\n    %*s^", shown, (int) (column - first), "");
}

int yaml_complain(const struct yaml_reader *r, yaml_mark_t mark, const char *format, ...)
{
	char what[161];
	const char *name = r->name;
	va_list ap;

	if (!r->reterr)
		return -EINVAL;
	va_start(ap, format);
	(void) vsnprintf(what, sizeof what, format, ap);
	va_end(ap);
	if (strlen(name) > 60)
		name += strlen(name) - 60; /* the end of a path says more than its beginning */
	(void) error_set(r->reterr, -EINVAL, "%s:%zu:%zu: %s", name, mark.line + 1, mark.column + 1,
		what);
	append_excerpt(r, r->reterr, mark.line, mark.column);
	return -EINVAL;
}

const char *yaml_quote(char ret[40], const char *value)
{
	size_t left = strlen(value), n = 0;

	while (left > 0 && n < 36) {
		size_t taken = put_column(&ret[n++], value, left);

		value += taken;
		left -= taken;
	}
	(void) strcpy(ret + n, left > 0 ? "..." : "");
	return ret;
}

static yaml_mark_t mark_of_offset(const struct yaml_reader *r, size_t offset)
{
	yaml_mark_t mark = {.index = offset};

	for (size_t i = 0; i < offset && i < r->size; i++) {
		mark.column++;
		if (r->text[i] == '\n') {
			mark.line++;
			mark.column = 0;
		}
	}
	return mark;
}

/* libyaml's words are for those who write scanners; the common slips get words for those who write files. */
static const struct {
	const char *problem, *context, *words;
} slips[] = {
	{"did not find expected key", "block mapping", "expected this line to be indented like those above"},
	{"unexpected end", "quoted scalar", "expected a closing quote before the end"},
	{"mapping values are not allowed", "", "expected one 'name: value' in a line"},
	{"could not find expected ':'", "", "expected ':' behind the name"},
};

static const char *words_of(const yaml_parser_t *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(slips); i++)
		if (strstr(p->problem ?: "", slips[i].problem) && strstr(p->context ?: "", slips[i].context))
			return slips[i].words;
	return NULL;
}

static int complain_syntax(const struct yaml_reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem ?: "not YAML";
	const char *at = find_line(r, p->problem_mark.line);

	if (p->error == YAML_MEMORY_ERROR)
		return error_set(r->reterr, -ENOMEM, "%.100s: out of memory", r->name);
	if (p->error == YAML_READER_ERROR)
		return yaml_complain(r, mark_of_offset(r, p->problem_offset),
			"expected text in UTF-8 (%s)", problem);
	while (at < r->text + r->size && *at == ' ')
		at++;
	if (at < r->text + r->size && *at == '\t')
		return yaml_complain(r, p->problem_mark, "expected spaces for indentation, not a tab");
	if (words_of(p))
		return yaml_complain(r, p->problem_mark, "%s", words_of(p));
	if (p->context)
		return yaml_complain(r, p->problem_mark, "expected YAML: %s (%s)", problem, p->context);
	return yaml_complain(r, p->problem_mark, "expected YAML: %s", problem);
}

/* The next event, whatever it is. Return: 0, -EINVAL, -ENOMEM */
static int next_event(struct yaml_reader *r)
{
	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->parser, &r->event))
		return complain_syntax(r);
	return 0;
}

/* Anchors, aliases and tags have no use in files this flat, and much use in an attack. */
int yaml_next_node(struct yaml_reader *r)
{
	const yaml_event_t *e = &r->event;
	bool anchored, tagged;
	int q = next_event(r);

	if (q < 0)
		return q;
	anchored = e->type == YAML_ALIAS_EVENT ||
		(e->type == YAML_SCALAR_EVENT && e->data.scalar.anchor) ||
		(e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.anchor) ||
		(e->type == YAML_SEQUENCE_START_EVENT && e->data.sequence_start.anchor);
	tagged = (e->type == YAML_SCALAR_EVENT && e->data.scalar.tag) ||
		(e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.tag);
	if (anchored)
		return yaml_complain(r, e->start_mark, "expected a value: anchors (&) and aliases (*) are not used here");
	if (tagged)
		return yaml_complain(r, e->start_mark, "expected a value without a tag (!)");
	return 0;
}

const char *yaml_scalar(const struct yaml_reader *r)
{
	const char *value = (const char *) r->event.data.scalar.value;

	if (r->event.type != YAML_SCALAR_EVENT || strlen(value) != r->event.data.scalar.length)
		return NULL;
	return value;
}

bool yaml_is_null(const struct yaml_reader *r)
{
	return yaml_scalar(r) && r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
		(strcmp(yaml_scalar(r), "") == 0 || strcmp(yaml_scalar(r), "~") == 0 ||
			strcmp(yaml_scalar(r), "null") == 0);
}

static int read_stream(struct yaml_reader *r, int (*read)(struct yaml_reader *r))
{
	int q = next_event(r);

	if (q < 0)
		return q;
	q = next_event(r);
	if (q < 0)
		return q;
	if (r->event.type == YAML_STREAM_END_EVENT)
		return 0;
	q = yaml_next_node(r);
	if (q < 0)
		return q;
	q = read(r);
	if (q < 0)
		return q;
	q = next_event(r); /* the document's end */
	if (q < 0)
		return q;
	q = next_event(r);
	if (q < 0)
		return q;
	if (r->event.type != YAML_STREAM_END_EVENT)
		return yaml_complain(r, r->event.start_mark, "expected the end: one document per file");
	return 0;
}

int yaml_read_document(struct yaml_reader *r, int (*read)(struct yaml_reader *r))
{
	int q;

	if (!yaml_parser_initialize(&r->parser))
		return error_set(r->reterr, -ENOMEM, "%.100s: out of memory", r->name);
	yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r->parser, (const unsigned char *) r->text, r->size);
	q = read_stream(r, read);
	yaml_event_delete(&r->event);
	yaml_parser_delete(&r->parser);
	return q;
}
