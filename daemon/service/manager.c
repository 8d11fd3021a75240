/* SPDX-License-Identifier: Apache-2.0 */
#include "service/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "bitshed/protocol.h"
#include "engine/tune.h"
#include "service/authority.h"
#include "service/bus_objects.h"
#include "service/catalog.h"
#include "service/holds.h"
#include "service/memory.h"
#include "service/layers.h"
#include "service/session.h"

static int run_on_device(void *userdata, struct request *request)
{
	struct manager *m = userdata;

	m->workspace.threads_max = request->threads_max;
	return device_run(m->device, &m->workspace, request->plan, request->input_type,
		request->input, request->output);
}

uint64_t manager_deadline(const struct manager *m, uint32_t deadline_ms)
{
	uint64_t ms = deadline_ms ? deadline_ms : m->config->deadline_default_ms;

	return ms ? clock_now_nsec() + ms * NSEC_PER_MSEC : 0;
}

int manager_submit(struct manager *m, struct request *request, const struct choices *choices)
{
	uint64_t expected_nsec = choices->all[0].nsec;
	int r = request->choice == CHOICE_REQUIRE ? -ENODEV : 0;
	uint32_t device = 0;

	request->device = REQUEST_ON_CPU;
	if (m->devices)
		r = devices_choose(m->devices, request, choices, m->profile, &device);
	if (r < 0)
		return r;
	if (device > 0)
		return devices_push(m->devices, device, request);
	/* 0: nobody has measured it yet, so it may take long. */
	if (expected_nsec > 0 && expected_nsec <= m->config->inline_run_usec_max * NSEC_PER_USEC
		&& queue_run_here(m->queue, request))
		return 1;
	return queue_push(m->queue, request);
}

void manager_forget_region(struct manager *m, const struct region *region)
{
	if (m->devices)
		devices_forget(m->devices, region);
}

bool manager_cancel(struct manager *m, struct request *request)
{
	return queue_cancel(m->queue, request) || (m->devices && devices_cancel(m->devices, request));
}

static void update_all(struct manager *m)
{
	memory_settle(m);
	list_for_each_safe (l, n, &m->entries)
		entry_update(list_entry(l, struct entry, link));
}

void manager_set_profile(struct manager *m, enum profile profile)
{
	if (m->profile == profile)
		return;
	log_info("profile %s -> %s", profile_name(m->profile), profile_name(profile));
	m->profile = profile;
	bus_manager_changed(m, "Profile");
	update_all(m);
}

