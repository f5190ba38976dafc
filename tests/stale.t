#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Flows across reloads: what the new policy allows goes on without a loss, what it denies ends at the opener's next
# packet, and replies alone don't keep it alive.
. tests/lib.sh
need_kernel
lab_start || exit 1
use_instance "$lab"

policy() { # ACTION EXTRA
	fwc -q - <<-Y
		default_action: {ingress: deny, egress: deny}
		timeouts: {udp_stream: 2s}
		rules:
		  - {name: tcp, priority: 1, direction: ingress, destination_ports: [7000], protocol: tcp, action: $1}
		  - {name: udp, priority: 2, direction: ingress, destination_ports: [7000], protocol: udp, action: $1}
		  - {name: ping, priority: 3, direction: ingress, protocol: icmp, icmp_types: [echo-request], action: $1}
		$2
	Y
}
policy allow "" >"$tmp/allow.json"
policy allow "  - {name: more, priority: 9, direction: ingress, destination_ports: [1], protocol: tcp, action: deny}" >"$tmp/more.json"
policy deny "" >"$tmp/deny.json"

# An echo server for TCP and UDP, and a client that says a word when told to and tells whether it came back.
cat >"$tmp/echo.py" <<'P'
import selectors, socket
t = socket.create_server(("10.77.0.1", 7000)); u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("10.77.0.1", 7000)); s = selectors.DefaultSelector()
s.register(t, 1); s.register(u, 1)
peer = None
while True:
    for k, _ in s.select():
        if k.fileobj is t: c, _ = t.accept(); s.register(c, 1)
        elif k.fileobj is u:
            d, peer = u.recvfrom(99); u.sendto(d, peer)
        else:
            d = k.fileobj.recv(99)
            if d: k.fileobj.send(d)
            else: s.unregister(k.fileobj)
P
cat >"$tmp/client.py" <<'P'
import socket, sys
k = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
c = {}
for name, kind in k.items():
    c[name] = socket.socket(socket.AF_INET, kind); c[name].settimeout(0.6); c[name].connect(("10.77.0.1", 7000))
n = 0
for line in sys.stdin:
    n += 1; word = b"word%d" % n; s = c[line.strip()]
    try:
        s.send(word); got = s.recv(99)
        while got != word and line.strip() == "udp": got = s.recv(99)
        print("yes" if got == word else "other", flush=True)
    except OSError: print("no", flush=True)
P
load() { at "$host" fwload -q -N "$lab" -i eth0 "$tmp/$1.json"; }
say() { # KIND WANTED NAME
	echo "$1" >&6
	read -r -t 3 answer <&7
	is "$answer" "$2" "$3"
}
flows() { bpftool -j map dump pinned "/sys/fs/bpf/fw/$lab/maps/flows4" | jq length; }

keep at "$host" python3 "$tmp/echo.py"
wait_until 5 listens "$host" 7000
load allow
mkfifo "$tmp/in" "$tmp/out"
nsenter --net="/run/netns/$peer" python3 "$tmp/client.py" <"$tmp/in" >"$tmp/out" &
lab_pids+=($!)
exec 6>"$tmp/in" 7<"$tmp/out"
say tcp yes "TCP answers"
say udp yes "UDP answers"

load more
keep at "$host" fwmon -q -N "$lab" >"$tmp/events"
wait_text "$tmp/events" '"meta"'
say tcp yes "an allowed TCP flow outlives a reload"
say udp yes "an allowed UDP flow does"
at "$peer" ping -q -c 1 -W 1 10.77.0.1 >/dev/null
wait_text "$tmp/events" '"rule":"ping"'
is "$(grep -c '"dst_port":7000' "$tmp/events")" 0 "and is not reported as new"

before=$(flows)
load deny
say udp no "a UDP flow that is denied now is cut"
say tcp no "a TCP flow is"
[ "$(flows)" -lt "$before" ]
result $? "and forgotten"
wait_text "$tmp/events" '"verdict":"deny".*"rule":"tcp"' 5
result $? "the rule that cut it is reported"

load allow
say udp yes "allowed again, it opens again"
tap_done
