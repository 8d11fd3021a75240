#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every kernel on the odd shapes of the self-test, inside of a simulator that sees each access to memory.
#
#   oclgrind.sh BITSHED_WORKER
command -v oclgrind >/dev/null || { echo "SKIP: no oclgrind"; exit 77; }
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
CACHE_DIRECTORY=$folder oclgrind --data-races --log "$folder/log" "$1" --check --emulate || exit 1
if [ -s "$folder/log" ]; then
	head -n 40 "$folder/log" >&2
	exit 1
fi
