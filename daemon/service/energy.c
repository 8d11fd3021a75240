/* SPDX-License-Identifier: Apache-2.0 */
#include "service/energy.h"

#include "base/clock.h"
#include "engine/cost.h"

#define WINDOW_NSEC (5 * NSEC_PER_SEC)
#define IDLE_BELOW 0.05
#define BUSY_ABOVE 0.2
/* Who has less of a busy window than this shares it with somebody. */
#define ALONE_ABOVE 0.9

static double follow(double old, bool known, double sample)
{
	return known ? old + (sample - old) / 4 : sample;
}

static void note_idle(struct energy_meter *m, double watts)
{
	m->idle_watts = follow(m->idle_watts, m->idle_known, watts);
	m->idle_known = true;
}

static void close_window(struct energy_meter *m, uint64_t now_nsec, double watts)
{
	double length = (double) (now_nsec - m->since_nsec), busy = (double) m->busy_nsec / length;
	double *joules = m->owner ? &m->owner->joules[m->width] : NULL;

	if (busy < IDLE_BELOW) {
		note_idle(m, watts);
	} else if (joules && m->idle_known && busy >= BUSY_ABOVE && watts > m->idle_watts &&
		   (double) m->owner_busy_nsec >= ALONE_ABOVE * (double) m->busy_nsec) {
		*joules = follow(*joules, *joules > 0,
			(watts - m->idle_watts) * length / NSEC_PER_SEC / (double) m->n);
	}
}

static void open_window(struct energy_meter *m, uint64_t now_nsec)
{
	m->since_nsec = now_nsec;
	m->busy_nsec = m->owner_busy_nsec = m->n = 0;
	m->owner = NULL;
}

/*
 * Nothing has run for so long that what the meter says is what it said meanwhile. Devices run side by side: an
 * inference may have begun, or be heard of, before the end of the last one.
 */
static bool was_idle(const struct energy_meter *m, uint64_t run_nsec, uint64_t now_nsec)
{
	return now_nsec - run_nsec >= m->last_nsec + WINDOW_NSEC;
}

static bool is_over(const struct energy_meter *m, uint64_t now_nsec)
{
	return now_nsec >= m->since_nsec + WINDOW_NSEC;
}

bool energy_due(const struct energy_meter *m, uint64_t run_nsec, uint64_t now_nsec)
{
	return was_idle(m, run_nsec, now_nsec) || is_over(m, now_nsec);
}

void energy_note(struct energy_meter *m, struct energy *e, double bits, uint64_t run_nsec, uint64_t now_nsec,
	struct reading watts)
{
	if (was_idle(m, run_nsec, now_nsec)) {
		if (watts.known && m->last_nsec > 0)
			note_idle(m, watts.value);
		open_window(m, now_nsec - run_nsec);
	}
	m->last_nsec = MAX_OF(m->last_nsec, now_nsec);
	if (!m->owner) {
		m->owner = e;
		m->width = width_index(bits);
	}
	m->busy_nsec += run_nsec;
	if (m->owner == e && m->width == width_index(bits)) {
		m->owner_busy_nsec += run_nsec;
		m->n++;
	}
	if (!is_over(m, now_nsec))
		return;
	if (watts.known)
		close_window(m, now_nsec, watts.value);
	open_window(m, now_nsec);
}

void energy_forget(struct energy_meter *m, const struct energy *e)
{
	if (m->owner == e)
		m->owner = NULL;
}

static double modelled(const struct network *n, double bits)
{
	struct cost c;

	return network_cost(&c, n, bits) < 0 ? 0 : cost_joules(&c);
}

/* By how much the constants are wrong on this board, as far as widths have been measured. */
static double correction(const struct energy *e, const struct network *n)
{
	double sum = 0, count = 0;

	for (uint32_t i = 8; i <= n->planes_max * 8; i++) {
		double m = e->joules[i] > 0 ? modelled(n, i / 8.0) : 0;

		if (m > 0) {
			sum += e->joules[i] / m;
			count++;
		}
	}
	return count > 0 ? sum / count : 1;
}

double energy_measured(const struct energy *e, double bits)
{
	return e->joules[width_index(bits)];
}

double energy_joules(const struct energy *e, const struct network *n, double bits, bool *ret_measured)
{
	double joules = e->joules[width_index(bits)];

	*ret_measured = joules > 0;
	return joules > 0 ? joules : modelled(n, bits) * correction(e, n);
}
