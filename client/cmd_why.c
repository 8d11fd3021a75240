/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed why: which rule decided, what it saw, and what would change it. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cmd.h"

static double seconds_since(uint64_t nsec)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9 - (double) nsec / 1e9;
}

static void print_input(const struct bitshed_power_input *in)
{
	char value[64];

	if (!in->known)
		return;
	if (in->text[0] && !in->unit[0])
		(void) snprintf(value, sizeof value, "%.60s", in->text);
	else
		(void) snprintf(value, sizeof value, "%.4g %.16s%s%.31s", in->value, in->unit,
			in->text[0] ? " of " : "", in->text);
	printf("  %-28s %-28s for %.0f s, says %s\n", in->name, value,
		seconds_since(in->since_nsec), in->source);
}

static void print(const struct bitshed_model *m, const struct bitshed_power_input *inputs, int n)
{
	int known = 0;

	printf("%s: %.3g of %.3g bits%s\n"
	       "  rule             %s: %s\n"
	       "  since            %.0f s\n",
		m->name, m->bits, m->bits_max, strcmp(m->state, "parked") == 0 ? ", parked" : "", m->rule,
		m->rule_text, seconds_since(m->rule_since_nsec));
	for (size_t i = 0; m->why[i]; i++)
		printf("  - %s\n", m->why[i]);
	printf("The board:\n");
	for (int i = 0; i < n; i++) {
		print_input(&inputs[i]);
		known += inputs[i].known;
	}
	if (known < n)
		printf("  %d inputs are unknown: nobody reports them\n", n - known);
}

void json_inputs(const struct bitshed_power_input *inputs, int n)
{
	printf("[");
	for (int i = 0; i < n; i++) {
		printf("%s{\"name\":", i ? "," : "");
		json_string(inputs[i].name);
		printf(",\"source\":");
		json_string(inputs[i].source);
		if (inputs[i].known)
			printf(",\"value\":%.9g", inputs[i].value);
		else
			printf(",\"value\":null");
		printf(",\"unit\":");
		json_string(inputs[i].unit);
		printf(",\"text\":");
		json_string(inputs[i].text);
		printf(",\"since_nsec\":%" PRIu64 "}", inputs[i].since_nsec);
	}
	printf("]");
}

static void print_json(
	const struct bitshed_model *m, const struct bitshed_power_input *inputs, int n)
{
	printf("{\"name\":");
	json_string(m->name);
	printf(",\"bits\":%.9g,\"rule\":", m->bits);
	json_string(m->rule);
	printf(",\"rule_text\":");
	json_string(m->rule_text);
	printf(",\"rule_since_nsec\":%" PRIu64 ",\"switches\":%" PRIu64 ",\"why\":[", m->rule_since_nsec,
		m->switches);
	for (size_t i = 0; m->why[i]; i++) {
		printf("%s", i ? "," : "");
		json_string(m->why[i]);
	}
	printf("],\"inputs\":");
	json_inputs(inputs, n);
	printf("}\n");
}

int cmd_why(struct command *c)
{
	struct bitshed_power_input *inputs;
	struct bitshed_error e = {};
	struct bitshed_model *m;
	int n, r;

	r = bitshed_get_model(c->bus, &m, c->arguments[0], &e);
	if (r < 0)
		return complain(c, r, &e, c->arguments[0]);
	n = bitshed_list_power_inputs(c->bus, &inputs, &e);
	if (n < 0) {
		bitshed_model_free(m);
		return complain(c, n, &e, NULL);
	}
	if (c->json)
		print_json(m, inputs, n);
	else
		print(m, inputs, n);
	bitshed_power_inputs_free(inputs, (size_t) n);
	bitshed_model_free(m);
	return 0;
}
