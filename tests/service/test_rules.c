/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rule language: one golden message per mistake in tests/golden/policy, how files are laid
 * over each other, and the shipped rules. To accept changed messages after reading them, run
 * with BITSHED_GOLDEN_WRITE=1.
 */
#include "service/rules.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/test.h"

#define VERSION "version: 1\n"

static char folder[] = "/tmp/bitshed-rules-XXXXXX";

static int load_one(struct rules **ret, const char *path, struct error *e)
{
	return rules_load(ret, NULL, &path, 1, e);
}

static void check_golden(const char *name)
{
	_cleanup_(rules_freep) struct rules *rules = NULL;
	char path[300], expected[1024] = "";
	struct error e = {};
	FILE *f;

	CU_ASSERT_EQUAL(load_one(&rules, name, &e), -EINVAL);
	CU_ASSERT_PTR_NULL(rules);
	(void) snprintf(path, sizeof path, "%.*s.txt", (int) strlen(name) - 5, name);
	if (getenv("BITSHED_GOLDEN_WRITE")) {
		f = fopen(path, "we");
		CU_ASSERT_PTR_NOT_NULL_FATAL(f);
		(void) fprintf(f, "%s\n", e.text);
		(void) fclose(f);
	}
	f = fopen(path, "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	expected[fread(expected, 1, sizeof expected - 1, f)] = '\0';
	(void) fclose(f);
	if (strlen(expected) != strlen(e.text) + 1 ||
		strncmp(expected, e.text, strlen(e.text)) != 0)
		printf("%s, expected:\n%sgot:\n%s\n", name, expected, e.text);
	CU_ASSERT_EQUAL(strlen(expected), strlen(e.text) + 1);
	CU_ASSERT_EQUAL(strncmp(expected, e.text, strlen(e.text)), 0);
}

static void test_every_mistake_has_its_message(void)
{
	DIR *d;
	unsigned int n = 0;

	CU_ASSERT_EQUAL_FATAL(chdir(BITSHED_SOURCE "/tests/golden/policy"), 0);
	d = opendir(".");
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (struct dirent *entry; (entry = readdir(d));)
		if (strstr(entry->d_name, ".yaml")) {
			check_golden(entry->d_name);
			n++;
		}
	(void) closedir(d);
	CU_ASSERT_TRUE(n >= 100);
}

static void test_shipped_rules_are_taken(void)
{
	_cleanup_(rules_freep) struct rules *rules = NULL;
	struct error e = {};
	int r = load_one(&rules, BITSHED_SOURCE "/config/policies/default.yaml", &e);

	if (r < 0)
		printf("%s\n", e.text);
	CU_ASSERT_EQUAL_FATAL(r, 0);
	CU_ASSERT_EQUAL(rules->n_rules, 10);
	CU_ASSERT_EQUAL(rules->n_names, 10);
	CU_ASSERT_EQUAL(rules->switches_per_hour, 12);
}

/* Whatever the table can read, the schema must know. */
static void test_schema_has_every_input(void)
{
	static char text[65536];
	FILE *f = fopen(BITSHED_SOURCE "/config/bitshed-policy.schema.json", "re");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	text[fread(text, 1, sizeof text - 1, f)] = '\0';
	(void) fclose(f);
	for (int i = 0; i < _SENSE_MAX; i++) {
		char quoted[48];

		(void) snprintf(quoted, sizeof quoted, rule_senses[i].key ? "\"^%s" : "\"%s\"",
			rule_senses[i].name);
		if (!strstr(text, quoted))
			printf("not in the schema: %s\n", quoted);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, quoted));
		for (int w = 0; rule_senses[i].words && rule_senses[i].words[w]; w++)
			CU_ASSERT_PTR_NOT_NULL(strstr(text, rule_senses[i].words[w]));
	}
}

