/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/tune_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "engine/tune.h"

/* Return: 0, or -ENOENT where nothing says whose cache it is */
static int cache_path(const char *folder, char ret[PATH_MAX])
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (folder)
		(void) snprintf(ret, PATH_MAX, "%s", folder);
	else if (cache && cache[0] == '/')
		(void) snprintf(ret, PATH_MAX, "%s/bitshed", cache);
	else if (home && home[0] == '/')
		(void) snprintf(ret, PATH_MAX, "%s/.cache/bitshed", home);
	else
		return -ENOENT;
	return 0;
}

static int make_folders(char *path)
{
	for (char *p = path + 1;; *p++ = '/') {
		p = strchr(p, '/');
		if (p)
			*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		if (!p)
			return 0;
	}
}

int tune_cache_open(const char *folder, bool make, struct error *reterr)
{
	char path[PATH_MAX];
	int r = cache_path(folder, path), fd;

	if (r < 0)
		return error_set(reterr, r, "neither HOME nor XDG_CACHE_HOME is set: give --cache");
	if (make && path[0])
		r = make_folders(path);
	if (r < 0)
		return error_prefix(reterr, r, "%s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_prefix(reterr, -errno, "%s", path) : fd;
}

void tune_cache_use(const char *folder)
{
	struct error error = {};
	_cleanup_close_ int fd = tune_cache_open(folder, false, &error);
	struct tune *t = NULL;
	int r = fd < 0 ? fd : tune_read(&t, fd, &error);

	if (r < 0 && (r != -ENOENT || (folder && fd < 0)))
		fprintf(stderr, "bitshed-model: measured times of kernels ignored: %s\n",
			error_text(&error, r));
	tune_use(t);
}
