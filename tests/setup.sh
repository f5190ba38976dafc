#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# setup.sh build|demo|test|bench|lint|fuzz: install from Debian what that needs and the machine lacks. Where that can't
# be done, say what is missing and exit 1. "demo" also checks the kernel.
set -u
PATH=$PATH:/usr/sbin:/sbin

# A package is missing where its file or command is.
build="gcc:gcc libc6-dev:/usr/include/stdio.h linux-libc-dev:/usr/include/linux/bpf.h clang:clang llvm:llvm-strip
	bpftool:bpftool libbpf-dev:/usr/include/bpf/libbpf.h libyaml-dev:/usr/include/yaml.h
	libjansson-dev:/usr/include/jansson.h libelf-dev:/usr/include/libelf.h zlib1g-dev:/usr/include/zlib.h"
live="iproute2:ip mount:mount util-linux:nsenter jq:jq iputils-ping:ping curl:curl netcat-openbsd:nc.openbsd
	python3:/usr/bin/python3 procps:sysctl"

case ${1-} in
build) want=$build ;;
demo) want="$build $live" ;;
test) want="$build $live nftables:nft perl:prove mandoc:mandoc iperf3:iperf3 traceroute:traceroute systemd:systemd-analyze strace:strace" ;;
bench) want="$build $live nftables:nft" ;;
lint) want="$build shellcheck:shellcheck mandoc:mandoc cppcheck:cppcheck" ;;
fuzz) want="$build libclang-rt-14-dev:/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a" ;;
*)
	echo "usage: setup.sh build|demo|test|bench|lint|fuzz" >&2
	exit 2
	;;
esac

there() {
	case $1 in
	/*)
		for file in $1; do # a pattern may be among them
			[ -e "$file" ] && return 0
		done
		return 1
		;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing=
for pair in $want; do
	there "${pair#*:}" || missing="$missing ${pair%%:*}"
done
missing=${missing# }

if [ -n "$missing" ]; then
	if ! command -v apt-get >/dev/null; then
		echo "setup: missing, under their names in Debian: $missing" >&2
		echo "setup: this is no Debian, so install them by your own means" >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ]; then
		echo "setup: missing packages; as root: apt-get install -y --no-install-recommends $missing" >&2
		exit 1
	fi
	echo "setup: installing $missing"
	log=$(mktemp) || exit 1
	trap 'rm -f "$log"' EXIT
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086
	if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } </dev/null >"$log" 2>&1; then
		cat "$log" >&2
		echo "setup: apt-get could not install them" >&2
		exit 1
	fi
fi

[ "$1" = demo ] || exit 0
# shellcheck source=tests/kernel.sh
. "$(dirname "$0")/kernel.sh"
lacks=$(kernel_lacks)
[ -z "$lacks" ] && exit 0
printf '%s\n' "$lacks" | sed 's/^/demo: /' >&2
exit 1
