#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# check_boot.sh [KERNEL_PACKAGE_DIR]: examples/systemd and examples/udev on a machine that boots. A Debian with systemd
# (debootstrap makes it in $B/boot) in a virtual machine, once for each case; what is built here is installed in it by
# "make install". Meanwhile this machine knocks at three of its ports all the time; which of them let anybody in, and
# when, is for tests/boot_guest.sh to judge, inside.
#
#   good    the policy can be loaded: it decides before the network is configured; reload, restart, failing reload,
#           interfaces that come and go, checks, events, stop
#   open    it can't, and nothing else is declared: the network comes up without a filter
#   closed  it can't, and fw-closed.service is enabled: the fallback is in force before the network is configured
#   down    neither can: the network is not configured
#
# KERNEL_PACKAGE_DIR is as for check_kernel.sh. Environment: CASES, BOOT_ROOT (a debootstrap that is there already),
# ACCEL, SECONDS_MAX for each boot, KEEP (a directory to leave the consoles in).
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
PATH=$PATH:/usr/sbin:/sbin
CASES=${CASES:-good open closed down}
PACKAGES=systemd,systemd-sysv,udev,dbus,iproute2,ifupdown,kmod,libbpf1,libyaml-0-2,libjansson4,libelf1,jq,procps
tmp=$(mktemp -d) || exit 1
knocker=
trap '[ -z "$knocker" ] || kill "$knocker"; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

skip_all() { echo "1..0 # SKIP $*" && exit 0; }
give_up() {
	echo "check_boot: $*" >&2
	exit 1
}

# ---- what boots ----

# base: the Debian, as a cpio archive that is made once
make_base() {
	root=${BOOT_ROOT:-$B/boot/root}
	[ ! -e "$B/boot/base" ] || [ "$B/boot/base" -ot "$root" ] || return 0
	mkdir -p "$B/boot"
	if [ ! -x "$root/usr/bin/systemctl" ]; then
		rm -rf "$root"
		debootstrap --variant=minbase --include="$PACKAGES" bookworm "$root" >"$B/boot/log" 2>&1 ||
			skip_all "debootstrap failed, see $B/boot/log"
	fi
	# (Files of devices and caches are of no use.)
	(cd "$root" && find . -path ./dev -prune -o -path ./proc -prune -o -path ./sys -prune -o -path './var/cache/*' -prune -o \
		-path './var/lib/apt/lists/*' -prune -o -path './usr/share/doc/*' -prune -o -path './usr/share/locale/*' -prune -o \
		-print | cpio -o -H newc -R 0:0 --quiet) >"$B/boot/base.new" && mv "$B/boot/base.new" "$B/boot/base"
}

# modules and image of the kernel package
find_kernel() {
	local dir=${1:-$B/kernel} name deb
	if ! compgen -G "$dir/linux-image-*.deb" >/dev/null; then
		name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: *//p' | head -n 1)
		[ -n "$name" ] || skip_all "apt knows no linux-image-cloud-amd64 (apt-get update?)"
		mkdir -p "$dir"
		(cd "$dir" && apt-get download -q "$name") >"$tmp/apt" 2>&1 || skip_all "cannot download $name"
	fi
	deb=$(compgen -G "$dir/linux-image-*.deb" | sort -V | tail -n 1)
	dpkg -x "$deb" "$tmp/kernel" || give_up "cannot unpack $deb"
	image=$(compgen -G "$tmp/kernel/boot/vmlinuz-*" | tail -n 1)
	depmod -b "$tmp/kernel" "${image##*/vmlinuz-}"
}

# unit NAME: standard input becomes a unit of the machine
unit() { cat >"$over/etc/systemd/system/$1"; }

