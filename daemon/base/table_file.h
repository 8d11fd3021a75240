/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of text that took time to measure, in a file that is as its writer left it, or is not believed:
 *
 *	HEAD			some lines: what the rows are of
 *	...			the rows, a line each
 *	sha256 HEX		of all above
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/**
 * table_file_read() - the rows of @name in @folder
 * @folder: what @name starts from, AT_FDCWD too
 * @head: what the file must begin with, whole lines
 * @age_max_sec: what was written longer ago is not there; 0: of any age
 * @row: of each line, in order, as a string of its own; false: it is no row
 *
 * Return: 0; -ENOENT; -EBADMSG with words, then @row may have had some lines; another negative errno. Any thread.
 */
int table_file_read(int folder, const char *name, const char *head, uint32_t age_max_sec,
	bool (*row)(void *userdata, char *line), void *userdata, struct error *reterr);

/**
 * table_file_write() - @head and @rows, whole lines, in place of what @name was: whole or not at all
 * @mode: whatever the process' umask
 *
 * Return: 0 or negative errno. Any thread.
 */
int table_file_write(int folder, const char *name, const char *head, const char *rows, mode_t mode);
