/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: every mistake of tests/golden/config with the message beside it, the shipped
 * file against the built-in defaults, the schema against the table of keys, and how files are laid
 * over each other. BITSHED_SOURCE is the root of the tree. To accept changed messages after reading
 * them, run with BITSHED_GOLDEN_WRITE=1.
 */
#include "service/config.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/config_read.h"
#include "support/test.h"

static char folder[] = "/tmp/bitshed-config-XXXXXX";

static char *read_text(const char *path, size_t *ret_size)
{
	FILE *f = fopen(path, "re");
	char *text = calloc(1, 65536);
	size_t n;

	if (!f || !text) {
		free(text);
		if (f)
			(void) fclose(f);
		return NULL;
	}
	n = fread(text, 1, 65535, f);
	(void) fclose(f);
	if (ret_size)
		*ret_size = n;
	return text;
}

static void write_text(const char *name, const char *text)
{
	_cleanup_free_ char *path = NULL;
	FILE *f;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		abort();
	f = fopen(path, "we");
	if (!f)
		abort();
	(void) fputs(text, f);
	(void) fclose(f);
}

static bool configs_equal(const struct config *a, const struct config *b)
{
	for (size_t i = 0; i < n_config_keys; i++) {
		const struct config_key *k = &config_keys[i];
		size_t n = k->type == CONFIG_SIZE || k->type == CONFIG_BITS ? 8 : 4;

		if (memcmp((const char *) a + k->offset, (const char *) b + k->offset, n) != 0) {
			printf("differs: %s %s\n", k->section, k->name);
			return false;
		}
	}
	return a->n_models == b->n_models;
}

static int read_into(struct config *c, const char *text, struct error *e)
{
	return config_read_text(c, "t.yaml", text, strlen(text), e);
}

