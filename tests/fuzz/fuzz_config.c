/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration file: a clean load or words for the operator, nothing else. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/config_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(config_unrefp) struct config *c = NULL;
	struct error e = {};
	int r;

	if (size > CONFIG_FILE_BYTES_MAX || config_new(&c) < 0)
		return 0;
	r = config_read_text(c, "fuzz.yaml", (const char *) data, size, &e);
	if (r < 0 && strncmp(e.text, "fuzz.yaml:", 10) != 0)
		abort();
	if (r == 0 && (c->models_max < 1 || c->models_max > 256))
		abort();
	return 0;
}
