/* SPDX-License-Identifier: Apache-2.0 */
#include "service/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "service/config_read.h"

#define SECONDS_MAX 1e8

static int complain(const struct trace *t, struct error *reterr, uint32_t column, const char *what)
{
	return error_set(
		reterr, -EINVAL, "%.100s:%u: column %u: %s", t->name, t->n_lines, column + 1, what);
}

/* Cut the next cell off @at. Return: the cell, NULL when there is none */
static char *next_cell(char **at)
{
	char *cell = *at, *end;

	if (!cell)
		return NULL;
	end = strchr(cell, ',');
	*at = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	cell += strspn(cell, " ");
	for (size_t n = strlen(cell); n > 0 && strchr(" \r\n", cell[n - 1]); n--)
		cell[n - 1] = '\0';
	return cell;
}

static int next_line(struct trace *t)
{
	ssize_t n = getline(&t->line, &t->line_size, t->file);

	t->n_lines += n >= 0;
	return n >= 0 ? 1 : ferror(t->file) ? -EIO : 0;
}

static int read_head(struct trace *t, struct error *reterr)
{
	char *at = t->line, *cell;

	while ((cell = next_cell(&at))) {
		uint32_t i = t->n_columns;

		if (i == TRACE_COLUMNS_MAX)
			return complain(t, reterr, i, "expected at most 64 columns");
		if (i == 0 && strcmp(cell, "seconds") != 0)
			return complain(t, reterr, i, "expected 'seconds'");
		t->senses[i] = i == 0 ? -1 : sense_parse(cell, t->ofs[i]);
		if (i > 0 && t->senses[i] < 0)
			return complain(t, reterr, i,
				"expected an input as in rules, such as 'battery-percent'");
		if (i > 0 && rule_senses[t->senses[i]].zone && !t->ofs[i][0])
			return complain(t, reterr, i,
				"expected a zone, such as 'temperature of cpu-thermal'");
		for (uint32_t j = 1; j < i; j++)
			if (t->senses[j] == t->senses[i] && strcmp(t->ofs[j], t->ofs[i]) == 0)
				return complain(t, reterr, i, "this input is here twice");
		t->n_columns++;
	}
	return 0;
}

int trace_open(struct trace *ret, const char *name, struct error *reterr)
{
	FILE *file = fopen(name, "re");

	if (!file)
		return error_set(reterr, -errno, "%.100s: %s", name, strerrordesc_np(errno));
	return trace_open_stream(ret, file, name, reterr);
}

int trace_open_stream(struct trace *ret, FILE *file, const char *name, struct error *reterr)
{
	struct trace t = {.file = file, .name = name, .seconds = -1};
	int r;

	r = next_line(&t);
	if (r <= 0)
		r = error_set(
			reterr, r < 0 ? r : -EINVAL, "%.100s: expected a line of heads", name);
	else
		r = read_head(&t, reterr);
	if (r < 0) {
		trace_done(&t);
		return r;
	}
	*ret = t;
	return 0;
}

void trace_done(struct trace *t)
{
	if (t->file)
		(void) fclose(t->file);
	t->file = NULL;
	free(t->line);
	t->line = NULL;
}

static int parse_plain_number(double *ret, const char *cell)
{
	const char *end = "";
	bool minus = *cell == '-';
	int r = config_decimal(ret, cell + minus, &end);

	if (r < 0 || *end || *ret > 1e9)
		return -EINVAL;
	if (minus)
		*ret = -*ret;
	return 0;
}

