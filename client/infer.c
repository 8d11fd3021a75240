/* SPDX-License-Identifier: Apache-2.0 */
/* One inference over the bus. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static const char *choice_name(enum bitshed_choice choice)
{
	return choice == BITSHED_CHOICE_CPU      ? "cpu"
	       : choice == BITSHED_CHOICE_PREFER ? "prefer-opencl"
						 : "require-opencl";
}

static int append_options(sd_bus_message *m, const struct bitshed_options *o)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0 && o && o->min_bits != 0)
		r = sd_bus_message_append(m, "{sv}", "min-bits", "d", o->min_bits);
	if (r >= 0 && o && o->deadline_ms)
		r = sd_bus_message_append(m, "{sv}", "deadline-ms", "u", o->deadline_ms);
	if (r >= 0 && o && o->priority)
		r = sd_bus_message_append(m, "{sv}", "priority", "i", o->priority);
	if (r >= 0 && o && o->input != BITSHED_INPUT_DEFAULT)
		r = sd_bus_message_append(m, "{sv}", "input-type", "s",
			o->input == BITSHED_INPUT_PIXELS ? "pixels" : "floats");
	if (r >= 0 && o && o->device != BITSHED_CHOICE_ANY)
		r = sd_bus_message_append(m, "{sv}", "device", "s", choice_name(o->device));
	if (r < 0)
		return r;
	return sd_bus_message_close_container(m);
}

static int read_entry(sd_bus_message *m, const char *key, struct bitshed_result *result)
{
	const char *text;
	int r;

	if (strcmp(key, "bits") == 0)
		return sd_bus_message_read(m, "v", "d", &result->bits);
	if (strcmp(key, "queue-nsec") == 0)
		return sd_bus_message_read(m, "v", "t", &result->queue_nsec);
	if (strcmp(key, "run-nsec") == 0)
		return sd_bus_message_read(m, "v", "t", &result->run_nsec);
	if (strcmp(key, "device") != 0 && strcmp(key, "rule") != 0)
		return sd_bus_message_skip(m, "v");
	r = sd_bus_message_read(m, "v", "s", &text);
	if (r < 0)
		return r;
	(void) snprintf(
		key[0] == 'd' ? result->device : result->rule, sizeof result->rule, "%s", text);
	return r;
}

static int read_result(sd_bus_message *m, struct bitshed_result *result)
{
	const char *key;
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0)
			r = read_entry(m, key, result);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_output(sd_bus_message *m, float **ret, size_t *ret_count)
{
	const void *bytes;
	size_t size;
	float *copy;
	int r = sd_bus_message_read_array(m, 'y', &bytes, &size);

	if (r < 0)
		return r;
	if (size == 0 || size % sizeof(float))
		return -EBADMSG;
	copy = malloc(size);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, size);
	*ret = copy;
	*ret_count = size / sizeof(float);
	return 0;
}

int bitshed_infer(struct bitshed *b, const char *model, const void *input, size_t input_bytes,
	const struct bitshed_options *options, float **ret_output, size_t *ret_count,
	struct bitshed_result *ret_result, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
	_cleanup_(client_freep) float *output = NULL;
	struct bitshed_result result = {.slot = BITSHED_NO_SLOT};
	size_t count;
	int r = manager_call(b, &m, "Infer", reterr);

	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "s", model);
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', input, input_bytes);
	if (r >= 0)
		r = append_options(m, options);
	if (r < 0)
		return fail_bus(reterr, r, NULL);
	r = call_patiently(b, m, LONG_CALL_USEC, &reply, reterr);
	if (r < 0)
		return r;
	r = read_output(reply, &output, &count);
	if (r >= 0)
		r = read_result(reply, &result);
	if (r < 0)
		return fail_bus(reterr, r, NULL);
	*ret_output = output;
	output = NULL;
	*ret_count = count;
	if (ret_result)
		*ret_result = result;
	return 0;
}
