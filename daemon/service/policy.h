/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many bits a model may have, and why. All of it is pure: inputs, rules, the time and what was
 * decided before go in, the decision comes out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model.h"
#include "service/config.h"
#include "service/rules.h"

#define POLICY_ZONES_MAX 32
#define POLICY_TELEMETRY_MAX 32

/**
 * enum policy_rule - the number in bitshed_reply.rule; appended to, never reordered
 *
 * RULE_OPERATOR + struct rule.number stands for the rules of files.
 */
enum policy_rule {
	RULE_FULL,    /* nothing asks for less */
	RULE_HAND,    /* SetBits() */
	RULE_PROFILE, /* the profile's cap in the configuration */
	RULE_HOLD,    /* a client holds the precision */
	RULE_MEMORY,  /* all planes of all models do not fit */
	_RULE_MAX,
	RULE_OPERATOR = _RULE_MAX,
};

/** struct reading - what a source says; a source that is not there or not heard says nothing */
struct reading {
	double value;
	bool known;
};

/**
 * struct policy_zone - a thermal zone; celsius, celsius per minute, celsius to the next trip
 * point
 */
struct policy_zone {
	char type[32];
	struct reading temperature, trend, trip_distance;
};

/**
 * struct policy_telemetry - a number that somebody has reported, in the unit that its key
 * implies
 */
struct policy_telemetry {
	char key[32];
	struct reading value;
};

/**
 * struct policy_inputs - what the board feels; zeros: nothing is known
 * @plain: [enum sense]; flags 0 or 1, choices by index of their word, percent, seconds, watts,
 *	minutes of the day; performance-degraded is known here and its text is @degraded
 * @now_nsec: CLOCK_BOOTTIME: time in suspend lets dwell end
 * @resumed_nsec: end of the last suspend by the same clock, 0: none yet
 */
struct policy_inputs {
	struct reading plain[_SENSE_PLAIN_MAX];
	char degraded[32];
	struct policy_zone zones[POLICY_ZONES_MAX];
	uint32_t n_zones;
	struct policy_telemetry telemetry[POLICY_TELEMETRY_MAX];
	uint32_t n_telemetry;
	uint64_t now_nsec, resumed_nsec;
};

/**
 * struct policy_model - the model that is decided about
 * @bits_max: its widest width; @bits_by_hand: SetBits(), 0: not set
 * @hold_bits: the highest width that a client holds, 0: none
 * @profile_bits: the cap of the profile that is set, 0: none
 * @memory_bits: what fits beside the other models, 0: everything; goes before all else but is no rule's
 *	business: planes that are not there cannot be held
 * @accuracies: the card of the file, may be NULL
 */
struct policy_model {
	const char *name;
	double bits_max, bits_by_hand, hold_bits, profile_bits, memory_bits;
	enum profile profile;
	const struct accuracy *accuracies;
	uint32_t n_accuracies;
};

/** enum demand - what rules ask for beside bits */
enum demand {
	DEMAND_REFUSE,
	DEMAND_RATE,
	DEMAND_THREADS,
	DEMAND_PARK,
	DEMAND_ACTIVATION,
	DEMAND_DEVICE,
	_DEMAND_MAX,
};

/**
 * struct budget - what a model may use; replaced whole
 * @rule: enum policy_rule, or RULE_OPERATOR and more; @rule_name: the same as text
 * @threads, @park_after_sec, @rate, @activation_bits: 0: no limit
 * @limited_by: the rules that ask for these, numbered as @rule, 0: none
 * @hold_broken: a hard limit is below what a client holds
 */
struct budget {
	double bits, rate;
	uint32_t threads, park_after_sec, activation_bits;
	enum policy_device device;
	bool refuse, hold_broken;
	uint32_t rule, limited_by[_DEMAND_MAX];
	char rule_name[RULE_NAME_SIZE];
	char text[128]; /* for a person */
};

/** enum suppressed - why a switch did not happen */
enum suppressed {
	SUPPRESSED_DWELL,
	SUPPRESSED_BUDGET,
	SUPPRESSED_GRACE,
	_SUPPRESSED_MAX,
};

/**
 * struct policy_state - all that a decision leaves behind for the next; zeros: none yet
 * @budget: what holds now; @wanted: what would hold if nothing were suppressed
 * @active: bit i: rule i holds, for its hysteresis; @serial: of the rules that the bits belong to
 * @last_nsec: of any switch, 0: none; @switched_nsec: of those that rules made, a ring;
 *	@n_switches: ever
 * @suppressed: switches that were wanted and withheld, by reason
 * @wake_nsec: decide again at this time even if no input changes, 0: no need
 */
struct policy_state {
	bool decided;
	struct budget budget, wanted;
	uint64_t active, serial;
	uint64_t switched_nsec[RULE_SWITCHES_MAX];
	uint64_t last_nsec, n_switches, n_suppressed[_SUPPRESSED_MAX];
	double dwell_sec;
	double bits_max, bits_by_hand, hold_bits, profile_bits, memory_bits;
	enum profile profile;
	uint64_t wake_nsec;
};

/**
 * policy_resolve() - pure: the same arguments give the same @after. Any thread.
 * @rules: NULL: none
 * @before, @after: may be the same
 */
void policy_resolve(const struct rules *rules, const struct policy_inputs *inputs,
	const struct policy_model *model, const struct policy_state *before,
	struct policy_state *after);

/**
 * policy_rule_holds() - with the memory of whether it held before, and with what unknown stands
 * for
 */
bool policy_rule_holds(const struct rules *rules, const struct rule *rule,
	const struct policy_inputs *inputs, bool before);

/** policy_bits_for_loss() - the fewest bits of the card that lose at most @loss_max %. Return: 0: it does not say */
double policy_bits_for_loss(const struct policy_model *m, double loss_max);

/** policy_rule() - the one with a number of struct budget. Return: NULL: it is built in, or no longer there */
const struct rule *policy_rule(const struct rules *rules, uint32_t number);

/** policy_limited_by() - Return: name of the rule that asks for it, "?": it is no longer there */
const char *policy_limited_by(const struct rules *rules, const struct budget *b, enum demand demand);

/** policy_rule_name() - of a built-in rule. Return: static text, never NULL */
const char *policy_rule_name(enum policy_rule rule);

/** suppressed_name() - "dwell", "budget", "grace". Return: static text, never NULL */
const char *suppressed_name(enum suppressed reason);

/** profile_name() - "power-saver", "balanced", "performance". Return: static text, never NULL */
const char *profile_name(enum profile profile);

/** profile_parse() - Return: the profile, or -EINVAL */
int profile_parse(const char *name);
