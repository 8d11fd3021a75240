/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules that operators write: which inputs lead to which limits. Immutable after loading,
 * replaced whole. Any thread may read.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define RULES_MAX 64
#define RULE_NAME_SIZE 32
#define RULE_ACTIONS_MAX 8
#define RULE_CONDITIONS_MAX 1024
#define RULE_SWITCHES_MAX 60 /* per hour */

/** enum sense - what a condition may read; the table rule_senses[] says how each is written */
enum sense {
	SENSE_ON_BATTERY,
	SENSE_BATTERY_PERCENT,
	SENSE_BATTERY_STATE,
	SENSE_WARNING_LEVEL,
	SENSE_TIME_TO_EMPTY,
	SENSE_POWER_DRAW,
	SENSE_PROFILE,
	SENSE_SYSTEM_PROFILE,
	SENSE_PERFORMANCE_DEGRADED,
	SENSE_MEMORY_PRESSURE,
	SENSE_CPU_PRESSURE,
	SENSE_UNDER_VOLTAGE,
	SENSE_TIME_OF_DAY,
	_SENSE_PLAIN_MAX, /* those below exist once per zone or key */
	SENSE_TEMPERATURE = _SENSE_PLAIN_MAX,
	SENSE_TEMPERATURE_TREND,
	SENSE_TRIP_DISTANCE,
	SENSE_TELEMETRY,
	_SENSE_MAX,
};

enum sense_kind {
	SENSE_KIND_FLAG,   /* true, false */
	SENSE_KIND_NUMBER, /* "below 20 %" */
	SENSE_KIND_CHOICE, /* a word, or a list of words */
	SENSE_KIND_TEXT,   /* any word: an open set */
	SENSE_KIND_CLOCK,  /* "22:00 to 06:00" */
	_SENSE_KIND_MAX,
};

/** enum feedback - does an input change because bitshed computes with fewer bits? */
enum feedback {
	FEEDBACK_NONE,
	FEEDBACK_SLOW, /* a band and a dwell keep it from flapping */
	FEEDBACK_FAST, /* at once: a rule must end by something else */
	_FEEDBACK_MAX,
};

/**
 * struct rule_sense - how an input is written in rules and in the heads of traces
 * @of: it needs " of NAME" behind it: true for telemetry; zones may be left out, then the worst
 *	counts
 * @units: NULL-terminated pairs in @unit_names and @unit_factors
 * @band, @band_part: an active rule lets go when the value is back by the larger of @band and
 *	@band_part of the threshold
 * @words: of a choice, NULL-terminated; the index is the number
 */
struct rule_sense {
	const char *name;
	enum sense_kind kind;
	enum feedback feedback;
	bool zone, key, negative;
	const char *unit_names[4];
	double unit_factors[4];
	double band, band_part;
	const char *const *words;
};

extern const struct rule_sense rule_senses[_SENSE_MAX];

enum cond_kind {
	COND_ALL,
	COND_ANY,
	COND_NOT,
	COND_SENSE,
	_COND_KIND_MAX,
};

/**
 * struct cond - one node of a condition; -1: no @child, no @next
 * @of: zone or key, "" for the worst zone
 * @above: number: the value must be above (else below) @value; @equal: or equal to it
 * @choices: choice: one bit per word; flag: bit 0 false, bit 1 true
 * @text: text; "any" stands for every text but the empty one
 * @from, @to: minutes of the day, @to itself is outside
 */
struct cond {
	enum cond_kind kind;
	enum sense sense;
	int child, next;
	char of[32];
	bool above, equal;
	double value;
	uint32_t choices;
	char text[32];
	uint16_t from, to;
};

/** enum policy_device - where a model should run; as users write it */
enum policy_device {
	POLICY_DEVICE_ANY,
	POLICY_DEVICE_CPU,
	POLICY_DEVICE_OPENCL,
	_POLICY_DEVICE_MAX,
};

/** policy_device_name() - "any", "cpu", "opencl". Return: static text, never NULL */
const char *policy_device_name(enum policy_device device);

/**
 * struct action - what a rule asks of the models whose name matches @models
 * @bits_min, @bits_max: 0: says nothing; both equal: exactly
 * @loss_max: percent of accuracy that may be lost, below 0: says nothing
 * @activation_bits: at most, of devices that can choose; @device: where it should run, if that is there
 * @threads, @park_after_sec, @activation_bits: 0: says nothing; @rate: per second, 0: says nothing
 */
