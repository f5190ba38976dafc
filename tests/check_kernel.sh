#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# check_kernel.sh [KERNEL_PACKAGE_DIR]: what is built here ("make tests"), on another kernel. A virtual machine
# without disk or network boots the kernel of a Debian package, lets its verifier judge every program, runs the tests
# that need a kernel, and says what came of it as TAP. KERNEL_PACKAGE_DIR has the package (linux-image-*.deb), or what
# "dpkg -x" made of one (depmod then adds its lists there); without it, Debian's present kernel for virtual machines
# is downloaded to $B/kernel.
#
# Nothing here takes root: the machine has its own. Its user land is this system's, copied file by file.
# Environment: TESTS (which tests/*.t and examples/*.sh to run) and these tests' own (write_init below); ACCEL (tcg;
# kvm is faster where it works), SECONDS_MAX (before the machine is given up; 900), KEEP (a directory to leave
# initramfs and console in).
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
TESTS=${TESTS-examples/demo.sh tests/load.t tests/live_ring.t tests/fwstat.t tests/hooks_matrix.t tests/wire.t
	tests/differential.t tests/reload.t}
# What the programs and the laboratories of the tests are made of.
MODULES='veth tun dummy bridge 8021q sch_ingress cls_bpf act_bpf act_gact inet_diag tcp_diag udp_diag nf_tables
	nft_fwd_netdev'
COMMANDS='awk bash basename bpftool cat chmod chown cp curl cut date dirname dmesg env find flock fold grep head id ip jq
	kmod ln ls mkdir mkfifo mktemp mount mv nc nft nproc nsenter od ping poweroff ps python3 readlink rm rmdir sed seq setpriv
	sh sleep sort ss stat stty sysctl tail tc tee timeout touch tr umount uname unshare uniq wc xargs'
PATH=/usr/sbin:/usr/bin:/sbin:/bin # the packages' commands, not some wrapper's
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

skip_all() { echo "1..0 # SKIP $*" && exit 0; }
give_up() {
	echo "check_kernel: $*" >&2
	exit 1
}

# ---- the kernel ----

# kernel_download DIR: the package that Debian's metapackage now stands for
kernel_download() {
	local name
	name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: *//p' | head -n 1)
	[ -n "$name" ] || skip_all "apt knows no linux-image-cloud-amd64 (apt-get update?)"
	compgen -G "$1/${name}_*.deb" >/dev/null && return
	mkdir -p "$1" && rm -f "$1"/*.deb
	(cd "$1" && apt-get download -q "$name") >"$tmp/apt" 2>&1 ||
		skip_all "cannot download $name: $(tail -n 1 "$tmp/apt")"
}

# kernel_unpack DIR: makes it so that $kernel has boot and lib/modules
kernel_unpack() {
	local deb
	kernel=$1
	compgen -G "$1/boot/vmlinuz-*" >/dev/null && return
	deb=$(compgen -G "$1/linux-image-*.deb" | sort -V | tail -n 1)
	[ -n "$deb" ] || give_up "$1 has neither linux-image-*.deb nor boot/vmlinuz-*"
	kernel=$tmp/kernel
	dpkg -x "$deb" "$kernel" || give_up "cannot unpack $deb"
}

# ---- the user land ----

# put FILE...: into the machine, where it is here, with the libraries it needs
put() {
	local file lib
	for file; do
		install -D "$file" "$root$file" || return 1
		while read -r lib; do
			[ -e "$root$lib" ] || install -D "$lib" "$root$lib" || return 1
		done < <(ldd "$file" 2>/dev/null | grep -o '/[^ ]*')
	done
}

put_commands() {
	local name file
	for name in $COMMANDS; do
		file=$(type -P "$name") || continue # a test that needs it will say so
		put "$(readlink -f "$file")"
		[ -e "$root$file" ] || install -D "$(readlink -f "$file")" "$root$file"
	done
	ln -s kmod "$root/usr/bin/modprobe"
}

put_python() {
	local lib
	lib=$(python3 -c 'import os; print(os.path.dirname(os.__file__))') || return 0
	mkdir -p "$root$lib"
	tar -C "$lib" --exclude=__pycache__ --exclude=./test --exclude=./dist-packages --exclude='./config-*' \
		--exclude=./idlelib --exclude=./ensurepip --exclude=./lib2to3 --exclude=./distutils -cf - . | tar -C "$root$lib" -xf -
	put "$lib"/lib-dynload/*.so
	# (Compiling under emulation takes minutes, and an initramfs keeps no times to compare.)
	python3 -m compileall -q -j 2 -s "$root" --invalidation-mode unchecked-hash "$root$lib" "$root/fw/tests/oracle" || :
}

put_modules() {
	local name file
	depmod -b "$kernel" "$release"
	for name in $MODULES; do
		# (What is built in has no file.)
		modprobe -d "$kernel" -S "$release" --show-depends "$name" 2>/dev/null
	done | sed -n 's/^insmod //p' | sort -u >"$tmp/modules"
	while read -r file _; do
		install -D "$file" "$root/usr/lib/modules/$release/kernel/${file#*/kernel/}"
	done <"$tmp/modules"
	cp "$kernel/lib/modules/$release"/modules.{builtin,order}* "$root/usr/lib/modules/$release/" 2>/dev/null
	depmod -b "$root" "$release"
}

