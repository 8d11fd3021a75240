/* SPDX-License-Identifier: Apache-2.0 */
#include "base/control_group.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool names(char *controllers, const char *controller)
{
	char *save = NULL;

	for (char *s = strtok_r(controllers, ",", &save); s; s = strtok_r(NULL, ",", &save))
		if (strcmp(s, controller) == 0)
			return true;
	return false;
}

static void visit_up(const char *mount, char *group, control_group_fn *fn, void *userdata)
{
	char folder[2 * PATH_MAX], *slash;

	for (;;) {
		(void) snprintf(folder, sizeof folder, "%s%s", mount, group);
		fn(userdata, folder);
		slash = strrchr(group, '/');
		if (!slash)
			return;
		*slash = '\0';
	}
}

/* "4:cpu,cpuacct:/group" of version 1, "0::/group" of version 2 */
static void visit_line(
	const char *root, char *line, const char *controller, control_group_fn *fn, void *userdata)
{
	char *controllers = strchr(line, ':'), *group, mount[PATH_MAX];

	group = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!group)
		return;
	*group++ = '\0';
	controllers++;
	if (!*controllers)
		(void) snprintf(mount, sizeof mount, "%s/sys/fs/cgroup", root);
	else if (names(controllers, controller))
		(void) snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/%s", root, controller);
	else
		return;
	visit_up(mount, group, fn, userdata);
}

void control_group_visit(
	const char *root, const char *controller, control_group_fn *fn, void *userdata)
{
	char line[PATH_MAX];
	FILE *f;

	(void) snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
	f = fopen(line, "re");
	if (!f)
		return;
	while (fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = '\0';
		visit_line(root, line, controller, fn, userdata);
	}
	(void) fclose(f);
}
