/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bitshed/protocol.h"
#include "service/bus.h"
#include "service/bus_objects.h"
#include "service/bus_power.h"
#include "service/catalog.h"
#include "service/manager.h"
#include "service/session.h"

/** struct call - an Infer() that waits or runs; @message keeps the input */
struct call {
	struct list link;
	struct manager *manager;
	sd_bus_message *message;
	struct entry *entry;
	char rule[RULE_NAME_SIZE];
	size_t input_bytes;
	struct request request;
	float output[];
};

struct infer_options {
	double min_bits;
	uint32_t deadline_ms;
	int32_t priority;
	const char *input_type, *device;
	enum device_choice choice;
};

static int method_load_model(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	static const struct bus_option options[] = {{"bits", 'd', 0}};
	struct manager *manager = userdata;
	struct error why = {};
	struct entry *e;
	const char *name;
	double bits = 0;
	uid_t uid;
	int fd, r;

	r = sd_bus_message_read(m, "sh", &name, &fd);
	if (r < 0)
		return r;
	r = bus_read_options(m, options, ARRAY_SIZE(options), &bits, &why);
	if (r >= 0)
		r = bus_sender_uid(m, &uid, &why);
	if (r >= 0)
		r = catalog_load(manager, name, fd, uid, bits, &e, &why);
	if (r < 0)
		return bus_error(ret, r, &why);
	return sd_bus_reply_method_return(m, "o", e->path);
}

static int may_change(sd_bus_message *m, const struct entry *e, struct error *reterr)
{
	uid_t uid;
	int r;

	r = bus_sender_uid(m, &uid, reterr);
	if (r < 0)
		return r;
	if (uid != 0 && uid != geteuid() && uid != e->uid)
		return error_set(reterr, -EACCES, "model %s was loaded by another user", e->name);
	return 0;
}

static int method_unload(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	struct error why = {};
	struct entry *e;
	const char *name;
	int r;

	r = sd_bus_message_read(m, "s", &name);
	if (r < 0)
		return r;
	r = catalog_find(userdata, name, &e, &why);
	if (r >= 0)
		r = may_change(m, e, &why);
	if (r < 0)
		return bus_error(ret, r, &why);
	fdstore_forget(e);
	catalog_unload(e);
	return sd_bus_reply_method_return(m, NULL);
}

static int method_set_bits(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	struct error why = {};
	struct entry *e;
	const char *name;
	double bits;
	int r;

	r = sd_bus_message_read(m, "sd", &name, &bits);
	if (r < 0)
		return r;
	r = catalog_find_ready(userdata, name, &e, &why);
	/* The machine's own models are for all who may set widths. */
	if (r >= 0 && !e->configured)
		r = may_change(m, e, &why);
	if (r >= 0)
		r = entry_set_bits(e, bits, m, &why);
	return r < 0 ? bus_error(ret, r, &why) : 1;
}

static struct call *call_free(struct call *c)
{
	if (!c)
		return NULL;
	list_remove(&c->link);
	(void) serving_cancel(c->entry, &c->request);
	c->manager->calls_bytes -= c->input_bytes;
	(void) plan_unref(c->request.plan);
	(void) entry_unref(c->entry);
	(void) sd_bus_message_unref(c->message);
	free(c);
	return NULL;
}

DEFINE_CLEANUP(struct call *, call_free)

static int append_answer(sd_bus_message *reply, const struct call *c)
{
	const struct request *q = &c->request;
	int r;

	r = sd_bus_message_append_array(reply, 'y', c->output, q->plan->output_bytes);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = bus_append_double(reply, "bits", q->plan->model->bits);
	if (r >= 0)
		r = bus_append_text(reply, "device", q->device == REQUEST_ON_CPU ? device_name(c->manager->device)
								     : devices_name(q->device - REQUEST_ON_OPENCL));
	if (r >= 0)
		r = bus_append_text(reply, "rule", c->rule);
	if (r >= 0)
		r = bus_append_u64(reply, "queue-nsec", q->started_nsec - q->submitted_nsec);
	if (r >= 0)
		r = bus_append_u64(reply, "run-nsec", q->finished_nsec - q->started_nsec);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int answer_call(struct call *c)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const struct request *q = &c->request;
	int r;

	if (q->result < 0) {
		stats_fail(&c->entry->stats);
		return bus_reply_error(c->message, q->result, q->plan ? NULL : &c->entry->reason);
	}
	entry_ran(c->entry, q);
	r = sd_bus_message_new_method_return(c->message, &reply);
	if (r >= 0)
		r = append_answer(reply, c);
	return r < 0 ? r : sd_bus_send(c->manager->bus, reply, NULL);
}

