/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One YAML text of rules. Each map is read by a table of its keys; conditions are read by
 * their own table, rule_senses[]. Nothing is guessed: a number without its unit, a key twice
 * or an unknown word is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "service/config_read.h"
#include "service/rules.h"
#include "service/yaml_read.h"

#define DEPTH_MAX 8
#define KEYS_IN_MAP_MAX 32
#define KEY_SIZE 64

/**
 * struct parser - @key: of the entry that is read, and its place
 * @rule, @action: the ones that are read now
 */
struct parser {
	struct yaml_reader yaml;
	struct rules *rules;
	struct rule rule;
	struct action *action;
	char key[KEY_SIZE];
	yaml_mark_t mark;
	uint32_t depth;
	bool version, when, then;
};

struct key {
	const char *name;
	int (*read)(struct parser *p); /* the event is the value */
};

static struct parser *parser_of(struct yaml_reader *r)
{
	return (struct parser *) ((char *) r - offsetof(struct parser, yaml));
}

#define complain(p, ...) yaml_complain(&(p)->yaml, (p)->yaml.event.start_mark, __VA_ARGS__)

static const char *value_of(struct parser *p)
{
	return yaml_scalar(&p->yaml) ?: "";
}

static int take_key(struct parser *p, char (*seen)[KEY_SIZE], uint32_t *n_seen)
{
	const char *key = yaml_scalar(&p->yaml);

	if (!key || strlen(key) >= KEY_SIZE)
		return complain(p, "expected a short name");
	for (uint32_t i = 0; i < *n_seen; i++)
		if (strcmp(seen[i], key) == 0)
			return complain(p, "'%s' is here twice", key);
	if (*n_seen == KEYS_IN_MAP_MAX)
		return complain(p, "expected at most %d lines here", KEYS_IN_MAP_MAX);
	(void) snprintf(seen[(*n_seen)++], KEY_SIZE, "%s", key);
	(void) snprintf(p->key, KEY_SIZE, "%s", key);
	p->mark = p->yaml.event.start_mark;
	return 0;
}

/* The event is the start of the map; @read finds the key in @p->key and the event at the key. */
static int read_entries(struct parser *p, const char *where,
	int (*read)(struct parser *p, const void *userdata), const void *userdata)
{
	char seen[KEYS_IN_MAP_MAX][KEY_SIZE];
	uint32_t n_seen = 0;
	int q;

	if (p->yaml.event.type != YAML_MAPPING_START_EVENT)
		return complain(p, "expected 'name: value' lines %s", where);
	for (;;) {
		q = yaml_next_node(&p->yaml);
		if (q < 0)
			return q;
		if (p->yaml.event.type == YAML_MAPPING_END_EVENT)
			return 0;
		q = take_key(p, seen, &n_seen);
		if (q >= 0)
			q = read(p, userdata);
		if (q < 0)
			return q;
	}
}

static int read_by_table(struct parser *p, const void *userdata)
{
	const struct key *keys = userdata;
	char names[160] = "", quoted[40];
	int q;

	for (const struct key *k = keys; k->name; k++)
		if (strcmp(k->name, p->key) == 0) {
			q = yaml_next_node(&p->yaml);
			return q < 0 ? q : k->read(p);
		}
	for (const struct key *k = keys; k->name; k++)
		(void) snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
			k > keys ? ", " : "", k->name);
	return complain(
		p, "unknown key '%s', expected one of: %s", yaml_quote(quoted, p->key), names);
}

static int read_map(struct parser *p, const char *where, const struct key *keys)
{
	return read_entries(p, where, read_by_table, keys);
}

/* The event is the start of the list. */
static int read_list(struct parser *p, const char *what,
	int (*read)(struct parser *p, const void *userdata), const void *userdata)
{
	int q;

	if (p->yaml.event.type != YAML_SEQUENCE_START_EVENT)
		return complain(p, "expected a list of %s, each beginning with '- '", what);
	for (;;) {
		q = yaml_next_node(&p->yaml);
		if (q < 0)
			return q;
		if (p->yaml.event.type == YAML_SEQUENCE_END_EVENT)
			return 0;
		q = read(p, userdata);
		if (q < 0)
			return q;
	}
}

static int read_flag(struct parser *p, bool *ret)
{
	const char *v = value_of(p);

	if (strcmp(v, "true") != 0 && strcmp(v, "false") != 0)
		return complain(p, "expected true or false for '%s'", p->key);
	*ret = v[0] == 't';
	return 0;
}

static int read_seconds(struct parser *p, double *ret, double max)
{
	if (seconds_parse(ret, value_of(p)) < 0 || *ret > max)
		return complain(p,
			"expected a time such as '30 s' (s, min, h), at most %g h, for '%s'",
			max / 3600, p->key);
	return 0;
}

