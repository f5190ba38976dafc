# SPDX-License-Identifier: GPL-2.0-only
"""Rate limits on live traffic: never above burst + rate * time, hardly below it, with what they are keyed by, and
who pays when several hooks see a packet. Counting is the receiving socket's and the rule's counters, and both agree.

Seen when other sources fill the key table (65,536 entries, least recently used out first): a source that is put out and
comes back has its burst anew, so it gains at most one burst each time. One that sends often stays in the table."""
import json
import os
import socket
import struct
import time

from live import NAME, main, note, ok, packet_socket, receives, same, take, udp_socket, wait_until
from build import eth, ipv4, udp

RULE = {"name": "it", "priority": 1, "action": "rate_limit", "log": False}


def make(lab):
    """Ten addresses on each side and two /64 networks, so that sources and destinations can be told apart."""
    lab.space("host", "peer")
    lab.veth("host", "eth0", "peer", "p0")
    for role, device, n in (("host", "eth0", 1), ("peer", "p0", 2)):
        lab.address(role, device, "10.77.0.%d/24" % n, "10.77.0.%d/24" % (n + 10), "fd77::%d/64" % n, "fd77::1%d/64" % n,
                    "fd78::%d/64" % n)
    lab.group = lab.cgroup()


def limit(rate, burst, by="source", **more):
    rule = dict(RULE, rate_limit_pps=rate, rate_limit_burst=burst, rate_limit_by=by, protocol="udp")
    return dict({"default_action": "deny", "rules": [dict(rule, **more.pop("rule", {}))]}, **more)


def load(lab, doc, *where):
    """Fresh: nobody has spent a token."""
    if lab.instances:
        lab.unload()
    lab.load(doc, *(where or ("-i", "eth0", "--xdp", "native")))


def server(lab, address="", port=7000):
    with lab.inside("host"):
        s = udp_socket(address, port, fam=socket.AF_INET6 if not address or ":" in address else None)
        s.setblocking(False)
        return s


def client(lab, source, to, port=7000, role="peer"):
    with lab.inside(role):
        s = udp_socket(source)
        s.connect((to, port))
        return s


def burst(clients, pps, seconds):
    """Sends by turns at ${pps} in all; returns (packets sent, seconds from the first to the last)."""
    start, n = time.monotonic(), 0
    while True:
        now = time.monotonic()
        if now - start >= seconds:
            return n, now - start
        while n < (now - start) * pps:
            try:
                clients[n % len(clients)].send(b"x")
            except ConnectionError:
                pass
            n += 1
        time.sleep(0.0005)


def by_source(s, seconds=0.3):
    """{source address: datagrams received}, once nothing comes any more."""
    got, end = {}, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            who = s.recvfrom(64)[1][0].replace("::ffff:", "")
            got[who] = got.get(who, 0) + 1
            end = time.monotonic() + seconds
        except BlockingIOError:
            time.sleep(0.005)
    return got


def within(got, rate, size, seconds, what):
    most, least = size + rate * seconds + 1, 0.97 * (size + rate * seconds)
    return ok(least <= got <= most, "%s: %d of %.0f" % (what, got, size + rate * seconds),
              "at least %.1f, at most %.1f in %.3f s" % (least, most, seconds))


def settled(lab, before, packets):
    return wait_until(lambda: (lambda d: d if d.packets() >= packets else None)(lab.count() - before), 3) or lab.count() - before


# ---- the promise ----


def test_rate(lab):
    rate, size = 200, 50
    for v, source, to in ((4, "10.77.0.2", "10.77.0.1"), (6, "fd77::2", "fd77::1")):
        load(lab, limit(rate, size))
        s, c, before = server(lab), client(lab, source, to), lab.count()
        sent, seconds = burst([c], 10 * rate, 3)
        got = sum(by_source(s).values())
        within(got, rate, size, seconds, "IPv%d, ten times the rate" % v)
        d = settled(lab, before, sent)
        r = d.rules["it"]
        same((r["packets_allowed"] + r["packets_flow"], r["packets_limited"], d.get("rate_limited", "rule")),
             (got, sent - got, sent - got), "IPv%d, what was allowed and limited is counted" % v, r)
        time.sleep(0.5)
        again, _ = burst([c], 2000, 0.02)
        more = sum(by_source(s).values())
        ok(min(again, size) <= more <= size + 15, "IPv%d, after half a second there is a burst again" % v, again, more)
        s.close()