# The doors: one process that accepts at ports 22, 80 and 7, and counts. (An emulated systemd that starts something for
# each connection does nothing else any more.) /run/doors has a line of three numbers.
write_doors() {
	cat >"$over/root/doors.pl" <<-'END'
		use IO::Socket;
		use IO::Select;
		my (%n, $all);
		$all = IO::Select->new;
		for my $port (22, 80, 7) {
			my $s = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1) or die "port $port: $!";
			$all->add($s);
			$n{$port} = 0;
		}
		while (1) {
			open(F, '>', '/run/doors.new') or die "/run/doors.new: $!";
			print F "$n{22} $n{80} $n{7}\n";
			close F;
			rename('/run/doors.new', '/run/doors');
			for my $s ($all->can_read) {
				my $port = $s->sockport;
				my $c = $s->accept or next;
				$n{$port}++;
				close $c;
			}
		}
	END
	unit doors.service <<-'END'
		[Unit]
		DefaultDependencies=no
		Before=network-pre.target
		[Service]
		ExecStart=/usr/bin/perl /root/doors.pl
		[Install]
		WantedBy=sysinit.target
	END
}

# What all cases have in common, over the Debian.
make_common() {
	over=$tmp/over
	mkdir -p "$over"/{etc/{fw,systemd/{system,network},udev/rules.d,sysusers.d,default,network},usr/lib,root}
	make --no-print-directory B="$B" DESTDIR="$over" PREFIX=/usr/local install >"$tmp/install" 2>&1 ||
		give_up "make install: $(tail -n 1 "$tmp/install")"
	cp -a "$tmp/kernel/lib/modules" "$over/usr/lib/"
	cp examples/udev/70-fw.rules "$over/etc/udev/rules.d/"
	cp examples/systemd/fw.sysusers "$over/etc/sysusers.d/fw.conf"
	install -m 755 tests/boot_guest.sh "$over/root/"
	echo 'FWLOAD_OPTIONS="--group fw"' >"$over/etc/default/fw"
	echo 0123456789abcdef0123456789abcdef >"$over/etc/machine-id"
	printf '#!/bin/sh\necho "$1" >>/run/alerts\n' >"$over/etc/fw/alert"
	chmod 755 "$over/etc/fw/alert"
	# The machine outside is 10.0.2.2. Interfaces by glob, too, for those that come later.
	sed 's|192\.0\.2\.0/24|10.0.2.0/24|; s|^  host: true|&\n  interfaces: ["veth*"]|' examples/web.yaml >"$over/etc/fw/good.yaml"
	sed 's|192\.0\.2\.0/24|10.0.2.0/24|' examples/closed.yaml >"$over/etc/fw/fallback.yaml"
	printf 'rules:\n  - {nam: broken}\n' >"$over/etc/fw/broken.yaml"
	# Two that configure interfaces: networkd the card, ifupdown one that it makes.
	printf '[Match]\nDriver=virtio_net\n[Network]\nAddress=10.0.2.15/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' \
		>"$over/etc/systemd/network/card.network"
	printf 'auto lo\niface lo inet loopback\nauto dummy0\niface dummy0 inet static\n\taddress 10.9.9.9/24\n\t%s\n' \
		'pre-up ip link add dummy0 type dummy' >"$over/etc/network/interfaces"
	write_doors
	# The last moment before anything configures an interface.
	unit before-network.service <<-'END'
		[Unit]
		DefaultDependencies=no
		After=network-pre.target
		Before=systemd-networkd.service networking.service
		[Service]
		Type=oneshot
		ExecStart=-/bin/sh -c '/usr/local/sbin/fwload --status >/run/before.status 2>&1; ip -br addr >/run/before.addr'
		[Install]
		WantedBy=sysinit.target
	END
	unit boot-test.service <<-'END'
		[Unit]
		After=getty.target timers.target
		[Service]
		Type=idle
		ExecStart=/root/boot_guest.sh
		StandardOutput=tty
		TTYPath=/dev/ttyS1
		StandardError=journal+console
		[Install]
		WantedBy=multi-user.target
	END
	systemctl -q --root="$over" enable doors.service before-network.service boot-test.service \
		fw.service fw-check.timer fw-reload.timer fwmon.service || give_up "systemctl --root enable"
	# (These are the Debian's.)
	mkdir -p "$over/etc/systemd/system/multi-user.target.wants"
	ln -sf /lib/systemd/system/systemd-networkd.service "$over/etc/systemd/system/multi-user.target.wants/"
}