static void check_golden(const char *name)
{
	_cleanup_(config_unrefp) struct config *c = NULL;
	_cleanup_free_ char *expected_path = NULL, *expected = NULL;
	struct error e = {};
	int r = config_load(&c, NULL, name, &e);

	if (r != -EINVAL)
		printf("%s: loaded with %d\n", name, r);
	CU_ASSERT_EQUAL(r, -EINVAL);
	CU_ASSERT_PTR_NULL(c);
	if (asprintf(&expected_path, "%.*s.txt", (int) strlen(name) - 5, name) < 0)
		abort();
	if (getenv("BITSHED_GOLDEN_WRITE")) {
		FILE *f = fopen(expected_path, "we");

		(void) fprintf(f, "%s\n", e.text);
		(void) fclose(f);
	}
	expected = read_text(expected_path, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(expected);
	expected[strlen(expected) - 1] = '\0';
	if (strcmp(expected, e.text) != 0)
		printf("%s, expected:\n%s\ngot:\n%s\n", name, expected, e.text);
	CU_ASSERT_STRING_EQUAL(e.text, expected);
}

static void test_every_mistake_has_its_message(void)
{
	DIR *d;
	unsigned int n = 0;

	CU_ASSERT_EQUAL_FATAL(chdir(BITSHED_SOURCE "/tests/golden/config"), 0);
	d = opendir(".");
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (struct dirent *entry; (entry = readdir(d));)
		if (strstr(entry->d_name, ".yaml")) {
			check_golden(entry->d_name);
			n++;
		}
	(void) closedir(d);
	CU_ASSERT_TRUE(n >= 35);
}

static void test_shipped_file_equals_defaults(void)
{
	_cleanup_(config_unrefp) struct config *c = NULL, *defaults = NULL;
	struct error e = {};

	CU_ASSERT_EQUAL_FATAL(config_new(&defaults), 0);
	CU_ASSERT_EQUAL_FATAL(config_load(&c, NULL, BITSHED_SOURCE "/config/bitshed.yaml", &e), 0);
	CU_ASSERT_TRUE(configs_equal(c, defaults));
}

/* A default is a comment without a blank after the "#": taking the "#" away must change nothing. */
static void test_shipped_comments_are_the_defaults(void)
{
	_cleanup_(config_unrefp) struct config *c = NULL, *defaults = NULL;
	_cleanup_free_ char *text = read_text(BITSHED_SOURCE "/config/bitshed.yaml", NULL);
	unsigned int taken = 0;
	struct error e = {};

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	for (char *p = text; (p = strchr(p, '#')); p++)
		if (p > text && p[-1] == ' ' && p[1] >= 'a' && p[1] <= 'z') {
			memmove(p, p + 1, strlen(p));
			taken++;
		}
	CU_ASSERT_EQUAL(taken, n_config_keys);
	CU_ASSERT_EQUAL_FATAL(config_new(&defaults), 0);
	CU_ASSERT_EQUAL_FATAL(config_new(&c), 0);
	/* Each must be read: start from other values. */
	c->models_max = 1;
	c->queue_length_max = 1;
	c->threads = 7;
	c->profile_bits[PROFILE_PERFORMANCE] = 3;
	CU_ASSERT_EQUAL_FATAL(read_into(c, text, &e), 0);
	CU_ASSERT_TRUE(configs_equal(c, defaults));
}

/* Not a JSON parser: the schema is ours, one property begins with its quoted name and a colon. */
static void test_schema_has_the_keys_of_the_table(void)
{
	_cleanup_free_ char *text = read_text(BITSHED_SOURCE "/config/bitshed.schema.json", NULL);
	const char *properties;
	unsigned int n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	properties = strstr(text, "\"properties\"");
	CU_ASSERT_PTR_NOT_NULL_FATAL(properties);
	for (size_t i = 0; i < n_config_keys; i++) {
		char section[64], name[64];
		const char *at;

		(void) snprintf(section, sizeof section, "\n    \"%s\": {", config_keys[i].section);
		(void) snprintf(name, sizeof name, "\n        \"%s\": {", config_keys[i].name);
		at = strstr(properties, section);
		CU_ASSERT_PTR_NOT_NULL_FATAL(at);
		if (!strstr(at, name))
			printf("not in the schema: %s %s\n", config_keys[i].section,
				config_keys[i].name);
		CU_ASSERT_PTR_NOT_NULL(strstr(at, name));
	}
	for (const char *p = properties; (p = strstr(p, "\n        \"")); p++)
		if (p[10] >= 'a' && p[10] <= 'z')
			n++;
	CU_ASSERT_EQUAL(n, n_config_keys);
}

static void test_schema_defaults_are_the_defaults(void)
{
	_cleanup_free_ char *text = read_text(BITSHED_SOURCE "/config/bitshed.schema.json", NULL);
	_cleanup_(config_unrefp) struct config *c = NULL, *defaults = NULL;

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_EQUAL_FATAL(config_new(&defaults), 0);
	CU_ASSERT_EQUAL_FATAL(config_new(&c), 0);
	c->models_max = 1;
	for (size_t i = 0; i < n_config_keys; i++) {
		char name[64], value[64] = "";
		const char *at;

		(void) snprintf(name, sizeof name, "\n        \"%s\": {", config_keys[i].name);
		at = strstr(text, name);
		CU_ASSERT_PTR_NOT_NULL_FATAL(at);
		at = strstr(at, "\"default\": ");
		CU_ASSERT_PTR_NOT_NULL_FATAL(at);
		CU_ASSERT_EQUAL(sscanf(at, "\"default\": \"%63[^\"]", value) == 1 ||
					sscanf(at, "\"default\": %63[0-9.]", value) == 1,
			true);
		CU_ASSERT_EQUAL(config_value(c, &config_keys[i], value, NULL), 0);
	}
	CU_ASSERT_TRUE(configs_equal(c, defaults));
}

static void test_values_and_units(void)
{
	static const char text[] =
		"limits:\n  models: 7\n  memory-per-user: 64 MiB\n  bus-input: 2048KiB\n"
		"cpu: {threads: 3}\n"
		"queue:\n  deadline: 2 s\n  inline-run: \"3 ms\"\n"
		"profiles:\n  balanced: 2.5\n  power-saver: all\n"
		"models:\n  a.b-c_1: /srv/a.gguf\n";
	_cleanup_(config_unrefp) struct config *c = NULL;
	struct error e = {};

	CU_ASSERT_EQUAL_FATAL(config_new(&c), 0);
	CU_ASSERT_EQUAL_FATAL(read_into(c, text, &e), 0);
	CU_ASSERT_EQUAL(c->models_max, 7);
	CU_ASSERT_EQUAL(c->bytes_per_user_max, UINT64_C(64) << 20);
	CU_ASSERT_EQUAL(c->bus_input_bytes_max, UINT64_C(2) << 20);
	CU_ASSERT_EQUAL(c->threads, 3);
	CU_ASSERT_EQUAL(c->deadline_default_ms, 2000);
	CU_ASSERT_EQUAL(c->inline_run_usec_max, 3000);
	CU_ASSERT_EQUAL(c->profile_bits[PROFILE_BALANCED], 2.5);
	CU_ASSERT_EQUAL(c->profile_bits[PROFILE_POWER_SAVER], 0);
	CU_ASSERT_EQUAL_FATAL(c->n_models, 1);
	CU_ASSERT_STRING_EQUAL(c->models[0].name, "a.b-c_1");
	CU_ASSERT_STRING_EQUAL(c->models[0].path, "/srv/a.gguf");
}

/* Both bounds of every row are taken and one beyond is not: a row with swapped bounds shows here.
 */
static void test_bounds_of_every_row(void)
{
	static const char *unit[_CONFIG_TYPE_MAX] = {"", "B", "ms", "us", ""};
	_cleanup_(config_unrefp) struct config *c = NULL;
	char text[48];

	CU_ASSERT_EQUAL_FATAL(config_new(&c), 0);
	for (size_t i = 0; i < n_config_keys; i++) {
		const struct config_key *k = &config_keys[i];
		const uint64_t v[] = {k->min, k->max, k->min - 1, k->max + 1};

		for (size_t j = 0; j < ARRAY_SIZE(v); j++) {
			(void) snprintf(text, sizeof text, "%" PRIu64 " %s", v[j], unit[k->type]);
			if (!unit[k->type][0])
				text[strlen(text) - 1] = '\0';
			CU_ASSERT_EQUAL(config_value(c, k, text, NULL), j < 2 ? 0 : -EINVAL);
		}
		if (k->word)
			CU_ASSERT_EQUAL(config_value(c, k, k->word, NULL), 0);
	}
}

static void test_dropins_in_order_of_names(void)
{
	_cleanup_(config_unrefp) struct config *c = NULL;
	_cleanup_free_ char *main_file = NULL, *dropins = NULL, *masked = NULL;
	struct error e = {};

	if (asprintf(&main_file, "%s/bitshed.yaml", folder) < 0 ||
		asprintf(&dropins, "%s/bitshed.yaml.d", folder) < 0 ||
		asprintf(&masked, "%s/70-masked.yaml", dropins) < 0)
		abort();
	CU_ASSERT_EQUAL_FATAL(mkdir(dropins, 0755), 0);
	CU_ASSERT_EQUAL(symlink("/dev/null", masked), 0);
	write_text("bitshed.yaml", "limits: {models: 2}\nmodels: {a: /a, b: /b}\n");
	write_text("bitshed.yaml.d/60-late.yaml", "limits: {models: 4}\n");
	write_text("bitshed.yaml.d/10-early.yaml",
		"limits: {models: 3}\nmodels: {a: /other, b: none, c: /c}\n");
	write_text("bitshed.yaml.d/.hidden.yaml", "nonsense\n");
	write_text("bitshed.yaml.d/90-old.yaml.bak", "nonsense\n");
	CU_ASSERT_EQUAL_FATAL(config_load(&c, NULL, main_file, &e), 0);
	CU_ASSERT_EQUAL(c->models_max, 4);
	CU_ASSERT_EQUAL_FATAL(c->n_models, 2);
	CU_ASSERT_STRING_EQUAL(c->models[0].path, "/other");
	CU_ASSERT_STRING_EQUAL(c->models[1].name, "c");

	/* One mistake anywhere: nothing is loaded, and the message names that file. */
	c = config_unref(c);
	write_text("bitshed.yaml.d/60-late.yaml", "limits: {models: 0}\n");
	CU_ASSERT_EQUAL(config_load(&c, NULL, main_file, &e), -EINVAL);
	CU_ASSERT_PTR_NULL(c);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "60-late.yaml:1:18: expected 1 to 256 for 'models'"));
}

