/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model files that must be read, and model files that must be refused with the words that lie beside
 * them. They are in the tree so that a change of the format or of a message is seen; make_golden writes
 * them again.
 */
#pragma once

/**
 * golden_write() - make accept/NAME.gguf, refuse/NAME.gguf and refuse/NAME.txt in @folder
 *
 * Return: 0, or -1 with a message on standard error.
 */
int golden_write(const char *folder);
