/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of config.c, apart so that tests and the fuzzer reach them; nobody else includes this. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "service/config.h"

#define CONFIG_FILE_BYTES_MAX (256 * 1024)
#define CONFIG_MODELS_MAX 256

enum config_type {
	CONFIG_COUNT, /* uint32_t */
	CONFIG_SIZE,  /* uint64_t, bytes; written with a unit */
	CONFIG_MSEC,  /* uint32_t; written with a unit */
	CONFIG_USEC,  /* uint32_t; written with a unit */
	CONFIG_BITS,  /* double */
	_CONFIG_TYPE_MAX,
};

/**
 * struct config_key - one setting
 * @word: what stands for 0 in the file ("auto"), or NULL; @min and @max bound any other value
 */
struct config_key {
	const char *section, *name;
	enum config_type type;
	size_t offset;
	uint64_t min, max;
	const char *word;
};

extern const struct config_key config_keys[];
extern const size_t n_config_keys;

/**
 * config_value() - read one value into @c
 *
 * Return: 0, or -EINVAL with "expected ..." in @reterr and @c untouched.
 */
int config_value(struct config *c, const struct config_key *key, const char *text,
	struct error *reterr);

/** config_decimal() - digits with an optional fraction; @ret_end: what follows. Return: 0, -EINVAL */
int config_decimal(double *ret, const char *s, const char **ret_end);

/**
 * config_read_file() - a whole regular file, or nothing of /dev/null
 * @ret: owned by the caller, not terminated
 *
 * Return: 0; -EINVAL, -EFBIG, -ENOMEM or an errno of reading, with words.
 */
int config_read_file(char **ret, size_t *ret_size, const char *path, struct error *reterr);

/** config_set_model() - add, or replace by name; a @path of "none" removes. Return: 0, -ENOMEM or -E2BIG */
int config_set_model(struct config *c, const char *name, const char *path);

/**
 * config_read_text() - lay one YAML text over @c
 * @name: for messages
 * @text: need not be terminated
 *
 * Return: 0, -ENOMEM, or -EINVAL with "name:line:column: what", the line and a caret; @c may then hold a
 * part of the text and must not be used.
 */
int config_read_text(struct config *c, const char *name, const char *text, size_t size,
	struct error *reterr);
