/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon says about itself is what config/org.bitshed.*.xml promises, to the letter. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "caller.h"
#include "support/bus.h"
#include "support/test.h"

static sd_bus *bus;

static void start(void)
{
	if (bus)
		return;
	(void) test_daemon_start(NULL);
	bus = test_bus_open();
	caller_load_network(bus, "net", 2);
}

static char *read_contract(const char *interface)
{
	char path[512], *text = calloc(1, 65536);
	FILE *f;

	(void) snprintf(path, sizeof path, "%s/config/%s.xml", BITSHED_SOURCE, interface);
	f = fopen(path, "r");
	CU_ASSERT_FATAL(text && f);
	CU_ASSERT_FATAL(fread(text, 1, 65535, f) > 0);
	(void) fclose(f);
	return text;
}

static void drop_comments(char *text)
{
	char *begin, *end;

	while ((begin = strstr(text, "<!--"))) {
		end = strstr(begin, "-->");
		CU_ASSERT_PTR_NOT_NULL_FATAL(end);
		memmove(begin, end + 3, strlen(end + 3) + 1);
	}
}

/* Only what stands between tags as layout goes: "> \n <" becomes "><". */
static void drop_layout(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		if (isspace((unsigned char) *p) && to > text
			&& (to[-1] == '>' || isspace((unsigned char) to[-1])))
			continue;
		*to++ = *p;
	}
	*to = '\0';
}

static char *interface_of(char *text, const char *interface)
{
	char tag[128], *begin, *end;

	drop_comments(text);
	drop_layout(text);
	(void) snprintf(tag, sizeof tag, "<interface name=\"%s\">", interface);
	begin = strstr(text, tag);
	CU_ASSERT_PTR_NOT_NULL_FATAL(begin);
	end = strstr(begin, "</interface>");
	CU_ASSERT_PTR_NOT_NULL_FATAL(end);
	*end = '\0';
	return begin;
}

static void compare(const char *path, const char *interface)
{
	sd_bus_message *reply = NULL;
	char *contract, *running, *is, *wanted;
	const char *xml;

	start();
	CU_ASSERT_FATAL(
		sd_bus_call_method(bus, BITSHED_BUS_NAME, path,
			"org.freedesktop.DBus.Introspectable", "Introspect", NULL, &reply, "")
		>= 0);
	CU_ASSERT_FATAL(sd_bus_message_read(reply, "s", &xml) >= 0);
	contract = read_contract(interface);
	running = strdup(xml);
	is = interface_of(running, interface);
	wanted = interface_of(contract, interface);
	CU_ASSERT_STRING_EQUAL(is, wanted);
	if (strcmp(is, wanted) != 0)
		fprintf(stderr, "%s is\n%s\nand not\n%s\n", path, is, wanted);
	free(contract);
	free(running);
	(void) sd_bus_message_unref(reply);
}

static void test_manager(void)
{
	compare(BITSHED_PATH, BITSHED_MANAGER_INTERFACE);
}

static void test_model(void)
{
	compare(BITSHED_PATH "/model/net", BITSHED_MODEL_INTERFACE);
}

static void test_device(void)
{
	compare(BITSHED_PATH "/device/cpu", BITSHED_DEVICE_INTERFACE);
}

static void test_session(void)
{
	struct caller_session s;

	start();
	CU_ASSERT_STRING_EQUAL_FATAL(caller_session_open(bus, "net", 1, &s), "");
	compare(s.path, BITSHED_SESSION_INTERFACE);
	caller_session_done(&s);
}

static bool is_managed(sd_bus_message *reply, const char *wanted)
{
	const char *path;
	bool found = false;

	CU_ASSERT_FATAL(sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}") >= 0);
	while (sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}") > 0) {
		CU_ASSERT_FATAL(sd_bus_message_read(reply, "o", &path) >= 0);
		found |= strcmp(path, wanted) == 0;
		CU_ASSERT_FATAL(sd_bus_message_skip(reply, "a{sa{sv}}") >= 0);
		CU_ASSERT_FATAL(sd_bus_message_exit_container(reply) >= 0);
	}
	return found;
}

static void test_object_manager(void)
{
	static const char *const paths[] = {BITSHED_PATH "/model/net", BITSHED_PATH "/device/cpu"};
	sd_bus_message *reply = NULL;

	start();
	for (size_t i = 0; i < 2; i++) {
		CU_ASSERT_FATAL(sd_bus_call_method(bus, BITSHED_BUS_NAME, BITSHED_PATH,
					"org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
					NULL, &reply, "")
				>= 0);
		CU_ASSERT_TRUE(is_managed(reply, paths[i]));
		reply = sd_bus_message_unref(reply);
	}
}

TEST_MAIN("contract", TEST(manager), TEST(model), TEST(device), TEST(session), TEST(object_manager))