static int load_file(struct manager *m, const struct config_model *model, struct error *reterr)
{
	_cleanup_close_ int fd = open(model->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct entry *e;
	int r;

	if (fd < 0) {
		r = error_set(reterr, -errno, "%s: %s", model->path, strerror(errno));
		return error_prefix(reterr, r, "model %s", model->name);
	}
	r = catalog_load(m, model->name, fd, geteuid(), 0, &e, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "model %s", model->name);
	e->configured = true;
	return 0;
}

/* A model that cannot be loaded is said and left out: the daemon serves the others. */
static void load_files(struct manager *m, const struct config_model *models, uint32_t n)
{
	struct error why;
	struct entry *e;
	int r;

	for (uint32_t i = 0; i < n; i++) {
		if (catalog_find(m, models[i].name, &e, NULL) >= 0)
			continue;
		why = (struct error){};
		r = load_file(m, &models[i], &why);
		if (r < 0)
			log_error("%s", error_text(&why, r));
	}
}

static void apply_threads(struct manager *m)
{
	uint32_t before = device_threads(m->device);
	int r;

	r = device_set_threads(m->device, m->config->threads);
	if (r < 0)
		log_error("cannot use %u threads: %s", m->config->threads, strerror(-r));
	if (device_threads(m->device) != before)
		bus_device_changed(m);
}

static void apply_config(struct manager *m)
{
	queue_set_length_max(m->queue, m->config->queue_length_max);
	if (m->devices)
		devices_configure(m->devices, m->config);
	apply_threads(m);
	load_files(m, m->config->models, m->config->n_models);
	update_all(m);
}

static int load_rules(struct manager *m, struct error *reterr)
{
	_cleanup_(rules_freep) struct rules *rules = NULL;
	int r;

	r = rules_load(&rules, layers_default, &m->policy_file, !!m->policy_file, reterr);
	if (r >= 0)
		r = rules_take_numbers(rules, m->rules);
	if (r < 0)
		return r;
	(void) rules_free(m->rules);
	m->rules = take_ptr(rules);
	return 0;
}

/* Both or neither: a broken file leaves the last good configuration and rules. */
static int reload(struct manager *m, struct error *reterr)
{
	struct config *config;
	int r;

	r = config_load(&config, layers_default, m->config_file, reterr);
	if (r < 0)
		return r;
	r = load_rules(m, reterr);
	if (r < 0) {
		(void) config_unref(config);
		return r;
	}
	(void) config_unref(m->config);
	m->config = config;
	apply_config(m);
	manager_power_follow(m);
	return 0;
}

/* One line for systemctl: what serves, or that it serves by what was read before. */
static void notify_ready(struct manager *m)
{
	char text[256];

	if (m->config_error.text[0])
		(void) sd_notifyf(0, "READY=1\nSTATUS=degraded, the last good configuration stays: %s",
			m->config_error.text);
	else
		(void) sd_notifyf(
			0, "READY=1\nSTATUS=%s", device_describe(m->device, text, sizeof text));
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct manager *m = userdata;
	struct error why = {};
	int r;

	(void) sd_notifyf(
		0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_now_nsec() / NSEC_PER_USEC);
	r = reload(m, &why);
	if (r < 0)
		log_error(
			"configuration not reloaded, the last one stays: %s", error_text(&why, r));
	else
		log_info("configuration reloaded");
	/* The line of the file and its caret are for the journal. */
	m->config_error = (struct error){};
	if (r < 0)
		(void) error_set(&m->config_error, r, "%.*s",
			(int) strcspn(error_text(&why, r), "\n"), error_text(&why, r));
	bus_manager_changed(m, "ConfigurationError");
	notify_ready(m);
	return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	log_info("%s: ending", strsignal((int) info->ssi_signo));
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

/*
 * Blocked here and not by sd-event, which would let a second SIGTERM through while everything is
 * freed.
 */
static int add_signals(struct manager *m)
{
	sigset_t set;
	int r;

	(void) sigemptyset(&set);
	(void) sigaddset(&set, SIGTERM);
	(void) sigaddset(&set, SIGINT);
	(void) sigaddset(&set, SIGHUP);
	r = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (r >= 0)
		r = sd_event_add_signal(m->event, NULL, SIGTERM, on_stop, m);
	if (r >= 0)
		r = sd_event_add_signal(m->event, NULL, SIGINT, on_stop, m);
	if (r >= 0)
		r = sd_event_add_signal(m->event, NULL, SIGHUP, on_reload, m);
	return r;
}

static int open_address(sd_bus **ret, const char *address)
{
	sd_bus *bus;
	int r;

	r = sd_bus_new(&bus);
	if (r < 0)
		return r;
	r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_set_bus_client(bus, 1);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0) {
		(void) sd_bus_unref(bus);
		return r;
	}
	*ret = bus;
	return 0;
}

int manager_open_bus(struct manager *m, const char *name, sd_bus **ret)
{
	sd_bus *bus;
	int r;

	if (strcmp(name, "system") == 0)
		r = sd_bus_open_system(&bus);
	else if (strcmp(name, "session") == 0)
		r = sd_bus_open_user(&bus);
	else
		r = open_address(&bus, name);
	if (r < 0)
		return r;
	r = sd_bus_attach_event(bus, m->event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0) {
		(void) sd_bus_flush_close_unref(bus);
		return r;
	}
	*ret = bus;
	return 0;
}

static int open_bus(struct manager *m, const char *name, struct error *reterr)
{
	int r;

	r = manager_open_bus(m, name, &m->bus);
	if (r >= 0)
		r = sd_bus_set_exit_on_disconnect(m->bus, 1);
	return r < 0 ? error_set(reterr, r, "cannot connect to the bus \"%s\": %s", name, strerror(-r)) : 0;
}

static int take_name(struct manager *m, struct error *reterr)
{
	int r = sd_bus_request_name(m->bus, BITSHED_BUS_NAME, 0);

	if (r == -EEXIST)
		return error_set(
			reterr, r, "another bitshedd owns %s on this bus", BITSHED_BUS_NAME);
	if (r < 0)
		return error_set(
			reterr, r, "cannot own %s on this bus: %s", BITSHED_BUS_NAME, strerror(-r));
	return 0;
}

static void on_device_changed(uint32_t index, void *userdata)
{
	bus_device_worker_changed(userdata, index);
}

/* What requests may ask for is loaded there too. */
static void on_device_added(uint32_t index, void *userdata)
{
	struct manager *m = userdata;

	bus_device_worker_added(m, index);
	list_for_each (l, &m->entries)
		entry_follow_device(list_entry(l, struct entry, link));
}

/*
 * The socket of its unit goes before the program: under it, the worker has rights that we have not; in our own
 * sandbox drivers die as they compile.
 */
static const char *find_worker(const char *wanted)
{
	bool only_unit = wanted && strcmp(wanted, "unit") == 0;
	struct stat st;

	if (wanted && !only_unit)
		return strcmp(wanted, "none") == 0 ? NULL : wanted;
	if (stat(BITSHED_WORKER_SOCKET, &st) == 0 && S_ISSOCK(st.st_mode))
		return BITSHED_WORKER_SOCKET;
	return !only_unit && access(BITSHED_WORKER, X_OK) == 0 ? BITSHED_WORKER : NULL;
}

static int make_worker(struct manager *m, const struct manager_options *options)
{
	struct devices_options o = {
		.path = find_worker(options->worker),
		.folder = getenv("STATE_DIRECTORY"),
		.event = m->event,
		.cpu = m->device,
		.config = m->config,
		.changed = on_device_changed,
		.added = on_device_added,
		.userdata = m,
	};

	if (o.path)
		return devices_new(&m->devices, &o);
	log_info("opencl: CPU only: there is no worker");
	return 0;
}

static int make_parts(struct manager *m, const struct manager_options *options, struct error *reterr)
{
	int r;

	r = device_cpu_new(&m->device, m->config->threads);
	if (r < 0)
		return error_set(reterr, r, "cannot use the processor with %u threads: %s",
			m->config->threads, strerror(-r));
	r = queue_new(&m->queue, m->event, run_on_device, m, m->config->queue_length_max);
	if (r >= 0)
		r = builder_new(&m->builder, m->event);
	if (r >= 0)
		r = make_worker(m, options);
	return r < 0 ? error_set(reterr, r, "cannot start threads: %s", strerror(-r)) : 0;
}

/* Without it all works, only slower. */
static void use_measured_kernels(int folder)
{
	struct error why = {};
	struct tune *t = NULL;
	int r = tune_read(&t, folder, &why);

	if (r >= 0)
		log_info("%u measured times of kernels are used", t->n);
	else if (r != -ENOENT)
		log_warning("measured times of kernels are ignored: %s", error_text(&why, r));
	tune_use(t);
}

static void open_cache(struct manager *m, const char *folder)
{
	if (!folder)
		return;
	m->cache_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->cache_fd < 0)
		log_warning("cache %s: %s", folder, strerror(errno));
	else
		use_measured_kernels(m->cache_fd);
}

