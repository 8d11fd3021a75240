/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joules of an inference. Where the board has a meter, or a battery that says what it gives, what it reads while one
 * model keeps the processor busy, above what it reads while nothing runs, is divided among the inferences. Widths
 * that nobody has measured are modelled (engine/cost.h), corrected by those that somebody has. Thread: loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model.h"
#include "service/policy.h"
#include "service/widths.h"

/** struct energy - of a model, on one device; @joules: measured, [bits rounded to eighths], 0: not yet */
struct energy {
	double joules[WIDTHS];
};

/**
 * struct energy_meter - of all models together, one window after the other
 * @last_nsec: end of the last inference
 * @busy_nsec: spent computing in this window; @owner_busy_nsec, @n: of @owner at @width
 * @idle_watts: what the board draws without us
 */
struct energy_meter {
	uint64_t since_nsec, last_nsec, busy_nsec, owner_busy_nsec, n;
	struct energy *owner;
	uint32_t width;
	double idle_watts;
	bool idle_known;
};

/** energy_due() - is the next energy_note() one that looks at what the board draws? */
bool energy_due(const struct energy_meter *m, uint64_t run_nsec, uint64_t now_nsec);

/**
 * energy_note() - an inference has run
 * @watts: what the board draws now, if energy_due()
 */
void energy_note(struct energy_meter *m, struct energy *e, double bits, uint64_t run_nsec, uint64_t now_nsec,
	struct reading watts);

/** energy_measured() - Return: joules of one inference at @bits; 0: not measured */
double energy_measured(const struct energy *e, double bits);

/** energy_forget() - the model goes */
void energy_forget(struct energy_meter *m, const struct energy *e);

/** energy_joules() - of one inference at @bits. Return: joules, 0 when nobody knows */
double energy_joules(const struct energy *e, const struct network *n, double bits, bool *ret_measured);
