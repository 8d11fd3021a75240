/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root, the daemon's own user and the group of operators may; nobody has to be asked, so every answer is
 * there at once. The caller's groups are those of its user and not those of its process: /proc is
 * hidden from the daemon, and a number of a process may be another's by now.
 */
#include "service/authority.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "service/bus.h"

#define GROUP "bitshed"
#define GROUPS_MAX 1024
#define NAMES_BYTES 16384

static const char *const words[_AUTHORITY_ACTION_MAX] = {
	[AUTHORITY_LOAD] = "load models",
	[AUTHORITY_UNLOAD] = "unload models",
	[AUTHORITY_SET_BITS] = "set the width of models",
	[AUTHORITY_SET_PROFILE] = "set the profile",
	[AUTHORITY_HOLD] = "hold the precision of models",
	[AUTHORITY_REPORT] = "report telemetry",
};

static bool is_in_group(uid_t uid, const char *name)
{
	char buffer[NAMES_BYTES];
	gid_t groups[GROUPS_MAX], wanted;
	struct passwd user, *u = NULL;
	struct group group, *g = NULL;
	int n = GROUPS_MAX;

	if (getgrnam_r(name, &group, buffer, sizeof buffer, &g) != 0 || !g)
		return false;
	wanted = g->gr_gid;
	if (getpwuid_r(uid, &user, buffer, sizeof buffer, &u) != 0 || !u)
		return false;
	if (getgrouplist(u->pw_name, u->pw_gid, groups, &n) < 0)
		return false;
	for (int i = 0; i < n; i++)
		if (groups[i] == wanted)
			return true;
	return false;
}

int authority_check(struct manager *m, sd_bus_message *call, enum authority_action action,
	sd_bus_message_handler_t method, void *userdata, struct error *reterr)
{
	uid_t uid;
	int r;

	r = bus_sender_uid(call, &uid, reterr);
	if (r < 0)
		return r;
	if (uid == 0 || uid == geteuid() || is_in_group(uid, GROUP))
		return 1;
	return error_set(reterr, -EACCES, "user %u may not %s: root and the group %s may",
		(unsigned int) uid, words[action], GROUP);
}
