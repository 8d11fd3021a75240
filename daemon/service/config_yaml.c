/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One YAML text laid over a configuration, by libyaml's events.
 *
 * Two levels: sections, and below each its keys (config_keys[]), or the names of models with their files.
 * Events rather than the document tree, because the tree resolves aliases before anyone can refuse them.
 * Every complaint comes with its place: "file:line:column: what was expected", the line, a caret.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "service/config_read.h"

#define KEYS_MAX 64

struct reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the one that is looked at now */
	struct config *config;
	const char *name, *text;
	size_t size;
	uint32_t seen[KEYS_MAX];                   /* line of each key, 0: not yet */
	uint32_t seen_section[KEYS_MAX];           /* by the section's first key */
	char *models[CONFIG_MODELS_MAX];           /* names in this text; owned */
	size_t n_models;
	struct error *reterr;
};

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
static const char *find_line(const struct reader *r, size_t line)
{
	const char *p = r->text, *end = r->text + r->size;

	for (; line > 0 && p < end; line--) {
		const char *newline = memchr(p, '\n', (size_t) (end - p));

		p = newline ? newline + 1 : end;
	}
	return p;
}

/* "\n    the line\n    ^" behind what @e holds, cut on both sides to what fits. */
static void append_excerpt(const struct reader *r, struct error *e, size_t line, size_t column)
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

static int complain(const struct reader *r, yaml_mark_t mark, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int complain(const struct reader *r, yaml_mark_t mark, const char *format, ...)
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

/* A value of the file inside a message: short and printable. */
static const char *quote(char ret[40], const char *value)
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

static yaml_mark_t mark_of_offset(const struct reader *r, size_t offset)
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

static int complain_syntax(const struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem ?: "not YAML";
	const char *at = find_line(r, p->problem_mark.line);

	if (p->error == YAML_MEMORY_ERROR)
		return error_set(r->reterr, -ENOMEM, "%.100s: out of memory", r->name);
	if (p->error == YAML_READER_ERROR)
		return complain(r, mark_of_offset(r, p->problem_offset),
			"expected text in UTF-8 (%s)", problem);
	while (at < r->text + r->size && *at == ' ')
		at++;
	if (at < r->text + r->size && *at == '\t')
		return complain(r, p->problem_mark, "expected spaces for indentation, not a tab");
	if (words_of(p))
		return complain(r, p->problem_mark, "%s", words_of(p));
	if (p->context)
		return complain(r, p->problem_mark, "expected YAML: %s (%s)", problem, p->context);
	return complain(r, p->problem_mark, "expected YAML: %s", problem);
}

static int next(struct reader *r)
{
	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->parser, &r->event))
		return complain_syntax(r);
	return 0;
}

/* Anchors, aliases and tags have no use in a file this flat, and much use in an attack. */
static int next_node(struct reader *r)
{
	const yaml_event_t *e = &r->event;
	bool anchored, tagged;
	int q = next(r);

	if (q < 0)
		return q;
	anchored = e->type == YAML_ALIAS_EVENT ||
		(e->type == YAML_SCALAR_EVENT && e->data.scalar.anchor) ||
		(e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.anchor) ||
		(e->type == YAML_SEQUENCE_START_EVENT && e->data.sequence_start.anchor);
	tagged = (e->type == YAML_SCALAR_EVENT && e->data.scalar.tag) ||
		(e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.tag);
	if (anchored)
		return complain(r, e->start_mark, "expected a value: anchors (&) and aliases (*) are not used here");
	if (tagged)
		return complain(r, e->start_mark, "expected a value without a tag (!)");
	return 0;
}

/* NULL when the event is no scalar, or holds bytes that end a C string early. */
static const char *scalar(const struct reader *r)
{
	const char *value = (const char *) r->event.data.scalar.value;

	if (r->event.type != YAML_SCALAR_EVENT || strlen(value) != r->event.data.scalar.length)
		return NULL;
	return value;
}

static bool is_null(const struct reader *r)
{
	return scalar(r) && r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
		(strcmp(scalar(r), "") == 0 || strcmp(scalar(r), "~") == 0 ||
			strcmp(scalar(r), "null") == 0);
}

/* The names that are allowed at this place, for a message; sections when @section is NULL. */
static const char *list_names(char *ret, size_t size, const char *section)
{
	size_t used = 0;
	const char *last = "";

	ret[0] = '\0';
	for (size_t i = 0; i < n_config_keys && used < size; i++) {
		const char *name = section ? config_keys[i].name : config_keys[i].section;

		if (section ? strcmp(config_keys[i].section, section) != 0 : strcmp(last, name) == 0)
			continue;
		last = name;
		used += (size_t) snprintf(ret + used, size - used, "%s%s", used ? ", " : "", name);
	}
	if (!section && used < size)
		(void) snprintf(ret + used, size - used, ", models");
	return ret;
}

static int complain_unknown(const struct reader *r, const char *section)
{
	char names[120], quoted[40];

	if (!scalar(r))
		return complain(r, r->event.start_mark, "expected a name of: %s",
			list_names(names, sizeof names, section));
	return complain(r, r->event.start_mark, "unknown key '%s', expected one of: %s",
		quote(quoted, scalar(r)), list_names(names, sizeof names, section));
}

