/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service manager does for a daemon that keeps its memory over a restart: takes descriptors from
 * $NOTIFY_SOCKET and hands them to the next process. The daemon dies with the test program.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** restart_init() - listen, by a thread of its own; once per program */
void restart_init(void);

/**
 * restart_start() - bitshedd on the private bus with all that is stored; waits until it owns its name
 * @args: as for test_daemon_start()
 * @ret_started_nsec: may be NULL; CLOCK_MONOTONIC before the process was made
 */
pid_t restart_start(const char *const *args, uint64_t *ret_started_nsec);

/**
 * restart_trace() - from now on daemons run under strace, which writes the files that they open to @path; NULL: no more
 *
 * Return: false when there is no strace, or it may not trace.
 */
bool restart_trace(const char *path);

/** restart_stop() - with @signal, and wait. Return: as waitpid()'s status */
int restart_stop(pid_t pid, int signal);

/** restart_stored() - how many descriptors have that name; NULL: any */
size_t restart_stored(const char *name);

/** restart_wait() - until so many have that name. Return: false when that does not come true */
bool restart_wait(const char *name, size_t count);

/** restart_put() - into the store as if the daemon had sent it; @fd is duplicated */
void restart_put(const char *name, int fd);

/** restart_swap() - each gets the descriptor of the other */
void restart_swap(const char *a, const char *b);

/** restart_drop() - all of that name */
void restart_drop(const char *name);
