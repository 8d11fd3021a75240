/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of the configuration. Sizes and times carry their unit in the file: a bare "64" would be
 * guessed at by the reader of the file and by the daemon, and the two guesses need not agree.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "service/config_read.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit units_none[] = {{"", 1}, {NULL}};
static const struct unit units_size[] = {
	{"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL}};
static const struct unit units_msec[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {NULL}};
static const struct unit units_usec[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {NULL}};

static const struct {
	const struct unit *units;
	const char *expected; /* the kind of value, in the operator's words */
} types[_CONFIG_TYPE_MAX] = {
	[CONFIG_COUNT] = {units_none, "a whole number"},
	[CONFIG_SIZE] = {units_size, "a size such as '64 MiB' (B, KiB, MiB, GiB)"},
	[CONFIG_MSEC] = {units_msec, "a time such as '500 ms' (ms, s, min)"},
	[CONFIG_USEC] = {units_usec, "a time such as '500 us' (us, ms, s)"},
	[CONFIG_BITS] = {units_none, "a number of bits"},
};

static int expected_kind(const struct config_key *key, struct error *reterr)
{
	return error_set(reterr, -EINVAL, "expected %s%s%s%s for '%s'", types[key->type].expected,
		key->word ? " or '" : "", key->word ?: "", key->word ? "'" : "", key->name);
}

/* The largest unit that says @v without a remainder, so that bounds read as in the file. */
static void say_value(char *ret, size_t size, const struct config_key *key, uint64_t v)
{
	const struct unit *u = types[key->type].units, *best = u;

	for (; u->name; u++)
		if (v % u->factor == 0 && v >= u->factor)
			best = u;
	(void) snprintf(ret, size, "%" PRIu64 "%s%s", v / best->factor, best->name[0] ? " " : "",
		best->name);
}

static int expected_range(const struct config_key *key, struct error *reterr)
{
	char low[32], high[32];

	say_value(low, sizeof low, key, key->min);
	say_value(high, sizeof high, key, key->max);
	return error_set(reterr, -EINVAL, "expected %s to %s%s%s%s for '%s'", low, high,
		key->word ? " or '" : "", key->word ?: "", key->word ? "'" : "", key->name);
}

/* Digits, blanks, a unit. Return: 0, -EINVAL for another form, -ERANGE when it does not fit. */
static int read_quantity(uint64_t *ret, const char *s, const struct unit *units)
{
	uint64_t v = 0;
	bool wrapped = false;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		wrapped |= __builtin_mul_overflow(v, UINT64_C(10), &v) ||
			   __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v);
	while (*s == ' ')
		s++;
	for (; units->name; units++)
		if (strcmp(s, units->name) == 0)
			break;
	if (!units->name)
		return -EINVAL;
	wrapped |= __builtin_mul_overflow(v, units->factor, &v);
	if (wrapped)
		return -ERANGE;
	*ret = v;
	return 0;
}

/* strtod() would also take "nan", "0x1p3" and the locale's comma. */
int config_decimal(double *ret, const char *s, const char **ret_end)
{
	double v = 0, place = 1;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (*s - '0');
	if (*s == '.') {
		if (s[1] < '0' || s[1] > '9')
			return -EINVAL;
		for (s++; *s >= '0' && *s <= '9'; s++)
			v += (*s - '0') * (place /= 10);
	}
	*ret_end = s;
	*ret = v;
	return 0;
}

static void store(struct config *c, const struct config_key *key, uint64_t v)
{
	void *to = (char *) c + key->offset;

	if (key->type == CONFIG_SIZE)
		*(uint64_t *) to = v;
	else
		*(uint32_t *) to = (uint32_t) v;
}

static int value_bits(
	struct config *c, const struct config_key *key, const char *text, struct error *reterr)
{
	const char *end = "";
	double v = 0;

	if (!key->word || strcmp(text, key->word) != 0) {
		if (config_decimal(&v, text, &end) < 0 || *end)
			return expected_kind(key, reterr);
		if (!(v >= (double) key->min && v <= (double) key->max))
			return expected_range(key, reterr);
	}
	*(double *) ((char *) c + key->offset) = v;
	return 0;
}

int config_value(
	struct config *c, const struct config_key *key, const char *text, struct error *reterr)
{
	uint64_t v = 0;

	if (key->type == CONFIG_BITS)
		return value_bits(c, key, text, reterr);
	if (!key->word || strcmp(text, key->word) != 0) {
		int r = read_quantity(&v, text, types[key->type].units);

		if (r == -EINVAL)
			return expected_kind(key, reterr);
		if (r < 0 || v < key->min || v > key->max)
			return expected_range(key, reterr);
	}
	store(c, key, v);
	return 0;
}