static void make_folder(const char *name)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		abort();
	CU_ASSERT_EQUAL_FATAL(mkdir(path, 0755), 0);
}

/* The package's, this boot's, the administrator's. */
static void test_layers(void)
{
	_cleanup_(config_unrefp) struct config *c = NULL;
	_cleanup_free_ char *usr = NULL, *run = NULL, *etc = NULL, *masked = NULL;
	struct error e = {};

	if (asprintf(&usr, "%s/usr", folder) < 0 || asprintf(&run, "%s/run", folder) < 0
		|| asprintf(&etc, "%s/etc", folder) < 0
		|| asprintf(&masked, "%s/etc/bitshed.yaml.d/30-c.yaml", folder) < 0)
		abort();
	make_folder("usr");
	make_folder("usr/bitshed.yaml.d");
	make_folder("run");
	make_folder("run/bitshed.yaml.d");
	make_folder("etc");
	make_folder("etc/bitshed.yaml.d");
	write_text("usr/bitshed.yaml", "limits: {models: 2, sessions-per-user: 2}\n");
	write_text("run/bitshed.yaml", "limits: {models: 3}\n");
	write_text("usr/bitshed.yaml.d/10-a.yaml", "queue: {length: 10}\n");
	write_text("run/bitshed.yaml.d/10-a.yaml", "queue: {length: 11}\n");
	write_text("usr/bitshed.yaml.d/20-b.yaml", "cpu: {threads: 2}\n");
	write_text("etc/bitshed.yaml.d/15-b.yaml", "cpu: {threads: 3}\n");
	write_text("run/bitshed.yaml.d/30-c.yaml", "nonsense\n");
	CU_ASSERT_EQUAL(symlink("/dev/null", masked), 0);
	CU_ASSERT_EQUAL_FATAL(
		config_load(&c, (const char *const[]){usr, run, etc, NULL}, NULL, &e), 0);
	CU_ASSERT_EQUAL(c->models_max, 3);
	CU_ASSERT_EQUAL(c->sessions_per_user_max, 32);
	CU_ASSERT_EQUAL(c->queue_length_max, 11);
	CU_ASSERT_EQUAL(c->threads, 2);
}

