#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What fwload does beside deciding: dry runs, no-ops, status, unload, what is in its way, and what it refuses.
. tests/lib.sh
need_kernel
lab_start || exit 1
lab_cgroup_start || exit 1
use_instance "$lab"
use_instance "$lab-b"
pins=/sys/fs/bpf/fw

compile() { fwc -q -o "$tmp/$1.json" - ; }
load() { at "$host" fwload -N "$lab" "$@"; }
# said STATUS TEXT NAME COMMAND...: exit status and a text on stderr
said() {
	local want=$1 text=$2 name=$3 status
	shift 3
	"$@" 2>"$tmp/err" >"$tmp/out"
	status=$?
	if [ "$status" = "$want" ] && { [ -z "$text" ] || grep -qF -- "$text" "$tmp/err"; }; then
		ok "$name"
	else
		not_ok "$name"
		note "status $status, wanted $want: $text"
		note "$(cat "$tmp/err")"
	fi
}
sees() { nsenter --net="/run/netns/$peer" ping -c 1 -W 1 10.77.0.1 >/dev/null; }

compile open <<'Y'
default_action: allow
rules:
  - {name: web, priority: 1, destination_ports: [80], protocol: tcp, action: allow}
Y
compile closed <<'Y'
default_action: deny
rules:
  - {name: web, priority: 1, destination_ports: [80], protocol: tcp, action: allow}
  - {name: ssh, priority: 2, destination_ports: [22], protocol: tcp, action: allow}
Y
compile users <<'Y'
rules:
  - {name: bob, priority: 1, direction: egress, users: [nobody], action: allow}
Y

# ---- nothing left behind ----
said 0 "" "a dry run succeeds" load -n -i eth0 "$tmp/closed.json"
grep -q 'attach  xdp eth0' "$tmp/out" && grep -q 'generation   1 (now 0)' "$tmp/out"
result $? "and says what it would do"
[ ! -e "$pins/$lab" ]
result $? "and leaves no pin"
said 1 "<stdin>: " "a bad IR is refused" load -i eth0 - <<<'{"ir_version":1,"rules":7}'
said 1 "interface nope does not exist" "so is an interface that is not there" load -i nope "$tmp/open.json"
said 1 "cgroup /nope" "and a cgroup" load -g /nope "$tmp/open.json"
said 1 "users is not known at hook tc_egress" "and a rule on users without cgroup hooks" load -i eth0 "$tmp/users.json"
[ ! -e "$pins/$lab" ]
result $? "none of them leaves a pin"
said 3 "cannot open" "a missing file is the system's" load "$tmp/nothing.json"
said 2 "usage:" "a bad option is usage" load --frobnicate
said 2 "in no time" "a trial that nobody could commit is refused" load --confirm 0s "$tmp/open.json"
said 2 "exclude each other" "an audit and a trial at once are refused" load --audit --confirm 5s "$tmp/open.json"
said 1 "not loaded" "nothing can be committed where nothing is loaded" load --commit
said 2 "not an instance name" "a dot can't be in an instance's name" fwload -N a.b "$tmp/open.json"
said 1 "" "--status of nothing" load --status
said 0 "" "--unload of nothing" load --unload

# ---- load, the same again, another, unload ----
said 0 "" "first load" load -i eth0 -g "$lab_cgroup_path" "$tmp/closed.json"
! sees
result $? "a default deny takes effect"
load --status >"$tmp/status"
is "$(grep -c ^hook "$tmp/status")" 8 "--status lists eight hooks"
before=$(stat -c %i "$pins/$lab/maps/meta1")
said 0 "" "the same policy again" load -i eth0 -g "$lab_cgroup_path" "$tmp/closed.json"
is "$(cat "$tmp/err" "$tmp/out")" "" "is silent"
is "$(stat -c %i "$pins/$lab/maps/meta1")" "$before" "and changes nothing"
progs=$(bpftool -j prog show pinned "$pins/$lab/progs/xdp" | jq .id)
said 0 "" "another policy" load -i eth0 -g "$lab_cgroup_path" "$tmp/open.json"
sees
result $? "takes effect"
is "$(bpftool -j prog show pinned "$pins/$lab/progs/xdp" | jq .id)" "$progs" "with the resident programs"
mkdir "$lab_cgroup/inner"
said 1 "one of which is in the other" "a trial can't go to a cgroup inside of the present one" \
	load -g "$lab_cgroup_path/inner" --confirm 5s "$tmp/closed.json"
rmdir "$lab_cgroup/inner"
said 0 "" "fewer places" load -i eth0 "$tmp/open.json"
# (a clsact filter has no pin: there the link of XDP is the only one)
is "$(find "$pins/$lab/links" -type f ! -name 'tc_egress-*' ! -name 'xdp-*' | wc -l)" 0 \
	"places that are no longer wanted are left"
is "$(load --status | grep -c ^hook)" 2 "and two hooks remain"
gen=$(load --status | awk '/^generation/ { print $2 }')
bad=$(find "$pins/$lab" -type d ! -perm 700 | wc -l)
is "$bad" 0 "pin directories are root's alone"

rm "$pins/$lab"/links/xdp-*
said 0 "" "a link that somebody removed" load -i eth0 "$tmp/open.json"
! load --status | grep -q GONE
result $? "is attached again"
is "$(load --status | awk '/^generation/ { print $2 }')" "$gen" "and the generation stays"

