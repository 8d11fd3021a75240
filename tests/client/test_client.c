/* SPDX-License-Identifier: Apache-2.0 */
/* Every call of libbitshed against the real daemon, every error that a client can bring about. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "support/bus.h"
#include "support/test.h"

static struct live live;
static struct bitshed *b, *other;
static struct bitshed_error e;

static void test_start(void)
{
	live_start(&live);
	CU_ASSERT_EQUAL_FATAL(bitshed_open(&b, NULL, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_open(&other, "session", &e), 0);
}

static void test_daemon_and_devices(void)
{
	struct bitshed_daemon *d = NULL;
	struct bitshed_device **devices = NULL;
	struct bitshed_model **models = NULL;

	CU_ASSERT_EQUAL_FATAL(bitshed_get_daemon(b, &d, &e), 0);
	CU_ASSERT_STRING_EQUAL(d->version, bitshed_version());
	CU_ASSERT_STRING_EQUAL(d->profile, "balanced");
	CU_ASSERT_EQUAL(d->n_devices, 1);
	CU_ASSERT_EQUAL(d->n_models, 0);
	bitshed_daemon_free(d);
	CU_ASSERT_EQUAL_FATAL(bitshed_list_devices(b, &devices, &e), 1);
	CU_ASSERT_STRING_EQUAL(devices[0]->name, "cpu");
	CU_ASSERT_TRUE(devices[0]->threads >= 1);
	CU_ASSERT_PTR_NULL(devices[1]);
	bitshed_devices_free(devices);
	CU_ASSERT_EQUAL_FATAL(bitshed_list_models(b, &models, &e), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(models);
	CU_ASSERT_PTR_NULL(models[0]);
	bitshed_models_free(models);
}

static void test_load(void)
{
	struct bitshed_model *m = NULL;

	CU_ASSERT_EQUAL_FATAL(bitshed_load(b, "net-1.b", live.network, 4, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_wait_ready(b, "net-1.b", 60000, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_get_model(b, &m, "net-1.b", &e), 0);
	CU_ASSERT_STRING_EQUAL(m->name, "net-1.b");
	CU_ASSERT_STRING_EQUAL(m->state, "ready");
	CU_ASSERT_EQUAL(m->bits, 4);
	CU_ASSERT_EQUAL(m->bits_by_hand, 4);
	CU_ASSERT_EQUAL(m->bits_max, 4);
	CU_ASSERT_EQUAL(m->progress, 1);
	CU_ASSERT_EQUAL(m->input_shape[0], LIVE_SIZE);
	CU_ASSERT_EQUAL(m->input_shape[2], 3);
	CU_ASSERT_STRING_EQUAL(m->input_type, "pixels");
	CU_ASSERT_TRUE(m->resident_bytes > 0);
	CU_ASSERT_TRUE(m->n_rules > 0 && m->rules[m->n_rules] == NULL);
	CU_ASSERT_PTR_NULL(m->labels[m->n_labels]);
	CU_ASSERT_NOT_EQUAL(m->rule_text[0], '\0');
	bitshed_model_free(m);
}

static void test_load_refused(void)
{
	struct bitshed_model *m = NULL;

	CU_ASSERT_EQUAL(bitshed_load(b, "net-1.b", live.network, 0, &e), -EEXIST);
	CU_ASSERT_STRING_EQUAL(e.name, "org.bitshed.Error.Exists");
	CU_ASSERT_EQUAL(bitshed_load(b, "-x", live.network, 0, &e), -EINVAL);
	CU_ASSERT_EQUAL(bitshed_load(b, "x", "/nonexistent", 0, &e), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "/nonexistent"));
	CU_ASSERT_TRUE(bitshed_load(b, "x", live.folder, 0, NULL) < 0);
	CU_ASSERT_TRUE(bitshed_load(b, "x", "/dev/null", 0, &e) < 0);
	CU_ASSERT_EQUAL(bitshed_load(b, "bad", live.garbage, 0, &e), 0);
	CU_ASSERT_EQUAL(bitshed_wait_ready(b, "bad", -1, &e), -EBADMSG);
	CU_ASSERT_NOT_EQUAL(e.text[0], '\0');
	CU_ASSERT_EQUAL(bitshed_unload(b, "bad", &e), 0);
	CU_ASSERT_EQUAL(bitshed_wait_ready(b, "bad", 0, &e), -ENOENT);
	CU_ASSERT_STRING_EQUAL(e.name, "org.bitshed.Error.NoSuchModel");
	CU_ASSERT_EQUAL(bitshed_get_model(b, &m, "no/such model", &e), -ENOENT);
	CU_ASSERT_EQUAL(bitshed_unload(b, "bad", &e), -ENOENT);
}

static void test_infer_refused(void)
{
	static const struct {
		struct bitshed_options options;
		size_t size;
		int number;
	} rows[] = {
		{{.min_bits = 0}, LIVE_PIXELS - 1, -EMSGSIZE},
		{{.min_bits = 5}, LIVE_PIXELS, -ERANGE},
		{{.min_bits = -1}, LIVE_PIXELS, -EINVAL},
		{{.priority = 101}, LIVE_PIXELS, -EINVAL},
		{{.input = BITSHED_INPUT_FLOATS}, LIVE_PIXELS, -EMSGSIZE},
	};
	float *output;
	size_t n;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		CU_ASSERT_EQUAL(bitshed_infer(b, "net-1.b", live.pixels, rows[i].size,
					&rows[i].options, &output, &n, NULL, &e),
			rows[i].number);
	CU_ASSERT_EQUAL(
		bitshed_infer(b, "nobody", live.pixels, LIVE_PIXELS, NULL, &output, &n, NULL, &e),
		-ENOENT);
}

/* The two ways to ask give the same bits at every width. */
static void test_session_equals_bus(void)
{
	static const double widths[] = {4, 3, 2.5, 2, 1, 4};
	struct bitshed_session *s = NULL;

	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&s, b, "net-1.b", 3, &e), 0);
	CU_ASSERT_EQUAL(bitshed_session_input_bytes(s, BITSHED_INPUT_DEFAULT), LIVE_PIXELS);
	CU_ASSERT_EQUAL(
		bitshed_session_input_bytes(s, BITSHED_INPUT_FLOATS), LIVE_PIXELS * sizeof(float));
	memcpy(bitshed_session_input(s, 1), live.pixels, LIVE_PIXELS);
	for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
		struct bitshed_result on_bus, in_session;
		float *output = NULL;
		size_t n;

		CU_ASSERT_EQUAL(bitshed_set_bits(b, "net-1.b", widths[i], &e), 0);
		CU_ASSERT_EQUAL_FATAL(bitshed_infer(b, "net-1.b", live.pixels, LIVE_PIXELS, NULL,
					      &output, &n, &on_bus, &e),
			0);
		CU_ASSERT_EQUAL_FATAL(bitshed_session_infer(s, 1, NULL, &in_session, &e), 0);
		CU_ASSERT_EQUAL(n, bitshed_session_output_count(s));
		CU_ASSERT_EQUAL(memcmp(output, bitshed_session_output(s, 1), n * sizeof(float)), 0);
		CU_ASSERT_EQUAL((float) on_bus.bits, (float) in_session.bits);
		CU_ASSERT_STRING_EQUAL(on_bus.rule, in_session.rule);
		CU_ASSERT_STRING_EQUAL(on_bus.device, in_session.device);
		CU_ASSERT_TRUE(on_bus.bits <= widths[i] + 1e-6 && on_bus.bits > widths[i] - 1);
		free(output);
	}
	CU_ASSERT_EQUAL(
		bitshed_session_infer(s, 1, &(struct bitshed_options){.min_bits = 5}, NULL, &e),
		-ERANGE);
	CU_ASSERT_EQUAL(
		bitshed_session_infer(s, 1, &(struct bitshed_options){.priority = 101}, NULL, &e),
		-EINVAL);
	(void) bitshed_session_close(s);
	CU_ASSERT_EQUAL(bitshed_set_bits(b, "net-1.b", 9, &e), -ERANGE);
	CU_ASSERT_EQUAL(bitshed_set_bits(b, "nobody", 2, &e), -ENOENT);
	CU_ASSERT_EQUAL(bitshed_session_open(&s, b, "nobody", 1, &e), -ENOENT);
	CU_ASSERT_EQUAL(bitshed_session_open(&s, b, "net-1.b", 100000, &e), -EDQUOT);
}

