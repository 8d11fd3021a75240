/* SPDX-License-Identifier: Apache-2.0 */
#include "service/bus_power.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "service/bus.h"
#include "service/catalog.h"
#include "service/holds.h"
#include "service/manager.h"
#include "service/trace.h"

#define VALID_KEY "valid-seconds"
#define VALID_SEC 300

/** struct report - a ReportTelemetry() as it is read; @valid_sec: of all its values */
struct report {
	struct {
		const char *key;
		double value;
	} values[POWER_KEYS_MAX];
	uint32_t n, valid_sec;
};

int bus_power_hold_precision(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	struct error why = {};
	struct entry *e;
	const char *name, *reason;
	double bits;
	int fd, r;

	r = sd_bus_message_read(m, "sds", &name, &bits, &reason);
	if (r < 0)
		return r;
	r = catalog_find_ready(userdata, name, &e, &why);
	if (r >= 0)
		r = hold_add(e, m, bits, reason, &fd, &why);
	if (r < 0)
		return bus_error(ret, r, &why);
	r = sd_bus_reply_method_return(m, "h", fd);
	/* The reply has a duplicate; with ours open the client's end would not be the last. */
	(void) close(fd);
	return r;
}

/* Scripts send what their language makes of a number. Return: 0, -EINVAL for what is none */
static int read_number(sd_bus_message *m, double *ret)
{
	union {
		uint8_t y;
		int16_t n;
		uint16_t q;
		int32_t i;
		uint32_t u;
		int64_t x;
		uint64_t t;
		double d;
		int b;
	} v = {};
	const char *contents;
	int r;

	r = sd_bus_message_peek_type(m, NULL, &contents);
	if (r < 0)
		return r;
	if (!contents[0] || contents[1] || !strchr("ynqiuxtdb", contents[0]))
		return -EINVAL;
	r = sd_bus_message_read(m, "v", contents, &v);
	if (r < 0)
		return r;
	*ret = contents[0] == 'd'   ? v.d
	       : contents[0] == 'y' ? v.y
	       : contents[0] == 'n' ? v.n
	       : contents[0] == 'q' ? v.q
	       : contents[0] == 'i' ? v.i
	       : contents[0] == 'u' ? v.u
	       : contents[0] == 'x' ? (double) v.x
	       : contents[0] == 't' ? (double) v.t
				    : v.b;
	return 0;
}

static int take_value(struct report *to, const char *key, double value, struct error *reterr)
{
	if (strcmp(key, VALID_KEY) == 0) {
		if (!(value >= 0 && value <= POWER_KEY_SEC_MAX))
			return error_set(
				reterr, -EINVAL, VALID_KEY " is 0 to %d", POWER_KEY_SEC_MAX);
		to->valid_sec = (uint32_t) value;
		return 0;
	}
	if (to->n == POWER_KEYS_MAX)
		return error_set(
			reterr, -EDQUOT, "more than %d values are reported", POWER_KEYS_MAX);
	to->values[to->n].key = key;
	to->values[to->n++].value = value;
	return 0;
}

static int read_report(sd_bus_message *m, struct report *ret, struct error *reterr)
{
	const char *key;
	double value = 0;
	int r;

	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read_basic(m, 's', &key);
		if (r < 0)
			return r;
		r = read_number(m, &value);
		if (r == -EINVAL)
			return error_set(reterr, r, "the value of \"%.64s\" is no number", key);
		if (r >= 0)
			r = take_value(ret, key, value, reterr);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

int bus_power_report_telemetry(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	struct manager *manager = userdata;
	struct report report = {.valid_sec = VALID_SEC};
	struct error why = {};
	int r;

	r = read_report(m, &report, &why);
	for (uint32_t i = 0; r >= 0 && i < report.n; i++) {
		r = power_report(manager->power, report.values[i].key, report.values[i].value,
			report.valid_sec);
		if (r == -EDQUOT)
			(void) error_set(
				&why, r, "there are %d keys, no more are allowed", POWER_KEYS_MAX);
		else if (r < 0)
			(void) error_set(&why, r,
				"\"%.64s\": expected a key of 1 to 31 letters, digits, \"-\", \"_\", "
				"\".\" and a finite number",
				report.values[i].key);
	}
	return r < 0 ? bus_error(ret, r, &why) : sd_bus_reply_method_return(m, NULL);
}

int bus_power_get_holds(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	return holds_append(userdata, reply);
}

int bus_power_get_profile(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	const struct manager *m = userdata;

	return sd_bus_message_append(reply, "s", profile_name(m->profile));
}

int bus_power_set_profile(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *value, void *userdata, sd_bus_error *ret)
{
	struct error why = {};
	const char *name;
	int r;

	r = sd_bus_message_read(value, "s", &name);
	if (r < 0)
		return r;
	r = profile_parse(name);
	if (r < 0) {
		r = error_set(&why, r,
			"there is no profile \"%.32s\": power-saver, balanced, performance", name);
		return bus_error(ret, r, &why);
	}
	manager_set_profile(userdata, (enum profile) r);
	return 1;
}

static int append_input(
	sd_bus_message *reply, const struct power_inputs *in, enum power_input input)
{
	const struct power_input_info *info = &power_inputs_info[input];
	const struct power_value *v = &in->values[input];

	return sd_bus_message_append(reply, "(ssbdsst)", info->name, power_sources[info->source].name,
		v->known, v->value, info->unit, v->text, v->since_nsec);
}

static int append_report(sd_bus_message *reply, const struct power_report *report)
{
	char name[64];

	(void) snprintf(name, sizeof name, "telemetry of %s", report->key);
	return sd_bus_message_append(reply, "(ssbdsst)", name, power_sources[POWER_TELEMETRY].name, 1,
		report->value, "", "", report->since_nsec);
}

int bus_power_get_inputs(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	struct manager *m = userdata;
	const struct power_inputs *in = power_inputs(m->power);
	int r;

	power_look(m->power);
	r = sd_bus_message_open_container(reply, 'a', "(ssbdsst)");
	for (enum power_input i = 0; r >= 0 && i < _POWER_INPUT_MAX; i++)
		r = append_input(reply, in, i);
	for (uint32_t i = 0; r >= 0 && i < in->n_reports; i++)
		r = append_report(reply, &in->reports[i]);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

int bus_power_get_policy_inputs(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	struct policy_inputs inputs = manager_inputs_now(userdata);
	struct trace_cell c;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "(ss)");
	for (uint32_t i = 0; r >= 0 && trace_cell(&inputs, i, &c); i++)
		r = sd_bus_message_append(reply, "(ss)", c.head, c.value);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}
