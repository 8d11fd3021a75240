/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed load, unload, bits, profile: verbs that change something. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

static int report(struct command *c, const char *name)
{
	struct bitshed_model *m;
	struct bitshed_error e = {};
	char size[16];
	int r = bitshed_get_model(c->bus, &m, name, &e);

	if (r < 0)
		return complain(c, r, &e, name);
	if (c->json) {
		printf("{\"name\":");
		json_string(m->name);
		printf(",\"state\":");
		json_string(m->state);
		printf(",\"bits\":%.9g,\"bits_by_hand\":%.9g,\"bits_max\":%.9g,\"resident_bytes\":%"
		       "llu,\"rule\":",
			m->bits, m->bits_by_hand, m->bits_max,
			(unsigned long long) m->resident_bytes);
		json_string(m->rule);
		printf("}\n");
	} else if (strcmp(m->state, "ready") == 0) {
		printf("%s: %.3g of %.3g bits, %s resident (%s)\n", m->name, m->bits, m->bits_max,
			size_text(size, m->resident_bytes), m->rule_text);
	} else {
		printf("%s: %s\n", m->name, m->state);
	}
	bitshed_model_free(m);
	return 0;
}

int cmd_load(struct command *c)
{
	const char *name = c->arguments[0], *path = c->arguments[1];
	struct bitshed_error e = {};
	int r = bitshed_load(c->bus, name, path, c->bits, &e);

	if (r < 0)
		return complain(c, r, &e, NULL);
	if (!c->no_wait)
		r = bitshed_wait_ready(c->bus, name, -1, &e);
	return r < 0 ? complain(c, r, &e, name) : report(c, name);
}

int cmd_unload(struct command *c)
{
	struct bitshed_error e = {};
	int r = bitshed_unload(c->bus, c->arguments[0], &e);

	return r < 0 ? complain(c, r, &e, c->arguments[0]) : 0;
}

int cmd_bits(struct command *c)
{
	const char *name = c->arguments[0];
	struct bitshed_error e = {};
	double bits = 0;
	char *end;
	int r;

	if (c->n_arguments == 1)
		return report(c, name);
	if (strcmp(c->arguments[1], "auto") != 0) {
		bits = strtod(c->arguments[1], &end);
		if (end == c->arguments[1] || *end || !(bits >= 1 && bits <= 8)) {
			(void) fprintf(stderr,
				"bitshed: expected 1 to 8, also in between, or 'auto': %s\n",
				c->arguments[1]);
			return EXIT_CODE_USAGE;
		}
	}
	r = bitshed_set_bits(c->bus, name, bits, &e);
	return r < 0 ? complain(c, r, &e, name) : report(c, name);
}

int cmd_profile(struct command *c)
{
	struct bitshed_error e = {};
	_cleanup_(cmd_freep) char *profile = NULL;
	int r = 0;

	if (c->n_arguments > 0)
		r = bitshed_set_profile(c->bus, c->arguments[0], &e);
	if (r == -EINVAL)
		(void) snprintf(e.text, sizeof e.text,
			"expected power-saver, balanced or performance: %.64s", c->arguments[0]);
	if (r >= 0)
		r = bitshed_get_profile(c->bus, &profile, &e);
	if (r < 0)
		return complain(c, r, &e, NULL);
	if (c->json) {
		printf("{\"profile\":");
		json_string(profile);
		printf("}\n");
	} else {
		printf("%s\n", profile);
	}
	return 0;
}