static void on_call_done(struct request *request, void *userdata)
{
	_cleanup_(call_freep) struct call *c = userdata;

	(void) answer_call(c);
}

static int check_input(const struct manager *m, const struct tensor_sizes *sizes, enum input_type type,
	size_t size, struct error *reterr)
{
	size_t expected =
		type == INPUT_PIXELS ? sizes->pixels_bytes : sizes->floats_bytes;

	if (size > m->config->bus_input_bytes_max)
		return error_set(reterr, -EDQUOT,
			"the input has %zu bytes, %" PRIu64
			" are allowed on the bus: open a session",
			size, m->config->bus_input_bytes_max);
	if (expected == 0)
		return error_set(reterr, -EMSGSIZE, "this model takes floats, no pixels");
	if (size != expected)
		return error_set(reterr, -EMSGSIZE, "the input has %zu bytes, expected %zu of %s",
			size, expected, type == INPUT_PIXELS ? "pixels" : "floats");
	return 0;
}

static int parse_type(const struct tensor_sizes *sizes, const char *name, struct error *reterr)
{
	if (!name)
		return sizes->pixels_bytes ? INPUT_PIXELS : INPUT_FLOATS;
	if (strcmp(name, "pixels") == 0)
		return INPUT_PIXELS;
	if (strcmp(name, "floats") == 0)
		return INPUT_FLOATS;
	return error_set(
		reterr, -EINVAL, "input-type is \"pixels\" or \"floats\", not \"%.32s\"", name);
}

static int check_options(
	const struct entry *e, const struct infer_options *o, struct error *reterr)
{
	if (!isfinite(o->min_bits) || o->min_bits < 0)
		return error_set(
			reterr, -EINVAL, "min-bits must be 0 or a width, not %g", o->min_bits);
	if (o->priority < -100 || o->priority > 100)
		return error_set(reterr, -EINVAL, "priority is -100 to 100, not %d", o->priority);
	if (e->plan && plan_below(e->plan, o->min_bits))
		return error_set(reterr, -ERANGE,
			"the model runs at %g bits, at least %g are asked for", e->plan->model->bits,
			o->min_bits);
	return parse_type(&e->sizes, o->input_type, reterr);
}

static int parse_device(struct infer_options *o, struct error *reterr)
{
	static const char *const names[_CHOICE_MAX] = {
		[CHOICE_ANY] = "any",
		[CHOICE_CPU] = "cpu",
		[CHOICE_PREFER] = "prefer-opencl",
		[CHOICE_REQUIRE] = "require-opencl",
	};

	for (enum device_choice i = 0; o->device && i < _CHOICE_MAX; i++)
		if (strcmp(o->device, names[i]) == 0) {
			o->choice = i;
			return 0;
		}
	return !o->device ? 0
			  : error_set(reterr, -EINVAL,
				    "device is any, cpu, prefer-opencl or require-opencl, not \"%.32s\"", o->device);
}

static const char *refusal_text(int r)
{
	return r == -ENODEV   ? "the OpenCL device cannot be used"
	       : r == -EAGAIN ? "the OpenCL device is being prepared"
			      : "the queue is full";
}

/* Waiting calls keep their messages: many large ones must not take the machine's memory. */
#define CALLS_INPUTS_MAX 8

static int new_call(struct entry *e, sd_bus_message *m, const struct infer_options *o,
	const void *input, size_t size, struct call **ret)
{
	struct manager *manager = e->manager;
	struct call *c;

	if (manager->calls_bytes + size > manager->config->bus_input_bytes_max * CALLS_INPUTS_MAX)
		return -EBUSY;
	c = calloc(1, sizeof *c + e->sizes.output_bytes);
	if (!c)
		return -ENOMEM;
	c->input_bytes = size;
	manager->calls_bytes += size;
	list_init(&c->link);
	c->manager = manager;
	c->message = sd_bus_message_ref(m);
	c->entry = entry_ref(e);
	(void) snprintf(c->rule, sizeof c->rule, "%s", e->active.rule_name);
	c->request.input = input;
	c->request.output = c->output;
	c->request.min_bits = o->min_bits;
	c->request.priority = o->priority;
	c->request.choice = o->choice;
	c->request.deadline_nsec = manager_deadline(manager, o->deadline_ms);
	c->request.done = on_call_done;
	c->request.userdata = c;
	*ret = c;
	return 0;
}

