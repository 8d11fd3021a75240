# SPDX-License-Identifier: Apache-2.0
# Sourced: the Debian that the stand-ins boot, made once for each architecture and kept in ${BITSHED_BOARDS}.

boards=${BITSHED_BOARDS:-/var/cache/bitshed-boards}
board_packages=systemd-sysv,dbus,procps,python3,libyaml-0-2,libjpeg62-turbo,libpng16-16,libprotobuf-c1,zlib1g
# What the daemon asks and listens to on a board that has it.
board_packages=$board_packages,ocl-icd-libopencl1,pocl-opencl-icd,polkitd,power-profiles-daemon,python3-dbusmock
binfmt=/proc/sys/fs/binfmt_misc

# Programs of another architecture run through qemu: the kernel must know, and forgets at each boot.
emulate() {
	need qemu-user-static arch-test
	[ -e $binfmt/register ] || mount -t binfmt_misc none $binfmt
	[ -e $binfmt/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register
}

# board_root ARCH - sets $root to a folder with that Debian
board_root() {
	local packages=$board_packages
	# Tools that are cross-built do not train.
	[ "$1" != "$(dpkg --print-architecture)" ] || packages=$packages,libdnnl2
	root=$boards/root-$1-$(echo "$packages" | sha256sum | cut -c1-12)
	[ ! -d "$root" ] || return 0
	need mmdebstrap
	[ "$1" = "$(dpkg --print-architecture)" ] || emulate
	mkdir -p "$boards"
	rm -rf "$root.new"
	mmdebstrap --quiet --arch="$1" --variant=minbase --include="$packages" \
		--aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		bookworm "$root.new"
	: >"$root.new/etc/machine-id"
	mv "$root.new" "$root"
}
