/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership that the compiler undoes.
 *
 * A local that owns something carries _cleanup_(); take_ptr() and take_fd() mark each place where
 * ownership leaves the function. Destructors accept NULL and half-built objects and return NULL.
 */
#pragma once

#include <stdlib.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Declares f##p() for _cleanup_(): calls @f on the pointer unless it is NULL. */
#define DEFINE_CLEANUP(type, f)                                                                    \
	static inline void f##p(type *p)                                                           \
	{                                                                                          \
		if (*p)                                                                            \
			f(*p);                                                                     \
	}

#define take_ptr(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *_p = &(p);                                                          \
		__typeof__(p) _v = *_p;                                                            \
		*_p = NULL;                                                                        \
		_v;                                                                                \
	})

static inline void freep(void *p)
{
	free(*(void **) p);
}

#define _cleanup_free_ _cleanup_(freep)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))
