/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A day in the life of one model: what the rules would have made of a recorded or invented
 * trace.
 */
#pragma once

#include <stdio.h>

#include "service/policy.h"
#include "service/trace.h"

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
 */
struct simulation {
	struct simulate_moment *moments;
	size_t n_moments;
	double seconds_at[8 * 8 + 1], bits_max, accuracy, accuracy_full;
	uint64_t n_switches, n_suppressed[_SUPPRESSED_MAX];
};

/**
 * simulate_run() - the whole of @trace. @rules: may be NULL. Return: 0, -EINVAL with words,
 * -ENOMEM
 */
int simulate_run(struct simulation *ret, const struct rules *rules, struct trace *trace,
	const struct policy_model *model, struct error *reterr);
void simulation_done(struct simulation *s);

/** simulation_print() - switches with their reasons, then sums */
void simulation_print(const struct simulation *s, FILE *to);

/** simulation_plot() - widths and the battery over time, as SVG */
void simulation_plot(const struct simulation *s, FILE *to);
