/* SPDX-License-Identifier: Apache-2.0 */
/* The engine runs files: what is to be measured before it is finished goes through one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "convert/export.h"

int export_network(struct network **ret, struct export *e, const char *path, struct error *reterr)
{
	_cleanup_free_ char *scratch = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (asprintf(&scratch, "%s.scratch", path) < 0)
		return -ENOMEM;
	r = export_write(e, scratch, &(struct export_words){.name = "scratch", .method = ""}, reterr);
	if (r < 0)
		return r;
	fd = open(scratch, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : network_open(ret, fd, reterr);
	(void) unlink(scratch);
	return r;
}
