/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Switches out of a journal, as "journalctl -o export" and "-o json" write them; which of the two it is shows the
 * first character. Entries of other kinds are passed over.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

/** struct journal_entry - one switch, see service/journal.h; @usec: CLOCK_REALTIME */
struct journal_entry {
	uint64_t usec;
	char message_id[33], model[64], rule[32], reason[128], inputs[8192];
	double bits, bits_was;
};

/** struct journal_reader - zeros and @file, @name; journal_done() after the last */
struct journal_reader {
	FILE *file;
	const char *name;
	char *line;
	size_t line_size;
	unsigned int n_lines;
};

/** journal_next() - the next switch. Return: 1, 0 at the end, -EBADMSG with words, -EIO, -ENOMEM */
int journal_next(struct journal_reader *r, struct journal_entry *ret, struct error *reterr);
void journal_done(struct journal_reader *r);