# The tree as the tests see it.
put_tree() {
	mkdir -p "$root/fw/$B"
	cp -a --no-preserve=ownership bpf lib cmd tests examples "$root/fw/"
	cp -a --no-preserve=ownership "$B/bin" "$B/bpf" "$B/tests" "$root/fw/$B/"
	chmod +x "$root"/fw/tests/*.t "$root"/fw/examples/*.sh
	for file in "$B"/bin/* "$B"/tests/*; do
		[ ! -x "$file" ] || ldd "$file" 2>/dev/null | grep -o '/[^ ]*'
	done | sort -u | while read -r file; do
		[ -e "$root$file" ] || install -D "$file" "$root$file"
	done
}

# ---- what runs inside ----

# verify OBJECT: the verifier on each program by itself, so that one refusal hides no other.
write_verify() {
	cat >"$tmp/verify.c" <<'C'
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

#define LOG_BYTES (64 << 20)
static char verdict[LOG_BYTES];

/* The program called ${name} of ${file}, and no other; its log is left in verdict. */
static int load_one(const char *file, const char *name, int level)
{
	struct bpf_object *o = bpf_object__open_file(file, NULL);
	struct bpf_program *p;
	int err;

	verdict[0] = 0;
	if (!o)
		return -1;
	bpf_object__for_each_program(p, o) {
		bpf_program__set_autoload(p, !strcmp(bpf_program__name(p), name));
		bpf_program__set_log_level(p, level);
		bpf_program__set_log_buf(p, verdict, LOG_BYTES);
	}
	err = bpf_object__load(o);
	bpf_object__close(o);
	return err;
}

static void print_tail(int lines)
{
	char *p = verdict + strlen(verdict);

	while (p > verdict && lines > 0)
		lines -= *--p == '\n';
	for (p = strtok(p, "\n"); p; p = strtok(NULL, "\n"))
		printf("# %s\n", p);
}

int main(int argc, char **argv)
{
	struct bpf_object *o = bpf_object__open_file(argv[1], NULL);
	struct bpf_program *p;
	int err;

	if (argc != 2 || !o)
		return 2;
	libbpf_set_print(NULL);
	bpf_object__for_each_program(p, o) {
		const char *name = bpf_program__name(p);

		err = load_one(argv[1], name, 4); /* 4: the numbers alone */
		if (!err) {
			printf("ok - %s: %s\n", name, strtok(strstr(verdict, "processed") ?: "no numbers", "\n"));
			continue;
		}
		load_one(argv[1], name, 1);
		printf("not ok - %s: %s\n", name, strerror(-err));
		print_tail(40);
	}
	return 0;
}
C
	"${CC:-gcc}" -O2 -D_GNU_SOURCE -o "$tmp/verify" "$tmp/verify.c" -lbpf -lelf -lz &&
		put "$tmp/verify" && mv "$root$tmp/verify" "$root/verify" && rm -r "${root:?}$tmp"
}

# Results go to the second serial line: the kernel talks on the first.
write_init() {
	cat >"$root/init" <<'INIT'
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir /dev/pts && mount -t devpts none /dev/pts
mount -t tmpfs none /run
mount -t tmpfs none /tmp
mount -t bpf none /sys/fs/bpf
mount -t cgroup2 none /sys/fs/cgroup
ln -sfn /proc/self/fd /dev/fd
stty -F /dev/ttyS1 raw
exec </dev/null >/dev/ttyS1 2>/dev/console
cd /fw || poweroff -f
. /settings
touch "$B"/*/* # built after the sources, which came here at the same time
for module in $MODULES; do modprobe -q "$module"; done
ip link set lo up

n=0 failed=0
say() { # STATUS NAME
	n=$((n + 1))
	[ "$1" = 0 ] || failed=$((failed + 1))
	[ "$1" = 0 ] && echo "ok $n - $2" || echo "not ok $n - $2"
}

echo "# $(uname -srv), $(nproc) cpus"
while read -r line; do
	case $line in
	'ok - '*) say 0 "${line#ok - }" ;;
	'not ok - '*) say 1 "${line#not ok - }" ;;
	*) echo "$line" ;;
	esac
done < <(/verify "$B/bpf/fw.bpf.o")

for t in $TESTS; do
	SECONDS=0
	"$t" >/tmp/out 2>&1
	status=$?
	sed "s|^|$t: |" /tmp/out >/dev/console
	passed=$(grep -c '^ok' /tmp/out)
	why=$(sed -n 's/^1\.\.0 # SKIP *//p' /tmp/out)
	if [ -n "$why" ]; then
		n=$((n + 1))
		echo "ok $n # SKIP $t: $why"
		continue
	fi
	grep -q '^not ok' /tmp/out && status=1
	say $status "$t: $passed passed, $(grep -c '^not ok' /tmp/out) failed, in $SECONDS s"
	[ $status = 0 ] || grep -A 8 '^not ok' /tmp/out | sed 's/^/#   /'
	[ $status = 0 ] || { echo "#   ..." && tail -n 5 /tmp/out | sed 's/^/#   /'; }
	grep '# SKIP' /tmp/out | sed 's/^/#   /'
done
dmesg | grep -E 'BUG|WARNING:|Oops|Call Trace' | sed 's/^/# kernel: /' >/tmp/bad
[ ! -s /tmp/bad ]
say $? "the kernel has nothing to complain of"
cat /tmp/bad
echo "1..$n"
sleep 2 # the serial line is slower than the machine is off
poweroff -f
INIT
	# A test that compiles one of tests/*.c gets what was compiled here.
	cat >"$root/usr/bin/gcc" <<'GCC'
#!/bin/bash
for word; do
	case $word in *.c) source=$word ;; esac
	[ "${last-}" != -o ] || output=$word
	last=$word
