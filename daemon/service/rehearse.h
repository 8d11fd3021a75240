/* SPDX-License-Identifier: Apache-2.0 */
/* bitshedd --check-policy and --simulate: rules without a daemon. */
#pragma once

#include "base/error.h"
#include "service/config.h"

/**
 * struct rehearse_options - @trace: a CSV file; @policy_file: NULL for the installed rules
 * @model: NULL, or the model whose card and widths count; @plot: NULL, or where the SVG goes
 */
struct rehearse_options {
	const char *trace, *policy_file, *plot;
	const struct config_model *model;
};

/** rehearse() - print what rules make of a trace. Return: 0, or a negative errno with words */
int rehearse(const struct rehearse_options *options, struct error *reterr);

/**
 * rehearse_check() - read rules, say how many there are. Return: 0, or a negative errno with
 * words
 */
int rehearse_check(const char *const *files, uint32_t n_files, struct error *reterr);
