/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers that somebody reports, for boards whose UPS or solar charger nobody else reads. Who reported
 * may be a script that has long ended: a number counts until its time is over, not until its
 * reporter leaves.
 */
#include "service/power_source.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/** struct telemetry - @expiry: armed for the report that ends first */
struct telemetry {
	struct power *power;
	sd_event_source *expiry;
	struct power_report reports[POWER_KEYS_MAX];
	uint32_t n;
};

static bool is_key(const char *key)
{
	size_t n = strlen(key);

	return n >= 1 && n < sizeof((struct power_report *) 0)->key &&
	       strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == n;
}

/* The order is of no meaning: the last takes the place. */
static void forget(struct telemetry *t, uint32_t i)
{
	t->reports[i] = t->reports[--t->n];
}

static void arm(struct telemetry *t)
{
	uint64_t first = UINT64_MAX;

	for (uint32_t i = 0; i < t->n; i++)
		first = MIN_OF(first, t->reports[i].until_nsec);
	if (first == UINT64_MAX) {
		(void) sd_event_source_set_enabled(t->expiry, SD_EVENT_OFF);
		return;
	}
	(void) sd_event_source_set_time(t->expiry, first / NSEC_PER_USEC + 1);
	(void) sd_event_source_set_enabled(t->expiry, SD_EVENT_ONESHOT);
}

static int on_expiry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct telemetry *t = userdata;
	uint64_t now = clock_boot_nsec();

	for (uint32_t i = t->n; i-- > 0;)
		if (t->reports[i].until_nsec <= now)
			forget(t, i);
	power_set_reports(t->power, t->reports, t->n);
	arm(t);
	return 0;
}

static struct power_report *find(struct telemetry *t, const char *key)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (strcmp(t->reports[i].key, key) == 0)
			return &t->reports[i];
	return NULL;
}

int power_telemetry_report(void *state, const char *key, double value, uint32_t valid_sec)
{
	struct telemetry *t = state;
	struct power_report *r = is_key(key) ? find(t, key) : NULL;

	if (!is_key(key) || !isfinite(value) || valid_sec > POWER_KEY_SEC_MAX)
		return -EINVAL;
	if (!r && valid_sec == 0)
		return 0;
	if (!r && t->n == POWER_KEYS_MAX)
		return -EDQUOT;
	if (!r) {
		r = &t->reports[t->n++];
		*r = (struct power_report){};
		(void) snprintf(r->key, sizeof r->key, "%s", key);
	}
	if (r->since_nsec == 0 || r->value != value)
		r->since_nsec = clock_now_nsec();
	r->value = value;
	r->until_nsec = clock_boot_nsec() + valid_sec * NSEC_PER_SEC;
	if (valid_sec == 0)
		forget(t, (uint32_t) (r - t->reports));
	power_set_reports(t->power, t->reports, t->n);
	arm(t);
	return 0;
}

static void telemetry_close(void *state)
{
	struct telemetry *t = state;

	(void) sd_event_source_disable_unref(t->expiry);
	free(t);
}

static int telemetry_open(struct power *p, void **ret)
{
	struct telemetry *t = calloc(1, sizeof *t);
	int r;

	if (!t)
		return -ENOMEM;
	t->power = p;
	r = sd_event_add_time(power_options(p)->event, &t->expiry, CLOCK_BOOTTIME, 0,
		NSEC_PER_SEC / NSEC_PER_USEC, on_expiry, t);
	if (r >= 0)
		r = sd_event_source_set_enabled(t->expiry, SD_EVENT_OFF);
	if (r < 0) {
		telemetry_close(t);
		return r;
	}
	*ret = t;
	return 0;
}

const struct power_driver power_telemetry_driver = {
	.open = telemetry_open,
	.close = telemetry_close,
};
