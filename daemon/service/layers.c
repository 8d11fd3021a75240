/* SPDX-License-Identifier: Apache-2.0 */
#include "service/layers.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES_MAX 256

const char *const layers_default[] = {BITSHED_LIB_DIR, "/run/bitshed", "/etc/bitshed", NULL};

char **layers_free(char **paths)
{
	for (char **p = paths; p && *p; p++)
		free(*p);
	free(paths);
	return NULL;
}

static const char *name_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

/* By bytes, not by locale: the same files must win on every machine. */
static int compare_names(const void *a, const void *b)
{
	return strcmp(name_of(*(char *const *) a), name_of(*(char *const *) b));
}

static int add_file(char **paths, int n, const char *folder, const char *below, const char *name)
{
	char *path;
	int i = 0;

	while (i < n && strcmp(name_of(paths[i]), name) != 0)
		i++;
	if (i == FILES_MAX)
		return -E2BIG;
	if (asprintf(&path, "%s%s/%s", folder, below, name) < 0)
		return -ENOMEM;
	free(paths[i]);
	paths[i] = path;
	return i < n ? n : n + 1;
}

static int add_folder(char **paths, int n, const char *folder, const char *below)
{
	_cleanup_free_ char *path = NULL;
	struct dirent *entry;
	DIR *d;

	if (asprintf(&path, "%s%s", folder, below) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? n : -errno;
	while (n >= 0 && (entry = readdir(d))) {
		const char *dot = strrchr(entry->d_name, '.');

		if (entry->d_name[0] != '.' && dot && strcmp(dot, ".yaml") == 0)
			n = add_file(paths, n, folder, below, entry->d_name);
	}
	(void) closedir(d);
	return n;
}

int layers_list(char ***ret, const char *const *folders, const char *below, struct error *reterr)
{
	_cleanup_(layers_freep) char **paths = calloc(FILES_MAX + 1, sizeof *paths);
	int n = paths ? 0 : -ENOMEM;

	for (const char *const *folder = folders; n >= 0 && *folder; folder++) {
		n = add_folder(paths, n, *folder, below);
		if (n == -E2BIG)
			(void) error_set(reterr, n, "%.100s%s: expected at most %d files", *folder, below,
				FILES_MAX);
		else if (n < 0)
			(void) error_set(reterr, n, "%.100s%s: %s", *folder, below, strerrordesc_np(-n));
	}
	if (n < 0)
		return n;
	qsort(paths, (size_t) n, sizeof *paths, compare_names);
	*ret = take_ptr(paths);
	return n;
}

char *layers_find(const char *const *folders, const char *name)
{
	char *found = NULL, *path;

	for (; *folders; folders++) {
		if (asprintf(&path, "%s/%s", *folders, name) < 0)
			continue;
		if (access(path, F_OK) == 0) {
			free(found);
			found = path;
		} else {
			free(path);
		}
	}
	return found;
}