# ---- counters follow the rule's name ----
at "$host" timeout 5 nc -lk 10.77.0.1 80 >/dev/null &
lab_pids+=($!)
wait_until 5 listens "$host" 80
count() { fwstat -N "$lab" -o json | jq '[.rules[] | select(.name == "web") | .packets_allowed] | add // 0'; }
at "$peer" nc -z -w 2 10.77.0.1 80
one=$(count)
[ "$one" -ge 1 ]
result $? "a connection is counted"
load -i eth0 "$tmp/closed.json"
[ "$(count)" -ge "$one" ]
result $? "the count outlives a reload"

# ---- two at a time ----
exec 8<"$pins/$lab"
flock 8
said 4 "busy" "a second writer waits and then gives up" load --wait 1s -i eth0 "$tmp/open.json"
flock -u 8
exec 8<&-

# ---- beside others ----
said 0 "" "unload" load --unload
[ ! -e "$pins/$lab" ]
result $? "removes the instance"
sees
result $? "and lets everything pass"
cat >"$tmp/other.bpf.c" <<'C'
#include <linux/bpf.h>
__attribute__((section("xdp"), used)) int other_tool(struct xdp_md *c) { return XDP_PASS; }
char lic[] __attribute__((section("license"), used)) = "GPL";
C
clang -O2 -g -target bpf -isystem "/usr/include/$(uname -m)-linux-gnu" -c "$tmp/other.bpf.c" -o "$tmp/other.o" &&
	ip -n "$host" link set eth0 xdp obj "$tmp/other.o" sec xdp 2>/dev/null
if ip -n "$host" link show eth0 | grep -q 'prog/xdp'; then
	said 3 "taken by program 'other_tool'" "an XDP slot taken by others names the holder" load -i eth0 "$tmp/open.json"
	[ ! -e "$pins/$lab" ]
	result $? "and nothing of ours stays"
	said 0 "" "TC takes its place with --xdp off" load -i eth0 --xdp off "$tmp/closed.json"
	! sees
	result $? "and filters"
	load --unload
	ip -n "$host" link set eth0 xdp off
else
	skip "no foreign XDP program could be attached"
fi
said 0 "" "a second instance beside the first" at "$host" fwload -N "$lab-b" -i eth0 --xdp off "$tmp/open.json"
said 0 "" "both filter" load -i eth0 --xdp off "$tmp/closed.json"
! sees
result $? "a denial of either counts"
at "$host" fwload -N "$lab-b" --unload
! sees
result $? "the other goes on alone"
load --unload

# ---- kernels without tcx ----
FW_TC=clsact said 0 "" "clsact instead of tcx" load -i eth0 --xdp off "$tmp/closed.json"
! sees
result $? "filters by clsact"
load --status | grep -q 'tc_ingress eth0 clsact'
result $? "and is said so"
said 0 "" "the same again by clsact" load -i eth0 --xdp off "$tmp/closed.json"
is "$(cat "$tmp/err")" "" "is silent too"
FW_TC=clsact load -i eth0 --xdp off "$tmp/open.json"
sees
result $? "reload by clsact"
load --unload
is "$(at "$host" tc filter show dev eth0 ingress | grep -c fw_tc)" 0 "unload removes the filters"

# ---- generic XDP, devices without a link header ----
said 0 "" "generic XDP when asked for" load -i eth0 --xdp generic "$tmp/closed.json"
load --status | grep -q 'xdp eth0 generic'
result $? "and is said so"
load --unload
if ip -n "$host" link add ifb7 type ifb 2>/dev/null; then
	ip -n "$host" link set ifb7 up
	said 0 "no native XDP; using generic XDP" "a driver without XDP falls back, and that is said" load -i ifb7 "$tmp/closed.json"
	load --unload
	said 3 "cannot attach XDP to ifb7" "but not when native was asked for" load -i ifb7 --xdp native "$tmp/closed.json"
else
	skip "no device without native XDP"
fi
if ip -n "$host" tuntap add dev tun7 mode tun 2>/dev/null; then
	ip -n "$host" link set tun7 up
	said 0 "" "a tunnel without link header" load -i tun7 "$tmp/closed.json"
	load --status | grep -q 'tc_ingress tun7'
	result $? "gets TC instead of XDP"
	[ -e "$pins/$lab/progs/tc_ingress3" ]
	result $? "by a program that expects no Ethernet"
	load --unload
else
	skip "no tun device"
fi

# ---- what was attached is gone ----
load -i eth0 "$tmp/closed.json"
ip -n "$host" link del eth0
ip link add eth0 netns "$host" type veth peer name eth0 netns "$peer"
lab_address "$host" 1
lab_address "$peer" 2
wait_until 5 lab_up
load --status | grep -q 'GONE'
result $? "a recreated interface is reported as unprotected"
said 0 "" "loading again" load -i eth0 "$tmp/closed.json"
! load --status | grep -q 'GONE'
result $? "protects it"
! sees
result $? "for real"
load --unload

# ---- pins are not taken from others ----
mkdir -p "$pins"
mkdir "$pins/$lab" && chown nobody "$pins/$lab"
said 3 "refusing" "a squatted directory is refused" load -i eth0 "$tmp/open.json"
rmdir "$pins/$lab"
mkdir "$tmp/nobpf"
FW_BPFFS=$tmp/nobpf said 3 "no bpf file system" "without bpffs nothing is mounted silently" load -i eth0 "$tmp/open.json"
tap_done
