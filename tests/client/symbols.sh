#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the library exports is what its header declares and its package lists, no more and no less, and each has a
# manual page.
#   symbols.sh LIBRARY HEADER MAN3 TREE
set -eu
exported=$(nm -D --defined-only "$1" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort)
declared=$(sed -n 's/^BITSHED_API .*[ *]\(bitshed_[a-z_]*\)(.*/\1/p' "$2" | sort)
if [ "$exported" != "$declared" ]; then
	printf 'exported:\n%s\ndeclared:\n%s\n' "$exported" "$declared" >&2
	exit 1
fi
list=$4/packaging/debian/libbitshed1.symbols
[ -f "$list" ] || list=$4/debian/libbitshed1.symbols # in a source package
listed=$(sed -n 's/^ \(bitshed_[a-z_]*\)@.*/\1/p' "$list" | sort)
if [ "$listed" != "$declared" ]; then
	printf 'listed by the package:\n%s\ndeclared:\n%s\n' "$listed" "$declared" >&2
	exit 1
fi
nm -D --undefined-only "$1" | grep -q sd_bus || { echo "expected a library that uses sd-bus" >&2; exit 1; }
pages=$(python3 "$3" "$2" --list)
for name in $declared; do
	echo "$pages" | grep -qx "$name" || { echo "expected a manual page of $name" >&2; exit 1; }
done
