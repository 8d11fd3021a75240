/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything an operator may set. Immutable after loading, counted, replaced whole on reload: a broken
 * file never becomes half a configuration.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum profile {
	PROFILE_POWER_SAVER,
	PROFILE_BALANCED,
	PROFILE_PERFORMANCE,
	_PROFILE_MAX,
};

/** struct config_model - a model to load when the daemon starts; both strings are owned */
struct config_model {
	char *name, *path;
};

/**
 * struct config - all settings
 * @models_max: models in the catalog, of all users
 * @bytes_per_user_max: session memory and planes that one uid has asked for
 * @model_file_bytes_max: largest file that LoadModel() takes
 * @planes_bytes_max: planes of all models in memory; 0: what the system's limits leave
 * @bus_input_bytes_max: largest input of Infer(); bigger ones need a session
 * @threads: of the CPU device; 0: as many as there are CPUs
 * @queue_length_max: waiting requests of one device, beyond it BUSY
 * @opencl_check_every: one answer of the device in so many is computed by the processor too; 0: none
 * @opencl_devices_max: of the machine's devices at most so many are used
 * @opencl_build_timeout_ms: for each kernel or network; @opencl_run_timeout_ms: for each request
 * @deadline_default_ms: for requests that name none; 0: none
 * @inline_run_usec_max: requests expected to take less run on the loop thread when the device is idle
 * @reencode_after_ms: how long a model is low before better planes are computed; 0: never
 * @profile_bits: [enum profile], widest width under that profile; 0: all planes
 */
struct config {
	atomic_uint refs;
	uint32_t models_max, sessions_per_user_max, slots_per_session_max;
	uint64_t bytes_per_user_max, model_file_bytes_max, bus_input_bytes_max, planes_bytes_max;
	uint32_t threads, queue_length_max, deadline_default_ms, inline_run_usec_max;
	uint32_t reencode_after_ms;
	uint32_t opencl_devices_max, opencl_check_every, opencl_build_timeout_ms, opencl_run_timeout_ms;
	double profile_bits[_PROFILE_MAX];
	struct config_model *models;
	uint32_t n_models;
};

/** config_new() - the built-in defaults. Return: 0 or -ENOMEM */
int config_new(struct config **ret);

/**
 * config_load() - the defaults, then a file, then drop-ins over it by their names
 * @ret: counted, the caller gets one reference; on failure untouched
 * @folders: layers, see layers.h: "bitshed.yaml" of the strongest that has one, "bitshed.yaml.d" of all
 * @file: read instead, and the drop-ins of "@file.d"; or NULL. Nothing has to exist.
 *
 * Return: 0; -EINVAL with "file:line:column: what was expected", the line and a caret; or an errno of
 * reading. Any thread.
 */
int config_load(struct config **ret, const char *const *folders, const char *file, struct error *reterr);

struct config *config_ref(struct config *c);
struct config *config_unref(struct config *c);
DEFINE_CLEANUP(struct config *, config_unref)