struct action {
	char models[64];
	double bits_min, bits_max, loss_max, rate;
	uint32_t threads, park_after_sec, activation_bits;
	enum policy_device device;
	bool refuse;
};

/**
 * struct rule - one rule
 * @when, @until: conditions by index; @until -1: the automatic band
 * @dwell_sec: below 0: that of the file
 * @line: where it begins, in the text read as number @text
 * @number: stays with the name for the life of the daemon, see rules_take_numbers()
 */
struct rule {
	char name[RULE_NAME_SIZE];
	uint32_t line, text, number;
	int when, until;
	bool unknown, hard, disabled;
	double dwell_sec;
	struct action actions[RULE_ACTIONS_MAX];
	uint32_t n_actions;
};

/**
 * struct rules - all rules, an earlier one is never overruled by a later one
 * @names: [n_names], of all rules that there have ever been, by number
 * @serial: differs whenever the rules differ
 */
struct rules {
	struct rule *rules;
	uint32_t n_rules;
	struct cond *conds;
	uint32_t n_conds, n_texts;
	double dwell_sec, grace_after_resume_sec;
	uint32_t switches_per_hour;
	char (*names)[RULE_NAME_SIZE];
	uint32_t n_names;
	uint64_t serial;
};

/** rules_new() - no rules, default settings. Return: 0 or -ENOMEM */
int rules_new(struct rules **ret);
struct rules *rules_free(struct rules *r);
DEFINE_CLEANUP(struct rules *, rules_free)

/**
 * rules_load() - the "*.yaml" of "policies" in all layers, in the order of their names, checked
 * @folders: layers, see layers.h; not read when there are files
 * @files, @n_files: read instead of the folders when there are any
 *
 * A rule replaces an earlier one of the same name in its place. Return: 0; -EINVAL with place
 * and caret, or with the rules that could oscillate; an errno of reading. On failure @ret is
 * untouched.
 */
int rules_load(struct rules **ret, const char *const *folders, const char *const *files, uint32_t n_files,
	struct error *reterr);

/**
 * rules_read_text() - lay one YAML text over @r; after an error @r must not be used. Return: as
 * above
 */
int rules_read_text(
	struct rules *r, const char *name, const char *text, size_t size, struct error *reterr);

/**
 * rules_check() - Return: 0, or -EINVAL with the rules that could oscillate while inputs stay as
 * they are
 */
int rules_check(const struct rules *r, struct error *reterr);

/**
 * rules_take_numbers() - rules of the same name keep their number of @before (may be NULL).
 * Return: 0, -ENOMEM
 */
int rules_take_numbers(struct rules *r, const struct rules *before);

/** rules_put() - add, or replace by name; a disabled one removes. Return: 0, -E2BIG, -ENOMEM */
int rules_put(struct rules *r, const struct rule *rule);

/** rules_put_cond() - Return: the new condition's index, -E2BIG, -ENOMEM */
int rules_put_cond(struct rules *r, const struct cond *c);

/** rule_dwell_sec() - its own or that of the file. @rule: may be NULL */
double rule_dwell_sec(const struct rules *r, const struct rule *rule);

/** rule_matches() - does a name match a pattern of '*' and '?'? */
bool rule_matches(const char *pattern, const char *name);

/**
 * sense_parse() - "temperature of cpu-thermal"
 * @ret_of: what is behind " of ", or ""
 *
 * Return: enum sense; -ENOENT no such input; -EINVAL a name behind it is missing, too long or
 * not allowed.
 */
int sense_parse(const char *text, char ret_of[32]);

/** sense_nearest() - the name an operator may have meant. Return: static text or NULL */
const char *sense_nearest(const char *text);

/**
 * cond_parse() - the value of a plain condition ("below 20 %"). Return: 0, -EINVAL with
 * "expected ..."
 */
int cond_parse(struct cond *c, const char *text, struct error *reterr);

/** cond_add_word() - one word of a choice. Return: 0, -EINVAL with "expected ..." */
int cond_add_word(struct cond *c, const char *text, struct error *reterr);

/** quantity_parse() - a number with one of the units of @sense. Return: 0, -EINVAL */
int quantity_parse(double *ret, enum sense sense, const char *text);

/** clock_parse() - "HH:MM" to minutes. Return: characters taken, -EINVAL */
int clock_parse(uint16_t *ret, const char *text);

/** seconds_parse() - "30 s", "5 min", "1 h". Return: 0, -EINVAL */
int seconds_parse(double *ret, const char *text);