static int appear(struct manager *m, const struct manager_options *options, struct error *reterr)
{
	int r;

	r = open_bus(m, options->bus, reterr);
	if (r < 0)
		return r;
	r = bus_gate_add(m);
	if (r >= 0)
		r = bus_manager_add(m);
	if (r >= 0)
		r = bus_device_add(m);
	if (r < 0)
		return error_set(reterr, r, "cannot make the bus objects: %s", strerror(-r));
	r = manager_power_start(m, options);
	if (r < 0)
		return error_set(reterr, r, "cannot listen to power sources: %s", strerror(-r));
	fdstore_take(m, options);
	load_files(m, options->models, options->n_models);
	load_files(m, m->config->models, m->config->n_models);
	return take_name(m, reterr);
}

int manager_new(struct manager **ret, const struct manager_options *options, struct error *reterr)
{
	_cleanup_(manager_freep) struct manager *m = calloc(1, sizeof *m);
	int r;

	if (!m)
		return -ENOMEM;
	list_init(&m->entries);
	list_init(&m->sessions);
	list_init(&m->calls);
	list_init(&m->holds);
	list_init(&m->recodings);
	m->cache_fd = -1;
	limits_init(&m->limits);
	m->profile = PROFILE_BALANCED;
	m->config_file = options->config_file;
	m->policy_file = options->policy_file;
	r = config_load(&m->config, layers_default, m->config_file, reterr);
	if (r >= 0)
		r = load_rules(m, reterr);
	if (r < 0)
		return r;
	r = sd_event_new(&m->event);
	if (r >= 0)
		r = add_signals(m);
	if (r >= 0)
		r = sd_event_set_watchdog(m->event, 1);
	if (r < 0)
		return error_set(reterr, r, "cannot make the event loop: %s", strerror(-r));
	r = make_parts(m, options, reterr);
	if (r < 0)
		return r;
	open_cache(m, options->cache_dir);
	r = appear(m, options, reterr);
	if (r < 0)
		return r;
	*ret = take_ptr(m);
	return 0;
}

int manager_run(struct manager *m)
{
	char text[256];

	log_info("bitshedd %s serves on %s", BITSHED_VERSION,
		device_describe(m->device, text, sizeof text));
	notify_ready(m);
	return sd_event_loop(m->event);
}

/* Threads end first: after them nobody but this thread knows any object. */
struct manager *manager_free(struct manager *m)
{
	if (!m)
		return NULL;
	(void) sd_notify(0, "STOPPING=1");
	manager_power_stop(m);
	/* First of all: clients whose session ends see by the name that we have gone. */
	if (m->bus) {
		(void) sd_bus_release_name_async(m->bus, NULL, BITSHED_BUS_NAME, NULL, NULL);
		(void) sd_bus_flush(m->bus);
	}
	holds_free(m);
	sessions_end(m, NULL);
	recoders_stop(m);
	m->builder = builder_free(m->builder);
	if (m->devices)
		devices_finish(m->devices);
	queue_finish(m->queue);
	if (m->bus)
		bus_manager_forget_calls(m);
	list_for_each_safe (l, n, &m->entries)
		catalog_unload(list_entry(l, struct entry, link));
	m->devices = devices_free(m->devices);
	m->queue = queue_free(m->queue);
	workspace_done(&m->workspace);
	m->device = device_free(m->device);
	close_fdp(&m->cache_fd);
	limits_done(&m->limits);
	m->authority = authority_free(m->authority);
	(void) sd_bus_flush_close_unref(m->bus);
	(void) sd_event_unref(m->event);
	(void) config_unref(m->config);
	(void) rules_free(m->rules);
	free(m);
	return NULL;
}
