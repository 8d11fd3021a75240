# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts here: installs Debian packages that are missing, as root or through sudo.

build_packages="build-essential meson ninja-build pkgconf libsystemd-dev libyaml-dev zlib1g-dev
	libprotobuf-c-dev protobuf-c-compiler libonnx-dev libjpeg-dev libpng-dev libzstd-dev libdnnl-dev ocl-icd-opencl-dev"
run_packages="dbus python3"
test_packages="libcunit1-dev strace xz-utils qemu-user upower power-profiles-daemon umockdev python3-dbusmock python3-gi
	gir1.2-umockdev-1.0 pocl-opencl-icd oclgrind clang"

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		echo "$0: needs root or sudo to install: $missing" >&2
		return 1
	fi
}

# need PACKAGE... - install those that are not there; quick and quiet when all are
need() {
	missing=
	for package in "$@"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
			missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	echo "installing from the Debian archive:$missing"
	as_root apt-get update -qq
	# shellcheck disable=SC2086 # a list of names
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		-o DPkg::Lock::Timeout=600 $missing >/dev/null
}

# build FOLDER [MESON OPTION...] - set up once, compile what changed
build() {
	folder=$1
	shift
	[ -f "$folder/build.ninja" ] || meson setup "$folder" "$@" >"$folder.log" 2>&1 || {
		tail -n 30 "$folder.log" >&2
		return 1
	}
	rm -f "$folder.log"
	ninja -C "$folder" --quiet
}