def test_below(lab):
    """Nobody who keeps within the limit is refused."""
    load(lab, limit(500, 20))
    s, c = server(lab), client(lab, "10.77.0.2", "10.77.0.1")
    sent, _ = burst([c], 400, 1)
    same(sum(by_source(s).values()), sent, "below the limit everything passes")


def test_keys(lab):
    """Two clients at once, each well above the limit: do they share it?"""
    rate, size = 100, 20
    four = [("10.77.0.2", "10.77.0.1"), ("10.77.0.12", "10.77.0.1")]
    to = [("10.77.0.2", "10.77.0.1"), ("10.77.0.2", "10.77.0.11")]
    same64 = [("fd77::2", "fd77::1"), ("fd77::12", "fd77::1")]
    other64 = [("fd77::2", "fd77::1"), ("fd78::2", "fd78::1")]
    for what, by, pairs, shares in (
            ("two sources, by source", "source", four, 2), ("one source to two destinations, by source", "source", to, 1),
            ("two sources, by destination", "destination", four, 1), ("two destinations, by destination", "destination", to, 2),
            ("two sources, by rule", "rule", four, 1), ("two sources of one /64", "source", same64, 1),
            ("two sources of two /64", "source", other64, 2), ("IPv4 and IPv6, by rule", "rule", [four[0], same64[0]], 1)):
        load(lab, limit(rate, size, by))
        s = server(lab)
        _, seconds = burst([client(lab, *p) for p in pairs], 20 * rate, 1)
        got = by_source(s)
        within(sum(got.values()), shares * rate, shares * size, seconds, what)
        if shares == 2 and by == "source":
            within(min(got.values()), rate, size, seconds, what + ", the lesser one")
        s.close()


def test_two_rules(lab):
    """Each rule has its own tokens for one source."""
    doc = limit(100, 20, rule={"destination_ports": [7000]})
    doc["rules"].append(dict(doc["rules"][0], name="other", priority=2, destination_ports=[7001]))
    load(lab, doc)
    one, two = server(lab), server(lab, port=7001)
    _, seconds = burst([client(lab, "10.77.0.2", "10.77.0.1", p) for p in (7000, 7001)], 2000, 1)
    for s, what in ((one, "one rule"), (two, "the other rule")):
        within(sum(by_source(s).values()), 100, 20, seconds, "%s for the same source" % what)


def test_two_cpus(lab):
    if os.cpu_count() < 2:
        return ok(True, "two CPUs on one key # SKIP one CPU")
    rate, size = 2000, 100
    load(lab, limit(rate, size, "rule"))
    s, before, children = server(lab), lab.count(), []
    clients = [client(lab, a, "10.77.0.1") for a in ("10.77.0.2", "10.77.0.12")]
    start = time.monotonic()
    for n in range(2):
        pid = os.fork()
        if not pid:
            os.sched_setaffinity(0, [n])
            end = start + 3
            while time.monotonic() < end:
                for _ in range(20):
                    clients[n].send(b"x")
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    seconds = time.monotonic() - start
    got = sum(by_source(s).values())
    r = (lab.count() - before).rules["it"]
    note("%d packets in %.2f s from two CPUs" % (r["packets_limited"] + got, seconds))
    ok(got <= size + rate * seconds + 1, "two CPUs on one key never over-admit: %d of %.0f" % (got, size + rate * seconds))
    ok(got >= 0.97 * (size + rate * 3), "and are given what is theirs", got)
    return ok(r["packets_limited"] > 10 * rate, "and were far above the limit", r)


