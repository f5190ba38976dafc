# SPDX-License-Identifier: GPL-2.0-only
"""What has been answered stays: floods of SYNs and datagrams that are ten and a hundred times as many as the table has
room for, by test run and on the wire, among real connections. A full table denies or lets pass without a flow, as the
policy says. Two CPUs at the same flows leave one entry each and exact counts."""
import collections
import os
import random
import socket
import struct
import time

from live import TestRun, main, note, ok, packet_socket, receives, same, udp_socket, wait_until
from build import eth, ipv4, tcp, udp
from table import EVICTABLE, WAYS, Runner, flows, head, race

HOST, PEER = "10.77.0.1", "10.77.0.2"
SYN, SYN_ACK, ACK, DATA, FIN, RST = 2, 0x12, 0x10, 0x18, 0x11, 4


def make(lab):
    lab.space("host", "peer")
    lab.veth("host", "eth0", "peer", "p0")
    lab.address("host", "eth0", "10.77.0.1/24", "fd77::1/64")
    lab.address("peer", "p0", "10.77.0.2/24", "fd77::2/64")
    lab.ip("host", "route add 10.66.0.0/16 via 10.77.0.2")  # from where the floods claim to come; the peer forwards nothing
    lab.sysctl("host", "ipv4/tcp_syncookies=1", "ipv4/icmp_ratelimit=0")
    lab.sysctl("peer", "ipv4/conf/all/rp_filter=0")
    with lab.inside("host"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        lab.eth0 = socket.if_nametoindex("eth0")
        s.bind(("eth0", 0))
        lab.mac = s.getsockname()[4]
    lab.runner, lab.bench = Runner(lab), TestRun(lab)


def policy(max_flows, log=False, back=(), **more):
    """The peer may open TCP and UDP to ports below 30000 of the host; the host none, but to the ports of ${back}."""
    rule = {"action": "allow", "log": log}
    rules = [dict(rule, name="in_" + p, protocol=p, direction="ingress", destination_ports=["1-29999"], priority=n)
             for n, p in enumerate(("tcp", "udp"))]
    rules += [dict(rule, name="out%d" % p, protocol="tcp", direction="egress", destination_ports=[p], priority=9) for p in back]
    return dict({"default_action": "deny", "max_flows": max_flows, "log_default": {"deny": log}, "log_limit": 0, "rules": rules},
                **more)


def load(lab, doc):
    if lab.instances:
        lab.unload()
    lab.load(doc, "-i", "eth0", "--xdp", "native")


def source(n):
    """(address, port), never twice the same for n below 2^30."""
    return struct.pack("!I", 10 << 24 | 66 << 16 | (n >> 14 & 0xFFFF)), 1024 + (n & 0x3FFF)


def segment(n, flags, port=22, back=False):
    """A segment of the connection number ${n} from 10.66/16 to ${port} of the host; ${back}: of the host."""
    src, sport = source(n)
    if back:
        return eth(0x0800, ipv4(HOST, src, 6, tcp(port, sport, flags)))
    return eth(0x0800, ipv4(src, HOST, 6, tcp(sport, port, flags)))


def datagram(n, port=53, back=False):
    src, sport = source(n)
    if back:
        return eth(0x0800, ipv4(HOST, src, 17, udp(port, sport, b"x")))
    return eth(0x0800, ipv4(src, HOST, 17, udp(sport, port, b"x")))


def drops(answers):
    return [n for n, a in enumerate(answers) if a != "pass"]


def establish(lab, numbers, port=22):
    """By XDP alone, so that each is established before the next begins. Those that were."""
    answers = lab.runner("xdp", [f for n in numbers for f in (segment(n, SYN, port), segment(n, SYN_ACK, port, True),
                                                             segment(n, ACK, port))], lab.eth0)
    return [n for i, n in enumerate(numbers) if answers[3 * i:3 * i + 3] == ["pass"] * 3]


def alive(lab, numbers, replies):
    """What the host still sends in each of these connections and to each of these questions passes at egress."""
    tcp_gone = drops(lab.runner("tc_egress", [segment(n, DATA, back=True) for n in numbers], lab.eth0))
    udp_gone = drops(lab.runner("tc_egress", [datagram(n, back=True) for n in replies], lab.eth0))
    return tcp_gone, udp_gone


# ---- floods ----


class Talk:
    """Real connections and conversations of the peer with the host."""

    def __init__(self, lab, n):
        self.tcp, self.udp = [], []
        with lab.inside("host"):
            self.listening = socket.create_server((HOST, 22), backlog=64)
            self.server = udp_socket(HOST, 53)
        for _ in range(n):
            with lab.inside("peer"):
                c, u = socket.create_connection((HOST, 22), 2), udp_socket(PEER)
            s = self.listening.accept()[0]
            for end in (c, s):
                end.settimeout(3)
            self.tcp.append((c, s))
            u.sendto(b"?", (HOST, 53))
            receives(self.server)
            self.udp.append(u)
        self.udp_back()

    def udp_back(self):
        """How many of the peer's sockets hear from the host, which speaks first."""
        for u in self.udp:
            try:
                self.server.sendto(b"!", u.getsockname())
            except PermissionError:
                pass
        return sum(bool(receives(u, 1)) for u in self.udp)

    def tcp_both_ways(self):
        """How many carry data, the host first: it needs the flow."""
        good = 0
        for c, s in self.tcp:
            try:
                for a, b in ((s, c), (c, s)):
                    a.send(b"data")
                    good += b.recv(8) == b"data"
            except OSError:
                pass
        return good / 2

    def close(self):
        for x in (self.listening, self.server, *self.udp, *(s for pair in self.tcp for s in pair)):
            x.close()


def sum16(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)


def whole(frame):
    """With checksums, so that the host's stack answers."""
    head, data = frame[14:34], frame[34:] + bytes(len(frame) % 2)
    pseudo = head[12:20] + struct.pack("!HH", head[9], len(frame) - 34)
    at = 16 if head[9] == 6 else 6
    check = sum16(pseudo + data)
    return frame[:24] + sum16(head) + frame[26:34 + at] + check + frame[36 + at:]


def on_wire(lab, frames):
    """Sends from the peer; returns once the host has judged them."""
    with lab.inside("peer"):
        out = packet_socket("p0", False)
    out.setblocking(True)
    before = opened(lab)
    for f in frames:
        out.send(lab.mac + whole(f)[6:])
    out.close()
    return wait_until(lambda: opened(lab) - before >= len(frames), 20)


def opened(lab):
    return sum(r["packets_allowed"] for r in lab.count().rules.values())


def kinds(first, n):
    """Frames of ${n} new connections and conversations each, to ports with and without a listener."""
    return (("SYN", [segment(first + i, SYN, (22, 23)[i & 1]) for i in range(n)]),
            ("UDP", [datagram(first + n + i, (53, 54)[i & 1]) for i in range(n)]))


def test_floods(lab):
    for max_flows in (64, 1024):
        load(lab, policy(max_flows))
        room = head(lab)[0] * WAYS
        talk = Talk(lab, 6)
        mine = establish(lab, range(max_flows // 4))
        replied = range(1 << 20, (1 << 20) + max_flows // 4)
        lab.runner("xdp", [f for n in replied for f in (datagram(n), datagram(n, back=True))], lab.eth0)
        same((len(mine), alive(lab, mine, replied), talk.tcp_both_ways(), talk.udp_back()), (max_flows // 4, ([], []), 6, 6),
             "max_flows %d, room for %d: connections and conversations before the floods" % (max_flows, room))
        first = 2 << 20
        for times in (10, 100):
            for wire in (False, True):
                for what, frames in kinds(first, times * max_flows):
                    name = "max_flows %d, %d times as many %s %s" % (max_flows, times, what, "on the wire" if wire else "by test run")
                    if wire:
                        ok(on_wire(lab, frames), "%s: all are judged" % name)
                    else:
                        same(drops(lab.runner("xdp", frames, lab.eth0)), [], "%s: all pass" % name)
                    same((alive(lab, mine, replied), talk.tcp_both_ways(), talk.udp_back()), ((([], [])), 6, 6),
                         "%s: connections and conversations go on" % name)
                first += 3 * times * max_flows
        found, wrong = flows(lab)
        same(wrong, [], "max_flows %d: the table is sound" % max_flows)
        same(lab.count().get("deny", "flows_full"), 0, "max_flows %d: it was never full of what must stay" % max_flows)
        note("%d entries, %d of them answered" % (len(found), sum(not EVICTABLE[f.state] for f in found)))
        talk.close()


def test_evicted(lab):
    """Replies to what has been pushed out are judged by the rules, which deny them."""
    load(lab, policy(64))
    n = 2000
    for what, ask, answer in (("SYN", lambda i: segment(i, SYN), lambda i: segment(i, SYN_ACK, back=True)),
                              ("SYN", lambda i: segment(i, SYN), lambda i: segment(i, DATA, back=True)),
                              ("UDP", datagram, lambda i: datagram(i, back=True))):
        asked = list(range(n, 2 * n))
        lab.runner("xdp", [ask(i) for i in asked], lab.eth0)
        there = {(f.src, f.sport) for f in flows(lab)[0] if f.proto == (17 if what == "UDP" else 6)}
        never = list(range(5 * n, 6 * n))
        answers = lab.runner("tc_egress", [answer(i) for i in asked + never], lab.eth0)
        passed = {i for i, a in zip(asked + never, answers) if a == "pass"}
        wanted = {i for i in asked if (socket.inet_ntoa(source(i)[0]), source(i)[1]) in there}
        same(sorted(passed ^ wanted), [], "replies after a %s flood: only to those %d of %d that still have a flow" % (
            what, len(wanted), n))
        ok(0 < len(wanted) < n // 2, "replies after a %s flood: some have been pushed out, some not" % what, len(wanted))
        load(lab, policy(64))


# ---- full ----


def fill(lab, max_flows):
    """Established connections until there is no room for more. Those that were established."""
    tried = establish(lab, range(12 * max_flows))
    ok(max_flows <= len(tried) <= head(lab)[0] * WAYS, "max_flows %d: room for at least as many connections" % max_flows, len(tried))
    return tried


def test_full(lab):
    for max_flows in (64, 1024):
        name = "max_flows %d" % max_flows
        load(lab, policy(max_flows, log=True))
        mine = fill(lab, max_flows)
        before = lab.count()
        new = range(3 << 20, (3 << 20) + 200)
        got = lab.bench("xdp", [segment(n, SYN) for n in new] + [datagram(n) for n in new], lab.eth0)
        denied = [a for a in got if a[0] == "drop"]
        rules = ("in_tcp", "in_udp")
        ok(denied and all(e in ([("deny", "flows_full", r)] for r in rules) for _, e in denied),
           "%s, full: a new connection is denied, with an event flows_full that names the rule" % name, denied[:3])
        same(got[0][0], "drop", "%s, full: already the next one" % name)
        d = lab.count() - before
        same((d.get("deny", "flows_full"), sum(r["packets_allowed"] for r in d.rules.values())), (len(denied), len(got) - len(denied)),
             "%s, full: counted as such" % name, d.verdicts)
        same(drops(lab.runner("tc_egress", [segment(n, DATA, back=True) for n in mine], lab.eth0)), [],
             "%s, full: all %d connections go on" % (name, len(mine)))
        same(flows(lab)[1], [], "%s, full: the table is sound" % name)
        # one ends: there is room again
        lab.runner("xdp", [segment(n, RST) for n in mine], lab.eth0)
        same(drops(lab.runner("xdp", [segment(n, SYN) for n in new], lab.eth0)), [], "%s: when they end there is room again" % name)


def test_full_allowed(lab):
    """on_full: allow_stateless. What finds no room passes without a flow, so that replies need a rule."""
    load(lab, policy(64, log=True, back=[1025], on_full="allow_stateless"))
    mine = fill_around(lab)
    # 0x4001: source port 1025, to which the host may open; 0x4002: 1026
    before, full = lab.count(), []
    for n in range(0x4001, 0x4001 + 40 * 0x4000, 0x4000):
        got = lab.bench("xdp", [segment(n, SYN), segment(n + 1, SYN)], lab.eth0)
        full += [n + i for i, (verdict, events) in enumerate(got) if (verdict, events) == ("pass", [("allow", "flows_full", "in_tcp")])]
    ok(len(full) == 80, "on_full: allow_stateless: a new connection passes, with an event flows_full", len(full))
    ends = {(f.src, f.sport) for f in flows(lab)[0]}
    same([n for n in full if (socket.inet_ntoa(source(n)[0]), source(n)[1]) in ends], [], "on_full: allow_stateless: without a flow")
    d = lab.count() - before
    same((d.rules["in_tcp"]["packets_allowed"], d.get("deny", "flows_full")), (80, 0), "on_full: allow_stateless: counted as allowed by the rule",
         d.verdicts, d.rules)
    answers = lab.bench("tc_egress", [segment(n, SYN_ACK, back=True) for n in full], lab.eth0)
    wanted = [("pass", [("allow", "rule", "out1025")]) if n & 0x3FFF == 1 else ("drop", [("deny", "default", None)]) for n in full]
    same([g for g, w in zip(answers, wanted) if g != w], [], "on_full: allow_stateless: replies are judged by the rules")
    same(drops(lab.runner("tc_egress", [segment(n, DATA, back=True) for n in mine], lab.eth0)), [],
         "on_full: allow_stateless: all %d connections go on" % len(mine))


def fill_around(lab):
    """As fill(), but in this mode what finds no room passes, too: established are those in the table."""
    establish(lab, range(4000))
    found = [f for f in flows(lab)[0] if f.state == "ESTABLISHED"]
    same(len(found), head(lab)[0] * WAYS, "every way is taken by a connection")
    ends = {(f.src, f.sport) for f in found}
    return [n for n in range(4000) if (socket.inet_ntoa(source(n)[0]), source(n)[1]) in ends]


# ---- two CPUs ----


LIFE = [(SYN, 0), (SYN, 0), (SYN_ACK, 1), (ACK, 0), (DATA, 0), (ACK, 1), (DATA, 1), (ACK, 0), (FIN, 0), (ACK, 1), (FIN, 1), (ACK, 0)]
BRUTE = [(SYN, 0), (RST, 0)]
HEAD_ON = [(SYN, 0), (SYN, 1), (SYN_ACK, 1), (ACK, 0), (RST, 1), (DATA, 1), (DATA, 0)]


def test_two_cpus(lab):
    """The same connections opened, used and ended by both at once. Everything is allowed by some rule, so that whatever is
    denied was denied for want of room, of which there is plenty."""
    if os.cpu_count() < 2:
        return ok(True, "two CPUs # SKIP one CPU")
    rng = random.Random(time.time_ns())
    for what, life, n_flows, max_flows, back in (("lives", LIFE, 400, 4096, 1), ("SYN and RST", BRUTE, 400, 4096, 1),
                                                 ("SYN and RST", BRUTE, 2, 4096, 1), ("lives", LIFE, 2, 4096, 1),
                                                 ("SYNs from both ends", HEAD_ON, 3, 4096, 1)):
        name = "two CPUs, %s of %d connections" % (what, n_flows)
        doc = policy(max_flows)
        doc["default_action"] = {"ingress": "allow", "egress": "deny"}
        doc["rules"][0]["destination_ports"] = ["1-65535"]
        load(lab, doc)
        before, lists = lab.count(), []
        for _ in range(2):
            frames = []
            while len(frames) < 40000:
                some = rng.sample(range(n_flows), min(n_flows, 20))
                frames += [segment(n, flags, back=bool(r)) for n in some for flags, r in life]
            lists.append(frames[:40000])
        answers = sum(race(lab, *lists, lab.eth0), [])
        d = lab.count() - before
        counted = sum(r["packets_allowed"] + r["packets_flow"] for r in d.rules.values())
        same(len(drops(answers)), 0, "%s: nothing is denied" % name, d.verdicts)
        same((d.packets(), counted), (len(answers), len(answers) - d.get("deny", "flows_full")), "%s: all %d packets are counted" % (name, len(answers)),
             d.verdicts)
        found, wrong = flows(lab)
        same(wrong, [], "%s: one entry each, none in between, tags as the entries" % name)
        ok(len(found) <= n_flows, "%s: no more entries than connections" % name, len(found))
    return None


def test_new_at_once(lab):
    """Both CPUs open the same new connections in the same order: whoever comes second finds the flow or its own is taken
    away again."""
    if os.cpu_count() < 2:
        return ok(True, "two CPUs # SKIP one CPU")
    load(lab, policy(1 << 17))
    before = lab.count()
    frames = [segment(n, SYN) for n in range(30000)]
    answers = sum(race(lab, frames, frames, lab.eth0), [])
    found, wrong = flows(lab)
    d = lab.count() - before
    r = d.rules["in_tcp"]
    same(drops(answers), [], "two CPUs open the same connections: all pass")
    same((len(found), wrong), (30000, []), "two CPUs open the same connections: one flow each")
    note("%d of 30000 were judged twice" % (r["packets_allowed"] - 30000))
    return same(r["packets_allowed"] + r["packets_flow"], 60000, "two CPUs open the same connections: all are counted", r)


def test_transitions(lab):
    """Both ends' packets judged at the same moment: no step of a connection is lost, whichever is first."""
    if os.cpu_count() < 2:
        return ok(True, "two CPUs # SKIP one CPU")
    n = 10000
    for what, first, second, wanted in (
            ("FINs of both", [FIN, ACK], [FIN, ACK], [{"LAST_ACK_O", "LAST_ACK_R"}, {"TIME_WAIT"}]),
            ("a RST and data", [RST, DATA], [DATA, DATA], [{"CLOSE", "PICKED_UP", "PICKED_UP_R"}, {"ESTABLISHED", "PICKED_UP", "PICKED_UP_R"}]),
            ("a FIN and data, data and a FIN", [FIN, ACK], [DATA, FIN], [{"FIN_WAIT_O", "CLOSE_WAIT_O"}, {"LAST_ACK_R", "TIME_WAIT"}])):
        load(lab, policy(1 << 16))
        same(len(establish(lab, range(n))), n, "two CPUs, %s: %d connections" % (what, n))
        for turn, states in enumerate(wanted):
            race(lab, [segment(i, first[turn]) for i in range(n)], [segment(i, second[turn], back=True) for i in range(n)], lab.eth0)
            found, wrong = flows(lab)
            got = dict(collections.Counter(f.state for f in found))
            ok(set(got) <= states and sum(got.values()) == n and not wrong, "two CPUs, %s, packet %d: no step is lost" % (what, turn + 1), got)
            note("of %d: %s" % (n, got))
    return None


def test_floods_by_two(lab):
    """A flood from two CPUs into a small table, in which connections live on."""
    if os.cpu_count() < 2:
        return ok(True, "two CPUs # SKIP one CPU")
    load(lab, policy(64))
    mine = establish(lab, range(40))
    before = lab.count()
    answers = sum(race(lab, *([segment(n, SYN) for n in range(first, first + 40000)] for first in (1 << 20, 2 << 20)), lab.eth0), [])
    d = lab.count() - before
    same(d.packets(), 80000, "a flood from two CPUs: all is counted", d.verdicts)
    note("%d were denied because both wanted the last place" % d.get("deny", "flows_full"))
    same(len(drops(answers)), d.get("deny", "flows_full"), "a flood from two CPUs: what is denied is counted", d.verdicts)
    same((len(mine), alive(lab, mine, ())), (40, ([], [])), "a flood from two CPUs: connections go on")
    return same(flows(lab)[1], [], "a flood from two CPUs: the table is sound")


if __name__ == "__main__":
    main(make, test_floods, test_evicted, test_full, test_full_allowed, test_two_cpus, test_new_at_once,
         test_transitions, test_floods_by_two)
