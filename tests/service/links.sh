#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bitshedd reads its own model format and computes on the processor: it is linked with nothing that parses other
# networks or drives other devices.
needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p') || exit 1
[ -n "$needed" ] || { echo "readelf found no libraries in $1"; exit 1; }
echo "$needed"
! nm -D --undefined-only "$1" | grep -E ' cl[A-Z]' || exit 1
! echo "$needed" | grep -Ei 'protobuf|onnx|OpenCL|dnnl|jpeg|png'
