/* SPDX-License-Identifier: Apache-2.0 */
/* A doubly linked list whose links are members of the objects: no allocation, removal in O(1). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *previous; /* an empty list and an unlinked member point to themselves */
};

#define LIST_INIT(l) {&(l), &(l)}
#define list_entry(p, type, member) ((type *) ((char *) (p) - offsetof(type, member)))
#define list_for_each(p, head)                                                                      \
	for (struct list *p = (head)->next; p != (head); p = p->next)
#define list_for_each_safe(p, n, head)                                                             \
	for (struct list *p = (head)->next, *n = p->next; p != (head); p = n, n = n->next)

static inline void list_init(struct list *l)
{
	l->next = l->previous = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_append(struct list *l, struct list *member)
{
	member->previous = l->previous;
	member->next = l;
	l->previous->next = member;
	l->previous = member;
}

static inline void list_remove(struct list *member)
{
	member->previous->next = member->next;
	member->next->previous = member->previous;
	list_init(member);
}
