#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Another version of fw: what it has loaded is refused with the remedy, and --upgrade takes its place, hook by hook, under
# continuous traffic; programs of another build with the same layout, too. The other versions are built here.
. tests/lib.sh
need_kernel
command -v clang >/dev/null || skip_all "no clang to build another version with"
lab_start || exit 1
use_instance "$lab"
pins=${FW_BPFFS:-/sys/fs/bpf}/fw/$lab

# other NAME: this tree as NAME, for the caller to change and build
other() { mkdir "$tmp/$1" && cp -r Makefile bpf cmd lib "$tmp/$1"; }
built() { make -s -C "$tmp/$1" build/bin/fwload >"$tmp/make" 2>&1 || note "$(tail -n 5 "$tmp/make")"; }

other layout
sed -i 's/^#define FW_ABI [0-9]*/#define FW_ABI 99/' "$tmp/layout/bpf/fw_abi.h"
sed -i -E 's/^#define FW_FLOW_SEEDS 12/#define FW_FLOW_SEEDS 14/' "$tmp/layout/bpf/fw_abi.h"
other code
echo 'const volatile int another_build = 1;' >>"$tmp/code/bpf/fw.bpf.c"
built layout && built code
[ -x "$tmp/layout/build/bin/fwload" ] && [ -x "$tmp/code/build/bin/fwload" ]
result $? "two other versions are built"

policy() { # NAME ALLOWED DENIED
	cat >"$tmp/$1.yaml" <<-END
		default_action: {ingress: deny, egress: allow}
		rules:
		  - {name: $1, priority: 1, direction: ingress, destination_ports: [$2], protocol: udp, action: allow, log: false}
	END
	fwc -o "$tmp/$1.json" "$tmp/$1.yaml"
}
policy one 7001
policy two 7001
prog() { bpftool -j prog show pinned "$pins/progs/xdp" | jq .id; }

# said STATUS PATTERN NAME COMMAND...
said() {
	local want=$1 pattern=$2 name=$3 status
	shift 3
	"$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ $status = "$want" ] && grep -qE -- "$pattern" "$tmp/err" "$tmp/out"; then
		ok "$name"
	else
		not_ok "$name"
		note "exit $status, wanted $want and: $pattern"
		note "$(cat "$tmp/err" "$tmp/out")"
	fi
}

traffic_start() {
	rm -f "$tmp/go" && mkfifo "$tmp/go"
	"$B/tests/traffic" "$peer" "$host" 10.77.0.1 7001 7002 20000 <"$tmp/go" >"$tmp/counts" &
	traffic=$!
	exec 9>"$tmp/go"
}

# traffic_end NAME: nothing allowed was lost, nothing denied got through
traffic_end() {
	local sent got overflow dgot
	exec 9>&-
	wait "$traffic"
	read -r _ sent got _ overflow <<<"$(grep ^allowed "$tmp/counts")"
	read -r _ _ dgot <<<"$(grep ^denied "$tmp/counts")"
	note "$sent sent, $got received, $overflow overflowed"
	is "$dgot" 0 "$1: no denied packet passes"
	is "$((got + overflow))" "$sent" "$1: no allowed packet is lost"
}

# ---- another layout ----
at "$host" "$tmp/layout/build/bin/fwload" -q -N "$lab" -i eth0 "$tmp/one.json"
result $? "the other version loads its policy"
before=$(prog)
said 1 "another version of fw.*--upgrade" "a load over it is refused with the remedy" \
	at "$host" fwload -N "$lab" -i eth0 "$tmp/two.json"
said 1 "another version of fw.*--upgrade" "so is a dry run" at "$host" fwload -n -N "$lab" -i eth0 "$tmp/two.json"
said 1 "another version of fw.*--upgrade" "and --rollback" at "$host" fwload --rollback -N "$lab"
said 1 "another version of fw.*--upgrade" "and --upgrade without a policy" at "$host" fwload --upgrade -N "$lab"
is "$(prog)" "$before" "what it has loaded stays"
said 0 "^generation +1" "and decides" "$tmp/layout/build/bin/fwload" --status -N "$lab"
traffic_start
said 0 "" "--upgrade" at "$host" fwload -q --upgrade -N "$lab" -i eth0 "$tmp/two.json"
traffic_end "--upgrade from another layout"
[ "$(prog)" != "$before" ]
result $? "the programs are others"
at "$host" fwload --status -N "$lab" >"$tmp/status"
result $? "--status finds it loaded"
! grep GONE "$tmp/status" | sed "s/^/# /" | grep .
result $? "and every hook protected"
is "$(find "$pins" -name '*_new' | wc -l)" 0 "no temporary pins are left"
said 0 "up to date" "the same policy again is a no-op" at "$host" fwload -v -N "$lab" -i eth0 "$tmp/two.json"

# ---- another build of the same layout ----
at "$host" "$tmp/code/build/bin/fwload" -q -N "$lab" -i eth0 "$tmp/two.json"
result $? "another build with the same layout loads over it"
before=$(prog)
traffic_start
said 0 "" "--upgrade without a policy" at "$host" fwload --upgrade -v -N "$lab"
traffic_end "--upgrade from another build"
[ "$(prog)" != "$before" ]
result $? "the programs are others"
said 0 "up to date" "and are this build's: another --upgrade is a no-op" at "$host" fwload --upgrade -v -N "$lab"
tap_done