# ---- who pays ----


def test_one_hook_pays(lab):
    """XDP, TC and the cgroup's hooks see the same packets: each costs one token, each is counted once."""
    rate, size = 200, 50
    for what, where in (("XDP and cgroup", ("-i", "eth0", "--xdp", "native", "-g", lab.group)),
                        ("TC and cgroup", ("-i", "eth0", "--xdp", "off", "-g", lab.group)),
                        ("cgroup alone", ("-g", lab.group))):
        load(lab, limit(rate, size, stateful=False), *where)
        with lab.inside("host", lab.group):
            inner = udp_socket("10.77.0.1", 7000)
            inner.setblocking(False)
        c, before = client(lab, "10.77.0.2", "10.77.0.1"), lab.count()
        sent, seconds = burst([c], 10 * rate, 1)
        got = sum(by_source(inner).values())
        within(got, rate, size, seconds, "%s, in" % what)
        d = settled(lab, before, sent)
        same(d.packets(), sent, "%s, in: each packet is counted once" % what, d.verdicts)
        inner.close()
        # out: another key (the source is ours)
        s = server_at_peer(lab)
        with lab.inside("host", lab.group):
            o = udp_socket("10.77.0.1")
            o.connect(("10.77.0.2", 7000))
        before, sent, start, allowed = lab.count(), 0, time.monotonic(), 0
        while time.monotonic() - start < 1:
            try:
                o.send(b"x")
                allowed += 1
            except PermissionError:
                pass
            sent += 1
            time.sleep(0.0005)
        seconds = time.monotonic() - start
        got = sum(by_source(s).values())
        within(got, rate, size, seconds, "%s, out" % what)
        d = settled(lab, before, sent)
        same((got, d.packets()), (allowed, sent), "%s, out: each packet is counted once" % what, d.verdicts)
        s.close()


def server_at_peer(lab):
    with lab.inside("peer"):
        s = udp_socket("10.77.0.2", 7000)
        s.setblocking(False)
        return s


def test_replies_are_free(lab):
    """A flow under a limit of 3 packets a second and a burst of 5: one request, any number of replies."""
    load(lab, limit(3, 5, rule={"destination_ports": [7000]}))
    s, c = server(lab), client(lab, "10.77.0.2", "10.77.0.1")
    c.send(b"?")
    who = wait_until(lambda: receives(s, 0.1))[1]
    s.setblocking(False)
    before = lab.count()
    for _ in range(200):
        s.sendto(b"!", who)
    got = wait_until(lambda: (lambda d: d if d.packets() >= 200 else None)(lab.count() - before))
    same(got and got.rules["it"]["packets_flow"], 200, "200 replies pass")
    same(got and got.rules["it"]["packets_limited"], 0, "and cost nothing")
    same(len(take(c_nonblocking(c))), 200, "and arrive")
    before = lab.count()
    for _ in range(20):
        c.send(b"?")
    d = settled(lab, before, 20)
    ok(4 <= d.rules["it"]["packets_flow"] <= 6 and d.rules["it"]["packets_limited"] == 20 - d.rules["it"]["packets_flow"],
       "each packet of the opener costs one, though it belongs to the flow", d.rules["it"])


def c_nonblocking(c):
    c.setblocking(False)
    return c


