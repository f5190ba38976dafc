# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# To be sourced by shell tests and the demo, from the top of the tree: results as TAP, and a laboratory of two
# network namespaces that goes away with the script, however it ends.
# shellcheck source=tests/kernel.sh
. tests/kernel.sh
B=${B:-build}
PATH=$PWD/$B/bin:$PATH:/usr/sbin:/sbin
tmp=$(mktemp -d) || exit 1
lab=fw$$ # first part of every name that the laboratory gives
lab_pids=() lab_made=() lab_instances=() lab_cgroup=

# ---- results ----

tap_n=0 tap_failed=0
ok() { tap_n=$((tap_n + 1)) && echo "ok $tap_n - $1"; }
not_ok() { tap_n=$((tap_n + 1)) && tap_failed=$((tap_failed + 1)) && echo "not ok $tap_n - $1"; }
note() { printf '%s\n' "$*" | sed 's/^/# /'; }

# result STATUS NAME: ok if STATUS is 0
result() { if [ "$1" = 0 ]; then ok "$2"; else not_ok "$2"; fi; }

# is GOT WANTED NAME
is() {
	if [ "$1" = "$2" ]; then
		ok "$3"
	else
		not_ok "$3"
		note "got:    $1"
		note "wanted: $2"
	fi
}

skip() { tap_n=$((tap_n + 1)) && echo "ok $tap_n # SKIP $1"; }
skip_all() { echo "1..0 # SKIP $*" && exit 0; }

# tap_done: the plan; to be the script's last command, for its status
tap_done() { echo "1..$tap_n" && [ $tap_failed = 0 ]; }

# need_kernel: skip the whole file where nothing can be loaded
need_kernel() {
	local lacks
	lacks=$(kernel_lacks | head -n 1)
	[ -z "$lacks" ] || skip_all "$lacks"
	[ -x "$B/bin/fwload" ] || skip_all "$B/bin/fwload is not built"
}

# ---- waiting ----

# wait_until SECONDS COMMAND...: until it succeeds; 1 if it never does. Looks every 20 ms.
wait_until() {
	local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
		read -rt 0.02 <>"$tmp/never" || :
	done
}

# wait_text FILE PATTERN [SECONDS]: until a line of FILE matches
wait_text() { wait_until "${3:-5}" grep -qs -- "$2" "$1"; }

# listens NAMESPACE PORT: something accepts connections there
listens() { nsenter --net="/run/netns/$1" ss -Htln "sport = :$2" | grep -q .; }

# ---- the laboratory ----

# lab_start: namespaces $host, the one to be protected, and $peer, joined by their eth0: 10.77.0.1 and fd77::1 on
# $host's side, .2 and ::2 on $peer's.
lab_start() {
	local ns
	host=$lab-host peer=$lab-peer
	for ns in "$host" "$peer"; do
		ip netns add "$ns" || return 1
		lab_made+=("$ns")
		ip -n "$ns" link set lo up
	done
	ip link add eth0 netns "$host" type veth peer name eth0 netns "$peer" || return 1
	lab_address "$host" 1
	lab_address "$peer" 2
	wait_until 5 lab_up
}

lab_address() {
	ip -n "$1" addr add "10.77.0.$2/24" dev eth0
	ip -n "$1" addr add "fd77::$2/64" dev eth0 nodad
	ip -n "$1" link set eth0 up
}

lab_up() { ! ip -o -n "$host" addr show dev eth0 | grep -q tentative && ip -n "$host" link show eth0 | grep -q 'state UP'; }

# lab_cgroup_start: a cgroup of our own in $lab_cgroup, its path from the cgroup root in $lab_cgroup_path
lab_cgroup_start() {
	lab_cgroup=$(cgroup2)/$lab
	# shellcheck disable=SC2034
	lab_cgroup_path=/$lab
	mkdir "$lab_cgroup"
}

# at NAMESPACE COMMAND...: runs there
at() {
	local ns=$1
	shift
	$launch nsenter --net="/run/netns/$ns" -- "$@"
}

# in_cgroup COMMAND...: runs in our cgroup; "in_cgroup at NAMESPACE ..." there and in it
in_cgroup() {
	(
		echo "$BASHPID" >"$lab_cgroup/cgroup.procs"
		"$@"
	)
}

# keep COMMAND... (or keep at NAMESPACE COMMAND...): in the background, until the script ends. Its process id, not
# that of a shell around it, is in $kept.
launch=
keep() {
	(
		launch='exec'
		if [ "$1" = at ]; then "$@"; else exec "$@"; fi
	) </dev/null &
	kept=$!
	lab_pids+=("$kept")
}

# end PID...: end what keep started, and wait for it
end() {
	kill "$@" 2>/dev/null
	wait "$@" 2>/dev/null
}

# use_instance NAME: to be unloaded at the end
use_instance() { lab_instances+=("$1"); }

lab_end() {
	local x
	[ ${#lab_pids[@]} = 0 ] || end "${lab_pids[@]}"
	for x in "${lab_instances[@]}"; do
		fwload -q -N "$x" --unload
	done
	for x in "${lab_made[@]}"; do
		ip netns del "$x"
	done
	[ -z "$lab_cgroup" ] || rmdir "$lab_cgroup" 2>/dev/null || wait_until 2 rmdir "$lab_cgroup"
	rm -rf "$tmp"
}

mkfifo "$tmp/never"
trap lab_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
