/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon that lies, in a child process on the private bus: what libbitshed must survive when the
 * other side is broken. The name of the model says how.
 *
 * OpenSession: "good", or what is wrong: "unsealed", "small", "stream", "no-slots",
 * "stride-too-small", "output-outside", "offset-wraps", "odd-output", "empty-layout". Infer: the
 * last part of an error's name ("Busy"), "odd-output", "no-output", or anything else: two floats.
 * A session's records: the low byte of the cookie is the status of the reply; the next says what
 * else to do.
 */
#pragma once

enum fake_behaviour {
	FAKE_REPLY,
	FAKE_SILENCE = 1 << 8,
	FAKE_SHORT = 2 << 8,
	FAKE_OTHER_SLOT = 3 << 8,
	FAKE_TWICE = 4 << 8,
	FAKE_VERSION = 5 << 8,
	FAKE_HANG_UP = 6 << 8,
};

/** fake_start() - returns when it owns its name; it ends with the test program */
void fake_start(void);