static int read_count(struct parser *p, uint32_t *ret, uint32_t max)
{
	const char *end = "";
	double v = 0;

	if (config_decimal(&v, value_of(p), &end) < 0 || *end || v < 1 || v > max ||
		v != (uint32_t) v)
		return complain(p, "expected a whole number, 1 to %u, for '%s'", max, p->key);
	*ret = (uint32_t) v;
	return 0;
}

static int add_cond(struct parser *p, const struct cond *c)
{
	int q = rules_put_cond(p->rules, c);

	if (q == -E2BIG)
		return complain(
			p, "expected at most %d conditions in all rules", RULE_CONDITIONS_MAX);
	return q;
}

/* Appended, so that reasons name conditions in the order of the file. */
static void link_cond(struct rules *r, int parent, int child)
{
	int *at = &r->conds[parent].child;

	while (*at >= 0)
		at = &r->conds[*at].next;
	*at = child;
}

static int read_cond(struct parser *p);

static int read_words(struct parser *p, struct cond *c)
{
	struct error why = {};
	int q;

	for (;;) {
		q = yaml_next_node(&p->yaml);
		if (q < 0)
			return q;
		if (p->yaml.event.type == YAML_SEQUENCE_END_EVENT)
			return c->choices ? 0
					  : complain(p, "expected at least one word in the list");
		if (cond_add_word(c, value_of(p), &why) < 0)
			return complain(p, "%s", why.text);
	}
}

static int read_sense(struct parser *p, struct cond *c)
{
	struct error why = {};
	int q = yaml_next_node(&p->yaml);

	if (q < 0)
		return q;
	if (rule_senses[c->sense].kind == SENSE_KIND_CHOICE &&
		p->yaml.event.type == YAML_SEQUENCE_START_EVENT)
		return read_words(p, c);
	return cond_parse(c, value_of(p), &why) < 0 ? complain(p, "%s", why.text) : 0;
}

static int complain_sense(struct parser *p, int sense)
{
	const char *nearest = sense_nearest(p->key);
	char quoted[40];

	if (sense == -EINVAL)
		return complain(p,
			"'%s': expected a zone or key where one belongs, as in 'telemetry of "
			"panel-watts'",
			yaml_quote(quoted, p->key));
	if (nearest)
		return complain(p, "unknown condition '%s', did you mean '%s'?",
			yaml_quote(quoted, p->key), nearest);
	return complain(p,
		"unknown condition '%s', expected an input such as on-battery, or all, any, not",
		yaml_quote(quoted, p->key));
}

static int read_item(struct parser *p, const void *userdata)
{
	const int *parent = userdata;
	int q = read_cond(p);

	if (q >= 0)
		link_cond(p->rules, *parent, q);
	return q;
}

static int read_group(struct parser *p, int parent, bool list)
{
	int q = yaml_next_node(&p->yaml);

	if (q >= 0)
		q = list ? read_list(p, "conditions", read_item, &parent) : read_item(p, &parent);
	if (q < 0)
		return q;
	return p->rules->conds[parent].child < 0 ? complain(p, "expected at least one condition")
						 : 0;
}

static int read_cond_entry(struct parser *p, const void *userdata)
{
	const int *parent = userdata;
	struct cond c = {.child = -1, .next = -1};
	bool all = strcmp(p->key, "all") == 0, any = strcmp(p->key, "any") == 0;
	int index, q, sense;

	if (all || any || strcmp(p->key, "not") == 0) {
		c.kind = all ? COND_ALL : any ? COND_ANY : COND_NOT;
		index = add_cond(p, &c);
		if (index < 0)
			return index;
		q = read_group(p, index, c.kind != COND_NOT);
		if (q < 0)
			return q;
	} else {
		sense = sense_parse(p->key, c.of);
		if (sense < 0)
			return complain_sense(p, sense);
		c.kind = COND_SENSE;
		c.sense = (enum sense) sense;
		q = read_sense(p, &c);
		if (q < 0)
			return q;
		index = add_cond(p, &c);
		if (index < 0)
			return index;
	}
	link_cond(p->rules, *parent, index);
	return 0;
}

/* A map: all of its lines must hold. Return: index of the condition, negative errno */
static int read_cond(struct parser *p)
{
	struct cond c = {.kind = COND_ALL, .child = -1, .next = -1};
	int q, parent;

	if (p->depth == DEPTH_MAX)
		return complain(p, "expected at most %d conditions inside each other", DEPTH_MAX);
	parent = add_cond(p, &c);
	if (parent < 0)
		return parent;
	p->depth++;
	q = read_entries(p, "as conditions", read_cond_entry, &parent);
	p->depth--;
	if (q < 0)
		return q;
	if (p->rules->conds[parent].child < 0)
		return complain(p, "expected at least one condition");
	return parent;
}

