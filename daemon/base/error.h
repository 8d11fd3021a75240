/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words for a person, beside the negative errno that every function returns.
 *
 * The function that knows the cause fills the error once with error_set(); functions on the way up
 * prefix it ("conv1: ...") and pass the number on unchanged. One phrase, no newline, no full stop,
 * no path of the server: the text may be sent to a client.
 */
#pragma once

#include <stdarg.h>

struct error {
	char text[256]; /* empty until set; always terminated */
};

/**
 * error_set() - put the cause into words
 * @e: may be NULL: nobody wants the words
 * @r: negative errno to return
 *
 * Return: @r, so that callers write "return error_set(reterr, -EINVAL, ...)".
 */
int error_set(struct error *e, int r, const char *format, ...) __attribute__((format(printf, 3, 4)));

/**
 * error_prefix() - say where, in front of what was said already
 *
 * Return: @r. An empty error gets the text of @r itself behind the prefix.
 */
int error_prefix(struct error *e, int r, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** error_text() - the words, or those of the errno when nobody found any. Return: never NULL. */
const char *error_text(const struct error *e, int r);
