/* SPDX-License-Identifier: Apache-2.0 */
#include "rehearse/journal_export.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "service/journal.h"

/* Nothing in an entry of ours is longer; a field of somebody else may be. */
#define FIELD_MAX ((uint64_t) 64 << 20)
#define VALUE_SIZE 8192

static int broken(const struct journal_reader *r, struct error *reterr, const char *what)
{
	return error_set(
		reterr, -EBADMSG, "%.100s:%u: expected %s", r->name, r->n_lines, what);
}

/* Return: 1, 0 at the end. The line is without its end. */
static int next_line(struct journal_reader *r)
{
	ssize_t n = getline(&r->line, &r->line_size, r->file);

	if (n < 0)
		return ferror(r->file) ? -EIO : 0;
	r->n_lines++;
	if (n > 0 && r->line[n - 1] == '\n')
		r->line[n - 1] = '\0';
	return 1;
}

static double number(const char *value)
{
	char *end;
	double v = strtod(value, &end);

	return end != value && *end == '\0' && v >= 1 && v <= 8 ? v : 0;
}

static void put_field(struct journal_entry *e, const char *key, const char *value)
{
	static const struct {
		const char *key;
		size_t at, size;
	} texts[] = {
#define TEXT(key, member) {key, offsetof(struct journal_entry, member), sizeof ((struct journal_entry *) 0)->member}
		TEXT("MESSAGE_ID", message_id), TEXT("MODEL", model), TEXT("RULE", rule),
		TEXT("REASON", reason), TEXT("INPUTS", inputs),
#undef TEXT
	};

	if (strcmp(key, "__REALTIME_TIMESTAMP") == 0)
		e->usec = strtoull(value, NULL, 10);
	else if (strcmp(key, "BITS") == 0)
		e->bits = number(value);
	else if (strcmp(key, "BITS_WAS") == 0)
		e->bits_was = number(value);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(key, texts[i].key) == 0)
			(void) snprintf((char *) e + texts[i].at, texts[i].size, "%s", value);
}

static bool is_switch(const struct journal_entry *e)
{
	return strcmp(e->message_id, JOURNAL_SWITCH_ID) == 0 && e->model[0] && e->bits > 0 &&
	       e->usec > 0;
}

/* KEY, a newline, the size as eight bytes, the value, a newline. */
static int read_binary(struct journal_reader *r, struct journal_entry *e, struct error *reterr)
{
	char key[64], value[VALUE_SIZE];
	uint8_t head[8];
	uint64_t size, n;

	(void) snprintf(key, sizeof key, "%s", r->line);
	if (fread(head, 1, sizeof head, r->file) != sizeof head)
		return broken(r, reterr, "FIELD=value or a binary field");
	size = bytes_u64(head);
	if (size > FIELD_MAX)
		return broken(r, reterr, "a binary field of at most 64 MiB");
	n = MIN_OF(size, sizeof value - 1);
	if (fread(value, 1, n, r->file) != n)
		return broken(r, reterr, "the rest of a binary field");
	value[n] = '\0';
	for (uint64_t i = n; i < size; i++)
		if (getc(r->file) == EOF)
			return broken(r, reterr, "the rest of a binary field");
	if (getc(r->file) != '\n')
		return broken(r, reterr, "a new line behind a binary field");
	put_field(e, key, value);
	return 0;
}

/* One entry of "-o export": the lines up to an empty one, @r->line being the first. */
static int read_export(struct journal_reader *r, struct journal_entry *e, struct error *reterr)
{
	int k = 1;

	while (k > 0 && r->line[0]) {
		char *equals = strchr(r->line, '=');

		if (equals) {
			*equals = '\0';
			put_field(e, r->line, equals + 1);
		} else {
			k = read_binary(r, e, reterr);
			if (k < 0)
				return k;
		}
		k = next_line(r);
	}
	return k;
}

/* Four digits behind "\u". Return: the character, or -1 */
static int read_hex(const char *p)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		const char *digits = "0123456789abcdef", *d = p[i] ? strchr(digits, p[i] | 0x20) : NULL;

		if (!d)
			return -1;
		v = v * 16 + (int) (d - digits);
	}
	return v;
}

static char plain_escape(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 't':
		return '\t';
	case 'r':
		return '\r';
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	default:
		return c;
	}
}

/* What our fields never hold, characters beyond ASCII behind "\u", becomes a question mark. */
static const char *read_string(const char *p, char *to, size_t size)
{
	size_t n = 0;

	for (p++; *p && *p != '"'; p++) {
		char c = *p;

		if (c == '\\' && p[1] == 'u') {
			int v = read_hex(p + 2);

			if (v < 0)
				return NULL;
			c = v > 0 && v < 128 ? (char) v : '?';
			p += 5;
		} else if (c == '\\') {
			if (!*++p)
				return NULL;
			c = plain_escape(*p);
		}
		if (n + 1 < size)
			to[n++] = c;
	}
	to[n] = '\0';
	return *p ? p + 1 : NULL;
}

/* A number, null, or an array: journalctl's for what is no text. */
static const char *skip_value(const char *p)
{
	int depth = 0;

	for (; *p && (depth > 0 || (*p != ',' && *p != '}')); p++)
		depth += (*p == '[') - (*p == ']');
	return p;
}

static const char *blank(const char *p)
{
	return p + strspn(p, " \t\r");
}

/* One entry of "-o json": an object on a line. */
static int read_json(struct journal_reader *r, struct journal_entry *e, struct error *reterr)
{
	char key[64], value[VALUE_SIZE];
	const char *p = blank(r->line);

	if (*p != '{')
		return broken(r, reterr, "an object of JSON");
	do {
		p = blank(p + 1);
		if (*p != '"' || !(p = read_string(p, key, sizeof key)))
			return broken(r, reterr, "the name of a field in quotes");
		p = blank(p);
		if (*p != ':')
			return broken(r, reterr, "a colon behind the name of a field");
		p = blank(p + 1);
		if (*p != '"') {
			p = skip_value(p);
			continue;
		}
		p = read_string(p, value, sizeof value);
		if (!p)
			return broken(r, reterr, "a string that ends");
		put_field(e, key, value);
		p = blank(p);
	} while (*p == ',');
	return *p == '}' ? 1 : broken(r, reterr, "a comma or the end of an object");
}

int journal_next(struct journal_reader *r, struct journal_entry *ret, struct error *reterr)
{
	int k;

	while ((k = next_line(r)) > 0) {
		struct journal_entry e = {};

		if (!r->line[0])
			continue;
		k = r->line[0] == '{' ? read_json(r, &e, reterr) : read_export(r, &e, reterr);
		if (k < 0)
			return k;
		if (is_switch(&e)) {
			*ret = e;
			return 1;
		}
	}
	return k;
}

void journal_done(struct journal_reader *r)
{
	free(r->line);
	r->line = NULL;
}