static int read_when(struct parser *p)
{
	p->rule.when = read_cond(p);
	p->when = true;
	return p->rule.when < 0 ? p->rule.when : 0;
}

static int read_until(struct parser *p)
{
	p->rule.until = read_cond(p);
	return p->rule.until < 0 ? p->rule.until : 0;
}

static int read_models(struct parser *p)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-*?";
	const char *v = value_of(p);
	size_t n = strlen(v);

	if (n < 1 || n > 63 || strspn(v, allowed) != n)
		return complain(
			p, "expected a model's name, or a pattern such as 'camera-*' in quotes");
	(void) snprintf(p->action->models, sizeof p->action->models, "%s", v);
	return 0;
}

static int read_bits(struct parser *p)
{
	const char *v = value_of(p), *end = "";
	bool most = strncmp(v, "at most ", 8) == 0, least = strncmp(v, "at least ", 9) == 0;
	double bits = 0;

	if (config_decimal(&bits,
		    v + (most		? 8
				: least ? 9
					: 0),
		    &end) < 0 ||
		*end || !(bits >= 1 && bits <= 8))
		return complain(p, "expected 'at most N', 'at least N' or N, 1 to 8 bits, such as "
				   "'at most 2.5'");
	if (!most)
		p->action->bits_min = bits;
	if (!least)
		p->action->bits_max = bits;
	return 0;
}

static int read_loss(struct parser *p)
{
	const char *v = value_of(p);

	if (strncmp(v, "at most ", 8) != 0 ||
		quantity_parse(&p->action->loss_max, SENSE_BATTERY_PERCENT, v + 8) < 0 ||
		p->action->loss_max > 100)
		return complain(p, "expected 'at most N %%', such as 'at most 1 %%'");
	return 0;
}

static int read_threads(struct parser *p)
{
	return read_count(p, &p->action->threads, 256);
}

static int read_activation_bits(struct parser *p)
{
	const char *v = value_of(p);

	if (strncmp(v, "at most ", 8) != 0 || v[8] < '1' || v[8] > '8' || v[9])
		return complain(p, "expected 'at most N', 1 to 8 bits, such as 'at most 4'");
	p->action->activation_bits = (uint32_t) (v[8] - '0');
	return 0;
}

static int read_device(struct parser *p)
{
	for (int i = POLICY_DEVICE_CPU; i < _POLICY_DEVICE_MAX; i++)
		if (strcmp(value_of(p), policy_device_name(i)) == 0) {
			p->action->device = i;
			return 0;
		}
	return complain(p, "expected cpu or opencl for 'device'");
}

static int read_rate(struct parser *p)
{
	const char *end = "";
	double v = 0;

	if (config_decimal(&v, value_of(p), &end) >= 0)
		while (*end == ' ')
			end++;
	if (strcmp(end, "/s") != 0 && strcmp(end, "/min") != 0)
		v = 0;
	if (!(v > 0 && v <= 1e6))
		return complain(p, "expected inferences in a time, such as '10 /s' or '2 /min'");
	p->action->rate = end[1] == 's' ? v : v / 60;
	return 0;
}

static int read_park(struct parser *p)
{
	double seconds;
	int q = read_seconds(p, &seconds, 24 * 3600);

	if (q >= 0)
		p->action->park_after_sec = seconds < 1 ? 1 : (uint32_t) seconds;
	return q;
}

static int read_refuse(struct parser *p)
{
	return read_flag(p, &p->action->refuse);
}

static const struct key action_keys[] = {{"models", read_models}, {"bits", read_bits},
	{"activation-bits", read_activation_bits},
	{"accuracy-loss", read_loss}, {"threads", read_threads}, {"device", read_device},
	{"rate", read_rate}, {"park-after", read_park}, {"refuse", read_refuse}, {}};

static bool does_nothing(const struct action *a)
{
	return a->bits_min <= 0 && a->bits_max <= 0 && a->loss_max < 0 && a->rate <= 0 && !a->threads
	       && !a->park_after_sec && !a->activation_bits && !a->device && !a->refuse;
}

static int read_action(struct parser *p, const void *userdata)
{
	yaml_mark_t mark = p->yaml.event.start_mark;
	int q;

	if (p->rule.n_actions == RULE_ACTIONS_MAX)
		return complain(p, "expected at most %d actions in a rule", RULE_ACTIONS_MAX);
	p->action = &p->rule.actions[p->rule.n_actions++];
	*p->action = (struct action){.models = "*", .loss_max = -1};
	q = read_map(p, "as an action", action_keys);
	if (q < 0)
		return q;
	if (does_nothing(p->action))
		return yaml_complain(&p->yaml, mark,
			"this does nothing, expected bits, activation-bits, accuracy-loss, threads, "
			"device, rate, park-after or refuse");
	return 0;
}

