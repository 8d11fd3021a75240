#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One inference with nothing but busctl: infer.sh MODEL RAW-PIXELS
# The bus is $BITSHED_BUS: "session", an address, or by default the system bus.
set -eu
[ $# -eq 2 ] || { echo "usage: infer.sh MODEL RAW-PIXELS" >&2; exit 2; }

case ${BITSHED_BUS:-system} in
system) bus=--system ;;
session) bus=--user ;;
*) bus=--address=$BITSHED_BUS ;;
esac

# An array of bytes is its length and then each of them: 3 255 0 255.
bytes=$(od -An -v -tu1 "$2")
model=$1
# shellcheck disable=SC2086
set -- $bytes

# shellcheck disable=SC2086
answer=$(busctl "$bus" call org.bitshed /org/bitshed org.bitshed.Manager1 Infer 'saya{sv}' "$model" $# "$@" \
	1 deadline-ms u 10000)

# It is "aya{sv}", the count, so many bytes, and the result; four bytes are a float.
echo "three best classes:"
# shellcheck disable=SC2059
printf "$(echo "$answer" | awk '{ for (i = 3; i < 3 + $2; i++) printf "\\%03o", $i }')" |
	od -An -v -tf4 -w4 | awk '{ print $1, "class", NR - 1 }' | sort -rg | head -n 3
echo "$answer" | awk '{ for (i = 3 + $2; i <= NF; i++) printf "%s ", $i; print "" }'
