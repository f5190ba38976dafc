# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# To be sourced: what fwload can't do without on this machine.

# bpffs: the bpf file system is mounted, or can be.
bpffs() {
	grep -q ' /sys/fs/bpf bpf ' /proc/mounts || mount -t bpf bpf /sys/fs/bpf 2>/dev/null
}

# cgroup2: where cgroup v2 is mounted.
cgroup2() {
	awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts
}

# kernel_lacks: a line for each thing that is missing, with what to do about it; nothing if all is well.
kernel_lacks() {
	release=$(uname -r)
	major=${release%%.*}
	minor=${release#*.}
	minor=${minor%%[!0-9]*}
	if [ "$major" -lt 6 ] || { [ "$major" = 6 ] && [ "$minor" -lt 1 ]; }; then
		echo "kernel $release is too old: 6.1 or newer is needed"
	fi
	[ -e /sys/kernel/btf/vmlinux ] ||
		echo "the kernel has no type information (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF=y"
	[ -n "$(cgroup2)" ] || echo "no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup"
	if [ "$(id -u)" != 0 ]; then
		echo "loading programs into the kernel takes root"
	elif ! bpffs; then
		echo "the bpf file system can't be mounted on /sys/fs/bpf: is this a container without CAP_SYS_ADMIN?"
	fi
}
