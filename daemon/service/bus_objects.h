/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon shows on the bus, one bus_*.c per interface; the contract is
 * config/org.bitshed.*.xml.
 * Everything that changes is announced once per object and change. Thread: loop.
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-bus.h>

struct entry;
struct manager;
struct session;

/**
 * bus_manager_add() - the manager and the ObjectManager, before the name is taken. Return: 0 or
 * errno
 */
int bus_manager_add(struct manager *m);

/** bus_manager_changed() - @property of the manager has another value */
void bus_manager_changed(struct manager *m, const char *property);

/**
 * bus_manager_forget_calls() - answer all waiting Infer() calls with an error; the queue is gone
 */
void bus_manager_forget_calls(struct manager *m);

/** bus_gate_add() - from now on calls need permission, see authority.h. Return: 0 or errno */
int bus_gate_add(struct manager *m);

/** bus_model_add() - make the object, e->path, e->object. Return: 0 or errno */
int bus_model_add(struct entry *e);
void bus_model_added(struct entry *e);
void bus_model_removed(struct entry *e);

/** bus_model_progress() and so on - tell what has happened to the model */
void bus_model_progress(struct entry *e);
void bus_model_loaded(struct entry *e);
void bus_model_failed(struct entry *e);
void bus_model_parked(struct entry *e);
void bus_model_switched(struct entry *e);
void bus_model_reencoded(struct entry *e);

/** bus_session_add() - make the object s->path and announce it. Return: 0 or errno */
int bus_session_add(struct session *s);
void bus_session_removed(struct session *s);

#define BUS_DEVICE_PATH_BYTES 64

/** bus_device_add() - the processor, and the first of OpenCL where there are workers. Return: 0 or errno */
int bus_device_add(struct manager *m);
void bus_device_changed(struct manager *m);
void bus_device_worker_added(struct manager *m, uint32_t index);
void bus_device_worker_changed(struct manager *m, uint32_t index);

/** bus_device_path() - of an OpenCL device. Return: @buffer */
const char *bus_device_path(uint32_t index, char buffer[BUS_DEVICE_PATH_BYTES]);
#define BUS_DEVICE_CPU_PATH "/org/bitshed/device/cpu"
#define BUS_DEVICE_PATH "/org/bitshed/device/"
