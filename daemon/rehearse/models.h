/* SPDX-License-Identifier: Apache-2.0 */
/* The models of the command line: what a simulation knows of them. */
#pragma once

#include "rehearse/tool.h"

/** struct models - @all: [@n], @networks: [@n], NULL for the stand-in */
struct models {
	struct simulate_model all[MODELS_MAX];
	struct network *networks[MODELS_MAX];
	char names[MODELS_MAX][64];
	uint32_t n;
};

/** models_add() - "NAME=FILE" or "FILE". Return: 0 or negative errno with words */
int models_add(struct models *m, const char *argument, struct error *reterr);

/** models_stand_in() - a model of four bits of which nothing else is known */
void models_stand_in(struct models *m, const char *name, double bits_max);

/** models_parse_rate() - inferences per second. Return: 0, -EINVAL */
int models_parse_rate(double *ret, const char *text);

/** models_rate() - of inferences per second, for all */
void models_rate(struct models *m, double rate);

void models_done(struct models *m);
