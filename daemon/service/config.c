/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: which settings there are, where they are read from, who holds them.
 *
 * A new setting is one row of config_keys[], one default in config_new(), one line in
 * config/bitshed.yaml and one entry in config/bitshed.schema.json; tests compare the four.
 */
#include "service/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "service/config_read.h"
#include "service/layers.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define AT(member) offsetof(struct config, member)

/* clang-format off */
const struct config_key config_keys[] = {
	{"limits",   "models",            CONFIG_COUNT, AT(models_max),            1,       256,         NULL},
	{"limits",   "sessions-per-user", CONFIG_COUNT, AT(sessions_per_user_max), 1,       4096,        NULL},
	{"limits",   "slots-per-session", CONFIG_COUNT, AT(slots_per_session_max), 1,       1024,        NULL},
	{"limits",   "memory-per-user",   CONFIG_SIZE,  AT(bytes_per_user_max),    MIB,     1024 * GIB,  NULL},
	{"limits",   "model-file",        CONFIG_SIZE,  AT(model_file_bytes_max),  KIB,     1024 * GIB,  NULL},
	{"limits",   "planes",            CONFIG_SIZE,  AT(planes_bytes_max),      64 * KIB, 1024 * GIB, "system"},
	{"limits",   "bus-input",         CONFIG_SIZE,  AT(bus_input_bytes_max),   KIB,     31 * MIB,    NULL},
	{"cpu",      "threads",           CONFIG_COUNT, AT(threads),               1,       256,         "auto"},
	{"queue",    "length",            CONFIG_COUNT, AT(queue_length_max),      1,       65536,       NULL},
	{"queue",    "deadline",          CONFIG_MSEC,  AT(deadline_default_ms),   1,       3600000,     "none"},
	{"queue",    "inline-run",        CONFIG_USEC,  AT(inline_run_usec_max),   1,       1000000,     "never"},
	{"reencode", "after",             CONFIG_MSEC,  AT(reencode_after_ms),     1,       3600000,     "never"},
	{"opencl",   "devices",           CONFIG_COUNT, AT(opencl_devices_max),    1,       4,           NULL},
	{"opencl",   "check-every",       CONFIG_COUNT, AT(opencl_check_every),    1,       1000000,     "never"},
	{"opencl",   "build-timeout",     CONFIG_MSEC,  AT(opencl_build_timeout_ms), 100,   3600000,     NULL},
	{"opencl",   "run-timeout",       CONFIG_MSEC,  AT(opencl_run_timeout_ms), 10,      600000,      NULL},
	{"profiles", "power-saver",       CONFIG_BITS,  AT(profile_bits[PROFILE_POWER_SAVER]), 1, 8,     "all"},
	{"profiles", "balanced",          CONFIG_BITS,  AT(profile_bits[PROFILE_BALANCED]),    1, 8,     "all"},
	{"profiles", "performance",       CONFIG_BITS,  AT(profile_bits[PROFILE_PERFORMANCE]), 1, 8,     "all"},
};
/* clang-format on */
const size_t n_config_keys = ARRAY_SIZE(config_keys);

int config_new(struct config **ret)
{
	struct config *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	atomic_init(&c->refs, 1);
	c->models_max = 16;
	c->sessions_per_user_max = 32;
	c->slots_per_session_max = 64;
	c->bytes_per_user_max = 512 * MIB;
	c->model_file_bytes_max = 2 * GIB;
	c->bus_input_bytes_max = 16 * MIB;
	c->threads = 0;
	c->queue_length_max = 256;
	c->deadline_default_ms = 0;
	c->inline_run_usec_max = 1000;
	c->reencode_after_ms = 60000;
	c->opencl_devices_max = 4;
	c->opencl_check_every = 100;
	c->opencl_build_timeout_ms = 60000;
	c->opencl_run_timeout_ms = 2000;
	c->profile_bits[PROFILE_POWER_SAVER] = 2;
	c->profile_bits[PROFILE_BALANCED] = 4;
	c->profile_bits[PROFILE_PERFORMANCE] = 0;
	*ret = c;
	return 0;
}

