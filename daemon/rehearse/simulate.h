/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A day in the life of one model: what the rules would have made of a recorded or invented
 * trace, or what the journal says that they made of it.
 */
#pragma once

#include <stdio.h>

#include "service/policy.h"
#include "service/trace.h"

#define SIMULATE_WIDTHS (8 * 8 + 1)

/**
 * struct simulate_model - what a simulation knows of a model
 * @joules: [bits rounded to eighths], of one inference; 0: not known
 * @rate: inferences per second
 */
struct simulate_model {
	struct policy_model policy;
	double joules[SIMULATE_WIDTHS], rate;
};

/** struct simulate_moment - @percent: of the battery, NAN when unknown */
struct simulate_moment {
	double second, bits, wanted_bits, percent;
	bool switched;
	char rule[RULE_NAME_SIZE], text[128];
};

/**
 * struct simulation - what came out
 * @seconds_at: [bits rounded to eighths]
 * @accuracy: mean over time by the card, NAN without one; @accuracy_full: at all bits
 * @joules: of all inferences, NAN when not known; @joules_full: at all bits
 * @replayed: @moments are of a journal: wanted_bits is what rules say now, NAN when they cannot
 */
struct simulation {
	struct simulate_moment *moments;
	size_t n_moments;
	double seconds_at[SIMULATE_WIDTHS], bits_max, accuracy, accuracy_full, joules, joules_full;
	uint64_t n_switches, n_suppressed[_SUPPRESSED_MAX];
	bool replayed;
};

/** simulation_add() - a moment; the width of the last one has lasted until then. Return: 0, -ENOMEM */
int simulation_add(struct simulation *s, const struct simulate_model *model,
	const struct simulate_moment *moment);

/** simulation_finish() - sums, after the last moment */
void simulation_finish(struct simulation *s, const struct simulate_model *model);

/**
 * simulate_run() - the whole of @trace. @rules: may be NULL. Return: 0, -EINVAL with words,
 * -ENOMEM
 */
int simulate_run(struct simulation *ret, const struct rules *rules, struct trace *trace,
	const struct simulate_model *model, struct error *reterr);
void simulation_done(struct simulation *s);

/** simulation_print() - switches with their reasons, then sums */
void simulation_print(const struct simulation *s, FILE *to);

/** simulation_print_json() - the same as one object */
void simulation_print_json(const struct simulation *s, const char *model, FILE *to);

/** simulation_plot() - widths and the battery over time, as SVG */
void simulation_plot(const struct simulation *s, FILE *to);