/* A connection's end is the end of its sessions, and of nobody else's. */
static void test_two_clients(void)
{
	struct bitshed_session *mine = NULL, *theirs = NULL;
	struct bitshed *third = NULL;

	CU_ASSERT_EQUAL_FATAL(bitshed_open(&third, NULL, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&mine, b, "net-1.b", 1, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&theirs, third, "net-1.b", 1, &e), 0);
	memcpy(bitshed_session_input(mine, 0), live.pixels, LIVE_PIXELS);
	memset(bitshed_session_input(theirs, 0), 0, LIVE_PIXELS);
	for (int i = 0; i < 100; i++) {
		CU_ASSERT_EQUAL(bitshed_session_submit(mine, 0, NULL, 1, &e), 0);
		CU_ASSERT_EQUAL(bitshed_session_infer(theirs, 0, NULL, NULL, &e), 0);
		CU_ASSERT_EQUAL(bitshed_session_wait(mine, -1, NULL, &e), 1);
	}
	third = bitshed_close(third);
	for (int i = 0; i < 20000 && bitshed_session_infer(theirs, 0, NULL, NULL, &e) == 0; i++)
		(void) usleep(1000);
	CU_ASSERT_EQUAL(bitshed_session_infer(theirs, 0, NULL, NULL, &e), -ECONNRESET);
	CU_ASSERT_EQUAL(bitshed_session_infer(mine, 0, NULL, NULL, &e), 0);
	(void) bitshed_session_close(mine);
	(void) bitshed_session_close(theirs);
}

