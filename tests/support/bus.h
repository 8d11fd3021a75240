/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private message bus and bitshedd on it. Both are children that die with the test program,
 * however it ends. Programs that use it list test_bus_sources and define TEST_BITSHEDD (see
 * tests/service/meson.build).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

/**
 * test_bus_address() - address of the private bus, started by the first call
 *
 * Also sets DBUS_SESSION_BUS_ADDRESS and DBUS_SYSTEM_BUS_ADDRESS, so that client libraries end up
 * there.
 * Leaves the program as skipped when the machine has no dbus-daemon, as failed when it does not
 * start.
 */
const char *test_bus_address(void);

/** test_bus_open() - a connection of its own, never NULL */
sd_bus *test_bus_open(void);

/**
 * test_daemon_start() - bitshedd on the private bus, waits until it owns its name
 * @args: more arguments, NULL-terminated; may be NULL. Without "--config" no configuration is read.
 *
 * Return: its pid; a daemon that does not come up ends the program as failed.
 */
pid_t test_daemon_start(const char *const *args);

/**
 * test_daemon_start_with() - a daemon that read @text at its start
 * @option: "--policy" or "--config"
 */
pid_t test_daemon_start_with(const char *option, const char *text);

/** test_daemon_is_up() - has anybody the daemon's name on @bus? */
bool test_daemon_is_up(sd_bus *bus);

/** test_daemon_stop() - SIGTERM and wait. Return: as waitpid()'s status */
int test_daemon_stop(pid_t pid);

/** test_plane_bytes() - resident bytes of the daemon's plane memfds, as /proc/PID/smaps has them */
uint64_t test_plane_bytes(pid_t pid);
