/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon tells about itself, its models and its devices: properties laid into structures
 * by tables. A property that this library does not know is skipped, one that is missing stays 0 or
 * empty.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

struct property {
	const char *name, *type;
	size_t offset;
};

#define M(member) offsetof(struct bitshed_model, member)
/* clang-format off */
static const struct property model_properties[] = {
	{"Name",          "s",       M(name)},
	{"State",         "s",       M(state)},
	{"StateReason",   "s",       M(state_reason)},
	{"Progress",      "d",       M(progress)},
	{"Bits",          "d",       M(bits)},
	{"BitsByHand",    "d",       M(bits_by_hand)},
	{"BitsMax",       "d",       M(bits_max)},
	{"ResidentBytes", "t",       M(resident_bytes)},
	{"EnergyPerInference", "d",  M(joules)},
	{"EnergySource",  "s",       M(energy_source)},
	{"Rule",          "s",       M(rule)},
	{"RuleText",      "s",       M(rule_text)},
	{"RuleSince",     "t",       M(rule_since_nsec)},
	{"Why",           "as",      M(why)},
	{"Switches",      "t",       M(switches)},
	{"Rules",         "as",      M(rules)},
	{"InputShape",    "(uuu)",   M(input_shape)},
	{"InputType",     "s",       M(input_type)},
	{"OutputShape",   "(uuu)",   M(output_shape)},
	{"Labels",        "as",      M(labels)},
	{"Accuracy",      "a(dddu)", M(accuracy)},
	{"Method",        "s",       M(method)},
	{"SourceHash",    "s",       M(source_hash)},
	{}
};
static const struct property statistics[] = {
	{"requests",     "t", M(requests)},
	{"failures",     "t", M(failures)},
	{"run-nsec",     "t", M(run_nsec)},
	{"latency-nsec", "t", M(latency_nsec)},
	{"cpu-nsec",     "t", M(cpu_nsec)},
	{"opencl-nsec",  "t", M(opencl_nsec)},
	{}
};
static const struct property device_properties[] = {
	{"Name",        "s", offsetof(struct bitshed_device, name)},
	{"Kind",        "s", offsetof(struct bitshed_device, kind)},
	{"Threads",     "u", offsetof(struct bitshed_device, threads)},
	{"QueueLength", "u", offsetof(struct bitshed_device, queue_length)},
	{"Description", "s", offsetof(struct bitshed_device, description)},
	{"State",       "s", offsetof(struct bitshed_device, state)},
	{"StateReason", "s", offsetof(struct bitshed_device, state_reason)},
	{"Platform",    "s", offsetof(struct bitshed_device, platform)},
	{"Driver",      "s", offsetof(struct bitshed_device, driver)},
	{"Version",     "s", offsetof(struct bitshed_device, version)},
	{"Quarantine",  "as", offsetof(struct bitshed_device, quarantine)},
	{"Plans",       "u", offsetof(struct bitshed_device, plans)},
	{"Kernels",     "u", offsetof(struct bitshed_device, kernels)},
	{"KernelsCached", "u", offsetof(struct bitshed_device, kernels_cached)},
	{"BufferBytes", "t", offsetof(struct bitshed_device, buffer_bytes)},
	{"Answered",    "t", offsetof(struct bitshed_device, answered)},
	{"Together",    "t", offsetof(struct bitshed_device, together)},
	{"Retried",     "t", offsetof(struct bitshed_device, retried)},
	{"Checked",     "t", offsetof(struct bitshed_device, checked)},
	{"Wrong",       "t", offsetof(struct bitshed_device, wrong)},
	{"Starts",      "t", offsetof(struct bitshed_device, starts)},
	{"BuildNSec",   "t", offsetof(struct bitshed_device, build_nsec)},
	{"TestNSec",    "t", offsetof(struct bitshed_device, test_nsec)},
	{}
};
static const struct property daemon_properties[] = {
	{"Version",  "s",  offsetof(struct bitshed_daemon, version)},
	{"Profile",  "s",  offsetof(struct bitshed_daemon, profile)},
	{"Sessions", "u",  offsetof(struct bitshed_daemon, n_sessions)},
	{"Models",   "ao", offsetof(struct bitshed_daemon, n_models)},
	{"Devices",  "ao", offsetof(struct bitshed_daemon, n_devices)},
	{"ConfigurationError", "s", offsetof(struct bitshed_daemon, configuration_error)},
	{}
};
/* clang-format on */

