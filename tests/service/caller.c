/* SPDX-License-Identifier: Apache-2.0 */
#include "caller.h"

#include <dirent.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/exec.h"
#include "engine/lower.h"
#include "support/test.h"

#define QUIET_TRIES 3

#define MODEL_PATH BITSHED_PATH "/model"

static char error_name[128];

static const char *keep_error(sd_bus_error *error)
{
	(void) snprintf(error_name, sizeof error_name, "%s", error->name ? error->name : "?");
	sd_bus_error_free(error);
	return error_name;
}

const char *caller_text(sd_bus *bus, const char *name, const char *property)
{
	static char text[512];
	char *path = NULL, *value = NULL;

	CU_ASSERT_FATAL(sd_bus_path_encode(MODEL_PATH, name, &path) >= 0);
	text[0] = '\0';
	if (sd_bus_get_property_string(
		    bus, BITSHED_BUS_NAME, path, BITSHED_MODEL_INTERFACE, property, NULL, &value)
		>= 0)
		(void) snprintf(text, sizeof text, "%s", value);
	free(value);
	free(path);
	return text;
}

double caller_bits(sd_bus *bus, const char *name)
{
	char *path = NULL;
	double bits = -1;

	CU_ASSERT_FATAL(sd_bus_path_encode(MODEL_PATH, name, &path) >= 0);
	(void) sd_bus_get_property_trivial(
		bus, BITSHED_BUS_NAME, path, BITSHED_MODEL_INTERFACE, "Bits", NULL, 'd', &bits);
	free(path);
	return bits;
}

uint64_t caller_statistic(sd_bus *bus, const char *name, const char *key)
{
	sd_bus_message *reply = NULL;
	uint64_t value, found = UINT64_MAX;
	char *path = NULL;
	const char *is;

	CU_ASSERT_FATAL(sd_bus_path_encode(MODEL_PATH, name, &path) >= 0);
	CU_ASSERT_FATAL(sd_bus_call_method(bus, BITSHED_BUS_NAME, path, BITSHED_MODEL_INTERFACE, "GetStatistics",
				NULL, &reply, "")
			>= 0);
	CU_ASSERT_FATAL(sd_bus_message_enter_container(reply, 'a', "{sv}") >= 0);
	while (sd_bus_message_read(reply, "{sv}", &is, "t", &value) > 0)
		if (strcmp(is, key) == 0)
			found = value;
	(void) sd_bus_message_unref(reply);
	free(path);
	return found;
}

int caller_load(sd_bus *bus, const char *name, int fd, const char **ret_error)
{
	*ret_error = caller_error(bus, "LoadModel", "sha{sv}", name, fd, 0);
	if (**ret_error)
		return -1;
	for (int i = 0; i < 3000 && strcmp(caller_text(bus, name, "State"), "loading") == 0; i++)
		(void) usleep(10000);
	return strcmp(caller_text(bus, name, "State"), "ready") != 0;
}

static struct test_network_options options_of(uint32_t planes)
{
	return (struct test_network_options){.seed = 1, .planes = planes};
}

void caller_load_network(sd_bus *bus, const char *name, uint32_t planes)
{
	struct test_network_options options = options_of(planes);
	int fd = test_network_memfd(&options);
	const char *error = "";
	int r = caller_load(bus, name, fd, &error);

	(void) close(fd);
	if (r != 0)
		fprintf(stderr, "%s: %s %s\n", name, error, caller_text(bus, name, "StateReason"));
	CU_ASSERT_EQUAL_FATAL(r, 0);
}

const char *caller_error(sd_bus *bus, const char *method, const char *types, ...)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL, *reply = NULL;
	const char *name = "";
	va_list ap;
	int r;

	CU_ASSERT_FATAL(sd_bus_message_new_method_call(bus, &m, BITSHED_BUS_NAME, BITSHED_PATH,
				BITSHED_MANAGER_INTERFACE, method)
			>= 0);
	va_start(ap, types);
	r = sd_bus_message_appendv(m, types, ap);
	va_end(ap);
	CU_ASSERT_FATAL(r >= 0);
	if (sd_bus_call(bus, m, 0, &error, &reply) < 0)
		name = keep_error(&error);
	(void) sd_bus_message_unref(reply);
	(void) sd_bus_message_unref(m);
	return name;
}