static int infer(struct manager *manager, sd_bus_message *m, struct entry *e, const void *input,
	size_t size, struct error *reterr)
{
	static const struct bus_option table[] = {
		{"min-bits", 'd', offsetof(struct infer_options, min_bits)},
		{"deadline-ms", 'u', offsetof(struct infer_options, deadline_ms)},
		{"priority", 'i', offsetof(struct infer_options, priority)},
		{"input-type", 's', offsetof(struct infer_options, input_type)},
		{"device", 's', offsetof(struct infer_options, device)},
	};
	_cleanup_(call_freep) struct call *c = NULL;
	struct infer_options o = {};
	int r, type;

	r = bus_read_options(m, table, ARRAY_SIZE(table), &o, reterr);
	if (r < 0)
		return r;
	r = parse_device(&o, reterr);
	if (r < 0)
		return r;
	type = check_options(e, &o, reterr);
	if (type < 0)
		return type;
	r = check_input(manager, &e->sizes, type, size, reterr);
	if (r >= 0)
		r = serving_admit(e, reterr);
	if (r < 0)
		return r;
	r = new_call(e, m, &o, input, size, &c);
	if (r < 0)
		return error_set(reterr, r, r == -EBUSY ? "too many inputs wait" : "out of memory");
	c->request.input_type = type;
	r = serving_submit(e, &c->request);
	if (r > 0)
		return answer_call(c);
	if (r < 0)
		return error_set(reterr, r, "%s", refusal_text(r));
	list_append(&manager->calls, &take_ptr(c)->link);
	return 0;
}

static int method_infer(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	struct manager *manager = userdata;
	struct entry *e = NULL;
	struct error why = {};
	const char *name;
	const void *input;
	size_t size;
	int r;

	r = sd_bus_message_read(m, "s", &name);
	if (r < 0)
		return r;
	r = sd_bus_message_read_array(m, 'y', &input, &size);
	if (r < 0)
		return r;
	r = catalog_find_ready(manager, name, &e, &why);
	if (r >= 0)
		r = infer(manager, m, e, input, size, &why);
	if (r >= 0)
		return 1;
	if (e)
		stats_fail(&e->stats);
	return bus_error(ret, r, &why);
}

static int append_layout(
	sd_bus_message *reply, const struct region *region, const struct tensor_sizes *sizes)
{
	int r;

	r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = bus_append_u32(reply, "slots", region->slots);
	if (r >= 0)
		r = bus_append_u64(reply, "slot-stride", region->stride);
	if (r >= 0)
		r = bus_append_u64(reply, "input-offset", 0);
	if (r >= 0)
		r = bus_append_u64(reply, "output-offset", region->output);
	if (r >= 0)
		r = bus_append_u64(reply, "pixels-bytes", sizes->pixels_bytes);
	if (r >= 0)
		r = bus_append_u64(reply, "floats-bytes", sizes->floats_bytes);
	if (r >= 0)
		r = bus_append_u64(reply, "output-bytes", sizes->output_bytes);
	if (r >= 0)
		r = bus_append_u64(reply, "memory-bytes", region->bytes);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int reply_session(sd_bus_message *m, struct session *s)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	int r;

	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = sd_bus_message_append(reply, "ohh", s->path, s->region.fd, s->client_fd);
	if (r >= 0)
		r = append_layout(reply, &s->region, &s->entry->sizes);
	if (r >= 0)
		r = sd_bus_send(s->manager->bus, reply, NULL);
	/*
	 * The message has its own duplicate; while we kept ours, the client's close would not
	 * reach us.
	 */
	(void) close(s->client_fd);
	s->client_fd = -1;
	return r;
}

static int method_open_session(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	static const struct bus_option options[] = {{"slots", 'u', 0}};
	struct error why = {};
	struct session *s;
	struct entry *e;
	const char *name;
	uint32_t slots = 1;
	int r;

	r = sd_bus_message_read(m, "s", &name);
	if (r < 0)
		return r;
	r = bus_read_options(m, options, ARRAY_SIZE(options), &slots, &why);
	if (r >= 0)
		r = catalog_find_ready(userdata, name, &e, &why);
	if (r >= 0)
		r = session_open(e, m, slots, &s, &why);
	if (r < 0)
		return bus_error(ret, r, &why);
	r = reply_session(m, s);
	if (r < 0)
		session_close(s, "the reply cannot be sent");
	return r;
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	return sd_bus_message_append(reply, "s", BITSHED_VERSION);
}

