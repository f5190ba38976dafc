#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# fwload --refresh: the policy that is loaded on what has come since, and nothing else: it takes nobody's place, and what is
# kept to return to, or known to have been given up, stays so. And rollbacks when an interface has gone.
. tests/lib.sh
need_kernel
lab_start || exit 1
use_instance "$lab"

load() { at "$host" fwload -N "$lab" "$@"; }

# said STATUS PATTERN NAME COMMAND...
said() {
	local want=$1 pattern=$2 name=$3 status
	shift 3
	"$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ $status = "$want" ] && { [ -z "$pattern" ] || grep -qE -- "$pattern" "$tmp/err" "$tmp/out"; }; then
		ok "$name"
	else
		not_ok "$name"
		note "exit $status, wanted $want and: $pattern"
		note "$(cat "$tmp/err" "$tmp/out")"
	fi
}

policy() { # NAME
	fwc -o "$tmp/$1.json" <<-END
		default_action: {ingress: deny, egress: allow}
		attach: {interfaces: ["eth*", "new*"]}
		rules: [{name: $1, priority: 1, direction: ingress, destination_ports: [7001], protocol: udp, action: allow}]
	END
}
policy one
policy two
rules() { at "$host" fwstat -N "$lab" -o json | jq -r '[.rules[].name] | join(",")'; }
hooks() { load --status | grep -c '^hook'; }

said 1 "not loaded" "nothing to refresh" load --refresh
load -q "$tmp/one.json" && load -q "$tmp/two.json"
said 0 "up to date" "nothing has changed" load --refresh -v
is "$(hooks)" 2 "two hooks"
ip -n "$host" link add new0 type veth peer name other0
said 0 "" "an interface that the policy's glob matches has come" load --refresh
is "$(hooks)" 4 "it has its hooks"
is "$(rules)" two "the policy is the same"
said 0 "generation 1 decides again" "what --rollback returns to is still the policy before" load --rollback
is "$(rules)" one "and it does"
is "$(hooks)" 2 "on its own hooks"

# ---- given up stays given up ----
ip -n "$host" link del new0
load --status >"$tmp/status"
grep -q "^given up" "$tmp/status"
result $? "the rollback is on record"
ip -n "$host" link add new1 type veth peer name other1
said 0 "" "another interface" load --refresh
is "$(hooks)" 4 "has its hooks"
load --status >"$tmp/status"
grep -q "^given up" "$tmp/status"
result $? "a refresh is no new decision: what was given up stays on record"

# ---- an audit goes on ----
load -q --audit "$tmp/two.json"
ip -n "$host" link del new1
said 0 "" "an interface has gone, amid an audit" load --refresh
load --status | grep -q "^audit"
result $? "the audit goes on"
load -q --audit-end

# ---- it doesn't take the place of a load that was faster ----
wrong=0
for i in 1 2 3 4 5 6 7 8; do
	ip -n "$host" link add "new$i" type veth peer name "other$i"
	exec 8<"${FW_BPFFS:-/sys/fs/bpf}/fw/$lab"
	flock 8
	if ((i % 2)); then next=two; else next=one; fi
	load -q --refresh --wait 20s 8<&- &
	refresh=$!
	load -q --wait 20s "$tmp/$next.json" 8<&- &
	loading=$!
	waits() { grep -qs "fwload" "/proc/$1/comm" && grep -qs sleep "/proc/$1/wchan"; }
	wait_until 2 waits $refresh || :
	wait_until 2 waits $loading || :
	exec 8<&-
	wait $refresh $loading
	[ "$(rules)" = $next ] || wrong=$((wrong + 1))
done
is $wrong 0 "a refresh that waited for the lock leaves the policy that was loaded meanwhile"

# ---- back without the interface ----
load -q "$tmp/one.json" && load -q "$tmp/two.json"
ip -n "$host" link del new1
said 0 "new1 is gone" "--rollback when an interface of the policy before has gone" load --rollback
is "$(rules)" one "goes back on the others"
said 0 "" "and an audit beside an interface that has gone" load -q --audit "$tmp/two.json"

# ---- what -n is not for ----
for command in --unload --rollback --commit --audit-end; do
	said 2 "-n is for loading" "-n $command is refused" load -n "$command"
done
is "$(rules)" one "and changes nothing"
tap_done