static int parse_cell(double *ret, enum sense sense, const char *cell)
{
	struct cond c = {.sense = sense};
	uint16_t minutes;

	switch (rule_senses[sense].kind) {
	case SENSE_KIND_NUMBER:
		return parse_plain_number(ret, cell);
	case SENSE_KIND_FLAG:
		if (cond_parse(&c, cell, NULL) < 0)
			return -EINVAL;
		*ret = c.choices == 2;
		return 0;
	case SENSE_KIND_CHOICE:
		if (cond_add_word(&c, cell, NULL) < 0)
			return -EINVAL;
		*ret = __builtin_ctz(c.choices);
		return 0;
	case SENSE_KIND_TEXT:
		*ret = 0;
		return strlen(cell) < 32 ? 0 : -EINVAL;
	case SENSE_KIND_CLOCK:
		if (clock_parse(&minutes, cell) < 0 || cell[5])
			return -EINVAL;
		*ret = minutes % 1440;
		return 0;
	case _SENSE_KIND_MAX:
		break;
	}
	return -EINVAL;
}

static struct policy_zone *zone_of(struct policy_inputs *in, const char *type)
{
	for (uint32_t i = 0; i < in->n_zones; i++)
		if (strcmp(in->zones[i].type, type) == 0)
			return &in->zones[i];
	if (in->n_zones == POLICY_ZONES_MAX)
		return NULL;
	(void) snprintf(in->zones[in->n_zones].type, sizeof in->zones[0].type, "%s", type);
	return &in->zones[in->n_zones++];
}

static int put(struct policy_inputs *in, enum sense sense, const char *of, struct reading r,
	const char *cell)
{
	struct policy_zone *z = rule_senses[sense].zone ? zone_of(in, of) : NULL;

	if (sense < _SENSE_PLAIN_MAX) {
		in->plain[sense] = r;
		if (sense == SENSE_PERFORMANCE_DEGRADED)
			(void) snprintf(in->degraded, sizeof in->degraded, "%s",
				strcmp(cell, "none") ? cell : "");
	} else if (sense == SENSE_TELEMETRY) {
		if (in->n_telemetry == POLICY_TELEMETRY_MAX)
			return -E2BIG;
		(void) snprintf(
			in->telemetry[in->n_telemetry].key, sizeof in->telemetry[0].key, "%s", of);
		in->telemetry[in->n_telemetry++].value = r;
	} else if (!z) {
		return -E2BIG;
	} else if (sense == SENSE_TEMPERATURE) {
		z->temperature = r;
	} else if (sense == SENSE_TEMPERATURE_TREND) {
		z->trend = r;
	} else {
		z->trip_distance = r;
	}
	return 0;
}

static int read_cell(struct trace *t, struct policy_inputs *in, uint32_t column, const char *cell,
	struct error *reterr)
{
	struct reading r = {0, cell[0] != '\0'};

	if (column == 0) {
		if (parse_plain_number(&r.value, cell) < 0 || r.value < t->seconds ||
			r.value > SECONDS_MAX || r.value < 0)
			return complain(t, reterr, column,
				"expected seconds, not less than in the line above");
		t->seconds = r.value;
		in->now_nsec = NSEC_PER_SEC + (uint64_t) (r.value * (double) NSEC_PER_SEC);
		return 0;
	}
	if (r.known && parse_cell(&r.value, (enum sense) t->senses[column], cell) < 0)
		return complain(t, reterr, column,
			"expected a value of this input without a unit, or nothing");
	if (put(in, (enum sense) t->senses[column], t->ofs[column], r, cell) < 0)
		return complain(t, reterr, column, "expected at most 32 zones and keys");
	return 0;
}

int trace_next(struct trace *t, struct policy_inputs *ret, struct error *reterr)
{
	struct policy_inputs in = {};
	uint32_t column = 0;
	char *at, *cell;
	int r;

	do
		r = next_line(t);
	while (r > 0 && t->line[strspn(t->line, " \r\n")] == '\0');
	if (r <= 0)
		return r;
	at = t->line;
	while ((cell = next_cell(&at))) {
		if (column == t->n_columns)
			return complain(t, reterr, column, "expected no more cells than heads");
		r = read_cell(t, &in, column++, cell, reterr);
		if (r < 0)
			return r;
	}
	if (column < t->n_columns)
		return complain(t, reterr, column, "expected as many cells as heads");
	*ret = in;
	return 1;
}