static void read_result(sd_bus_message *reply, struct caller_answer *ret)
{
	const char *key, *text;

	CU_ASSERT_FATAL(sd_bus_message_enter_container(reply, 'a', "{sv}") >= 0);
	while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
		CU_ASSERT_FATAL(sd_bus_message_read(reply, "s", &key) >= 0);
		if (strcmp(key, "bits") == 0) {
			CU_ASSERT_TRUE(sd_bus_message_read(reply, "v", "d", &ret->bits) >= 0);
		} else if (strcmp(key, "rule") == 0 || strcmp(key, "device") == 0) {
			CU_ASSERT_TRUE(sd_bus_message_read(reply, "v", "s", &text) >= 0);
			(void) snprintf(key[0] == 'r' ? ret->rule : ret->device, sizeof ret->rule,
				"%s", text);
		} else {
			CU_ASSERT_TRUE(sd_bus_message_skip(reply, "v") >= 0);
		}
		CU_ASSERT_TRUE(sd_bus_message_exit_container(reply) >= 0);
	}
}

void caller_infer(sd_bus *bus, const char *name, const void *input, size_t size,
	struct caller_answer *ret, const char *options, ...)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL, *reply = NULL;
	const void *output;
	va_list ap;
	int r;

	*ret = (struct caller_answer){};
	CU_ASSERT_FATAL(sd_bus_message_new_method_call(bus, &m, BITSHED_BUS_NAME, BITSHED_PATH,
				BITSHED_MANAGER_INTERFACE, "Infer")
			>= 0);
	CU_ASSERT_FATAL(sd_bus_message_append(m, "s", name) >= 0);
	CU_ASSERT_FATAL(sd_bus_message_append_array(m, 'y', input, size) >= 0);
	va_start(ap, options);
	r = options ? sd_bus_message_appendv(m, options, ap) : sd_bus_message_append(m, "a{sv}", 0);
	va_end(ap);
	CU_ASSERT_FATAL(r >= 0);
	if (sd_bus_call(bus, m, 0, &error, &reply) < 0) {
		(void) snprintf(ret->error, sizeof ret->error, "%s", keep_error(&error));
	} else {
		CU_ASSERT_FATAL(
			sd_bus_message_read_array(reply, 'y', &output, &ret->output_bytes) >= 0);
		CU_ASSERT_FATAL(ret->output_bytes <= sizeof ret->output);
		memcpy(ret->output, output, ret->output_bytes);
		read_result(reply, ret);
	}
	(void) sd_bus_message_unref(reply);
	(void) sd_bus_message_unref(m);
}

static void read_layout(sd_bus_message *reply, struct caller_session *s)
{
	static const struct {
		const char *key;
		size_t offset;
	} table[] = {
		{"slot-stride", offsetof(struct caller_session, stride)},
		{"input-offset", offsetof(struct caller_session, input)},
		{"output-offset", offsetof(struct caller_session, output)},
		{"pixels-bytes", offsetof(struct caller_session, pixels_bytes)},
		{"floats-bytes", offsetof(struct caller_session, floats_bytes)},
		{"output-bytes", offsetof(struct caller_session, output_bytes)},
		{"memory-bytes", offsetof(struct caller_session, memory_bytes)},
	};
	const char *key;

	CU_ASSERT_FATAL(sd_bus_message_enter_container(reply, 'a', "{sv}") >= 0);
	while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
		CU_ASSERT_FATAL(sd_bus_message_read(reply, "s", &key) >= 0);
		if (strcmp(key, "slots") == 0)
			CU_ASSERT_TRUE(sd_bus_message_read(reply, "v", "u", &s->slots) >= 0);
		for (size_t i = 0; i < ARRAY_SIZE(table); i++)
			if (strcmp(key, table[i].key) == 0)
				CU_ASSERT_TRUE(sd_bus_message_read(reply, "v", "t",
						       (uint8_t *) s + table[i].offset)
					       >= 0);
		CU_ASSERT_TRUE(sd_bus_message_exit_container(reply) >= 0);
	}
}

