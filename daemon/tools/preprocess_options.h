/* SPDX-License-Identifier: Apache-2.0 */
/* --scale, --mean, --std, --color: how pixels become numbers, the same for import and train. */
#pragma once

#include "convert/dataset.h"

/** preprocess_option() - @name: of the option, without dashes. Return: false, when @text is no value for it */
bool preprocess_option(struct preprocess *p, const char *name, const char *text);

/** preprocess_options_done() - after the last option: means and deviations into the picture's order */
void preprocess_options_done(struct preprocess *p);