static int get_configuration_error(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	struct manager *m = userdata;

	return sd_bus_message_append(reply, "s", m->config_error.text);
}

static int get_models(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	struct manager *m = userdata;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "o");
	list_for_each (l, &m->entries)
		if (r >= 0)
			r = sd_bus_message_append(
				reply, "o", list_entry(l, struct entry, link)->path);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_devices(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	const struct manager *m = userdata;
	char buffer[BUS_DEVICE_PATH_BYTES];
	int r;

	r = sd_bus_message_open_container(reply, 'a', "o");
	if (r >= 0)
		r = sd_bus_message_append(reply, "o", BUS_DEVICE_CPU_PATH);
	for (uint32_t i = 0; r >= 0 && m->devices && i < devices_count(m->devices); i++)
		r = sd_bus_message_append(reply, "o", bus_device_path(i, buffer));
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int method_retry_devices(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	struct manager *manager = userdata;
	struct error why = {};
	uint32_t n;

	if (!manager->devices) {
		(void) error_set(&why, -ENODEV, "there is no worker: the processor computes everything");
		return bus_error(ret, -ENODEV, &why);
	}
	n = devices_retry(manager->devices);
	return sd_bus_reply_method_return(m, "u", n);
}

/* Who may call what is said in bus_gate.c and, per object, here: all are open to the bus. */
/* clang-format off */
static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD_WITH_ARGS("LoadModel", SD_BUS_ARGS("s", name, "h", file, "a{sv}", options),
		SD_BUS_RESULT("o", model), method_load_model, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Unload", SD_BUS_ARGS("s", name), SD_BUS_NO_RESULT, method_unload,
		SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Infer", SD_BUS_ARGS("s", model, "ay", input, "a{sv}", options),
		SD_BUS_RESULT("ay", output, "a{sv}", result), method_infer,
		SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("OpenSession", SD_BUS_ARGS("s", model, "a{sv}", options),
		SD_BUS_RESULT("o", session, "h", memory, "h", socket, "a{sv}", layout),
		method_open_session, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("SetBits", SD_BUS_ARGS("s", model, "d", bits), SD_BUS_NO_RESULT,
		method_set_bits, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("HoldPrecision",
		SD_BUS_ARGS("s", model, "d", min_bits, "s", reason), SD_BUS_RESULT("h", hold),
		bus_power_hold_precision, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("ReportTelemetry", SD_BUS_ARGS("a{sv}", values), SD_BUS_NO_RESULT,
		bus_power_report_telemetry, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("RetryDevices", SD_BUS_NO_ARGS, SD_BUS_RESULT("u", lifted), method_retry_devices,
		SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_WRITABLE_PROPERTY("Profile", "s", bus_power_get_profile, bus_power_set_profile, 0,
		SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE | SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Inputs", "a(ssbdsst)", bus_power_get_inputs, 0, 0),
	SD_BUS_PROPERTY("PolicyInputs", "a(ss)", bus_power_get_policy_inputs, 0, 0),
	SD_BUS_PROPERTY("Holds", "a(sdssub)", bus_power_get_holds, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Models", "ao", get_models, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Devices", "ao", get_devices, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("ConfigurationError", "s", get_configuration_error, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Sessions", "u", NULL, offsetof(struct manager, n_sessions), 0),
	SD_BUS_VTABLE_END
};
/* clang-format on */

int bus_manager_add(struct manager *m)
{
	int r;

	r = sd_bus_add_object_manager(m->bus, NULL, BITSHED_PATH);
	if (r < 0)
		return r;
	return sd_bus_add_object_vtable(
		m->bus, NULL, BITSHED_PATH, BITSHED_MANAGER_INTERFACE, vtable, m);
}

void bus_manager_changed(struct manager *m, const char *property)
{
	(void) sd_bus_emit_properties_changed(
		m->bus, BITSHED_PATH, BITSHED_MANAGER_INTERFACE, property, NULL);
}

void bus_manager_forget_calls(struct manager *m)
{
	struct error why = {};

	(void) error_set(&why, -EIO, "the daemon ends");
	while (!list_empty(&m->calls)) {
		struct call *c = list_entry(m->calls.next, struct call, link);

		(void) bus_reply_error(c->message, -EIO, &why);
		(void) call_free(c);
	}
}
