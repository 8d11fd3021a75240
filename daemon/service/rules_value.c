/* SPDX-License-Identifier: Apache-2.0 */
/* Which inputs there are, and how their values are written: with units, always. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "service/config_read.h"
#include "service/rules.h"

static const char *const battery_states[] = {
	"charging", "discharging", "empty", "full", "pending-charge", "pending-discharge", NULL};
static const char *const warning_levels[] = {
	"none", "discharging", "low", "critical", "action", NULL};
static const char *const profiles[] = {"power-saver", "balanced", "performance", NULL};

#define FLAG SENSE_KIND_FLAG
#define NUMBER SENSE_KIND_NUMBER
#define CHOICE SENSE_KIND_CHOICE
#define PERCENT .unit_names = {"%"}, .unit_factors = {1}
#define SECONDS .unit_names = {"s", "min", "h"}, .unit_factors = {1, 60, 3600}
#define WATTS .unit_names = {"W", "mW"}, .unit_factors = {1, 1e-3}
#define DEGREES .unit_names = {"C"}, .unit_factors = {1}
#define DEGREES_A_MINUTE .unit_names = {"C/min"}, .unit_factors = {1}
#define PLAIN .unit_names = {""}, .unit_factors = {1}

/* clang-format off */
const struct rule_sense rule_senses[_SENSE_MAX] = {
	[SENSE_ON_BATTERY]           = {"on-battery",           FLAG},
	[SENSE_BATTERY_PERCENT]      = {"battery-percent",      NUMBER, PERCENT, .band = 3},
	[SENSE_BATTERY_STATE]        = {"battery-state",        CHOICE, .words = battery_states},
	[SENSE_WARNING_LEVEL]        = {"warning-level",        CHOICE, .words = warning_levels},
	[SENSE_TIME_TO_EMPTY]        = {"time-to-empty",        NUMBER, FEEDBACK_FAST, SECONDS, .band = 300, .band_part = 0.1},
	[SENSE_POWER_DRAW]           = {"power-draw",           NUMBER, FEEDBACK_FAST, WATTS, .band = 0.1, .band_part = 0.1},
	[SENSE_PROFILE]              = {"profile",              CHOICE, .words = profiles},
	[SENSE_SYSTEM_PROFILE]       = {"system-profile",       CHOICE, .words = profiles},
	[SENSE_PERFORMANCE_DEGRADED] = {"performance-degraded", SENSE_KIND_TEXT},
	[SENSE_MEMORY_PRESSURE]      = {"memory-pressure",      NUMBER, FEEDBACK_SLOW, PERCENT, .band = 1, .band_part = 0.5},
	[SENSE_CPU_PRESSURE]         = {"cpu-pressure",         NUMBER, FEEDBACK_FAST, PERCENT, .band = 1, .band_part = 0.2},
	[SENSE_UNDER_VOLTAGE]        = {"under-voltage",        FLAG,   FEEDBACK_SLOW},
	[SENSE_TIME_OF_DAY]          = {"time-of-day",          SENSE_KIND_CLOCK},
	[SENSE_TEMPERATURE]          = {"temperature",          NUMBER, FEEDBACK_SLOW, .zone = true, .negative = true, DEGREES, .band = 3},
	[SENSE_TEMPERATURE_TREND]    = {"temperature-trend",    NUMBER, FEEDBACK_FAST, .zone = true, .negative = true, DEGREES_A_MINUTE, .band = 0.5},
	[SENSE_TRIP_DISTANCE]        = {"trip-distance",        NUMBER, FEEDBACK_SLOW, .zone = true, .negative = true, DEGREES, .band = 3},
	[SENSE_TELEMETRY]            = {"telemetry",            NUMBER, .key = true, .negative = true, PLAIN, .band_part = 0.05},
};
/* clang-format on */

const char *policy_device_name(enum policy_device device)
{
	static const char *const names[_POLICY_DEVICE_MAX] = {
		[POLICY_DEVICE_ANY] = "any",
		[POLICY_DEVICE_CPU] = "cpu",
		[POLICY_DEVICE_OPENCL] = "opencl",
	};

	return names[device];
}

static bool is_name(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char) s[i]) && !strchr("-_.", s[i]))
			return false;
	return n >= 1 && n <= 31;
}

int sense_parse(const char *text, char ret_of[32])
{
	const char *of = strstr(text, " of ");
	size_t n = of ? (size_t) (of - text) : strlen(text);

	for (int i = 0; i < _SENSE_MAX; i++) {
		const struct rule_sense *s = &rule_senses[i];

		if (strlen(s->name) != n || strncmp(s->name, text, n) != 0)
			continue;
		if (of ? !(s->zone || s->key) || !is_name(of + 4) : s->key)
			return -EINVAL;
		(void) snprintf(ret_of, 32, "%s", of ? of + 4 : "");
		return i;
	}
	return -ENOENT;
}