static void read_session(sd_bus_message *reply, struct caller_session *s)
{
	const char *path;
	int memory, sock;
	void *map;

	CU_ASSERT_FATAL(sd_bus_message_read(reply, "ohh", &path, &memory, &sock) >= 0);
	read_layout(reply, s);
	(void) snprintf(s->path, sizeof s->path, "%s", path);
	s->socket = dup(sock);
	map = mmap(NULL, s->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	CU_ASSERT_FATAL(map != MAP_FAILED);
	s->map = map;
}

const char *caller_session_open(
	sd_bus *bus, const char *name, uint32_t slots, struct caller_session *ret)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;

	*ret = (struct caller_session){.socket = -1};
	if (sd_bus_call_method(bus, BITSHED_BUS_NAME, BITSHED_PATH, BITSHED_MANAGER_INTERFACE,
		    "OpenSession", &error, &reply, "sa{sv}", name, 1, "slots", "u", slots)
		< 0)
		return keep_error(&error);
	read_session(reply, ret);
	(void) sd_bus_message_unref(reply);
	return "";
}

void caller_session_done(struct caller_session *s)
{
	if (s->map)
		(void) munmap(s->map, s->memory_bytes);
	if (s->socket >= 0)
		(void) close(s->socket);
	s->map = NULL;
	s->socket = -1;
}

struct bitshed_request caller_request(uint32_t slot)
{
	return (struct bitshed_request){
		.version = BITSHED_PROTOCOL_VERSION,
		.slot = slot,
		.cookie = 0x1000 + slot,
	};
}

bool caller_exchange(
	struct caller_session *s, const void *record, size_t size, struct bitshed_reply *ret)
{
	struct pollfd p = {.fd = s->socket, .events = POLLIN};

	if (send(s->socket, record, size, MSG_NOSIGNAL) != (ssize_t) size)
		return false;
	if (poll(&p, 1, 120000) != 1)
		return false;
	return recv(s->socket, ret, sizeof *ret, MSG_DONTWAIT) == (ssize_t) sizeof *ret;
}

void reference_open(struct reference *r, uint32_t planes, double bits)
{
	struct test_network_options options = options_of(planes);
	struct model *model = NULL;
	struct error why = {};

	*r = (struct reference){.network = test_network_open(&options)};
	CU_ASSERT_EQUAL_FATAL(model_build(&model, r->network, bits, &why), 0);
	CU_ASSERT_EQUAL_FATAL(plan_new(&r->plan, model, cpu_flags(), &why), 0);
	(void) model_unref(model);
	r->workspace = calloc(1, sizeof *r->workspace);
	CU_ASSERT_EQUAL_FATAL(workspace_reserve(r->workspace, r->plan, 1), 0);
}

void reference_run(struct reference *r, bool floats, const void *input, float *output)
{
	CU_ASSERT_EQUAL(exec_run(r->plan, r->workspace, NULL, floats ? INPUT_FLOATS : INPUT_PIXELS,
				input, output),
		0);
}

void reference_done(struct reference *r)
{
	workspace_done(r->workspace);
	free(r->workspace);
	(void) plan_unref(r->plan);
	(void) network_unref(r->network);
}

static uint64_t task_switches(pid_t pid, const char *task)
{
	char path[96], line[128];
	uint64_t sum = 0, n;
	FILE *f;

	(void) snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int) pid, task);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1
			|| sscanf(line, "nonvoluntary_ctxt_switches: %lu", &n) == 1)
			sum += n;
	if (f)
		(void) fclose(f);
	return sum;
}

uint64_t caller_switches(pid_t pid)
{
	char path[64];
	uint64_t sum = 0;
	struct dirent *e;
	DIR *dir;

	(void) snprintf(path, sizeof path, "/proc/%d/task", (int) pid);
	dir = opendir(path);
	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			sum += task_switches(pid, e->d_name);
	(void) closedir(dir);
	return sum;
}

void caller_expect_quiet(pid_t pid, uint32_t seconds)
{
	uint64_t woken = 1;

#ifdef __SANITIZE_THREAD__
	printf("skipped: the sanitizer has a thread of its own that wakes up ");
	return;
#endif
	for (int i = 0; i < QUIET_TRIES && woken > 0; i++) {
		(void) sleep(2);
		woken = caller_switches(pid);
		(void) sleep(seconds);
		woken = caller_switches(pid) - woken;
		printf("\n    woken %lu times in %u s ", (unsigned long) woken, seconds);
	}
	CU_ASSERT_EQUAL(woken, 0);
}