static void test_values(void)
{
	static const char text[] =
		VERSION "dwell: 1 min\ngrace-after-resume: 0.5 min\nswitches-per-hour: 12\n"
			"rules:\n"
			"  - name: a\n"
			"    when:\n"
			"      not: {temperature of cpu-thermal: at least -2.5 C}\n"
			"      any: [{warning-level: [low, action]}, {power-draw: above 800 mW}]\n"
			"      time-of-day: 22:00 to 06:30\n"
			"      on-battery: true\n"
			"    until: {on-battery: false}\n"
			"    unknown: true\n"
			"    dwell: 2 h\n"
			"    then:\n"
			"      - {models: 'cam-?*', bits: at most 2.5, threads: 2, rate: 30 /min, "
			"park-after: 5 min}\n"
			"      - {accuracy-loss: at most 1.5 %, refuse: true}\n";
	_cleanup_(rules_freep) struct rules *r = NULL;
	const struct action *a;
	const struct cond *c;
	struct error e = {};

	CU_ASSERT_EQUAL_FATAL(rules_new(&r), 0);
	CU_ASSERT_EQUAL_FATAL(rules_read_text(r, "t.yaml", text, strlen(text), &e), 0);
	CU_ASSERT_EQUAL(rules_check(r, &e), 0);
	CU_ASSERT_EQUAL(r->dwell_sec, 60);
	CU_ASSERT_EQUAL(r->grace_after_resume_sec, 30);
	CU_ASSERT_EQUAL(r->switches_per_hour, 12);
	CU_ASSERT_EQUAL_FATAL(r->n_rules, 1);
	CU_ASSERT_TRUE(r->rules[0].unknown && !r->rules[0].hard && r->rules[0].until >= 0);
	CU_ASSERT_EQUAL(rule_dwell_sec(r, &r->rules[0]), 7200);
	CU_ASSERT_EQUAL(rule_dwell_sec(r, NULL), 60);
	CU_ASSERT_EQUAL_FATAL(r->rules[0].n_actions, 2);
	a = r->rules[0].actions;
	CU_ASSERT_STRING_EQUAL(a[0].models, "cam-?*");
	CU_ASSERT_EQUAL(a[0].bits_max, 2.5);
	CU_ASSERT_EQUAL(a[0].bits_min, 0);
	CU_ASSERT_EQUAL(a[0].threads, 2);
	CU_ASSERT_EQUAL(a[0].rate, 0.5);
	CU_ASSERT_EQUAL(a[0].park_after_sec, 300);
	CU_ASSERT_EQUAL(a[1].loss_max, 1.5);
	CU_ASSERT_TRUE(a[1].refuse);
	/* when: all of (not, any, time), in the order of the file */
	c = &r->conds[r->conds[r->rules[0].when].child];
	CU_ASSERT_EQUAL(c->kind, COND_NOT);
	c = &r->conds[r->conds[c->child].child];
	CU_ASSERT_EQUAL(c->sense, SENSE_TEMPERATURE);
	CU_ASSERT_STRING_EQUAL(c->of, "cpu-thermal");
	CU_ASSERT_TRUE(c->value == -2.5 && c->above && c->equal);
}