static int mark_seen(const struct reader *r, uint32_t *seen, const char *name)
{
	if (*seen)
		return complain(r, r->event.start_mark, "'%s' is here twice, first in line %u", name, *seen);
	*seen = (uint32_t) r->event.start_mark.line + 1;
	return 0;
}

static int read_key(struct reader *r, const char *section)
{
	const struct config_key *key = NULL;
	struct error why = {};
	size_t i;
	int q;

	for (i = 0; scalar(r) && i < n_config_keys; i++)
		if (strcmp(config_keys[i].section, section) == 0 &&
			strcmp(config_keys[i].name, scalar(r)) == 0)
			key = &config_keys[i];
	if (!key)
		return complain_unknown(r, section);
	q = mark_seen(r, &r->seen[key - config_keys], key->name);
	if (q < 0)
		return q;
	q = next_node(r);
	if (q < 0)
		return q;
	/* A list or a map fails like an empty value, with the words for what was expected. */
	q = config_value(r->config, key, scalar(r) ?: "", &why);
	return q < 0 ? complain(r, r->event.start_mark, "%s", why.text) : 0;
}

static bool is_model_name(const char *s)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t n = strlen(s);

	return n >= 1 && n <= 63 && strspn(s, allowed) == n && s[0] != '.' && s[0] != '-';
}

static int remember_model(struct reader *r, const char *name)
{
	for (size_t i = 0; i < r->n_models; i++)
		if (strcmp(r->models[i], name) == 0)
			return complain(r, r->event.start_mark, "model '%s' is here twice", name);
	if (r->n_models == CONFIG_MODELS_MAX)
		return complain(r, r->event.start_mark, "expected at most %d models", CONFIG_MODELS_MAX);
	r->models[r->n_models] = strdup(name);
	return r->models[r->n_models++] ? 0 : -ENOMEM;
}

static int read_model(struct reader *r, const char *section)
{
	const char *name = scalar(r), *path;
	int q;

	(void) section;
	if (!name || !is_model_name(name))
		return complain(r, r->event.start_mark,
			"expected a model's name: 1 to 63 letters, digits, '.', '_' or '-', not beginning with '.' or '-'");
	q = remember_model(r, name);
	if (q < 0)
		return q;
	q = next_node(r);
	if (q < 0)
		return q;
	path = scalar(r);
	if (!path || (path[0] != '/' && strcmp(path, "none") != 0))
		return complain(r, r->event.start_mark, "expected an absolute path, or 'none'");
	q = config_set_model(r->config, r->models[r->n_models - 1], path);
	if (q == -E2BIG)
		return complain(r, r->event.start_mark, "expected at most %d models", CONFIG_MODELS_MAX);
	return q;
}

/* A map whose entries @read takes; the event is its start, or a null for an empty one. */
static int read_map(struct reader *r, const char *section,
	int (*read)(struct reader *r, const char *section))
{
	int q;

	if (is_null(r))
		return 0;
	if (r->event.type != YAML_MAPPING_START_EVENT && section)
		return complain(r, r->event.start_mark, "expected 'name: value' lines below '%s'", section);
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return complain(r, r->event.start_mark, "expected 'section:' lines at the left margin");
	for (;;) {
		q = next_node(r);
		if (q < 0)
			return q;
		if (r->event.type == YAML_MAPPING_END_EVENT)
			return 0;
		q = read(r, section);
		if (q < 0)
			return q;
	}
}

static int read_section(struct reader *r, const char *none)
{
	const char *section = NULL;
	size_t first = 0;
	int q;

	if (scalar(r) && strcmp(scalar(r), "models") == 0) {
		section = "models";
		first = n_config_keys;
	}
	for (size_t i = 0; scalar(r) && !section && i < n_config_keys; i++)
		if (strcmp(config_keys[i].section, scalar(r)) == 0) {
			section = config_keys[i].section;
			first = i;
		}
	if (!section)
		return complain_unknown(r, none);
	q = mark_seen(r, &r->seen_section[first], section);
	if (q < 0)
		return q;
	q = next_node(r);
	if (q < 0)
		return q;
	return read_map(r, section, first == n_config_keys ? read_model : read_key);
}

static int read_stream(struct reader *r)
{
	int q = next(r);

	if (q < 0)
		return q;
	q = next(r);
	if (q < 0)
		return q;
	if (r->event.type == YAML_STREAM_END_EVENT)
		return 0;
	q = next_node(r);
	if (q < 0)
		return q;
	q = read_map(r, NULL, read_section);
	if (q < 0)
		return q;
	q = next(r); /* the document's end */
	if (q < 0)
		return q;
	q = next(r);
	if (q < 0)
		return q;
	if (r->event.type != YAML_STREAM_END_EVENT)
		return complain(r, r->event.start_mark, "expected the end: one document per file");
	return 0;
}

int config_read_text(struct config *c, const char *name, const char *text, size_t size,
	struct error *reterr)
{
	struct reader r = {.config = c, .name = name, .text = text, .size = size, .reterr = reterr};
	int q;

	assert(n_config_keys < KEYS_MAX);
	if (!yaml_parser_initialize(&r.parser))
		return error_set(reterr, -ENOMEM, "%.100s: out of memory", name);
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *) text, size);
	q = read_stream(&r);
	yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	while (r.n_models > 0)
		free(r.models[--r.n_models]);
	return q;
}
