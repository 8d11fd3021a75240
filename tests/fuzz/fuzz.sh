#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A short run of a libFuzzer target, from stored files; an input that breaks it is left in the current folder.
#
#   fuzz.sh FUZZER SEEDS
set -euo pipefail
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
cp -r "$2" "$found/seeds"
"$1" -runs=20000 -max_total_time=20 -rss_limit_mb=4096 -print_final_stats=1 "$found"
