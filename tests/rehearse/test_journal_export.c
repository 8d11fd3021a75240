/* SPDX-License-Identifier: Apache-2.0 */
/* Switches in both forms that journalctl writes, among entries of others, and forms that are broken. */
#include "rehearse/journal_export.h"

#include <errno.h>
#include <string.h>

#include "service/journal.h"
#include "support/test.h"

static int read_text(const char *text, size_t size, struct journal_entry *ret, unsigned int *n, struct error *e)
{
	struct journal_reader r = {.file = fmemopen((void *) text, size, "r"), .name = "t"};
	int k;

	*n = 0;
	CU_ASSERT_PTR_NOT_NULL_FATAL(r.file);
	while ((k = journal_next(&r, ret, e)) > 0)
		++*n;
	journal_done(&r);
	(void) fclose(r.file);
	return k;
}

static void check_entry(const struct journal_entry *e)
{
	CU_ASSERT_EQUAL(e->usec, 1795273200000000);
	CU_ASSERT_STRING_EQUAL(e->model, "cam");
	CU_ASSERT_STRING_EQUAL(e->rule, "battery-low");
	CU_ASSERT_STRING_EQUAL(e->reason, "the rule \"battery-low\" allows 2 bits");
	CU_ASSERT_STRING_EQUAL(e->inputs, "on-battery=true,battery-percent=15");
	CU_ASSERT_EQUAL(e->bits, 2);
	CU_ASSERT_EQUAL(e->bits_was, 4);
}

static void test_export(void)
{
	static const char text[] =
		"__REALTIME_TIMESTAMP=1795273100000000\nMESSAGE=somebody else's\n_PID=1\n\n"
		"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1795273200000000\nPRIORITY=6\n"
		"MESSAGE_ID=" JOURNAL_SWITCH_ID "\nMODEL=cam\nBITS=2\nBITS_WAS=4\nRULE=battery-low\n"
		"MESSAGE\n\5\0\0\0\0\0\0\0a\nb\0c\n"
		"REASON=the rule \"battery-low\" allows 2 bits\n"
		"INPUTS=on-battery=true,battery-percent=15\n\n"
		"__REALTIME_TIMESTAMP=1795273300000000\nMESSAGE_ID=" JOURNAL_SWITCH_ID
		"\nMODEL=cam\nBITS=nan\n";
	struct journal_entry entry;
	struct error e = {};
	unsigned int n;

	CU_ASSERT_EQUAL(read_text(text, sizeof text - 1, &entry, &n, &e), 0);
	CU_ASSERT_EQUAL(n, 1);
	check_entry(&entry);
}

static void test_json(void)
{
	static const char text[] =
		"{\"MESSAGE\":[97,10,255],\"_PID\":null,\"PRIORITY\":\"6\"}\n"
		"{\"__REALTIME_TIMESTAMP\":\"1795273200000000\",\"MESSAGE_ID\":\"" JOURNAL_SWITCH_ID
		"\", \"MODEL\" : \"\\u0063am\",\"BITS\":\"2\",\"BITS_WAS\":\"4\",\"RULE\":\"battery-low\","
		"\"REASON\":\"the rule \\\"battery-low\\\" allows 2 bits\",\"X\":[[1,2],{}],"
		"\"INPUTS\":\"on-battery=true,battery-percent=15\"}\n";
	struct journal_entry entry;
	struct error e = {};
	unsigned int n;

	CU_ASSERT_EQUAL(read_text(text, sizeof text - 1, &entry, &n, &e), 0);
	CU_ASSERT_EQUAL(n, 1);
	check_entry(&entry);
}

static void test_mistakes(void)
{
	static const struct {
		const char *text;
		size_t size;
		const char *words;
	} rows[] = {
#define ROW(text, words) {text, sizeof text - 1, words}
		ROW("MESSAGE\n\5\0\0", "t:1: expected FIELD=value or a binary field"),
		ROW("MESSAGE\n\5\0\0\0\0\0\0\0ab", "t:1: expected the rest of a binary field"),
		ROW("MESSAGE\n\1\0\0\0\0\0\0\0abc", "t:1: expected a new line behind a binary field"),
		ROW("A=b\nMESSAGE\n\1\0\0\0\0\0\0\xff!!", "t:2: expected a binary field of at most"),
		ROW("{\"A\":\"b\"}\n{A:1}\n", "t:2: expected the name of a field in quotes"),
		ROW("{\"A\" \"b\"}", "t:1: expected a colon"),
		ROW("{\"A\":\"b", "t:1: expected a string that ends"),
		ROW("{\"A\":\"\\u00g1\"}", "t:1: expected a string that ends"),
		ROW("{\"A\":\"b\"", "t:1: expected a comma or the end of an object"),
		ROW("{\"A\":[1,", "t:1: expected a comma or the end of an object"),
#undef ROW
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct journal_entry entry;
		struct error e = {};
		unsigned int n;

		CU_ASSERT_EQUAL(read_text(rows[i].text, rows[i].size, &entry, &n, &e), -EBADMSG);
		if (!strstr(e.text, rows[i].words))
			printf("row %zu: %s\n", i, e.text);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, rows[i].words));
	}
}

TEST_MAIN("journal_export", TEST(export), TEST(json), TEST(mistakes))
