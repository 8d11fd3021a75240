/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One YAML text laid over a configuration, by libyaml's events.
 *
 * Two levels: sections, and below each its keys (config_keys[]), or the names of models with their
 * files.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "service/config_read.h"
#include "service/yaml_read.h"

#define KEYS_MAX 64

struct reader {
	struct yaml_reader yaml;
	struct config *config;
	uint32_t seen[KEYS_MAX];	 /* line of each key, 0: not yet */
	uint32_t seen_section[KEYS_MAX]; /* by the section's first key */
	char *models[CONFIG_MODELS_MAX]; /* names in this text; owned */
	size_t n_models;
};

static struct reader *reader_of(struct yaml_reader *r)
{
	return (struct reader *) ((char *) r - offsetof(struct reader, yaml));
}

/* The names that are allowed at this place, for a message; sections when @section is NULL. */
static const char *list_names(char *ret, size_t size, const char *section)
{
	size_t used = 0;
	const char *last = "";

	ret[0] = '\0';
	for (size_t i = 0; i < n_config_keys && used < size; i++) {
		const char *name = section ? config_keys[i].name : config_keys[i].section;

		if (section ? strcmp(config_keys[i].section, section) != 0
			    : strcmp(last, name) == 0)
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

	if (!yaml_scalar(&r->yaml))
		return yaml_complain(&r->yaml, r->yaml.event.start_mark, "expected a name of: %s",
			list_names(names, sizeof names, section));
	return yaml_complain(&r->yaml, r->yaml.event.start_mark,
		"unknown key '%s', expected one of: %s", yaml_quote(quoted, yaml_scalar(&r->yaml)),
		list_names(names, sizeof names, section));
}

static int mark_seen(const struct reader *r, uint32_t *seen, const char *name)
{
	if (*seen)
		return yaml_complain(&r->yaml, r->yaml.event.start_mark,
			"'%s' is here twice, first in line %u", name, *seen);
	*seen = (uint32_t) r->yaml.event.start_mark.line + 1;
	return 0;
}

static int read_key(struct reader *r, const char *section)
{
	const struct config_key *key = NULL;
	struct error why = {};
	size_t i;
	int q;

	for (i = 0; yaml_scalar(&r->yaml) && i < n_config_keys; i++)
		if (strcmp(config_keys[i].section, section) == 0 &&
			strcmp(config_keys[i].name, yaml_scalar(&r->yaml)) == 0)
			key = &config_keys[i];
	if (!key)
		return complain_unknown(r, section);
	q = mark_seen(r, &r->seen[key - config_keys], key->name);
	if (q < 0)
		return q;
	q = yaml_next_node(&r->yaml);
	if (q < 0)
		return q;
	/* A list or a map fails like an empty value, with the words for what was expected. */
	q = config_value(r->config, key, yaml_scalar(&r->yaml) ?: "", &why);
	return q < 0 ? yaml_complain(&r->yaml, r->yaml.event.start_mark, "%s", why.text) : 0;
}

static bool is_model_name(const char *s)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t n = strlen(s);

	return n >= 1 && n <= 63 && strspn(s, allowed) == n && s[0] != '.' && s[0] != '-';
}

static int remember_model(struct reader *r, const char *name)
{
	for (size_t i = 0; i < r->n_models; i++)
		if (strcmp(r->models[i], name) == 0)
			return yaml_complain(&r->yaml, r->yaml.event.start_mark,
				"model '%s' is here twice", name);
	if (r->n_models == CONFIG_MODELS_MAX)
		return yaml_complain(&r->yaml, r->yaml.event.start_mark,
			"expected at most %d models", CONFIG_MODELS_MAX);
	r->models[r->n_models] = strdup(name);
	return r->models[r->n_models++] ? 0 : -ENOMEM;
}

static int read_model(struct reader *r, const char *section)
{
	const char *name = yaml_scalar(&r->yaml), *path;
	int q;

	(void) section;
	if (!name || !is_model_name(name))
		return yaml_complain(&r->yaml, r->yaml.event.start_mark,
			"expected a model's name: 1 to 63 letters, digits, '.', '_' or '-', not "
			"beginning with '.' or '-'");
	q = remember_model(r, name);
	if (q < 0)
		return q;
	q = yaml_next_node(&r->yaml);
	if (q < 0)
		return q;
	path = yaml_scalar(&r->yaml);
	if (!path || (path[0] != '/' && strcmp(path, "none") != 0))
		return yaml_complain(
			&r->yaml, r->yaml.event.start_mark, "expected an absolute path, or 'none'");
	q = config_set_model(r->config, r->models[r->n_models - 1], path);
	if (q == -E2BIG)
		return yaml_complain(&r->yaml, r->yaml.event.start_mark,
			"expected at most %d models", CONFIG_MODELS_MAX);
	return q;
}

/* A map whose entries @read takes; the event is its start, or a null for an empty one. */
static int read_map(
	struct reader *r, const char *section, int (*read)(struct reader *r, const char *section))
{
	int q;

	if (yaml_is_null(&r->yaml))
		return 0;
	if (r->yaml.event.type != YAML_MAPPING_START_EVENT && section)
		return yaml_complain(&r->yaml, r->yaml.event.start_mark,
			"expected 'name: value' lines below '%s'", section);
	if (r->yaml.event.type != YAML_MAPPING_START_EVENT)
		return yaml_complain(&r->yaml, r->yaml.event.start_mark,
			"expected 'section:' lines at the left margin");
	for (;;) {
		q = yaml_next_node(&r->yaml);
		if (q < 0)
			return q;
		if (r->yaml.event.type == YAML_MAPPING_END_EVENT)
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

	if (yaml_scalar(&r->yaml) && strcmp(yaml_scalar(&r->yaml), "models") == 0) {
		section = "models";
		first = n_config_keys;
	}
	for (size_t i = 0; yaml_scalar(&r->yaml) && !section && i < n_config_keys; i++)
		if (strcmp(config_keys[i].section, yaml_scalar(&r->yaml)) == 0) {
			section = config_keys[i].section;
			first = i;
		}
	if (!section)
		return complain_unknown(r, none);
	q = mark_seen(r, &r->seen_section[first], section);
	if (q < 0)
		return q;
	q = yaml_next_node(&r->yaml);
	if (q < 0)
		return q;
	return read_map(r, section, first == n_config_keys ? read_model : read_key);
}

static int read_top(struct yaml_reader *r)
{
	return read_map(reader_of(r), NULL, read_section);
}

int config_read_text(
	struct config *c, const char *name, const char *text, size_t size, struct error *reterr)
{
	struct reader r = {
		.yaml = {.name = name, .text = text, .size = size, .reterr = reterr},
		.config = c,
	};
	int q;

	assert(n_config_keys < KEYS_MAX);
	q = yaml_read_document(&r.yaml, read_top);
	while (r.n_models > 0)
		free(r.models[--r.n_models]);
	return q;
}
