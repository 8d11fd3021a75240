/* SPDX-License-Identifier: Apache-2.0 */
/* A set of rules in memory, and the files that it comes from. */
#include "service/rules.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/config_read.h"
#include "service/layers.h"

int rules_new(struct rules **ret)
{
	static atomic_uint_fast64_t serial = 1;
	struct rules *r = calloc(1, sizeof *r);

	if (!r)
		return -ENOMEM;
	r->dwell_sec = 10;
	r->grace_after_resume_sec = 15;
	r->switches_per_hour = 30;
	r->serial = atomic_fetch_add(&serial, 1);
	*ret = r;
	return 0;
}

struct rules *rules_free(struct rules *r)
{
	if (!r)
		return NULL;
	free(r->rules);
	free(r->conds);
	free(r->names);
	free(r);
	return NULL;
}

int rules_put_cond(struct rules *r, const struct cond *c)
{
	struct cond *more;

	if (r->n_conds == RULE_CONDITIONS_MAX)
		return -E2BIG;
	more = reallocarray(r->conds, r->n_conds + 1, sizeof *more);
	if (!more)
		return -ENOMEM;
	r->conds = more;
	r->conds[r->n_conds] = *c;
	return (int) r->n_conds++;
}

static void remove_rule(struct rules *r, uint32_t i)
{
	memmove(&r->rules[i], &r->rules[i + 1], (r->n_rules - i - 1) * sizeof r->rules[0]);
	r->n_rules--;
}

int rules_put(struct rules *r, const struct rule *rule)
{
	struct rule *more;

	for (uint32_t i = 0; i < r->n_rules; i++)
		if (strcmp(r->rules[i].name, rule->name) == 0) {
			if (rule->disabled)
				remove_rule(r, i);
			else
				r->rules[i] = *rule;
			return 0;
		}
	if (rule->disabled)
		return 0;
	if (r->n_rules == RULES_MAX)
		return -E2BIG;
	more = reallocarray(r->rules, r->n_rules + 1, sizeof *more);
	if (!more)
		return -ENOMEM;
	r->rules = more;
	r->rules[r->n_rules++] = *rule;
	return 0;
}

static int add_name(struct rules *r, const char *name)
{
	char(*more)[RULE_NAME_SIZE] = reallocarray(r->names, r->n_names + 1, sizeof *more);

	if (!more)
		return -ENOMEM;
	r->names = more;
	(void) snprintf(r->names[r->n_names], sizeof *more, "%s", name);
	return (int) r->n_names++;
}

static int find_name(const struct rules *r, const char *name)
{
	for (uint32_t i = 0; i < r->n_names; i++)
		if (strcmp(r->names[i], name) == 0)
			return (int) i;
	return -ENOENT;
}

int rules_take_numbers(struct rules *r, const struct rules *before)
{
	r->n_names = 0;
	for (uint32_t i = 0; before && i < before->n_names; i++)
		if (add_name(r, before->names[i]) < 0)
			return -ENOMEM;
	for (uint32_t i = 0; i < r->n_rules; i++) {
		int number = find_name(r, r->rules[i].name);

		if (number < 0)
			number = add_name(r, r->rules[i].name);
		if (number < 0)
			return number;
		r->rules[i].number = (uint32_t) number;
	}
	return 0;
}

double rule_dwell_sec(const struct rules *r, const struct rule *rule)
{
	return rule && rule->dwell_sec >= 0 ? rule->dwell_sec : r->dwell_sec;
}

/* Back to the last star when something does not fit: no pattern can make this slow. */
bool rule_matches(const char *pattern, const char *name)
{
	const char *star = NULL, *resume = NULL;

	while (*name) {
		if (*pattern == '*') {
			star = pattern++;
			resume = name;
		} else if (*pattern == '?' || *pattern == *name) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star + 1;
			name = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

static int load_file(struct rules *r, const char *path, struct error *reterr)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int q = config_read_file(&text, &size, path, reterr);

	return q < 0 ? q : rules_read_text(r, path, text, size, reterr);
}

static int load_folders(struct rules *r, const char *const *folders, struct error *reterr)
{
	_cleanup_(layers_freep) char **paths = NULL;
	int q, n = layers_list(&paths, folders, "/policies", reterr);

	for (int i = 0; i < n; i++) {
		q = load_file(r, paths[i], reterr);
		if (q < 0)
			return q;
	}
	return n < 0 ? n : 0;
}

int rules_load(struct rules **ret, const char *const *folders, const char *const *files, uint32_t n_files,
	struct error *reterr)
{
	_cleanup_(rules_freep) struct rules *r = NULL;
	int q = rules_new(&r);

	for (uint32_t i = 0; q >= 0 && i < n_files; i++)
		q = load_file(r, files[i], reterr);
	if (q >= 0 && n_files == 0)
		q = load_folders(r, folders, reterr);
	if (q >= 0)
		q = rules_check(r, reterr);
	if (q >= 0)
		q = rules_take_numbers(r, NULL);
	if (q < 0)
		return q;
	*ret = take_ptr(r);
	return 0;
}