static void test_profile(void)
{
	char *profile = NULL;

	CU_ASSERT_EQUAL(bitshed_set_bits(b, "net-1.b", 0, &e), 0);
	CU_ASSERT_EQUAL(bitshed_set_profile(b, "power-saver", &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_get_profile(b, &profile, &e), 0);
	CU_ASSERT_STRING_EQUAL(profile, "power-saver");
	free(profile);
	CU_ASSERT_EQUAL(bitshed_set_profile(b, "fast", &e), -EINVAL);
	CU_ASSERT_EQUAL(bitshed_set_profile(b, "balanced", &e), 0);
}

struct seen {
	int added, removed, profile, bits, stopped, started;
	char last[64];
};

static void on_event(const struct bitshed_event *event, void *userdata)
{
	struct seen *seen = userdata;

	seen->added += event->type == BITSHED_EVENT_ADDED && strcmp(event->kind, "model") == 0;
	seen->removed += event->type == BITSHED_EVENT_REMOVED && strcmp(event->kind, "model") == 0;
	seen->stopped += event->type == BITSHED_EVENT_STOPPED;
	seen->started += event->type == BITSHED_EVENT_STARTED;
	if (event->type != BITSHED_EVENT_CHANGED)
		return;
	seen->profile +=
		strcmp(event->kind, "daemon") == 0 && strcmp(event->property, "Profile") == 0;
	if (strcmp(event->kind, "model") == 0 && strcmp(event->property, "Bits") == 0 &&
		strcmp(event->name, "x.y") == 0) {
		seen->bits++;
		(void) snprintf(seen->last, sizeof seen->last, "%s", event->value);
	}
}

static void hear(int *until)
{
	for (int i = 0; i < 200 && *until == 0; i++)
		if (bitshed_process(other, 50, NULL) < 0)
			break;
}

static void test_monitor(void)
{
	struct seen seen = {};

	CU_ASSERT_EQUAL_FATAL(bitshed_monitor(other, on_event, &seen, &e), 0);
	CU_ASSERT_TRUE(bitshed_fd(other) >= 0);
	CU_ASSERT_EQUAL(bitshed_set_profile(b, "performance", &e), 0);
	hear(&seen.profile);
	CU_ASSERT_EQUAL(seen.profile, 1);
	live_load(&live, "x.y");
	hear(&seen.added);
	CU_ASSERT_EQUAL(seen.added, 1);
	(void) bitshed_process(other, 0, NULL);
	seen.bits = 0;
	CU_ASSERT_EQUAL(bitshed_set_bits(b, "x.y", 2, &e), 0);
	hear(&seen.bits);
	CU_ASSERT_STRING_EQUAL(seen.last, "2");
	CU_ASSERT_EQUAL(bitshed_unload(b, "x.y", &e), 0);
	hear(&seen.removed);
	CU_ASSERT_EQUAL(seen.removed, 1);
	CU_ASSERT_EQUAL(bitshed_monitor(other, NULL, NULL, &e), 0);
	CU_ASSERT_EQUAL(bitshed_set_profile(b, "balanced", &e), 0);
	while (bitshed_process(other, 50, NULL) > 0)
		;
	CU_ASSERT_EQUAL(seen.profile, 1);
}

/* Uses the machine's model, may not unload it, and loads one of its own. */
static int as_nobody(struct bitshed *theirs)
{
	struct bitshed_session *s = NULL;

	if (bitshed_unload(theirs, "net-1.b", NULL) != -EACCES)
		return 11;
	if (bitshed_session_open(&s, theirs, "net-1.b", 1, NULL) < 0)
		return 12;
	if (bitshed_session_infer(s, 0, NULL, NULL, NULL) < 0)
		return 13;
	if (bitshed_load(theirs, "theirs", live.network, 4, NULL) < 0)
		return 14;
	return bitshed_wait_ready(theirs, "theirs", -1, NULL) < 0 ? 15 : 0;
}

/* A third user, to whom the second one's model does not belong. */
static int as_another(struct bitshed *theirs)
{
	if (bitshed_set_bits(theirs, "theirs", 2, NULL) != -EACCES)
		return 21;
	return bitshed_unload(theirs, "theirs", NULL) != -EACCES ? 22 : 0;
}

/*
 * In a child, because there is no way back. The group stays, which is the daemon's too: its members may
 * load. Return: its exit code
 */
static int as_user(unsigned int id, int (*act)(struct bitshed *theirs))
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		struct bitshed *theirs = NULL;

		if (setuid(id) < 0 || bitshed_open(&theirs, NULL, NULL) < 0)
			_exit(10);
		_exit(act(theirs));
	}
	(void) waitpid(pid, &status, 0);
	if (status != 0)
		printf("(user %u ends with status %#x) ", id, (unsigned int) status);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_not_authorized(void)
{
	if (geteuid() != 0) {
		printf("(needs root to become another user) ");
		return;
	}
	CU_ASSERT_EQUAL(as_user(65534, as_nobody), 0);
	CU_ASSERT_EQUAL(as_user(1, as_another), 0); /* daemon: the bus wants users that exist */
	CU_ASSERT_EQUAL(bitshed_unload(b, "theirs", &e), 0);
}