static int read_string(sd_bus_message *m, char **to)
{
	const char *s;
	char *copy;
	int r = sd_bus_message_read(m, "s", &s);

	if (r < 0)
		return r;
	copy = strdup(s);
	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

static int read_accuracy(sd_bus_message *m, struct bitshed_accuracy **to)
{
	struct bitshed_accuracy a;
	size_t n = 0;
	int r = sd_bus_message_enter_container(m, 'a', "(dddu)");

	while (r >= 0 && (r = sd_bus_message_read(m, "(dddu)", &a.bits, &a.top1_percent,
				  &a.top5_percent, &a.images)) > 0) {
		struct bitshed_accuracy *more = reallocarray(*to, n + 1, sizeof a);

		if (!more)
			return -ENOMEM;
		more[n++] = a;
		*to = more;
	}
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(m);
	return r < 0 ? r : (int) n;
}

static int count_paths(sd_bus_message *m, uint32_t *to)
{
	const char *path;
	int r = sd_bus_message_enter_container(m, 'a', "o");

	for (*to = 0; r >= 0 && (r = sd_bus_message_read(m, "o", &path)) > 0;)
		++*to;
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static void free_strings(char **strings)
{
	for (char **p = strings; p && *p; p++)
		free(*p);
	free(strings);
}

static int read_strings(sd_bus_message *m, char ***to)
{
	free_strings(*to);
	*to = NULL;
	return sd_bus_message_read_strv(m, to);
}

static int read_value(sd_bus_message *m, const struct property *p, void *object)
{
	void *to = (char *) object + p->offset;
	uint32_t *shape = to;

	if (strcmp(p->type, "s") == 0)
		return read_string(m, to);
	if (strcmp(p->type, "as") == 0)
		return read_strings(m, to);
	if (strcmp(p->type, "ao") == 0)
		return count_paths(m, to);
	if (strcmp(p->type, "(uuu)") == 0)
		return sd_bus_message_read(m, "(uuu)", &shape[0], &shape[1], &shape[2]);
	if (strcmp(p->type, "a(dddu)") == 0) {
		struct bitshed_model *model = object;
		int n = read_accuracy(m, to);

		model->n_accuracy = n < 0 ? 0 : (size_t) n;
		return n;
	}
	return sd_bus_message_read(m, p->type, to);
}

/* One entry of an a{sv} of properties. */
static int read_property(sd_bus_message *m, const struct property *table, void *object)
{
	const char *name;
	int r = sd_bus_message_read(m, "s", &name);

	if (r < 0)
		return r;
	for (; table->name; table++)
		if (strcmp(table->name, name) == 0)
			break;
	if (!table->name)
		return sd_bus_message_skip(m, "v");
	r = sd_bus_message_enter_container(m, 'v', table->type);
	if (r < 0)
		return r;
	r = read_value(m, table, object);
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_properties(sd_bus_message *m, const struct property *table, void *object)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = read_property(m, table, object);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* So that callers may print every string without looking. */
static int fill_strings(const struct property *table, void *object)
{
	for (; table->name; table++) {
		char **to = (char **) (void *) ((char *) object + table->offset);

		if (strcmp(table->type, "s") == 0 && !*to && !(*to = strdup("")))
			return -ENOMEM;
		if (strcmp(table->type, "as") == 0 && !*to &&
			!(*(void **) to = calloc(1, sizeof(char *))))
			return -ENOMEM;
	}
	return 0;
}

static void free_members(const struct property *table, void *object)
{
	for (; table->name; table++) {
		void **to = (void **) (void *) ((char *) object + table->offset);

		if (strcmp(table->type, "as") == 0)
			free_strings(*to);
		else if (strcmp(table->type, "s") == 0 || strcmp(table->type, "a(dddu)") == 0)
			free(*to);
	}
	free(object);
}

static size_t count_strings(char *const *strings)
{
	size_t n = 0;

	while (strings[n])
		n++;
	return n;
}

static int finish(const struct property *table, void *object)
{
	int r = fill_strings(table, object);
	struct bitshed_model *m = object;

	if (r < 0 || table != model_properties)
		return r;
	m->n_rules = count_strings(m->rules);
	m->n_labels = count_strings(m->labels);
	return 0;
}

void bitshed_model_free(struct bitshed_model *m)
{
	if (m)
		free_members(model_properties, m);
}

void bitshed_models_free(struct bitshed_model **models)
{
	for (struct bitshed_model **p = models; p && *p; p++)
		bitshed_model_free(*p);
	free(models);
}

void bitshed_devices_free(struct bitshed_device **devices)
{
	for (struct bitshed_device **p = devices; p && *p; p++)
		free_members(device_properties, *p);
	free(devices);
}

void bitshed_daemon_free(struct bitshed_daemon *d)
{
	if (d)
		free_members(daemon_properties, d);
}

static int get_all(struct bitshed *b, const char *path, const char *interface, sd_bus_message **ret,
	struct bitshed_error *e)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(
		b->bus, &m, BITSHED_BUS_NAME, path, "org.freedesktop.DBus.Properties", "GetAll");

	if (r >= 0)
		r = sd_bus_message_append(m, "s", interface);
	if (r < 0)
		return fail_bus(e, r, NULL);
	return call(b, m, CALL_USEC, ret, e);
}

/* Refused: the model is another user's, and stays without them. */
static int get_statistics(struct bitshed *b, struct bitshed_model *m)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m_call = NULL, *reply = NULL;
	_cleanup_(client_freep) char *path = NULL;
	struct bitshed_error e = {};
	int r = model_path(&path, m->name);

	if (r >= 0)
		r = sd_bus_message_new_method_call(
			b->bus, &m_call, BITSHED_BUS_NAME, path, BITSHED_MODEL_INTERFACE, "GetStatistics");
	if (r < 0)
		return r;
	if (call(b, m_call, CALL_USEC, &reply, &e) < 0)
		return 0;
	r = read_properties(reply, statistics, m);
	m->statistics_known = r >= 0;
	return r;
}

int bitshed_get_daemon(struct bitshed *b, struct bitshed_daemon **ret, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct bitshed_daemon *d;
	int r = get_all(b, BITSHED_PATH, BITSHED_MANAGER_INTERFACE, &reply, reterr);

	if (r < 0)
		return r;
	d = calloc(1, sizeof *d);
	if (!d)
		return fail(reterr, -ENOMEM, "out of memory");
	r = read_properties(reply, daemon_properties, d);
	if (r >= 0)
		r = finish(daemon_properties, d);
	if (r < 0) {
		bitshed_daemon_free(d);
		return fail_bus(reterr, r, NULL);
	}
	*ret = d;
	return 0;
}

int bitshed_get_model(struct bitshed *b, struct bitshed_model **ret, const char *name,
	struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(client_freep) char *path = NULL;
	struct bitshed_error e = {};
	struct bitshed_model *m;
	int r = model_path(&path, name);

	if (r < 0)
		return fail_bus(reterr, r, NULL);
	r = get_all(b, path, BITSHED_MODEL_INTERFACE, &reply, &e);
	if (strcmp(e.name, SD_BUS_ERROR_UNKNOWN_OBJECT) == 0 ||
		strcmp(e.name, SD_BUS_ERROR_UNKNOWN_METHOD) == 0 ||
		strcmp(e.name, SD_BUS_ERROR_UNKNOWN_INTERFACE) == 0)
		return fail(reterr, -ENOENT, "no model is named '%.64s'", name);
	if (r < 0) {
		if (reterr)
			*reterr = e;
		return r;
	}
	m = calloc(1, sizeof *m);
	if (!m)
		return fail(reterr, -ENOMEM, "out of memory");
	r = read_properties(reply, model_properties, m);
	if (r >= 0)
		r = finish(model_properties, m);
	if (r >= 0)
		r = get_statistics(b, m);
	if (r < 0) {
		bitshed_model_free(m);
		return fail_bus(reterr, r, NULL);
	}
	*ret = m;
	return 0;
}

struct listing {
	const char *interface;
	const struct property *table;
	size_t object_bytes;
	void **objects; /* ends with NULL */
	size_t n;
};

static int add_object(sd_bus_message *m, struct listing *l)
{
	void **more = reallocarray(l->objects, l->n + 2, sizeof *more);

	if (!more)
		return -ENOMEM;
	l->objects = more;
	more[l->n + 1] = NULL;
	more[l->n] = calloc(1, l->object_bytes);
	if (!more[l->n])
		return -ENOMEM;
	l->n++;
	return read_properties(m, l->table, more[l->n - 1]);
}

/* One object: its interfaces, of which the listing wants at most one. */
static int read_interfaces(sd_bus_message *m, struct listing *l)
{
	const char *interface;
	int r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
		r = sd_bus_message_read(m, "s", &interface);
		if (r >= 0)
			r = strcmp(interface, l->interface) == 0 ? add_object(m, l)
								 : sd_bus_message_skip(m, "a{sv}");
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_objects(sd_bus_message *m, struct listing *l)
{
	const char *path;
	int r = sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}")) > 0) {
		r = sd_bus_message_read(m, "o", &path);
		if (r >= 0)
			r = read_interfaces(m, l);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* The name is the first member of both kinds of object. */
static int compare_objects(const void *a, const void *b)
{
	const char *const *const *x = a;
	const char *const *const *y = b;

	return strcmp(**x, **y);
}

static int get_objects(struct bitshed *b, sd_bus_message **ret, struct bitshed_error *e)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(b->bus, &m, BITSHED_BUS_NAME, BITSHED_PATH,
		"org.freedesktop.DBus.ObjectManager", "GetManagedObjects");

	return r < 0 ? fail_bus(e, r, NULL) : call(b, m, CALL_USEC, ret, e);
}

static void free_listing(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free_members(l->table, l->objects[i]);
	free(l->objects);
}

static int list(struct bitshed *b, struct listing *l, struct bitshed_error *e)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	int r = get_objects(b, &reply, e);

	if (r < 0)
		return r;
	l->objects = calloc(1, sizeof *l->objects);
	r = l->objects ? read_objects(reply, l) : -ENOMEM;
	for (size_t i = 0; r >= 0 && i < l->n; i++)
		r = finish(l->table, l->objects[i]);
	if (r < 0) {
		free_listing(l);
		return fail_bus(e, r, NULL);
	}
	qsort(l->objects, l->n, sizeof *l->objects, compare_objects);
	return (int) l->n;
}