struct config *config_ref(struct config *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

struct config *config_unref(struct config *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	for (uint32_t i = 0; i < c->n_models; i++) {
		free(c->models[i].name);
		free(c->models[i].path);
	}
	free(c->models);
	free(c);
	return NULL;
}

static void remove_model(struct config *c, uint32_t i)
{
	free(c->models[i].name);
	free(c->models[i].path);
	memmove(&c->models[i], &c->models[i + 1], (c->n_models - i - 1) * sizeof c->models[0]);
	c->n_models--;
}

static int append_model(struct config *c, char *name, char *path)
{
	struct config_model *more;

	if (c->n_models >= CONFIG_MODELS_MAX)
		return -E2BIG;
	more = reallocarray(c->models, c->n_models + 1, sizeof *more);
	if (!more)
		return -ENOMEM;
	c->models = more;
	c->models[c->n_models++] = (struct config_model) {name, path};
	return 0;
}

int config_set_model(struct config *c, const char *name, const char *path)
{
	_cleanup_free_ char *own_name = NULL, *own_path = NULL;
	int r;

	for (uint32_t i = 0; i < c->n_models; i++)
		if (strcmp(c->models[i].name, name) == 0) {
			remove_model(c, i);
			break;
		}
	if (strcmp(path, "none") == 0)
		return 0;
	own_name = strdup(name);
	own_path = strdup(path);
	if (!own_name || !own_path)
		return -ENOMEM;
	r = append_model(c, own_name, own_path);
	if (r < 0)
		return r;
	(void) take_ptr(own_name);
	(void) take_ptr(own_path);
	return 0;
}

/* A link to /dev/null is the custom for switching a file off. */
static bool is_dev_null(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* A device or a pipe would block or never end. */
int config_read_file(char **ret, size_t *ret_size, const char *path, struct error *reterr)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	struct stat st;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;

		return error_set(reterr, r, "%.100s: %s", path, strerrordesc_np(-r));
	}
	if (!S_ISREG(st.st_mode) && !is_dev_null(&st))
		return error_set(reterr, -EINVAL, "%.100s: expected a regular file", path);
	text = malloc(CONFIG_FILE_BYTES_MAX + 1);
	if (!text)
		return error_set(reterr, -ENOMEM, "%.100s: out of memory", path);
	for (;;) {
		ssize_t n = read(fd, text + size, CONFIG_FILE_BYTES_MAX + 1 - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(reterr, -errno, "%.100s: cannot be read", path);
		size += (size_t) n;
		if (n == 0 || size > CONFIG_FILE_BYTES_MAX)
			break;
	}
	if (size > CONFIG_FILE_BYTES_MAX)
		return error_set(reterr, -EFBIG, "%.100s: expected at most %d KiB", path,
			CONFIG_FILE_BYTES_MAX / 1024);
	*ret = take_ptr(text);
	*ret_size = size;
	return 0;
}

static int load_file(struct config *c, const char *path, struct error *reterr)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r = config_read_file(&text, &size, path, reterr);

	if (r < 0)
		return r;
	return config_read_text(c, path, text, size, reterr);
}

static int load_dropins(struct config *c, const char *const *folders, const char *below, struct error *reterr)
{
	_cleanup_(layers_freep) char **paths = NULL;
	int r, n = layers_list(&paths, folders, below, reterr);

	for (int i = 0; i < n; i++) {
		r = load_file(c, paths[i], reterr);
		if (r < 0)
			return r;
	}
	return n < 0 ? n : 0;
}

static int load_one(struct config *c, const char *file, struct error *reterr)
{
	int r = load_file(c, file, reterr);

	if (r < 0 && r != -ENOENT)
		return r;
	if (reterr)
		reterr->text[0] = '\0';
	return load_dropins(c, (const char *const[]){file, NULL}, ".d", reterr);
}

static int load_layers(struct config *c, const char *const *folders, struct error *reterr)
{
	_cleanup_free_ char *file = layers_find(folders, "bitshed.yaml");
	int r = 0;

	if (file)
		r = load_file(c, file, reterr);
	return r < 0 ? r : load_dropins(c, folders, "/bitshed.yaml.d", reterr);
}

int config_load(struct config **ret, const char *const *folders, const char *file, struct error *reterr)
{
	_cleanup_(config_unrefp) struct config *c = NULL;
	int r = config_new(&c);

	if (r < 0)
		return r;
	r = file ? load_one(c, file, reterr) : load_layers(c, folders, reterr);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}
