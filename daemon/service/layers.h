/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of settings come in layers: those of the package, of this boot, of the administrator. Of files with
 * one name the last layer's is taken, so that a link to /dev/null there switches one off.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

/** layers_default - the folders, the weakest first, ends with NULL */
extern const char *const layers_default[];

/**
 * layers_list() - the "*.yaml" of all layers, in the order of their names
 * @folders: the weakest first, ends with NULL; ones that do not exist are empty
 * @below: appended to each, "/policies"
 * @ret: paths, ends with NULL; for layers_free()
 *
 * Return: how many; -E2BIG, -ENOMEM or an errno of reading, with words. Any thread.
 */
int layers_list(char ***ret, const char *const *folders, const char *below, struct error *reterr);

/** layers_find() - the strongest layer's @name. Return: a path for free(), NULL: nobody has it, or no memory */
char *layers_find(const char *const *folders, const char *name);

char **layers_free(char **paths);
DEFINE_CLEANUP(char **, layers_free)