archive() { (cd "$1" && find . | cpio -o -H newc -R 0:0 --quiet); }

# make_case NAME: what it adds to that
make_case() {
	local over=$tmp/over-$1 rules=broken.yaml closed=
	case $1 in
	good) rules=good.yaml ;;
	closed) closed=fallback.yaml ;;
	down) closed=broken.yaml ;;
	esac
	mkdir -p "$over/etc/fw" "$over/usr/local/lib"
	cp "$tmp/over/etc/fw/$rules" "$over/etc/fw/rules.yaml"
	echo "$1" >"$over/etc/fw/case"
	if [ -n "$closed" ]; then
		cp "$tmp/over/etc/fw/$closed" "$over/etc/fw/closed.yaml"
		cp -r "$tmp/over/usr/local/lib/systemd" "$over/usr/local/lib/"
		systemctl -q --root="$over" enable fw-closed.service
	fi
	archive "$over"
}

# ---- the run ----

# Somebody outside who never stops to knock.
write_knocker() {
	cat >"$tmp/knock.py" <<'END'
import socket, sys, threading, time
def knock(port):
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            pass
        time.sleep(0.25)
for port in sys.argv[1:]:
    threading.Thread(target=knock, args=(int(port),)).start()
END
}

free_ports() {
	python3 -c 'import socket
s = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*[x.getsockname()[1] for x in s])'
}

run_case() {
	local ssh web shut
	{ cat "$B/boot/base" "$tmp/common" && make_case "$1"; } >"$tmp/initramfs" || give_up "cannot make the archive"
	read -r ssh web shut < <(free_ports)
	python3 "$tmp/knock.py" "$ssh" "$web" "$shut" &
	knocker=$!
	timeout "${SECONDS_MAX:-900}" qemu-system-x86_64 -machine q35 -accel "${ACCEL:-tcg}" -cpu max -smp 2 -m 3072 \
		-kernel "$image" -initrd "$tmp/initramfs" -append 'rdinit=/lib/systemd/systemd console=ttyS0 panic=-1 quiet' \
		-netdev "user,id=n,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:$ssh-:22,hostfwd=tcp:127.0.0.1:$web-:80,hostfwd=tcp:127.0.0.1:$shut-:7" \
		-device virtio-net-pci,netdev=n -display none -no-reboot -serial "file:$keep/console-$1" -serial stdio \
		</dev/null 2>"$tmp/qemu" | tr -d '\r' | tee "$tmp/tap-$1"
	kill "$knocker" && wait "$knocker" 2>/dev/null
	knocker=
	grep -q '^# end of ' "$tmp/tap-$1" && return
	echo "not ok - $1: the machine did not get to the end"
	{ cat "$tmp/qemu" && tail -n 40 "$keep/console-$1"; } | tr -d '\r' | sed 's/^/# /'
	return 1
}

[ "$(uname -m)" = x86_64 ] || skip_all "only for x86_64"
for command in qemu-system-x86_64:qemu-system-x86 cpio:cpio depmod:kmod dpkg:dpkg systemctl:systemd debootstrap:debootstrap; do
	type -P "${command%:*}" >/dev/null || skip_all "no ${command%:*} (package ${command#*:})"
done
[ "$(id -u)" = 0 ] || skip_all "debootstrap takes root"
[ -x "$B/bin/fwload" ] || skip_all "$B/bin/fwload is not built"
keep=${KEEP:-$tmp}
mkdir -p "$keep"
make_base
find_kernel "$@"
make_common
archive "$over" >"$tmp/common"
write_knocker
failed=0
for case in $CASES; do
	run_case "$case" || failed=1
done
cat "$tmp"/tap-* >"$tmp/tap"
echo "1..$(grep -cE '^(not )?ok' "$tmp/tap")"
[ $failed = 0 ] && ! grep -q '^not ok' "$tmp/tap"
