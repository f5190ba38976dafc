#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Reloads under continuous traffic: no denied packet passes, no allowed one is lost, and every event was decided by
# one whole generation. RELOADS (default 1000) and RELOAD_PPS (default 20000) can be set.
. tests/lib.sh
need_kernel
lab_start || exit 1
use_instance "$lab"
reloads=${RELOADS:-1000} pps=${RELOAD_PPS:-20000}

# Two policies that agree on ports 7001 and 7002 and on nothing else. In the first, the rule for 7001 is number one;
# in the second it stands behind others, under another name; the second is also much larger.
policy() { # NAME EXTRA-RULES
	echo "stateful: false"
	echo "default_action: {ingress: deny, egress: allow}"
	echo "log_limit: 0"
	echo "rules:"
	local i
	for ((i = 0; i < $2; i++)); do
		echo "  - {name: $1_$i, priority: $i, direction: ingress, source_cidrs: [10.$((i / 250)).$((i % 250)).0/24], destination_ports: [$((10000 + i))], protocol: udp, action: allow}"
	done
	echo "  - {name: $1_in, priority: 60000, direction: ingress, destination_ports: [7001], protocol: udp, action: allow, log: false}"
	echo "  - {name: $1_no, priority: 60001, direction: ingress, destination_ports: [7002], protocol: udp, action: deny}"
}
policy one 0 >"$tmp/one.yaml"
policy two 500 >"$tmp/two.yaml"
policy two 9000 >"$tmp/big.yaml"
for name in one two big; do
	fwc -o "$tmp/$name.json" "$tmp/$name.yaml"
done

at "$host" fwload -q -N "$lab" -i eth0 "$tmp/one.json"
result $? "first load"
keep fwmon -N "$lab" >"$tmp/events"
monitor=$kept
wait_text "$tmp/events" '"meta"'
mkfifo "$tmp/go"
"$B/tests/traffic" "$peer" "$host" 10.77.0.1 7001 7002 "$pps" <"$tmp/go" >"$tmp/counts" &
traffic=$!
exec 9>"$tmp/go"
wait_text "$tmp/events" '"one_no"'
result $? "traffic is seen before the first reload"

failed=0
for ((i = 0; i < reloads; i++)); do
	if ((i % 2)); then next=one; else next=two; fi
	# once, the tables outgrow their size class: programs and slots are replaced under way
	((i != reloads / 4 * 2)) || next=big
	began=${EPOCHREALTIME/[.,]/}
	at "$host" fwload -q -N "$lab" -i eth0 "$tmp/$next.json" || failed=$((failed + 1))
	echo $((${EPOCHREALTIME/[.,]/} - began))
done >"$tmp/times"
sort -n "$tmp/times" | awk '{ t[NR] = $1 } END { printf "# fwload takes %.1f ms, 99 of 100 at most %.1f\n",
	t[int((NR + 1) / 2)] / 1000, t[int(NR * 0.99 + 0.5)] / 1000 }'
is "$failed" 0 "$reloads reloads succeed"
exec 9>&-
wait "$traffic"
read -r _ sent got _ overflow <<<"$(grep ^allowed "$tmp/counts")"
read -r _ dsent dgot <<<"$(grep ^denied "$tmp/counts")"
note "allowed: $sent sent, $got received, $overflow overflowed; denied: $dsent sent, $dgot received"
is "$dgot" 0 "no denied packet passes"
is "$((got + overflow))" "$sent" "no allowed packet is lost"
slot=$(fwload -N "$lab" --status | awk '/^slot size/ { print $3 }')
[ "${slot%.*}" -gt 1 ]
result $? "the tables have outgrown their first size class ($slot MiB)"
[ "$sent" -ge "$reloads" ]
result $? "at least one packet per reload was sent"

wait_until 5 grep -qs "\"generation\":$((reloads + 1))" "$tmp/events"
end "$monitor"
# Each denial: by the rule of its generation. Generation 1 and every other one is "one".
jq -r 'select(.event_type == "verdict" and .dst_port == 7002) | "\(.generation) \(.rule) \(.verdict)"' "$tmp/events" |
	sort | uniq -c >"$tmp/by_generation"
bad=$(awk '{ want = $2 % 2 ? "one_no" : "two_no"; if ($3 != want || $4 != "deny") print }' "$tmp/by_generation" | wc -l)
is "$bad" 0 "every event names exactly one generation, and that generation's rule"
note "$(wc -l <"$tmp/by_generation") generations decided packets"
lost=$(jq -s 'map(select(.event_type == "lost").count) | add // 0' "$tmp/events")
seen=$(jq -r 'select(.event_type == "verdict" and .dst_port == 7002) | 1' "$tmp/events" | wc -l)
note "events of denials: $seen seen, $lost lost"
is "$((seen + lost))" "$dsent" "every denial was reported or counted as lost"
tap_done