static void test_patterns(void)
{
	static const struct {
		const char *pattern, *name;
		bool matches;
	} rows[] = {{"*", "", true}, {"*", "a", true}, {"a", "a", true}, {"a", "ab", false},
		{"a?", "ab", true}, {"?", "", false}, {"a*c", "abcbc", true},
		{"a*c", "abcb", false}, {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "xxbxxaxx", false},
		{"a**", "a", true}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		CU_ASSERT_EQUAL(rule_matches(rows[i].pattern, rows[i].name), rows[i].matches);
}

static void write_rule(const char *file, const char *name, const char *bits)
{
	char path[300];
	FILE *f;

	(void) snprintf(path, sizeof path, "%s/%s", folder, file);
	f = fopen(path, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void) fprintf(f,
		VERSION "rules:\n  - {name: %s, when: {on-battery: true}, then: {bits: %s}%s}\n",
		name, bits[0] ? bits : "1", bits[0] ? "" : ", disabled: true");
	(void) fclose(f);
}

static void test_layers(void)
{
	_cleanup_(rules_freep) struct rules *r = NULL, *next = NULL;
	char vendor[300], local[300], masked[340], policies[320];
	const char *const layers[] = {vendor, local, NULL};
	struct error e = {};

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	(void) snprintf(vendor, sizeof vendor, "%s/usr", folder);
	(void) snprintf(local, sizeof local, "%s/etc", folder);
	(void) snprintf(masked, sizeof masked, "%s/policies/40-masked.yaml", local);
	CU_ASSERT_EQUAL(mkdir(vendor, 0755) | mkdir(local, 0755), 0);
	(void) snprintf(policies, sizeof policies, "%s/policies", vendor);
	CU_ASSERT_EQUAL(mkdir(policies, 0755), 0);
	(void) snprintf(policies, sizeof policies, "%s/policies", local);
	CU_ASSERT_EQUAL(mkdir(policies, 0755), 0);
	write_rule("usr/policies/10-a.yaml", "a", "1");
	write_rule("usr/policies/20-b.yaml", "b", "2");
	write_rule("usr/policies/30-c.yaml", "c", "3");
	write_rule("usr/policies/40-masked.yaml", "d", "4");
	CU_ASSERT_EQUAL(symlink("/dev/null", masked), 0);
	write_rule("etc/policies/20-b.yaml", "e", "5");	   /* hides the vendor's file of that name */
	write_rule("etc/policies/50-local.yaml", "a", "7"); /* replaces the rule in its place */
	write_rule("etc/policies/60-off.yaml", "c", "");
	CU_ASSERT_EQUAL_FATAL(rules_load(&r, layers, NULL, 0, &e), 0);
	CU_ASSERT_EQUAL_FATAL(r->n_rules, 2);
	CU_ASSERT_STRING_EQUAL(r->rules[0].name, "a");
	CU_ASSERT_EQUAL(r->rules[0].actions[0].bits_max, 7);
	CU_ASSERT_STRING_EQUAL(r->rules[1].name, "e");

	/* Numbers stay with their names when files change. */
	write_rule("etc/policies/05-first.yaml", "z", "6");
	CU_ASSERT_EQUAL_FATAL(rules_load(&next, layers, NULL, 0, &e), 0);
	CU_ASSERT_EQUAL_FATAL(rules_take_numbers(next, r), 0);
	CU_ASSERT_EQUAL_FATAL(next->n_rules, 3);
	CU_ASSERT_STRING_EQUAL(next->rules[0].name, "z");
	CU_ASSERT_EQUAL(next->rules[0].number, 2);
	CU_ASSERT_EQUAL(next->rules[1].number, r->rules[0].number);
	CU_ASSERT_STRING_EQUAL(next->names[next->rules[2].number], "e");

	next = rules_free(next);
	write_rule("etc/policies/70-broken.yaml", "x", "none");
	CU_ASSERT_EQUAL(rules_load(&next, layers, NULL, 0, &e), -EINVAL);
	CU_ASSERT_PTR_NULL(next);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "70-broken.yaml:3:"));
	CU_ASSERT_EQUAL_FATAL(rules_load(&next, (const char *const[]){"/nonexistent/a", NULL}, NULL, 0, &e), 0);
	CU_ASSERT_EQUAL(next->n_rules, 0);
}

static void test_folder_is_removed(void)
{
	char command[300];

	(void) snprintf(command, sizeof command, "rm -rf '%s'", folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

TEST_MAIN("rules", TEST(every_mistake_has_its_message), TEST(shipped_rules_are_taken),
	TEST(schema_has_every_input), TEST(values), TEST(patterns), TEST(layers),
	TEST(folder_is_removed))