def test_connect(lab):
    """connect() is seen by its own hook and as a SYN: only the SYN is charged. (Nobody answers, so that the opener sends
    nothing else.)"""
    size = 20
    doc = limit(1, size, "rule", rule={"direction": "egress", "protocol": "tcp", "destination_ports": [7000]})
    doc["default_action"] = {"ingress": "allow", "egress": "deny"}
    lab.ip("peer", "route add blackhole 10.77.0.1/32 metric 1")
    for what, where in (("cgroup", ("-g", lab.group)), ("TC and cgroup", ("-i", "eth0", "-g", lab.group))):
        load(lab, doc, *where)
        before, connecting, start = lab.count(), [], time.monotonic()
        for _ in range(size + 5):
            with lab.inside("host", lab.group):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex(("10.77.0.2", 7000))
                connecting.append(s)
        r = (lab.count() - before).rules["it"]
        if time.monotonic() - start < 0.9:
            same((r["packets_allowed"], r["packets_limited"], r["packets_flow"], r["calls_denied"]), (size, 5, 0, 0),
                 "%s: %d connects under a burst of %d: each SYN is charged once, the calls are not" % (what, size + 5, size))
        else:
            ok(True, "%s: connects # SKIP this took longer than a SYN waits" % what)
        for s in connecting:
            s.close()
    lab.ip("peer", "route del blackhole 10.77.0.1/32 metric 1")


def test_events(lab):
    doc = limit(1, 5, log_limit=0)
    doc["rules"][0]["log"] = True
    load(lab, doc)
    out = os.path.join(lab.folder, "events")
    with open(out, "wb") as f:
        mon = lab.start(None, lab.program("fwmon"), "-N", NAME + "-a", stdout=f)
    wait_until(lambda: os.path.getsize(out))
    s, c = server(lab), client(lab, "10.77.0.2", "10.77.0.1")
    for _ in range(30):
        c.send(b"x")

    def events():
        with open(out, encoding="utf-8") as f:
            return [e for e in map(json.loads, f) if e["event_type"] == "verdict"]

    wait_until(lambda: len(events()) >= 26, 2)
    mon.terminate()
    mon.wait()
    limited = [e for e in events() if e["verdict"] == "rate_limited"]
    allowed = [e for e in events() if e["verdict"] == "allow"]
    same((len(allowed), len(limited)), (1, 25), "an event for the flow's first packet and for each that is refused")
    same({(e["rule"], e["reason"], e["hook"], e["src_ip"], e["dst_port"]) for e in limited},
         {("it", "rule", "xdp", "10.77.0.2", 7000)}, "verdict rate_limited names the rule")
    s.close()


# ---- more sources than keys ----


def test_flood_of_keys(lab):
    """More sources than the table has room for, and one that sends above its limit: often, so that its key stays, and
    seldom, so that its key is gone each time."""
    size = 5
    with lab.inside("peer"):
        out = packet_socket("p0", False)
    with lab.inside("host"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("eth0", 0))
        mac = s.getsockname()[4]
    header = bytearray(eth(0x0800, ipv4("10.77.0.2", "10.77.0.1", 17, udp(9, 9999))))
    header[:6] = mac
    mine, other = bytes(header), 0x0B000000
    for what, rounds, others in (("often", 50, 2000), ("seldom", 4, 70000)):
        load(lab, limit(1, size, stateful=False))
        before, start, admitted = lab.count(), time.monotonic(), []
        for _ in range(rounds):
            for other in range(other + 1, other + others + 1):
                header[26:30] = struct.pack("!I", other)
                out.send(header)
            middle = lab.count() if rounds < 10 else None
            for _ in range(3 * size):
                out.send(mine)
            if middle:
                admitted.append((lab.count() - middle).rules["it"]["packets_allowed"])
        d, seconds = lab.count() - before, time.monotonic() - start
        got = d.rules["it"]["packets_allowed"] - rounds * others
        note("%s: %d of %d packets passed among %d sources in %.1f s, by rounds %s" % (
            what, got, 3 * size * rounds, rounds * others, seconds, admitted))
        same((d.packets(), d.get("rate_limited", "no_memory")), (rounds * (others + 3 * size), 0),
             "%s: each packet is judged, and nobody new is refused for want of room" % what, d.verdicts)
        gone = rounds if rounds < 10 else 1
        ok(got <= gone * size + seconds + 1, "%s: at most a burst each time its key was put out" % what, got)


if __name__ == "__main__":
    main(make, test_rate, test_below, test_keys, test_two_rules, test_two_cpus, test_one_hook_pays, test_replies_are_free,
         test_connect, test_events, test_flood_of_keys)
