#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What each program may and must be able to do: exactly the capabilities of fw-security(7), each of them lacking, none at
# all; and what a member of the group of --group can reach.
. tests/lib.sh
need_kernel
lab_start || exit 1
lab_cgroup_start || exit 1
# a bpf file system of our own: --group changes the directory that instances share
export FW_BPFFS=$tmp/bpf
mkdir "$FW_BPFFS" && mount -t bpf bpf "$FW_BPFFS" && chmod 1777 "$FW_BPFFS" || exit 1
trap 'lab_end_instances; umount "$FW_BPFFS"; unset FW_BPFFS; lab_end' EXIT
lab_end_instances() { fwload -q -N "$lab" --unload; }
pins=$FW_BPFFS/fw/$lab
chmod 711 "$tmp"
mkdir "$tmp/bin"
cp "$B"/bin/* "$B/tests/pin_reach" "$tmp/bin" || exit 1
PATH=$tmp/bin:$PATH
gid=54321

# as SETPRIV-OPTIONS... -- COMMAND...: in $host's network, with the capabilities $caps (comma separated) and no others
caps=
as() {
	local bound=-all cap options=()
	for cap in ${caps//,/ }; do bound+=,+$cap; done
	while [ "$1" != -- ]; do options+=("$1") && shift; done
	shift
	at "$host" setpriv --inh-caps -all --bounding-set "$bound" "${options[@]}" "$@"
}
with() { # CAPS COMMAND...
	local caps=$1
	shift
	as -- "$@"
}
bare() { with '' "$@"; }
member() { caps='' as --reuid 65534 --regid "$gid" --clear-groups -- "$@"; }
stranger() { caps='' as --reuid 65534 --regid 65534 --clear-groups -- "$@"; }
# said STATUS TEXT NAME COMMAND...: exit status and a text on stdout or stderr
said() {
	local want=$1 text=$2 name=$3 status
	shift 3
	"$@" >"$tmp/said" 2>&1
	status=$?
	if [ "$status" = "$want" ] && { [ -z "$text" ] || grep -qF -- "$text" "$tmp/said"; }; then
		ok "$name"
	else
		not_ok "$name"
		note "status $status, wanted $want: $text"
		note "$(head -n 5 "$tmp/said")"
	fi
}
generation() { fwstat -N "$lab" -o json | jq .generation; }
# loaded with CAPS: a load of FILE to every kind of hook
load() { with "$1" fwload -N "$lab" -i eth0 -g "$lab_cgroup_path" "${@:2}"; }
sees() { nsenter --net="/run/netns/$peer" ping -c 1 -W 1 10.77.0.1 >/dev/null; }

for port in 80 81; do
	printf '{default_action: deny, rules: [{name: web, priority: 1, destination_ports: [%s], protocol: tcp, action: allow}]}' \
		$port >"$tmp/$port.yaml"
	stranger fwc -q - <"$tmp/$port.yaml" >"$tmp/$port.json"
	result $? "fwc needs nothing (port $port)"
done
{
	printf 'default_action: deny\nsets:\n  many:\n'
	seq 0 40000 | awk '{ printf "    - 10.%d.%d.%d/32\n", $1 / 16384, $1 / 64 % 256, $1 % 64 * 4 }'
	printf 'rules:\n  - {name: many, priority: 1, source_cidrs: ["@many"], action: allow}\n'
} >"$tmp/many.yaml"
fwc -q "$tmp/many.yaml" >"$tmp/many.json"
result $? "and a policy with tables of more than a megabyte"

# ---- loading ----

all=bpf,net_admin,perfmon
less() { local c=,$all, && c=${c/,$1,/,} && c=${c#,} && echo "${c%,}"; }
for cap in bpf net_admin perfmon; do
	said 3 "CAP_${cap^^} is lacking" "a first load without CAP_${cap^^} is refused" load "$(less $cap)" "$tmp/80.json"
	[ ! -e "$pins" ]
	result $? "and leaves nothing"
done
said 3 "CAP_BPF is lacking" "a dry run needs the same" load '' -n "$tmp/80.json"
said 0 "" "and is enough with all three" load $all -n "$tmp/80.json"
said 0 "" "a first load with exactly the three" load $all "$tmp/80.json"
! sees
result $? "filters"
is "$(bare fwload -N "$lab" --status | grep -c '^hook')" 8 "at eight hooks"
for cap in bpf net_admin perfmon; do
	said 3 "CAP_${cap^^} is lacking" "the next load without CAP_${cap^^} is refused" load "$(less $cap)" "$tmp/81.json"
	is "$(generation)" 1 "and the policy stays"
done
said 0 "" "what is up to date needs none" load '' "$tmp/80.json"
said 0 "" "another policy with the three" load $all "$tmp/81.json"
said 0 "" "larger tables, which take other programs" load $all "$tmp/many.json"
is "$(generation)" 3 "decide"
said 0 "" "a trial" load $all --confirm 1m "$tmp/80.json"

# ---- everything else, as root without capabilities ----

none() { said "$1" "$2" "without capabilities: $3" bare fwload -N "$lab" "${@:4}"; }
none 0 "pending" "--status" --status
none 0 "" "--commit" --commit
said 0 "FW OK" "fwstat --check judges all" bare fwstat -N "$lab" --check
none 0 "decides again" "--rollback" --rollback
said 0 "" "an audit with the three" load $all --audit "$tmp/80.json"
none 0 "" "--audit-end" --audit-end
none 1 "" "--kill-flows" --kill-flows all
is "$(bare fwstat -N "$lab" -o json | jq -c '[.generation, .protecting, ([.hooks[] | select(.status == "ok")] | length)]')" \
	"[3,true,8]" "fwstat sees all"
said 0 "" "fwstat --flows" bare fwstat -N "$lab" --flows
watch_one() { # bare|member: the first event of a packet that is denied
	"$1" timeout 10 fwmon -N "$lab" -c 1 --verdict deny >"$tmp/events" &
	wait_text "$tmp/events" event_type
	sees
	wait $!
	local status=$?
	cat "$tmp/events"
	return $status
}
said 0 '"reason":"default"' "fwmon" watch_one bare
none 0 "" "--unload" --unload
[ ! -e "$pins" ]
result $? "which leaves nothing"

said 0 "" "a load with cgroup hooks" load $all "$tmp/80.json"
said 0 "" "and one without" with $all fwload -N "$lab" -i eth0 "$tmp/81.json"
none 3 "it takes CAP_NET_ADMIN" "--rollback to them" --rollback
is "$(generation)" 2 "leaves the policy"
said 0 "decides again" "with CAP_NET_ADMIN they come back" with net_admin fwload -N "$lab" --rollback
none 0 "" "--unload" --unload

# ---- places that have no link ----

FW_TC=clsact said 0 "" "clsact filters with the three" load $all --xdp off "$tmp/80.json"
said 3 "CAP_NET_ADMIN" "--unload says that their removal takes CAP_NET_ADMIN" bare fwload -N "$lab" --unload
FW_TC=clsact said 0 "" "again" load $all --xdp off "$tmp/80.json"
said 0 "" "--unload with it" with net_admin fwload -N "$lab" --unload
is "$(at "$host" tc filter show dev eth0 ingress | grep -c fw_tc)" 0 "removes them"

# ---- who is not root ----

rmdir "$FW_BPFFS/fw"
said 3 "run fwload as root" "fwload is for root alone" stranger fwload -N "$lab" -i eth0 "$tmp/80.json"
[ ! -e "$FW_BPFFS/fw" ]
result $? "and leaves no directory of another's in root's way"

# ---- a group ----

said 2 "no group" "a group must exist" load $all --group no-such-group "$tmp/80.json"
said 2 "no group" "or be a number" load $all --group -1 "$tmp/80.json"
said 3 "CAP_CHOWN" "giving away takes CAP_CHOWN" load $all --group $gid "$tmp/80.json"
[ ! -e "$pins" ]
result $? "and a first load without it leaves nothing"
caps=$all said 0 "" "or to be in the group" \
	as --groups $gid -- fwload -N "$lab" -i eth0 -g "$lab_cgroup_path" --group $gid "$tmp/80.json"
said 0 "" "unload" bare fwload -N "$lab" --unload
said 0 "" "load for a group" load $all,chown --group $gid "$tmp/80.json"
modes() { stat -c '%a %u:%g' "$@" | tr '\n' ' '; }
is "$(modes "$pins" "$pins"/{maps,progs,links,maps/control,maps/ring0,maps/ring0/events,progs/xdp})" \
	"710 0:$gid 750 0:$gid 710 0:$gid 700 0:0 640 0:$gid 750 0:$gid 660 0:$gid 600 0:$gid " "modes and owners"
is "$(modes "$FW_BPFFS/fw")" "711 0:0 " "the directory of all instances stays root's and can't be listed"
is "$(member fwstat -N "$lab" -o json | jq -c '[.generation, .protecting, ([.hooks[] | select(.status == "unchecked")] | length)]')" \
	"[1,true,8]" "a member's fwstat reads all but the links, and says so"
at "$host" fwstat -N "$lab" -o json >"$tmp/root.json"
member fwstat -N "$lab" -o json >"$tmp/member.json"
is "$(jq -cS 'del(.time, .hooks, .rules, .verdicts, .packets)' "$tmp/member.json" | md5sum)" \
	"$(jq -cS 'del(.time, .hooks, .rules, .verdicts, .packets)' "$tmp/root.json" | md5sum)" "the rest is what root sees"
said 1 "8 of 8 hooks could not be checked" "a member's --check warns" member fwstat -N "$lab" --check
said 0 "" "a member's fwstat --flows" member fwstat -N "$lab" --flows
said 0 '"reason":"default"' "a member's fwmon" watch_one member
said 3 "Permission denied" "a stranger's fwstat" stranger fwstat -N "$lab"
said 3 "--group" "a stranger's fwmon is told what to do" stranger fwmon -N "$lab"
is "$(stranger pin_reach "$pins")" "" "a stranger reaches no pin"
member pin_reach "$pins"/{maps,progs,links,progs/clock,progs/xdp} "$pins/links"/* >"$tmp/reach"
result $? "what a member reads he can't write"
is "$(grep '^rw' "$tmp/reach" | sort | tr '\n' ' ')" \
	"rw log_limits rw readers rw ring0/events rw ring1/events rw ring2/events rw ring3/events " \
	"a member can write what readers write, and nothing else"
! member flock -n "$pins" true 2>/dev/null
result $? "nor can he hold the lock of loaders"
said 3 "" "nor load" member fwload -N "$lab" -i eth0 "$tmp/81.json"
said 3 "" "nor unload" member fwload -N "$lab" --unload

(launch='exec' && member timeout 20 fwmon -N "$lab" --verdict deny >"$tmp/events") &
watcher=$!
wait_text "$tmp/events" '"generation":1'
said 0 "" "the next load keeps the group without being told" load $all,chown "$tmp/81.json"
wait_text "$tmp/events" '"event_type":"meta".*"generation":2'
result $? "and a member's fwmon follows it"
kill $watcher
wait $watcher
is "$(member fwstat -N "$lab" -o json | jq .generation)" 2 "as does fwstat"
said 0 "" "larger tables for the group" load $all,chown "$tmp/many.json"
is "$(member fwstat -N "$lab" -o json | jq .generation)" 3 "can be read, too"
said 3 "CAP_CHOWN" "without CAP_CHOWN nothing can be loaded for a group" load $all "$tmp/80.json"
is "$(generation)" 3 "and the policy stays"
said 0 "" "a dry run" load $all,chown -n --group root "$tmp/many.json"
is "$(modes "$pins")" "710 0:$gid " "takes nothing back"
said 0 "" "--group root on the same policy" load $all,chown --group root "$tmp/many.json"
is "$(find "$pins" \( -perm /077 -o ! -user 0 -o ! -group 0 \) | wc -l)" 0 "takes everything back"
said 3 "Permission denied" "from members, too" member fwstat -N "$lab"
tap_done
