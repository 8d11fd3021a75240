/* SPDX-License-Identifier: Apache-2.0 */
#include "service/limits.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct user {
	struct list link;
	uid_t uid;
	uint64_t used[_LIMIT_MAX];
};

static const char *const kind_names[_LIMIT_MAX] = {
	[LIMIT_SESSIONS] = "sessions",
	[LIMIT_BYTES] = "bytes",
};

void limits_init(struct limits *l)
{
	list_init(&l->users);
}

void limits_done(struct limits *l)
{
	list_for_each_safe (p, n, &l->users)
		free(list_entry(p, struct user, link));
	list_init(&l->users);
}

static struct user *find_user(const struct limits *l, uid_t uid)
{
	list_for_each (p, &l->users) {
		struct user *u = list_entry(p, struct user, link);

		if (u->uid == uid)
			return u;
	}
	return NULL;
}

static void drop_if_unused(struct user *u)
{
	for (int i = 0; i < _LIMIT_MAX; i++)
		if (u->used[i])
			return;
	list_remove(&u->link);
	free(u);
}

uint64_t limits_used(const struct limits *l, uid_t uid, enum limit kind)
{
	const struct user *u = find_user(l, uid);

	return u ? u->used[kind] : 0;
}

int limits_charge(struct limits *l, uid_t uid, enum limit kind, uint64_t amount, uint64_t max,
	struct error *reterr)
{
	struct user *u = find_user(l, uid);
	uint64_t used = u ? u->used[kind] : 0;

	if (amount > max || used > max - amount)
		return error_set(reterr, -EDQUOT,
			"user %u has %" PRIu64 " %s and asks for %" PRIu64 " more, %" PRIu64
			" are allowed",
			(unsigned int) uid, used, kind_names[kind], amount, max);
	if (!u) {
		u = calloc(1, sizeof *u);
		if (!u)
			return -ENOMEM;
		u->uid = uid;
		list_append(&l->users, &u->link);
	}
	u->used[kind] += amount;
	drop_if_unused(u);
	return 0;
}

void limits_release(struct limits *l, uid_t uid, enum limit kind, uint64_t amount)
{
	struct user *u = find_user(l, uid);

	if (amount == 0)
		return;
	assert(u && u->used[kind] >= amount);
	u->used[kind] -= amount;
	drop_if_unused(u);
}