static int read_then(struct parser *p)
{
	p->then = true;
	return p->yaml.event.type == YAML_SEQUENCE_START_EVENT
		       ? read_list(p, "actions", read_action, NULL)
		       : read_action(p, NULL);
}

static int read_name(struct parser *p)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	static const char *const taken[] = {"full", "hand", "profile", "hold", "memory-limit"};
	const char *v = value_of(p);
	size_t n = strlen(v);

	if (n < 1 || n >= RULE_NAME_SIZE || strspn(v, allowed) != n)
		return complain(p, "expected a rule's name: 1 to %d small letters, digits or '-'",
			RULE_NAME_SIZE - 1);
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
		if (strcmp(v, taken[i]) == 0)
			return complain(p, "'%s' is the name of a rule that is built in", v);
	(void) snprintf(p->rule.name, sizeof p->rule.name, "%s", v);
	return 0;
}

static int read_unknown(struct parser *p)
{
	return read_flag(p, &p->rule.unknown);
}

static int read_hard(struct parser *p)
{
	return read_flag(p, &p->rule.hard);
}

static int read_disabled(struct parser *p)
{
	return read_flag(p, &p->rule.disabled);
}

static int read_rule_dwell(struct parser *p)
{
	return read_seconds(p, &p->rule.dwell_sec, 24 * 3600);
}

static const struct key rule_keys[] = {{"name", read_name}, {"when", read_when},
	{"unknown", read_unknown}, {"until", read_until}, {"then", read_then}, {"hard", read_hard},
	{"dwell", read_rule_dwell}, {"disabled", read_disabled}, {}};

static int check_rule(struct parser *p, yaml_mark_t mark)
{
	for (uint32_t i = 0; i < p->rules->n_rules; i++)
		if (strcmp(p->rules->rules[i].name, p->rule.name) == 0 &&
			p->rules->rules[i].text == p->rule.text)
			return yaml_complain(&p->yaml, mark,
				"a rule '%s' is here already, in line %u", p->rule.name,
				p->rules->rules[i].line);
	if (!p->rule.name[0])
		return yaml_complain(&p->yaml, mark, "expected a 'name' for this rule");
	if (p->rule.disabled)
		return 0;
	if (!p->when || !p->then)
		return yaml_complain(&p->yaml, mark, "rule '%s': expected '%s'", p->rule.name,
			p->when ? "then" : "when");
	for (uint32_t i = 0; p->rule.hard && i < p->rule.n_actions; i++)
		if (p->rule.actions[i].bits_min > 0)
			return yaml_complain(&p->yaml, mark,
				"rule '%s': a hard limit can only be 'at most', never 'at least' "
				"or exact",
				p->rule.name);
	return 0;
}

static int read_rule(struct parser *p, const void *userdata)
{
	yaml_mark_t mark = p->yaml.event.start_mark;
	int q;

	p->rule = (struct rule){.line = (uint32_t) mark.line + 1,
		.text = p->rules->n_texts,
		.when = -1,
		.until = -1,
		.dwell_sec = -1};
	p->when = p->then = false;
	q = read_map(p, "as a rule", rule_keys);
	if (q >= 0)
		q = check_rule(p, mark);
	if (q < 0)
		return q;
	q = rules_put(p->rules, &p->rule);
	return q == -E2BIG ? yaml_complain(&p->yaml, mark, "expected at most %d rules", RULES_MAX)
			   : q;
}

static int read_version(struct parser *p)
{
	if (strcmp(value_of(p), "1") != 0)
		return complain(p, "expected 'version: 1', the only one there is");
	p->version = true;
	return 0;
}

static int read_dwell(struct parser *p)
{
	return read_seconds(p, &p->rules->dwell_sec, 24 * 3600);
}

static int read_grace(struct parser *p)
{
	return read_seconds(p, &p->rules->grace_after_resume_sec, 3600);
}

static int read_switches(struct parser *p)
{
	return read_count(p, &p->rules->switches_per_hour, RULE_SWITCHES_MAX);
}

static int read_rules(struct parser *p)
{
	return yaml_is_null(&p->yaml) ? 0 : read_list(p, "rules", read_rule, NULL);
}

static const struct key top_keys[] = {{"version", read_version}, {"dwell", read_dwell},
	{"grace-after-resume", read_grace}, {"switches-per-hour", read_switches},
	{"rules", read_rules}, {}};

static int read_top(struct yaml_reader *r)
{
	struct parser *p = parser_of(r);
	int q = read_map(p, "at the left margin", top_keys);

	return q >= 0 && !p->version ? complain(p, "expected 'version: 1' in the file") : q;
}

int rules_read_text(
	struct rules *r, const char *name, const char *text, size_t size, struct error *reterr)
{
	struct parser p = {
		.yaml = {.name = name, .text = text, .size = size, .reterr = reterr},
		.rules = r,
	};

	r->n_texts++;
	return yaml_read_document(&p.yaml, read_top);
}