int bitshed_list_models(
	struct bitshed *b, struct bitshed_model ***ret, struct bitshed_error *reterr)
{
	struct listing l = {
		BITSHED_MODEL_INTERFACE, model_properties, sizeof(struct bitshed_model)};
	int n = list(b, &l, reterr);
	int r = n;

	for (int i = 0; r >= 0 && i < n; i++)
		r = get_statistics(b, l.objects[i]);
	if (r < 0 && n >= 0) {
		free_listing(&l);
		return fail_bus(reterr, r, NULL);
	}
	if (n >= 0)
		*ret = (struct bitshed_model **) l.objects;
	return n;
}

int bitshed_list_devices(
	struct bitshed *b, struct bitshed_device ***ret, struct bitshed_error *reterr)
{
	struct listing l = {
		BITSHED_DEVICE_INTERFACE, device_properties, sizeof(struct bitshed_device)};
	int r = list(b, &l, reterr);

	if (r >= 0)
		*ret = (struct bitshed_device **) l.objects;
	return r;
}

static int read_device_names(sd_bus_message *m, char ***ret)
{
	const char *path, *kind;
	size_t n = 0;
	int r = sd_bus_message_enter_container(m, 'a', "o");

	while (r >= 0 && (r = sd_bus_message_read(m, "o", &path)) > 0) {
		char **more = reallocarray(*ret, n + 2, sizeof *more);

		if (!more)
			return -ENOMEM;
		*ret = more;
		more[n] = more[n + 1] = NULL;
		r = path_split(path, &kind, &more[n++]);
	}
	return r;
}

int device_names(struct bitshed *b, char ***ret)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	char **names = NULL;
	int r = sd_bus_get_property(b->bus, BITSHED_BUS_NAME, BITSHED_PATH,
		BITSHED_MANAGER_INTERFACE, "Devices", NULL, &m, "ao");

	if (r < 0)
		return r;
	r = read_device_names(m, &names);
	if (r < 0) {
		free_strings(names);
		return r;
	}
	*ret = names;
	return 0;
}
