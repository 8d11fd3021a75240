/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder of pictures. Classes are its folders in byte order of their names, so a label is stable.
 */
#include "convert/dataset_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define FOLDER_FILES_MAX (1 << 24)

struct names {
	char **names;
	size_t n, allocated;
};

static void names_done(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->names[i]);
	free(l->names);
}

static int names_add(struct names *l, const char *name)
{
	if (l->n == FOLDER_FILES_MAX)
		return -E2BIG;
	if (l->n == l->allocated) {
		size_t allocated = l->allocated ? 2 * l->allocated : 64;
		char **p = realloc(l->names, allocated * sizeof *p);

		if (!p)
			return -ENOMEM;
		l->names = p;
		l->allocated = allocated;
	}
	l->names[l->n] = strdup(name);
	return l->names[l->n++] ? 0 : -ENOMEM;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static void close_dirp(DIR **d)
{
	if (*d)
		(void) closedir(*d);
}

static bool is_picture(const char *name)
{
	static const char *const ends[] = {".jpg", ".jpeg", ".png"};
	size_t length = strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		size_t n = strlen(ends[i]);

		if (length > n && strcasecmp(name + length - n, ends[i]) == 0)
			return true;
	}
	return false;
}

/* The sorted paths of all sub-folders, or of all pictures, right in @path; hidden ones are left
 * out. */
static int list_folder(struct names *l, const char *path, bool folders, struct error *reterr)
{
	_cleanup_(close_dirp) DIR *dir = opendir(path);
	size_t first = l->n;
	struct dirent *e;

	if (!dir) {
		int r = -errno;

		return error_set(reterr, r, "folder of pictures: %s", strerrordesc_np(-r));
	}
	while ((e = readdir(dir))) {
		_cleanup_free_ char *child = NULL;
		struct stat st;
		int r;

		if (e->d_name[0] == '.' || (!folders && !is_picture(e->d_name)))
			continue;
		if (asprintf(&child, "%s/%s", path, e->d_name) < 0)
			return -ENOMEM;
		if (stat(child, &st) < 0 || (folders ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode)))
			continue;
		r = names_add(l, child);
		if (r < 0)
			return error_set(reterr, r, "too many files in a folder");
	}
	if (l->n > first)
		qsort(l->names + first, l->n - first, sizeof *l->names, compare_names);
	return 0;
}

static int label_class(struct dataset *d, size_t first, size_t end, size_t label)
{
	int32_t *labels = realloc(d->labels, (end ? end : 1) * sizeof *labels);

	if (!labels)
		return -ENOMEM;
	d->labels = labels;
	for (size_t i = first; i < end; i++)
		labels[i] = (int32_t) label;
	return 0;
}

int dataset_read_folder(struct dataset *d, const char *path, struct error *reterr)
{
	_cleanup_(names_done) struct names classes = {0}, files = {0};
	int r;

	r = list_folder(&classes, path, true, reterr);
	if (r < 0)
		return r;
	for (size_t i = 0; i < classes.n; i++) {
		size_t first = files.n;

		r = list_folder(&files, classes.names[i], false, reterr);
		if (r < 0)
			return r;
		r = label_class(d, first, files.n, i);
		if (r < 0)
			return r;
	}
	if (classes.n == 0) {
		r = list_folder(&files, path, false, reterr);
		if (r < 0)
			return r;
	}
	if (files.n == 0)
		return error_set(reterr, -ENODATA, "the folder has no JPEG or PNG files");
	d->count = (uint32_t) files.n;
	d->paths = take_ptr(files.names);
	files.n = 0;
	d->pixels = true;
	d->height = d->width = 224;
	d->channels = 3;
	return 0;
}
