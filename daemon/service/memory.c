/* SPDX-License-Identifier: Apache-2.0 */
#include "service/memory.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "service/catalog.h"
#include "service/manager.h"
#include "service/session.h"

#define MODELS_MAX 256 /* as the configuration allows */

/* Of the limit: for what is in flight, page tables, and malloc. */
#define RESERVE_PART 10

/* Planes come back when there is so much more room than they need: else they would come and go. */
#define RETURN_PART 10

/* Of memory-pressure, in percent: then nothing new comes in. */
#define PRESSURE_REFUSES 75

static uint64_t less_part(uint64_t bytes, uint64_t part)
{
	return bytes - bytes / part;
}

static uint64_t resident_of_all(const struct manager *m)
{
	uint64_t bytes = 0;

	list_for_each (l, &m->entries)
		bytes += entry_resident_bytes(list_entry(l, struct entry, link));
	return bytes;
}

static uint64_t sessions_bytes(const struct manager *m)
{
	uint64_t bytes = 0;

	list_for_each (l, &m->sessions)
		bytes += list_entry(l, struct session, link)->region.bytes;
	return bytes;
}

static bool works(const struct manager *m)
{
	list_for_each (l, &m->entries)
		if (list_entry(l, struct entry, link)->job_running)
			return true;
	return false;
}

/*
 * For planes of all models. What the rest of the process uses is measured while nothing is being built:
 * planes that are half read would count as that.
 */
static uint64_t room_for_planes(struct manager *m, struct memory_room *ret)
{
	uint64_t most = m->config->planes_bytes_max ?: UINT64_MAX, room, rest;

	memory_room_read(ret, resident_of_all(m) + sessions_bytes(m));
	if (ret->limit_bytes == UINT64_MAX) {
		*ret = (struct memory_room){most, 0, "the configuration"};
		return most;
	}
	if (!works(m) || m->memory_rest_bytes == 0)
		m->memory_rest_bytes = ret->rest_bytes;
	rest = m->memory_rest_bytes + sessions_bytes(m);
	room = less_part(ret->limit_bytes, RESERVE_PART);
	return MIN_OF(most, room - MIN_OF(room, rest));
}

/* What the policy would give it if there were memory. */
static double wanted_bits(const struct entry *e)
{
	struct policy_inputs inputs = manager_inputs_now(e->manager);
	struct policy_model model = entry_policy_model(e);
	struct policy_state state;

	model.memory_bits = 0;
	policy_resolve(e->manager->rules, &inputs, &model, &e->policy, &state);
	return state.budget.bits;
}

static bool takes_memory(const struct entry *e)
{
	return e->network && (e->plan || e->job_running || e->admitted);
}

static uint32_t collect(struct manager *m, struct memory_want *wants, struct entry **entries)
{
	uint32_t n = 0;

	list_for_each (l, &m->entries) {
		struct entry *e = list_entry(l, struct entry, link);

		if (!takes_memory(e) || n == MODELS_MAX)
			continue;
		wants[n] = (struct memory_want){.network = e->network, .wanted = wanted_bits(e)};
		entries[n++] = e;
	}
	return n;
}

/* A cap falls at once, and rises only when there is room to spare. */
static double next_cap(double cap, double fits, double fits_easily, double wanted)
{
	if (cap > 0 && fits > cap)
		fits = fits_easily > cap ? fits_easily : cap;
	return fits < wanted ? fits : 0;
}

static void set_caps(const struct memory_want *fits, const struct memory_want *easily,
	struct entry *const *entries, uint32_t n)
{
	bool changed[MODELS_MAX] = {};

	for (uint32_t i = 0; i < n; i++) {
		double cap = next_cap(
			entries[i]->memory_bits, fits[i].bits, easily[i].bits, fits[i].wanted);

		changed[i] = cap != entries[i]->memory_bits;
		entries[i]->memory_bits = cap;
	}
	/* Those that shed go before those that grow: the builder keeps this order. */
	for (int grow = 0; grow < 2; grow++)
		for (uint32_t i = 0; i < n; i++)
			if (changed[i] && (entries[i]->memory_bits == 0) == (grow == 1))
				entry_update(entries[i]);
}

/* Return: does one bit of each fit? */
static bool settle(struct manager *m)
{
	struct memory_want fits[MODELS_MAX], easily[MODELS_MAX];
	struct entry *entries[MODELS_MAX];
	struct memory_room room;
	uint64_t bytes = room_for_planes(m, &room);
	uint32_t n;
	bool good;

	if (bytes == UINT64_MAX) {
		list_for_each (l, &m->entries)
			list_entry(l, struct entry, link)->memory_bits = 0;
		return true;
	}
	n = collect(m, fits, entries);
	memcpy(easily, fits, n * sizeof fits[0]);
	good = memory_fit(fits, n, bytes);
	(void) memory_fit(easily, n, less_part(bytes, RETURN_PART));
	set_caps(fits, easily, entries, n);
	return good;
}

void memory_settle(struct manager *m)
{
	/* At the end of the daemon there is nobody to build anything. */
	if (m->builder)
		(void) settle(m);
}

static struct entry *longest_idle(struct manager *m, const struct entry *except)
{
	struct entry *best = NULL;

	list_for_each (l, &m->entries) {
		struct entry *e = list_entry(l, struct entry, link);

		if (e == except || !e->plan || e->job_running || atomic_load(&e->plan->refs) > 1)
			continue;
		if (!best || e->serving.used_nsec < best->serving.used_nsec)
			best = e;
	}
	return best;
}

static int refuse(struct entry *e, struct error *reterr)
{
	struct memory_room room;
	uint64_t bytes = room_for_planes(e->manager, &room);

	return error_set(reterr, -ENOMEM,
		"model %s needs %" PRIu64 " bytes for one bit; of %" PRIu64 " bytes of %s, %" PRIu64
		" are left for planes and %" PRIu64 " of them taken",
		e->name, memory_model_bytes(e->network, 1), room.limit_bytes, room.by, bytes,
		resident_of_all(e->manager));
}

int memory_admit(struct entry *e, struct error *reterr)
{
	struct manager *m = e->manager;
	struct memory_room room;
	struct entry *idle;

	/* Nobody sheds for what could not come in even alone. */
	if (memory_model_bytes(e->network, 1) > room_for_planes(m, &room))
		return refuse(e, reterr);
	e->admitted = true;
	while (!settle(m)) {
		idle = longest_idle(m, e);
		if (idle) {
			serving_park(idle, "another model needs the memory");
			continue;
		}
		e->admitted = false;
		(void) settle(m);
		return refuse(e, reterr);
	}
	return 0;
}

int memory_check_load(struct manager *m, uint64_t bytes, struct error *reterr)
{
	struct reading pressure = m->inputs.plain[SENSE_MEMORY_PRESSURE];
	struct memory_room room;
	uint64_t most;

	if (pressure.known && pressure.value >= PRESSURE_REFUSES)
		return error_set(reterr, -ENOMEM,
			"memory is short, the pressure is %.0f %%: a model of %" PRIu64
			" bytes is not loaded now",
			pressure.value, bytes);
	most = room_for_planes(m, &room);
	/* Of a file, at least an eighth is its first plane. */
	if (bytes / BITS_PLANES_MAX > most)
		return error_set(reterr, -ENOMEM,
			"one bit of a model of %" PRIu64 " bytes does not fit into the %" PRIu64
			" bytes that %s leaves for planes",
			bytes, most, room.by);
	return 0;
}
