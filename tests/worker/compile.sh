#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every kernel compiles offline, as OpenCL C 1.2 without any extension, with warnings as errors.
#
#   compile.sh KERNELS_CL FILE.cl...
command -v clang >/dev/null || { echo "SKIP: no clang"; exit 77; }
folder=$1
shift
for file in "$@"; do
	clang -x cl -cl-std=CL1.2 -target spir64 -Xclang -cl-ext=-all -Xclang -finclude-default-header \
		-fsyntax-only -Wall -Wextra -Wno-unused-parameter -Werror -I "$folder" "$file" || exit 1
done
echo "$# kernels"
