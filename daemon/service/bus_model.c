/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "bitshed/protocol.h"
#include "service/bus.h"
#include "service/bus_objects.h"
#include "service/catalog.h"
#include "service/manager.h"
#include "service/policy_explain.h"

/* All getters have the same arguments; what differs is what they append. */
#define GETTER(name)                                                                               \
	static int get_##name(sd_bus *bus, const char *path, const char *interface,                \
		const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *ret)

GETTER(name)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "s", e->name);
}

GETTER(state)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "s", entry_state_name(e->state));
}

GETTER(state_reason)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "s", e->reason.text);
}

GETTER(bits)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "d", e->plan ? e->plan->model->bits : 0.0);
}

GETTER(bits_max)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "d", e->network ? (double) e->network->planes_max : 0.0);
}

GETTER(resident_bytes)
{
	return sd_bus_message_append(reply, "t", entry_resident_bytes(userdata));
}

GETTER(reencoded)
{
	return sd_bus_message_append(reply, "b", recoder_is_used(userdata));
}

static const char *energy_source(double joules, bool measured)
{
	return joules <= 0 ? "" : measured ? "measured" : "modelled";
}

GETTER(energy_per_inference)
{
	const struct entry *e = userdata;
	bool measured;

	return sd_bus_message_append(
		reply, "d", e->plan ? energy_joules(&e->energy, e->network, e->plan->model->bits, &measured) : 0.0);
}

GETTER(energy_source)
{
	const struct entry *e = userdata;
	bool measured = false;
	double joules = e->plan ? energy_joules(&e->energy, e->network, e->plan->model->bits, &measured) : 0;

	return sd_bus_message_append(reply, "s", energy_source(joules, measured));
}

static int append_energy(
	sd_bus_message *reply, double bits, const char *device, double joules, bool measured)
{
	return sd_bus_message_append(
		reply, "(dsds)", bits, device, joules, energy_source(joules, measured));
}

/* Of devices only what has been measured: the model is of processors. */
static int append_energy_of_devices(sd_bus_message *reply, const struct entry *e, double bits)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < WORKER_DEVICES; i++) {
		double joules = energy_measured(&e->device_energy[i], bits);

		if (joules > 0)
			r = append_energy(reply, bits, devices_name(i), joules, true);
	}
	return r;
}

GETTER(energy)
{
	const struct entry *e = userdata;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "(dsds)");
	for (uint32_t b = 1; r >= 0 && e->network && b <= e->network->planes_max; b++) {
		bool measured;
		double joules = energy_joules(&e->energy, e->network, b, &measured);

		r = append_energy(reply, b, device_name(e->manager->device), joules, measured);
		if (r >= 0)
			r = append_energy_of_devices(reply, e, b);
	}
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(rule)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "s", e->network ? e->active.rule_name : "");
}

GETTER(rule_text)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "s", e->active.text);
}

GETTER(switches)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "t", e->policy.n_switches);
}

GETTER(suppressed)
{
	const struct entry *e = userdata;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "(st)");
	for (int i = 0; r >= 0 && i < _SUPPRESSED_MAX; i++)
		r = sd_bus_message_append(
			reply, "(st)", suppressed_name(i), e->policy.n_suppressed[i]);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(why)
{
	const struct entry *e = userdata;
	struct explanation why = {};
	int r;

	if (e->network) {
		struct policy_inputs inputs = manager_inputs_now(e->manager);
		struct policy_model model = entry_policy_model(e);

		policy_explain(&why, e->manager->rules, &inputs, &model, &e->policy);
	}
	r = sd_bus_message_open_container(reply, 'a', "s");
	for (uint32_t i = 0; r >= 0 && i < why.n; i++)
		r = sd_bus_message_append(reply, "s", why.lines[i]);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(rules)
{
	const struct entry *e = userdata;
	const struct rules *rules = e->manager->rules;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "s");
	for (int i = 0; r >= 0 && i < _RULE_MAX; i++)
		r = sd_bus_message_append(reply, "s", policy_rule_name(i));
	for (uint32_t i = 0; r >= 0 && rules && i < rules->n_names; i++)
		r = sd_bus_message_append(reply, "s", rules->names[i]);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_shape(sd_bus_message *reply, const struct network *n, uint32_t value)
{
	struct shape none = {}, s = n ? n->values[value].shape : none;

	return sd_bus_message_append(reply, "(uuu)", s.height, s.width, s.channels);
}

GETTER(input_shape)
{
	const struct entry *e = userdata;

	return append_shape(reply, e->network, e->network ? e->network->input : 0);
}

GETTER(output_shape)
{
	const struct entry *e = userdata;

	return append_shape(reply, e->network, e->network ? e->network->output : 0);
}

GETTER(input_type)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "s",
		!e->network		   ? ""
		: e->network->input_pixels ? "pixels"
					   : "floats");
}

GETTER(labels)
{
	const struct entry *e = userdata;
	uint32_t n = e->network ? e->network->n_labels : 0;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "s");
	for (uint32_t i = 0; r >= 0 && i < n; i++)
		r = sd_bus_message_append(reply, "s", e->network->labels[i]);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(accuracy)
{
	const struct entry *e = userdata;
	uint32_t n = e->network ? e->network->n_accuracies : 0;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "(dddu)");
	for (uint32_t i = 0; r >= 0 && i < n; i++) {
		const struct accuracy *a = &e->network->accuracies[i];

		r = sd_bus_message_append(reply, "(dddu)", (double) a->bits, (double) a->top1,
			(double) a->top5, a->images);
	}
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(method)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "s", e->network ? e->network->method : "");
}

GETTER(source_hash)
{
	const struct entry *e = userdata;

	return sd_bus_message_append(reply, "s", e->network ? e->network->source_hash : "");
}

