/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon knows of the board. */
#include <errno.h>
#include <string.h>

#include "internal.h"

void bitshed_power_inputs_free(struct bitshed_power_input *inputs, size_t n)
{
	for (size_t i = 0; inputs && i < n; i++) {
		free(inputs[i].name);
		free(inputs[i].source);
		free(inputs[i].unit);
		free(inputs[i].text);
	}
	free(inputs);
}

/* Return: 1 read, 0 no more, negative errno */
static int read_input(sd_bus_message *m, struct bitshed_power_input *to)
{
	const char *name, *source, *unit, *text;
	uint64_t since;
	double value;
	int r, known;

	r = sd_bus_message_read(
		m, "(ssbdsst)", &name, &source, &known, &value, &unit, &text, &since);
	if (r <= 0)
		return r;
	*to = (struct bitshed_power_input){.name = strdup(name),
		.source = strdup(source),
		.unit = strdup(unit),
		.text = strdup(text),
		.known = known,
		.value = value,
		.since_nsec = since};
	return 1;
}

static int read_inputs(sd_bus_message *m, struct bitshed_power_input **ret, size_t *n)
{
	int r = sd_bus_message_enter_container(m, 'a', "(ssbdsst)");

	while (r >= 0) {
		struct bitshed_power_input *more = reallocarray(*ret, *n + 1, sizeof *more);

		if (!more)
			return -ENOMEM;
		*ret = more;
		r = read_input(m, &more[*n]);
		if (r == 0)
			return 0;
		if (r < 0)
			return r;
		++*n;
		if (!more[*n - 1].name || !more[*n - 1].source || !more[*n - 1].unit ||
			!more[*n - 1].text)
			return -ENOMEM;
	}
	return r;
}

int bitshed_list_power_inputs(
	struct bitshed *b, struct bitshed_power_input **ret, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	struct bitshed_power_input *inputs = NULL;
	size_t n = 0;
	int r = sd_bus_get_property(b->bus, BITSHED_BUS_NAME, BITSHED_PATH,
		BITSHED_MANAGER_INTERFACE, "Inputs", &error, &m, "a(ssbdsst)");

	if (r >= 0)
		r = read_inputs(m, &inputs, &n);
	if (r < 0) {
		bitshed_power_inputs_free(inputs, n);
		r = fail_bus(reterr, r, &error);
		sd_bus_error_free(&error);
		return r;
	}
	*ret = inputs;
	return (int) n;
}