done
source=${source##*/}
exec cp "/fw/$B/tests/${source%.c}" "$output"
GCC
	chmod 755 "$root/init" "$root/usr/bin/gcc"
	# Less of what takes long than on the real thing: emulation is ten times slower.
	{
		printf 'export B=%q RELOADS=%q RELOAD_PPS=%q\n' "$B" "${RELOADS:-40}" "${RELOAD_PPS:-2000}"
		printf 'export DIFF_POLICIES=%q DIFF_PACKETS=%q\n' "${DIFF_POLICIES:-8}" "${DIFF_PACKETS:-1500}"
		printf "export SEED=%q\n" "${SEED-}"
		printf 'export WIRE_POLICIES=%q WIRE_PACKETS=%q\n' "${WIRE_POLICIES:-3}" "${WIRE_PACKETS:-1000}"
		printf 'MODULES=%q\nTESTS=%q\n' "$MODULES" "$TESTS"
	} >"$root/settings"
}

make_root() {
	root=$tmp/root
	mkdir -p "$root"/{dev,etc,proc,root,run,sys,tmp,usr/bin,usr/sbin,usr/lib,usr/lib64,var}
	for dir in bin sbin lib lib64; do
		ln -s "usr/$dir" "$root/$dir"
	done
	ln -s /run "$root/var/run"
	for file in /etc/passwd /etc/group /etc/protocols /etc/services; do
		[ ! -e $file ] || cp $file "$root$file"
	done
	echo '127.0.0.1 localhost' >"$root/etc/hosts"
	[ ! -e /usr/lib/locale/C.utf8 ] || { mkdir "$root/usr/lib/locale" && cp -a /usr/lib/locale/C.utf8 "$root/usr/lib/locale/"; }
	put_commands && put_tree && put_python && put_modules && write_verify && write_init
}

# ---- the run ----

[ "$(uname -m)" = x86_64 ] || skip_all "only for x86_64"
for command in qemu-system-x86_64:qemu-system-x86 cpio:cpio modprobe:kmod depmod:kmod dpkg:dpkg; do
	type -P "${command%:*}" >/dev/null || skip_all "no ${command%:*} (package ${command#*:})"
done
[ -x "$B/bin/fwload" ] || skip_all "$B/bin/fwload is not built"
[ $# = 0 ] && kernel_download "$B/kernel"
kernel_unpack "${1:-$B/kernel}"
image=$(compgen -G "$kernel/boot/vmlinuz-*" | sort -V | tail -n 1)
release=${image##*/vmlinuz-}
keep=${KEEP:-$tmp}
mkdir -p "$keep"
make_root || give_up "cannot make the machine's file system"
(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$keep/initramfs" || give_up "cpio failed"

# The file system is memory, so there is plenty of it. Without KVM everything takes ten times as long.
timeout "${SECONDS_MAX:-900}" qemu-system-x86_64 -machine q35 -accel "${ACCEL:-tcg}" -cpu max -smp 2 -m 3072 \
	-kernel "$image" -initrd "$keep/initramfs" -append 'console=ttyS0 panic=-1 quiet' \
	-display none -no-reboot -nic none -serial "file:$keep/console" -serial stdio </dev/null 2>"$tmp/qemu" |
	tee "$tmp/tap"
if ! grep -q '^1\.\.' "$tmp/tap"; then
	{ cat "$tmp/qemu" && tail -n 40 "$keep/console"; } | tr -d '\r' | sed 's/^/# /'
	echo "Bail out! The machine did not get to the end"
	exit 1
fi
! grep -q '^not ok' "$tmp/tap"