/* The same connection serves on when the daemon comes back. */
static void test_daemon_restarts(void)
{
	struct bitshed_session *s = NULL;
	struct seen seen = {};
	float *output = NULL;
	size_t n;

	CU_ASSERT_EQUAL(bitshed_monitor(other, on_event, &seen, &e), 0);
	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&s, b, "net-1.b", 1, &e), 0);
	CU_ASSERT_EQUAL(test_daemon_stop(live.daemon), 0);
	CU_ASSERT_EQUAL(bitshed_session_infer(s, 0, NULL, NULL, &e), -ECONNRESET);
	CU_ASSERT_EQUAL(bitshed_unload(b, "net-1.b", &e), -ECONNREFUSED);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "not running"));
	hear(&seen.stopped);
	live.daemon = test_daemon_start(NULL);
	hear(&seen.started);
	CU_ASSERT_EQUAL(seen.stopped, 1);
	CU_ASSERT_EQUAL(seen.started, 1);
	CU_ASSERT_EQUAL(bitshed_session_infer(s, 0, NULL, NULL, &e), -ECONNRESET);
	(void) bitshed_session_close(s);
	live_load(&live, "net-1.b");
	CU_ASSERT_EQUAL(
		bitshed_infer(b, "net-1.b", live.pixels, LIVE_PIXELS, NULL, &output, &n, NULL, &e),
		0);
	free(output);
}

static void test_unload_ends_sessions(void)
{
	struct bitshed_session *s = NULL;

	CU_ASSERT_EQUAL_FATAL(bitshed_session_open(&s, b, "net-1.b", 1, &e), 0);
	CU_ASSERT_EQUAL(bitshed_session_infer(s, 0, NULL, NULL, &e), 0);
	CU_ASSERT_EQUAL(bitshed_unload(b, "net-1.b", &e), 0);
	CU_ASSERT_EQUAL(bitshed_session_infer(s, 0, NULL, NULL, &e), -ECONNRESET);
	(void) bitshed_session_close(s);
}

static void test_stop(void)
{
	b = bitshed_close(b);
	other = bitshed_close(other);
	live_stop(&live);
}

TEST_MAIN("client", TEST(start), TEST(daemon_and_devices), TEST(load), TEST(load_refused),
	TEST(infer_refused), TEST(session_equals_bus), TEST(two_clients), TEST(profile),
	TEST(monitor), TEST(not_authorized), TEST(daemon_restarts), TEST(unload_ends_sessions),
	TEST(stop))
