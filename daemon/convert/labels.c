/* SPDX-License-Identifier: Apache-2.0 */
/* Names of classes: a text file with one a line. */
#include "convert/labels.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define LABELS_MAX 100000

static void close_filep(FILE **f)
{
	if (*f)
		(void) fclose(*f);
}

void labels_done(struct labels *l)
{
	for (uint32_t i = 0; i < l->n; i++)
		free(l->names[i]);
	free(l->names);
	*l = (struct labels){};
}

static int append(struct labels *l, const char *line)
{
	char **names = reallocarray(l->names, l->n + 1, sizeof *names);

	if (!names)
		return -ENOMEM;
	l->names = names;
	names[l->n] = strdup(line);
	if (!names[l->n])
		return -ENOMEM;
	l->n++;
	return 0;
}

int labels_read(struct labels *ret, const char *path, struct error *reterr)
{
	_cleanup_(labels_done) struct labels l = {};
	_cleanup_(close_filep) FILE *f = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	int r = 0;

	if (!f)
		return error_set(reterr, -errno, "%s: %s", path, strerror(errno));
	while (r >= 0 && getline(&line, &room, f) >= 0) {
		line[strcspn(line, "\r\n")] = 0;
		if (l.n >= LABELS_MAX)
			return error_set(reterr, -EINVAL, "%s: more than %d labels", path, LABELS_MAX);
		r = append(&l, line);
	}
	if (r >= 0 && l.n == 0)
		r = error_set(reterr, -EINVAL, "%s: no labels in it", path);
	if (r < 0)
		return r;
	*ret = l;
	l = (struct labels){};
	return 0;
}
