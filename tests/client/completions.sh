#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The shells complete what the command has, each verb and each option: completions.sh PROGRAM FOLDER
set -eu
name=${1##*/}
help=$("$1" --help)
words=$(echo "$help" | sed -n 's/^ *\(-h, \)\{0,1\}--\([a-z-]*\).*/\2/p; s/^  \([a-z]\{3,\}\) .*/\1/p')
[ "$(echo "$words" | wc -l)" -ge 7 ] || { echo "expected more verbs and options in the help: $words" >&2; exit 1; }
status=0
for file in "$name.bash" "_$name" "$name.fish"; do
	for word in $words; do
		grep -q -w -e "$word" "$2/$file" || { echo "$file does not know \"$word\"" >&2; status=1; }
	done
done
exit $status