static void test_what_is_no_file(void)
{
	_cleanup_(config_unrefp) struct config *c = NULL, *defaults = NULL;
	_cleanup_free_ char *fifo = NULL, *large = NULL;
	struct error e = {};

	if (asprintf(&fifo, "%s/fifo", folder) < 0 || asprintf(&large, "%s/large.yaml", folder) < 0)
		abort();
	CU_ASSERT_EQUAL(config_load(&c, NULL, folder, &e), -EINVAL);
	CU_ASSERT_EQUAL_FATAL(mkfifo(fifo, 0600), 0);
	CU_ASSERT_EQUAL(config_load(&c, NULL, fifo, &e), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "expected a regular file"));
	write_text("large.yaml", "");
	CU_ASSERT_EQUAL_FATAL(truncate(large, CONFIG_FILE_BYTES_MAX + 1), 0);
	CU_ASSERT_EQUAL(config_load(&c, NULL, large, &e), -EFBIG);
	/* Nothing there at all: the defaults. */
	CU_ASSERT_EQUAL_FATAL(config_load(&c, NULL, "/nonexistent/a.yaml", &e), 0);
	CU_ASSERT_STRING_EQUAL(e.text, "");
	CU_ASSERT_EQUAL_FATAL(config_new(&defaults), 0);
	CU_ASSERT_TRUE(configs_equal(c, defaults));
}

static void test_empty_texts(void)
{
	static const char *const texts[] = {
		"", "\n", "# only a comment\n", "---\n", "limits:\ncpu: ~\nmodels:\n"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(config_unrefp) struct config *c = NULL;

		CU_ASSERT_EQUAL_FATAL(config_new(&c), 0);
		CU_ASSERT_EQUAL(read_into(c, texts[i], NULL), 0);
	}
}

static void test_references(void)
{
	_cleanup_(config_unrefp) struct config *c = NULL;

	CU_ASSERT_EQUAL_FATAL(config_new(&c), 0);
	CU_ASSERT_PTR_EQUAL(config_ref(c), c);
	CU_ASSERT_PTR_NULL(config_unref(c));
	CU_ASSERT_EQUAL(c->models_max, 16);
}

static int run_rm(void)
{
	_cleanup_free_ char *command = NULL;

	return asprintf(&command, "rm -rf '%s'", folder) < 0 ? -1 : system(command);
}

static void test_folder_is_removed(void)
{
	CU_ASSERT_EQUAL(run_rm(), 0);
}

static void test_folder_is_made(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
}

TEST_MAIN("config", TEST(folder_is_made), TEST(every_mistake_has_its_message),
	TEST(shipped_file_equals_defaults), TEST(shipped_comments_are_the_defaults),
	TEST(schema_has_the_keys_of_the_table), TEST(schema_defaults_are_the_defaults),
	TEST(values_and_units), TEST(bounds_of_every_row), TEST(dropins_in_order_of_names), TEST(layers),
	TEST(what_is_no_file), TEST(empty_texts), TEST(references), TEST(folder_is_removed))