/* Levenshtein's distance, one row at a time; both are short. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[64], above, diagonal;
	size_t n = strlen(b);

	if (n >= ARRAY_SIZE(row))
		return 64;
	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned int) j;
	for (size_t i = 0; a[i] && i < 64; i++) {
		diagonal = row[0]++;
		for (size_t j = 1; j <= n; j++) {
			above = row[j];
			row[j] = MIN_OF(
				MIN_OF(above, row[j - 1]) + 1, diagonal + (a[i] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[n];
}

const char *sense_nearest(const char *text)
{
	unsigned int best = 4;
	const char *name = NULL;

	for (int i = 0; i < _SENSE_MAX; i++) {
		unsigned int d = distance(text, rule_senses[i].name);

		if (d < best) {
			best = d;
			name = rule_senses[i].name;
		}
	}
	return name;
}

int quantity_parse(double *ret, enum sense sense, const char *text)
{
	const struct rule_sense *s = &rule_senses[sense];
	bool minus = s->negative && *text == '-';
	const char *unit;
	double v;

	if (config_decimal(&v, text + minus, &unit) < 0)
		return -EINVAL;
	while (*unit == ' ')
		unit++;
	for (size_t i = 0; i < ARRAY_SIZE(s->unit_names) && s->unit_names[i]; i++)
		if (strcmp(s->unit_names[i], unit) == 0) {
			v *= s->unit_factors[i];
			if (!(v <= 1e9))
				return -EINVAL;
			*ret = minus ? -v : v;
			return 0;
		}
	return -EINVAL;
}

int seconds_parse(double *ret, const char *text)
{
	return quantity_parse(ret, SENSE_TIME_TO_EMPTY, text);
}

static int expected_number(const struct cond *c, struct error *reterr)
{
	const struct rule_sense *s = &rule_senses[c->sense];
	char units[32] = "";

	for (size_t i = 1; i < ARRAY_SIZE(s->unit_names) && s->unit_names[i]; i++)
		(void) snprintf(units + strlen(units), sizeof units - strlen(units), "%s%s",
			i > 1 ? ", " : " or ", s->unit_names[i]);
	if (!s->unit_names[0][0])
		return error_set(reterr, -EINVAL,
			"expected 'below N', 'above N', 'at most N' or 'at least N', a number "
			"without a unit");
	return error_set(reterr, -EINVAL,
		"expected 'below', 'above', 'at most' or 'at least' and a number with its unit, "
		"such as 'below 20 %s'%s",
		s->unit_names[0], units);
}

static int parse_number(struct cond *c, const char *text, struct error *reterr)
{
	static const struct {
		const char *word;
		bool above, equal;
	} words[] = {{"below ", false, false}, {"above ", true, false}, {"at most ", false, true},
		{"at least ", true, true}};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		size_t n = strlen(words[i].word);

		if (strncmp(text, words[i].word, n) != 0)
			continue;
		c->above = words[i].above;
		c->equal = words[i].equal;
		if (quantity_parse(&c->value, c->sense, text + n) == 0)
			return 0;
	}
	return expected_number(c, reterr);
}

static int parse_flag(struct cond *c, const char *text, struct error *reterr)
{
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		return error_set(reterr, -EINVAL, "expected true or false");
	c->choices = text[0] == 't' ? 2 : 1;
	return 0;
}

int clock_parse(uint16_t *ret, const char *text)
{
	unsigned int hour, minute;

	for (int i = 0; i < 5; i++)
		if (i == 2 ? text[i] != ':' : !isdigit((unsigned char) text[i]))
			return -EINVAL;
	hour = (unsigned int) (text[0] - '0') * 10 + (unsigned int) (text[1] - '0');
	minute = (unsigned int) (text[3] - '0') * 10 + (unsigned int) (text[4] - '0');
	if (hour > 24 || minute > 59 || hour * 60 + minute > 24 * 60)
		return -EINVAL;
	*ret = (uint16_t) (hour * 60 + minute);
	return 5;
}

static int parse_clock(struct cond *c, const char *text, struct error *reterr)
{
	if (clock_parse(&c->from, text) < 0 || strncmp(text + 5, " to ", 4) != 0 ||
		clock_parse(&c->to, text + 9) < 0 || text[14] || c->from == c->to)
		return error_set(
			reterr, -EINVAL, "expected two different times such as '22:00 to 06:00'");
	return 0;
}

static int parse_text(struct cond *c, const char *text, struct error *reterr)
{
	if (!is_name(text))
		return error_set(reterr, -EINVAL,
			"expected 'any', 'none' or a reason such as 'lap-detected'");
	(void) snprintf(c->text, sizeof c->text, "%s", text);
	return 0;
}

int cond_add_word(struct cond *c, const char *text, struct error *reterr)
{
	const char *const *words = rule_senses[c->sense].words;
	char all[120] = "";

	for (int i = 0; words[i]; i++) {
		if (strcmp(words[i], text) == 0) {
			c->choices |= 1u << i;
			return 0;
		}
		(void) snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s",
			i > 0 ? ", " : "", words[i]);
	}
	return error_set(reterr, -EINVAL, "expected one of, or a list of: %s", all);
}

int cond_parse(struct cond *c, const char *text, struct error *reterr)
{
	switch (rule_senses[c->sense].kind) {
	case SENSE_KIND_FLAG:
		return parse_flag(c, text, reterr);
	case SENSE_KIND_NUMBER:
		return parse_number(c, text, reterr);
	case SENSE_KIND_CHOICE:
		return cond_add_word(c, text, reterr);
	case SENSE_KIND_TEXT:
		return parse_text(c, text, reterr);
	case SENSE_KIND_CLOCK:
		return parse_clock(c, text, reterr);
	case _SENSE_KIND_MAX:
		break;
	}
	return -EINVAL;
}