static int append_statistics(sd_bus_message *reply, const struct entry *e)
{
	const struct stats *stats = &e->stats;
	struct devices *devices = e->manager->devices;
	int r;

	r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = bus_append_u64(reply, "requests", stats->requests);
	if (r >= 0)
		r = bus_append_u64(reply, "failures", stats->failures);
	if (r >= 0)
		r = bus_append_u64(reply, "run-nsec", stats->run_nsec);
	if (r >= 0)
		r = bus_append_u64(reply, "latency-nsec", stats->latency_nsec);
	if (r >= 0)
		r = bus_append_u64(reply, "cpu-nsec", stats->cpu_nsec);
	if (r >= 0)
		r = bus_append_u64(reply, "opencl-nsec",
			devices && e->plan ? devices_nsec(devices, e->plan) : 0);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int method_get_statistics(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const struct entry *e = userdata;
	int r;

	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = append_statistics(reply, e);
	return r < 0 ? r : sd_bus_send(e->manager->bus, reply, NULL);
}

/* clang-format off */
#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD_WITH_ARGS("GetStatistics", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{sv}", statistics),
		method_get_statistics, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Name", "s", get_name, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("State", "s", get_state, 0, EMITS),
	SD_BUS_PROPERTY("StateReason", "s", get_state_reason, 0, EMITS),
	SD_BUS_PROPERTY("Progress", "d", NULL, offsetof(struct entry, progress), EMITS),
	SD_BUS_PROPERTY("Bits", "d", get_bits, 0, EMITS),
	SD_BUS_PROPERTY("BitsByHand", "d", NULL, offsetof(struct entry, bits_by_hand_active),
		EMITS),
	SD_BUS_PROPERTY("BitsMax", "d", get_bits_max, 0, EMITS),
	SD_BUS_PROPERTY("ResidentBytes", "t", get_resident_bytes, 0, EMITS),
	SD_BUS_PROPERTY("Reencoded", "b", get_reencoded, 0, EMITS),
	SD_BUS_PROPERTY("EnergyPerInference", "d", get_energy_per_inference, 0, 0),
	SD_BUS_PROPERTY("EnergySource", "s", get_energy_source, 0, 0),
	SD_BUS_PROPERTY("Energy", "a(dsds)", get_energy, 0, 0),
	SD_BUS_PROPERTY("Rule", "s", get_rule, 0, EMITS),
	SD_BUS_PROPERTY("RuleText", "s", get_rule_text, 0, EMITS),
	SD_BUS_PROPERTY("RuleSince", "t", NULL, offsetof(struct entry, rule_since_nsec), 0),
	SD_BUS_PROPERTY("Why", "as", get_why, 0, 0),
	SD_BUS_PROPERTY("Switches", "t", get_switches, 0, 0),
	SD_BUS_PROPERTY("Suppressed", "a(st)", get_suppressed, 0, 0),
	SD_BUS_PROPERTY("Rules", "as", get_rules, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("InputShape", "(uuu)", get_input_shape, 0, EMITS),
	SD_BUS_PROPERTY("InputType", "s", get_input_type, 0, EMITS),
	SD_BUS_PROPERTY("OutputShape", "(uuu)", get_output_shape, 0, EMITS),
	SD_BUS_PROPERTY("Labels", "as", get_labels, 0, EMITS),
	SD_BUS_PROPERTY("Accuracy", "a(dddu)", get_accuracy, 0, EMITS),
	SD_BUS_PROPERTY("Method", "s", get_method, 0, EMITS),
	SD_BUS_PROPERTY("SourceHash", "s", get_source_hash, 0, EMITS),
	SD_BUS_VTABLE_END
};
#undef EMITS
/* clang-format on */

int bus_model_add(struct entry *e)
{
	int r;

	r = sd_bus_path_encode(BITSHED_PATH "/model", e->name, &e->path);
	if (r < 0)
		return r;
	return sd_bus_add_object_vtable(
		e->manager->bus, &e->object, e->path, BITSHED_MODEL_INTERFACE, vtable, e);
}

void bus_model_added(struct entry *e)
{
	(void) sd_bus_emit_object_added(e->manager->bus, e->path);
	bus_manager_changed(e->manager, "Models");
}

void bus_model_removed(struct entry *e)
{
	(void) sd_bus_emit_object_removed(e->manager->bus, e->path);
	e->object = sd_bus_slot_unref(e->object);
	bus_manager_changed(e->manager, "Models");
}

static void changed(struct entry *e, const char *const *properties)
{
	(void) sd_bus_emit_properties_changed_strv(
		e->manager->bus, e->path, BITSHED_MODEL_INTERFACE, (char **) properties);
}

void bus_model_progress(struct entry *e)
{
	changed(e, (const char *const[]){"Progress", NULL});
}

void bus_model_failed(struct entry *e)
{
	changed(e, (const char *const[]){"State", "StateReason", NULL});
}

void bus_model_loaded(struct entry *e)
{
	changed(e, (const char *const[]){"State", "StateReason", "Progress", "Bits", "BitsByHand", "BitsMax",
			   "ResidentBytes", "Reencoded", "Rule", "RuleText", "InputShape", "InputType",
			   "OutputShape", "Labels", "Accuracy", "Method", "SourceHash", NULL});
}

void bus_model_parked(struct entry *e)
{
	changed(e, (const char *const[]){"State", "StateReason", "Bits", "ResidentBytes", NULL});
}

void bus_model_reencoded(struct entry *e)
{
	changed(e, (const char *const[]){"ResidentBytes", "Reencoded", NULL});
}

void bus_model_switched(struct entry *e)
{
	changed(e, (const char *const[]){
			   "Bits", "BitsByHand", "ResidentBytes", "Reencoded", "Rule", "RuleText", NULL});
}
