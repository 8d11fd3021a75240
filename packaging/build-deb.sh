#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the Debian source and binary packages of this tree, natively or for another architecture.
#
#   packaging/build-deb.sh [--arch arm64] [--out FOLDER] [--twice] [--no-check]
#
#   --arch ARCH   cross-build; the tests then are not run
#   --out FOLDER  where the packages go (build-deb)
#   --twice       build again, without tests, and compare: the packages must be the same, byte for byte
#   --no-check    leave the tests out
#
# The tree stays as it is: a copy is built. Missing packages are installed as root or through sudo.
set -euo pipefail
umask 022

top=$(dirname "$(dirname "$(readlink -f "$0")")")
. "$top/packaging/need.sh"

native=$(dpkg --print-architecture)
arch=$native out=build-deb twice='' check=yes
while [ $# -gt 0 ]; do
	case $1 in
	--arch) arch=$2; shift 2 ;;
	--out) out=$2; shift 2 ;;
	--twice) twice=yes; shift ;;
	--no-check) check=; shift ;;
	-h | --help) sed -n '3,12p' "$0" | cut -c3-; exit 0 ;;
	*) sed -n '5p' "$0" | cut -c3- >&2; exit 2 ;;
	esac
done

changelog=$top/packaging/debian/changelog
version=$(sed -n '1s/.*(\(.*\)).*/\1/p' "$changelog")
meson_version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" "$top/meson.build" | head -n 1)
[ "$version" = "$meson_version" ] || {
	echo "$changelog is of version $version, meson.build of $meson_version" >&2
	exit 1
}

need debhelper dpkg-dev lintian
build_dep=()
options=$(test -n "$check" || echo nocheck)
profiles=$options
if [ "$arch" != "$native" ]; then
	dpkg --print-foreign-architectures | grep -qx "$arch" || {
		as_root dpkg --add-architecture "$arch"
		as_root apt-get update -qq
	}
	need "crossbuild-essential-$arch"
	build_dep=(--host-architecture "$arch")
	options=nocheck profiles="cross nocheck"
fi
export DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-} $options" DEB_BUILD_PROFILES="$profiles"
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l "$changelog" -S Timestamp)
export SOURCE_DATE_EPOCH

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

files() { # what git would take, or all in an unpacked archive
	if git rev-parse -q --is-inside-work-tree >/dev/null 2>&1; then
		git ls-files -z --cached --others --exclude-standard
	else
		find . -type f -not -path './build*' -print0
	fi
}

# Modes and times of a checkout differ from one to the next, those in the source package must not.
copy() {
	mkdir -p "$1"
	(cd "$top" && files | tar c --null --ignore-failed-read -T -) | tar x -C "$1"
	mv "$1/packaging/debian" "$1/debian"
	chmod -R u=rwX,go=rX "$1"
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

make_packages() { # make_packages FOLDER
	local tree=$1/bitshed-$version
	copy "$tree"
	cd "$tree"
	as_root apt-get build-dep -y -qq -o DPkg::Lock::Timeout=600 "${build_dep[@]}" ./ >"$1/build-dep.log" 2>&1 || {
		tail -n 30 "$1/build-dep.log" >&2
		return 1
	}
	dpkg-buildpackage -us -uc -F -a"$arch" >"$1/build.log" 2>&1 || {
		tail -n 60 "$1/build.log" >&2
		grep -A 60 '^result: *\(exit status [^07]\|killed\|timeout\)' "$1/build.log" >&2
		return 1
	}
	cd "$top"
}

echo "== build for $arch =="
make_packages "$scratch/first"
mkdir -p "$out"
cp "$scratch"/first/*.{deb,dsc,tar.xz,changes,buildinfo} "$out/"

if [ -n "$twice" ]; then
	echo "== build again =="
	DEB_BUILD_OPTIONS="$DEB_BUILD_OPTIONS nocheck" DEB_BUILD_PROFILES="$DEB_BUILD_PROFILES nocheck" \
		make_packages "$scratch/elsewhere/second"
	for file in "$scratch"/first/*.{deb,dsc,tar.xz}; do
		cmp "$file" "$scratch/elsewhere/second/${file##*/}"
		echo "same bytes: ${file##*/}"
	done
fi

echo "== lintian =="
lintian --allow-root --pedantic --fail-on error,warning "$scratch"/first/*.changes
ls -l "$out"
