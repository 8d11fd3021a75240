#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every kernel compiles offline, with warnings as errors: those for every device as OpenCL C 1.2 without any
# extension, those for an extension with it and, for devices that lack it, with the extension in plain C. Those that
# vendors get with other numbers compile with these.
#
#   compile.sh KERNELS_CL FILE.cl...
command -v clang >/dev/null || { echo "SKIP: no clang"; exit 77; }
folder=$1
shift
count=0
tunings=$(mktemp) || exit 1
trap 'rm -f "$tunings"' EXIT

compile() { # compile FILE LANGUAGE EXTENSIONS OPTION...
	file=$1 language=$2 extensions=$3
	shift 3
	clang -x cl -cl-std="$language" -target spir64 -Xclang -cl-ext=-all"$extensions" -Xclang -finclude-default-header \
		-fsyntax-only -Wall -Wextra -Wno-unused-parameter -Werror -I "$folder" "$@" "$file" || exit 1
	count=$((count + 1))
}

for file in "$@"; do
	case $file in
	*/decode_khr_dot.cl)
		dot=-D__opencl_c_integer_dot_product_input_4x8bit_packed
		compile "$file" CL1.2 "" $dot
		compile "$file" CL3.0 "" $dot
		compile "$file" CL1.2 "" -DEMULATE ;;
	*/decode_arm_dot.cl)
		# clang has the functions, but knows the extension of no target
		compile "$file" CL1.2 "" -Dcl_arm_integer_dot_product_int8 -Wno-ignored-pragmas
		compile "$file" CL1.2 "" -DEMULATE ;;
	*/matvec_subgroup.cl)
		compile "$file" CL2.0 ,+cl_khr_subgroups
		compile "$file" CL3.0 ,+cl_khr_subgroups
		compile "$file" CL1.2 "" -DEMULATE ;;
	*)
		compile "$file" CL1.2 "" ;;
	esac
done

# TUNING_CL(vendor, kernel, columns, fewest, planes, rows of a group, ...
sed -n 's/^TUNING_CL(\([A-Z]*\), *\([a-z_]*\), *\([0-9]*\),[^,]*,[^,]*, *\([0-9]*\),.*/\2 \3 \4/p' "$folder/tuning.inc" |
	sort -u >"$tunings"
while read -r kernel columns rows; do
	for bits in 32 64; do
		compile "$folder/$kernel.cl" CL1.2 "" -DEMULATE -DCOLUMNS="$columns" -DGROUP_ROWS="$rows" \
			-DPOPCOUNT_BITS=$bits
	done
done <"$tunings"
echo "$# kernels, compiled in $count ways"
