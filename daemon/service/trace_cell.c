/* SPDX-License-Identifier: Apache-2.0 */
/* The other direction of trace.c: what is felt now, in the words of rules and traces. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "service/trace.h"

#define ZONE_SENSES (SENSE_TELEMETRY - SENSE_TEMPERATURE)

/* Up to three digits after the point: no exponent, which traces do not take. */
static void put_number(char *to, size_t size, double value)
{
	size_t n;

	(void) snprintf(to, size, "%.3f", value);
	for (n = strlen(to); n > 0 && to[n - 1] == '0'; n--)
		to[n - 1] = '\0';
	if (n > 0 && to[n - 1] == '.')
		to[n - 1] = '\0';
}

static void put_plain(struct trace_cell *c, const struct policy_inputs *in, enum sense sense)
{
	const struct rule_sense *s = &rule_senses[sense];
	unsigned int value = (unsigned int) in->plain[sense].value;

	switch (s->kind) {
	case SENSE_KIND_FLAG:
		(void) snprintf(c->value, sizeof c->value, "%s", value ? "true" : "false");
		break;
	case SENSE_KIND_NUMBER:
		put_number(c->value, sizeof c->value, in->plain[sense].value);
		break;
	case SENSE_KIND_CHOICE:
		(void) snprintf(c->value, sizeof c->value, "%s", s->words[value]);
		break;
	case SENSE_KIND_TEXT:
		(void) snprintf(
			c->value, sizeof c->value, "%s", in->degraded[0] ? in->degraded : "none");
		/* What separates cells cannot be in one. */
		for (char *p = c->value; *p; p++)
			*p = *p == ',' || (unsigned char) *p < ' ' ? ';' : *p;
		break;
	case SENSE_KIND_CLOCK:
		(void) snprintf(c->value, sizeof c->value, "%02u:%02u", value / 60 % 24, value % 60);
		break;
	case _SENSE_KIND_MAX:
		break;
	}
}

/* Names of zones come from the kernel; rules and traces know fewer characters. */
static void put_head(struct trace_cell *c, enum sense sense, const char *of)
{
	size_t n = (size_t) snprintf(c->head, sizeof c->head, "%s of ", rule_senses[sense].name);

	for (; *of && n + 1 < sizeof c->head; of++)
		c->head[n++] = isalnum((unsigned char) *of) || strchr("-_.", *of) ? *of : '-';
	c->head[n] = '\0';
}

static void put_zone(struct trace_cell *c, const struct policy_zone *z, enum sense sense)
{
	struct reading r = sense == SENSE_TEMPERATURE	      ? z->temperature
			   : sense == SENSE_TEMPERATURE_TREND ? z->trend
							      : z->trip_distance;

	put_head(c, sense, z->type);
	if (r.known)
		put_number(c->value, sizeof c->value, r.value);
}

bool trace_cell(const struct policy_inputs *in, uint32_t i, struct trace_cell *ret)
{
	*ret = (struct trace_cell){};
	if (i < _SENSE_PLAIN_MAX) {
		(void) snprintf(ret->head, sizeof ret->head, "%s", rule_senses[i].name);
		if (in->plain[i].known)
			put_plain(ret, in, (enum sense) i);
		return true;
	}
	i -= _SENSE_PLAIN_MAX;
	if (i < in->n_zones * ZONE_SENSES) {
		put_zone(ret, &in->zones[i / ZONE_SENSES],
			(enum sense)(SENSE_TEMPERATURE + i % ZONE_SENSES));
		return true;
	}
	i -= in->n_zones * ZONE_SENSES;
	if (i >= in->n_telemetry)
		return false;
	put_head(ret, SENSE_TELEMETRY, in->telemetry[i].key);
	if (in->telemetry[i].value.known)
		put_number(ret->value, sizeof ret->value, in->telemetry[i].value.value);
	return true;
}
