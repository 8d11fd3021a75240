/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed policy: a program of its own, beside which this one stays small. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

int policy_exec(char **argv)
{
	const char *folder = getenv("BITSHED_LIBEXEC");
	char path[4096];

	(void) snprintf(path, sizeof path, "%s/bitshed-policy", folder ? folder : BITSHED_LIBEXEC_DIR);
	(void) execv(path, argv);
	(void) fprintf(stderr, "bitshed: %s: %s\n", path, strerror(errno));
	return EXIT_CODE_FAILED;
}

/* Its options are not ours, so nothing of ours may stand before it. */
int cmd_policy(struct command *c)
{
	(void) fprintf(stderr, "bitshed: options of policy go behind it: bitshed policy VERB OPTION...\n");
	return EXIT_CODE_USAGE;
}
