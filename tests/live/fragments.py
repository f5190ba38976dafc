# SPDX-License-Identifier: GPL-2.0-only
"""Fragments: later ones pass after a first one that passed, each byte once, and otherwise are denied with reason
"fragment". Crafted trains by test run at every packet hook, also against a model; then real stacks."""
import os
import random
import socket
import struct
import time

from live import Refused, TestRun, main, note, ok, receives, same, udp_socket, wait_until
from build import eth, icmp, ipv4, ipv6, tcp, udp

A, B = {4: "10.9.0.1", 6: "2001:db8:9::1"}, {4: "10.9.0.2", 6: "2001:db8:9::2"}
HOST, PEER = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
HOOKS = (("x", "xdp"), ("x", "tc_egress"), ("t", "tc_ingress"), ("c", "cgroup_ingress"), ("c", "cgroup_egress"))
LATER, FIRST, RULE, DEFAULT, BAD = "later passes", "first passes", "rule", "default", "malformed"
FRAGMENT, NO_PORT = "fragment", "no"
HOP, ROUTING, DESTINATION = 0, 43, 60
SEED = 20240611


def make(lab):
    lab.space("host", "peer")
    for n in range(3):
        lab.veth("host", "eth%d" % n, "peer", "p%d" % n)
        lab.address("host", "eth%d" % n, "10.%d.0.1/24" % (77 + n), "fd%d::1/64" % (77 + n))
        lab.address("peer", "p%d" % n, "10.%d.0.2/24" % (77 + n), "fd%d::2/64" % (77 + n))
    lab.group = lab.cgroup()
    lab.bench, lab.loaded = TestRun(lab), None
    with lab.inside("host"):
        lab.index = {n: socket.if_nametoindex("eth%d" % n) for n in range(3)}
    for role in ("host", "peer"):
        # as large as the datagrams of the live tests are, many at a time
        lab.sysctl(role, "ipv4/ipfrag_high_thresh=16777216", "ipv6/ip6frag_high_thresh=16777216")


def rule(name, direction="both", action="allow", **keys):
    return dict(keys, name=name, direction=direction, action=action)


def policy(*rules, **more):
    doc = {"default_action": "deny", "log_limit": 0, "log_default": {"deny": True, "allow": True}}
    return dict(doc, rules=[dict(r, priority=n) for n, r in enumerate(rules)], **more)


WEB = policy(rule("web", protocol="udp", destination_ports=[443]), rule("web2", protocol="tcp", destination_ports=[443]),
             rule("ping", protocol="icmp", icmp_types=["echo-request"]), rule("gre", protocol=47),
             rule("no", action="deny", protocol="udp", destination_ports=[444]))


def load(lab, doc):
    """Into an instance per way of attaching, without flows of an earlier policy; if it is there already, the next flow has
    another port."""
    Datagram.port += 1
    if lab.loaded == doc:
        return
    lab.loaded = doc
    for instance, where in (("x", ("-i", "eth0", "-i", "eth2", "--xdp", "native")), ("t", ("-i", "eth1", "--xdp", "off")), ("c", ("-g", lab.group))):
        if any(name.endswith("-" + instance) for name in lab.instances):
            lab.unload(instance)
        lab.load(doc, *where, instance=instance)


def run(lab, instance, hook, frames, device=None):
    device = {"x": 0, "t": 1, "c": 0}[instance] if device is None else device
    return lab.bench(hook, frames, lab.index[device], instance, lab.group)


# ---- fragments ----


class Datagram:
    """Whose pieces are made one by one: ${piece}(from unit, bytes, more). ${head}: the transport header of the first one."""
    last_id = port = 0

    def __init__(self, v, head=None, proto=17, src=None, dst=None, ident=None, before=(), after=()):
        Datagram.last_id += 1
        self.v, self.head, self.proto = v, head or udp(self.port, 443), proto
        self.src, self.dst = src or A[v], dst or B[v]
        self.ident = Datagram.last_id if ident is None else ident
        self.before, self.after = before, after

    def content(self, at, size, proto):
        """(protocol number, bytes): of the first piece extension headers and transport header, then anything."""
        for kind in reversed(self.after if not at else ()):
            return kind, (bytes([proto, 0, 1, 4, 0, 0, 0, 0]) + self.head + bytes(size))[:size]
        return (self.after[0] if self.after else proto), ((self.head if not at else b"") + bytes(range(256)) * (size // 256 + 1))[:size]

    def piece(self, at, size, more, ident=None):
        ident = self.ident if ident is None else ident
        if self.v == 4:
            data = self.content(at, size, self.proto)[1]
            packet = ipv4(self.src, self.dst, self.proto, data, fragment=(0x2000 if more else 0) | at)
            return eth(0x0800, packet[:4] + struct.pack("!H", ident & 0xFFFF) + packet[6:])
        proto, data = self.content(at, size, self.proto)
        following, data = 44, struct.pack("!BBHI", proto, 0, at << 3 | bool(more), ident) + data
        for kind in reversed(self.before):
            following, data = kind, bytes([following, 0, 1, 4, 0, 0, 0, 0]) + data
        return eth(0x86DD, ipv6(self.src, self.dst, following, data))


def outcome(answer):
    """The answer of one frame in a word."""
    verdict, events = answer
    events = [e for e in events if e[1] != "neighbour"]  # the kernel's own, which come when they like
    if verdict == "skip":
        return "not run"
    if not events:
        return LATER if verdict == "pass" else "dropped in silence"
    (said, reason, by), = events[:1]
    if len(events) > 1 or (said == "deny") != (verdict == "drop"):
        return "odd: %s %s" % (verdict, events)
    return FIRST if said == "allow" else NO_PORT if by == "no" else reason


# a unit is 8 bytes; pieces are (from unit, bytes, more, what is to become of it)
DENIED = FRAGMENT
TRAINS = {
    "in order": [(0, 64, 1, FIRST), (8, 64, 1, LATER), (16, 64, 1, LATER), (24, 13, 0, LATER)],
    "two pieces, the last of one byte": [(0, 64, 1, FIRST), (8, 1, 0, LATER)],
    "last first, after the first": [(0, 64, 1, FIRST), (24, 13, 0, LATER), (8, 64, 1, LATER), (16, 64, 1, LATER)],
    "backwards": [(0, 64, 1, FIRST), (32, 8, 0, LATER), (24, 64, 1, LATER), (16, 64, 1, LATER), (8, 64, 1, LATER)],
    "three gaps": [(0, 64, 1, FIRST), (10, 16, 1, LATER), (14, 16, 1, LATER), (18, 16, 0, LATER),
                   (8, 16, 1, LATER), (16, 16, 1, LATER), (12, 16, 1, LATER)],
    "a fourth gap": [(0, 64, 1, FIRST), (10, 16, 1, LATER), (14, 16, 1, LATER), (18, 16, 1, LATER), (22, 16, 0, DENIED),
                     (8, 16, 1, LATER), (22, 16, 0, LATER), (12, 16, 1, LATER), (16, 16, 1, LATER), (20, 16, 1, LATER)],
    "gaps that are filled leave room for others": [
        (0, 64, 1, FIRST), (10, 16, 1, LATER), (14, 16, 1, LATER), (18, 16, 1, LATER), (12, 16, 1, LATER), (22, 16, 1, LATER),
        (26, 16, 1, DENIED), (16, 16, 1, LATER), (26, 16, 1, LATER), (30, 16, 1, DENIED), (8, 16, 1, LATER)],
    "none before the first": [(8, 64, 1, DENIED), (16, 5, 0, DENIED), (0, 64, 1, FIRST), (8, 64, 1, LATER), (16, 5, 0, LATER)],
    "nothing after the end": [(0, 64, 1, FIRST), (8, 64, 0, LATER), (16, 64, 1, DENIED), (8, 64, 0, DENIED)],
    "the first again begins anew": [(0, 64, 1, FIRST), (8, 64, 1, LATER), (0, 64, 1, LATER), (8, 64, 1, LATER), (16, 8, 0, LATER)],
    "an exact duplicate": [(0, 64, 1, FIRST), (8, 64, 1, LATER), (8, 64, 1, DENIED), (16, 64, 0, LATER)],
    "a duplicate behind a gap": [(0, 64, 1, FIRST), (16, 64, 1, LATER), (16, 64, 1, DENIED), (8, 64, 1, LATER), (24, 8, 0, LATER)],
    "overlap with the first": [(0, 64, 1, FIRST), (7, 8, 1, DENIED), (7, 16, 1, DENIED), (1, 64, 1, DENIED), (4, 8, 0, DENIED), (8, 8, 0, LATER)],
    "overlap with later ones": [(0, 64, 1, FIRST), (8, 64, 1, LATER), (20, 32, 1, LATER), (15, 8, 1, DENIED), (19, 16, 1, DENIED),
                                (23, 8, 1, DENIED), (16, 40, 1, DENIED), (16, 1000, 1, DENIED), (21, 8, 1, DENIED), (23, 100, 0, DENIED),
                                (16, 32, 1, LATER), (24, 1, 0, LATER)],
    "beyond the end": [(0, 64, 1, FIRST), (16, 60, 0, LATER), (24, 8, 1, DENIED), (23, 16, 1, DENIED), (100, 8, 0, DENIED), (24, 8, 0, DENIED),
                       (8, 64, 1, LATER)],
    "an end before what has come": [(0, 64, 1, FIRST), (16, 64, 1, LATER), (8, 8, 0, DENIED), (8, 64, 0, DENIED), (8, 64, 1, LATER),
                                    (24, 8, 0, LATER)],
    "another end": [(0, 64, 1, FIRST), (16, 64, 0, LATER), (8, 32, 0, DENIED), (24, 64, 0, DENIED), (8, 64, 1, LATER)],
    "a middle that isn't whole units": [(0, 64, 1, FIRST)] + [(8, n, 1, DENIED) for n in (1, 4, 7, 9, 63, 65)] + [(8, 64, 1, LATER)],
    "nothing in it": [(0, 64, 1, FIRST), (8, 0, 1, DENIED), (8, 0, 0, DENIED), (20, 0, 1, DENIED), (8, 8, 0, LATER)],
    "a first that isn't whole units": [(0, n, 1, DENIED) for n in (9, 15, 33, 63, 65)] + [(8, 8, 0, DENIED)],
    "the first cut in its header": [(0, n, 1, BAD) for n in (0, 4, 7)] + [(1, 64, 0, DENIED)],
    "the first is the header alone": [(0, 8, 1, FIRST), (1, 8, 0, LATER)],
}


def end_of(v, over):
    """A last piece after 64 bytes which makes the whole ${over} bytes more than the largest datagram there can be."""
    whole = (65535 - 20 if v == 4 else 65535) + over
    return (whole - 1500) // 8, whole - (whole - 1500) // 8 * 8


def compare(lab, what, plan, stateful=True):
    """${plan}: (name, frame, outcome wanted). One result per hook."""
    for instance, hook in HOOKS:
        wrong = []
        for (name, _, want), answer in zip(plan, run(lab, instance, hook, [f for _, f, _ in plan])):
            if want == FIRST and stateful and hook in ("tc_egress", "cgroup_egress"):
                want = LATER  # the flow is there, from the instance's other hook
            if outcome(answer) != want:
                wrong.append("%s: %s, wanted %s" % (name, outcome(answer), want))
        ok(not wrong, "%s at %s (%d frames)" % (what, hook, len(plan)), "%d wrong" % len(wrong), *wrong[:12])


def trains(lab, v, what, **kw):
    plan, seen = [], False
    for name, pieces in TRAINS.items():
        d = Datagram(v, **kw)
        for at, size, more, want in pieces:
            if want == FIRST and seen:
                want = LATER  # of the flow that the first train opened: no event either
            seen = seen or want == FIRST
            plan.append(("%s, %d+%d%s" % (name, at, size, " more" if more else ""), d.piece(at, size, more), want))
    compare(lab, what, plan)


def test_trains(lab):
    for v in (4, 6):
        load(lab, WEB)
        trains(lab, v, "IPv%d" % v)


def test_extension_headers(lab):
    """Unfragmentable ones before the fragment header; and one behind it, in the first piece alone."""
    for before, after in (((HOP,), ()), ((HOP, DESTINATION, ROUTING), ()), ((), (DESTINATION,)), ((HOP, ROUTING), (DESTINATION,))):
        load(lab, WEB)
        plan, seen = [], False
        for name in ("in order", "backwards", "an exact duplicate", "overlap with later ones", "a middle that isn't whole units"):
            d = Datagram(6, before=before, after=after)
            for at, size, more, want in TRAINS[name]:
                want, seen = (LATER if want == FIRST and seen else want), True
                plan.append((name, d.piece(at, size, more), want))
        if after:
            plan += [("header cut to %d" % n, Datagram(6, before=before, after=after).piece(0, n, 1), BAD) for n in range(0, 16)]
        compare(lab, "IPv6, headers %s before and %s after" % (before, after), plan)


def test_protocols(lab):
    """What the first is, it must be whole; its rule is that of the others."""
    for v in (4, 6):
        load(lab, WEB)
        plan = []
        for name, proto, head in (("TCP", 6, tcp(5, 443)), ("echo", 1 if v == 4 else 58, icmp(8 if v == 4 else 128)), ("GRE", 47, bytes(8))):
            least = {6: 20, 47: 0}.get(proto, 8)
            for size in range(0, least):
                plan.append(("%s cut to %d" % (name, size), Datagram(v, head, proto).piece(0, size, 1), BAD))
            d = Datagram(v, head, proto)
            plan += [(name, d.piece(0, 24, 1), FIRST), (name, d.piece(5, 8, 0), LATER), (name, d.piece(3, 16, 1), LATER),
                     (name, d.piece(3, 16, 1), DENIED)]
        d = Datagram(v, bytes(8), 47)
        plan.append(("an empty first one", d.piece(0, 0, 1), DENIED))
        plan.append(("what follows", d.piece(1, 8, 0), DENIED))
        plan.append(("an ICMP error in pieces", Datagram(v, icmp(3 if v == 4 else 1), 1 if v == 4 else 58).piece(0, 64, 1), DEFAULT))
        compare(lab, "IPv%d, other protocols" % v, plan)


def test_size(lab):
    """The largest datagram passes to its last byte, and not one more."""
    for v in (4, 6):
        load(lab, WEB)
        plan = []
        for over, want in ((0, LATER), (1, DENIED), (8, DENIED), (20, DENIED)):
            d = Datagram(v)
            at, size = end_of(v, over)
            plan += [("first", d.piece(0, 64, 1), LATER if plan else FIRST), ("%d too many" % over, d.piece(at, size, 0), want)]
        d = Datagram(v)
        plan += [("first", d.piece(0, 64, 1), LATER), ("the last unit", d.piece(8191, 8, 1), DENIED), ("beyond", d.piece(8191, 1400, 0), DENIED)]
        compare(lab, "IPv%d, the largest" % v, plan)


def test_denied_first(lab):
    for v in (4, 6):
        load(lab, WEB)
        plan = []
        for name, port, want in (("by rule", 444, NO_PORT), ("by default", 445, DEFAULT)):
            d = Datagram(v, udp(5, port))
            plan += [(name, d.piece(0, 64, 1), want), (name, d.piece(8, 64, 1), DENIED), (name, d.piece(16, 64, 0), DENIED)]
        for n in (1, 100, 8191):
            plan.append(("alone at %d" % n, Datagram(v).piece(n, 8, 0), DENIED))
        compare(lab, "IPv%d, the first was denied or never came" % v, plan)


def test_same_id(lab):
    """The next datagram of the same number is judged by its own first fragment."""
    for v in (4, 6):
        load(lab, WEB)
        yes, no = Datagram(v, ident=7), Datagram(v, udp(5, 444), ident=7)
        plan = [("one", yes.piece(0, 64, 1), FIRST), ("one", yes.piece(8, 8, 0), LATER), ("done", yes.piece(8, 8, 0), DENIED),
                ("denied", no.piece(0, 64, 1), NO_PORT), ("denied", no.piece(8, 8, 0), DENIED),
                ("two", yes.piece(0, 128, 1), LATER), ("two", yes.piece(16, 8, 0), LATER),
                # a datagram whose end was lost, and then another of its number
                ("lost", yes.piece(0, 64, 1), LATER), ("lost", yes.piece(20, 64, 1), LATER),
                ("anew", yes.piece(0, 32, 1), LATER), ("anew", yes.piece(4, 160, 1), LATER), ("anew", yes.piece(24, 8, 0), LATER)]
        compare(lab, "IPv%d, the same number again" % v, plan)


def test_others(lab):
    """Everything that tells datagrams apart."""
    for v in (4, 6):
        load(lab, WEB)
        third = "10.9.0.3" if v == 4 else "2001:db8:9::3"
        d = Datagram(v, ident=0x12345678 if v == 6 else 0x5678)
        plan = [("first", d.piece(0, 64, 1), FIRST)]
        others = {"source": dict(src=third), "destination": dict(dst=third), "both the other way round": dict(src=B[v], dst=A[v])}
        for bit in range(32 if v == 6 else 16):
            others["bit %d of the number" % bit] = dict(ident=d.ident ^ 1 << bit)
        if v == 4:
            others["protocol"] = dict(proto=47)
        for name, kw in others.items():
            plan.append(("another %s" % name, Datagram(v, **dict(dict(ident=d.ident), **kw)).piece(8, 8, 0), DENIED))
        # in IPv6 the number tells datagrams apart whatever their next header says (RFC 8200, 4.5)
        if v == 6:
            plan.append(("another next header", Datagram(6, proto=60, ident=d.ident).piece(8, 8, 1), LATER))
        plan.append(("itself", d.piece(16, 8, 0), LATER))
        compare(lab, "IPv%d, other datagrams" % v, plan)
        first, later = Datagram(v), []
        run(lab, "x", "xdp", [first.piece(0, 64, 1)])
        for name, hook, device in (("another interface", "xdp", 2), ("another hook", "tc_egress", 0), ("where the first was", "xdp", 0)):
            later.append((name, outcome(run(lab, "x", hook, [first.piece(8, 8, 0)], device)[0])))
        same(later, [("another interface", DENIED), ("another hook", DENIED), ("where the first was", LATER)], "IPv%d: other places" % v)


def test_other_namespace(lab):
    """A cgroup's sockets in another network namespace: interfaces there have other numbers, and pieces meet all the same."""
    for v in (4, 6):
        load(lab, WEB)
        with lab.inside("peer"):
            index = socket.if_nametoindex("p1")
        for hook in ("cgroup_egress", "cgroup_ingress"):
            Datagram.port += 1
            d, path = Datagram(v), os.path.join(lab.folder, "there")
            with open(path, "wb") as f:
                for piece in ((0, 64, 1), (8, 8, 0)):
                    f.write(struct.pack("<I", len(d.piece(*piece))) + d.piece(*piece))
            out = lab.run("peer", lab.bench.runner, "-N", lab.instances[-1], "-i", str(index), hook, path, cgroup=lab.group)
            same(out.decode().split(), ["pass", "pass"], "IPv%d at %s: both pieces pass in another namespace" % (v, hook))


def test_timeout(lab):
    for v in (4, 6):
        load(lab, dict(WEB, timeouts={"fragment": 1}))
        for instance, hook in HOOKS:
            d, units = Datagram(v), iter(range(8, 8000))
            run(lab, instance, hook, [d.piece(0, 64, 1)])
            start = time.monotonic()
            over = wait_until(lambda: outcome(run(lab, instance, hook, [d.piece(next(units), 8, 1)])[0]) == DENIED, 4)
            took = time.monotonic() - start
            ok(over and 0.9 < took < 2.5, "IPv%d at %s: forgotten 1 s after the first, busy or not (%.1f s)" % (v, hook, took))


def test_reply(lab):
    """The first fragment of a reply passes because of the flow, and the others with it; all are counted for its rule."""
    doc = policy(rule("out", "egress", protocol="udp", destination_ports=[53]))
    for v in (4, 6):
        load(lab, doc)
        for instance, out, back in (("x", "tc_egress", "xdp"), ("c", "cgroup_egress", "cgroup_ingress")):
            question = ipv4(A[4], B[4], 17, udp(5000, 53)) if v == 4 else ipv6(A[6], B[6], 17, udp(5000, 53))
            reply = Datagram(v, udp(53, 5000), src=B[v], dst=A[v])
            other = Datagram(v, udp(53, 5001), src=B[v], dst=A[v])
            before = [outcome(a) for a in run(lab, instance, back, [reply.piece(0, 64, 1), reply.piece(8, 8, 0)])]
            run(lab, instance, out, [eth(0x0800 if v == 4 else 0x86DD, question)])
            count = lab.count(instance)
            after = [outcome(a) for a in run(lab, instance, back, [reply.piece(0, 64, 1), reply.piece(16, 8, 0), reply.piece(8, 64, 1),
                                                                   other.piece(0, 64, 1), other.piece(8, 8, 0)])]
            d = lab.count(instance) - count
            same((before, after), ([DEFAULT, DENIED], [LATER, LATER, LATER, DEFAULT, DENIED]), "IPv%d at %s: a reply in pieces" % (v, back))
            same((d.rules["out"]["packets_allowed"], d.rules["out"]["packets_flow"], d.get("deny", "fragment"), d.get("deny", "default")),
                 (0, 3, 1, 1), "IPv%d at %s: counted for the flow's rule" % (v, back), d.verdicts)


def test_stateless(lab):
    """Without state later fragments are packets without ports."""
    doc = policy(rule("web", protocol="udp", destination_ports=[443]), rule("some", protocol="tcp"), stateful=False)
    for v in (4, 6):
        load(lab, doc)
        u, t = Datagram(v), Datagram(v, tcp(5, 443), 6)
        plan = [("first", u.piece(0, 64, 1), FIRST), ("no port", u.piece(8, 8, 0), DEFAULT), ("no unit", u.piece(0, 13, 1), FIRST),
                ("TCP", t.piece(8, 8, 0), FIRST), ("TCP, twice", t.piece(8, 8, 0), FIRST), ("TCP, nothing", t.piece(9, 0, 1), FIRST)]
        compare(lab, "IPv%d, stateful: false" % v, plan, stateful=False)
    doc = dict(policy(rule("no", action="deny", protocol="udp", destination_ports=[444])), default_action="allow")
    for v in (4, 6):
        load(lab, doc)
        d = Datagram(v)
        plan = [("first", d.piece(0, 64, 1), FIRST), ("later", d.piece(8, 8, 0), LATER), ("again", d.piece(8, 8, 0), DENIED)]
        compare(lab, "IPv%d, allowed by default" % v, plan)


# ---- against a model ----


class Model:
    """RFC 791 and RFC 5722 with a list of intervals; at most three pieces of the datagram may wait for what is before
    them."""

    def __init__(self):
        self.entries = {}

    def judge(self, key, at, size, more, header):
        if not at:
            if size < 8:
                return BAD
            if not more:
                return LATER  # whole
            if size % 8:
                return DENIED
            self.entries[key] = ([(0, size // 8)], None)
            return LATER
        if key not in self.entries:
            return DENIED
        have, total = self.entries[key]
        end = at + (size + 7) // 8
        if not size or (more and size % 8) or at * 8 + size + header > 65535:
            return DENIED
        if any(at < b and a < end for a, b in have) or (total and (end > total or not more)) or (not more and end < have[-1][1]):
            return DENIED
        merged = []
        for a, b in sorted(have + [(at, end)]):
            if merged and merged[-1][1] == a:
                merged[-1] = (merged[-1][0], b)
            else:
                merged.append((a, b))
        if len(merged) > 4:
            return DENIED
        total = total if more else end
        self.entries[key] = (merged, total)
        if merged == [(0, total)]:
            del self.entries[key]
        return LATER


def random_train(rng):
    """Pieces of one datagram, more or less in order, more or less right."""
    total, at, pieces = rng.choice((rng.randint(2, 30), rng.randint(30, 400), 8190)), 0, []
    most = max(1, total // rng.randint(2, 14))
    while at < total:
        n = min(total - at, rng.randint(1, most) if rng.random() < 0.7 else most)
        more = at + n < total
        pieces.append((at, n * 8 if more else n * 8 - rng.randint(0, 7), more))
        at += n
    head, rest = pieces[0], pieces[1:]
    disorder = rng.choice((0, 0, 1, 2, 4, 100))
    rest = [p for _, p in sorted((i + rng.uniform(0, disorder), p) for i, p in enumerate(rest))]
    if rng.random() < 0.1:
        rest.reverse()
    pieces = ([head] if rng.random() < 0.97 else []) + rest
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        at, size, more = rng.choice(pieces or [head])
        wrong = rng.randrange(6)
        if wrong == 0:
            piece = (at, size, more)
        elif wrong == 1:
            piece = (min(8191, max(0, at + rng.randint(-2, 2))), max(0, size + 8 * rng.randint(-2, 2)), more)
        elif wrong == 2:
            piece = (at, max(0, size + rng.randint(-7, 7)), more)
        elif wrong == 3:
            piece = (at, size, not more)
        elif wrong == 4:
            piece = (rng.randint(0, 8191), rng.choice((0, 8, 8, 16, 800)), rng.random() < 0.5)
        else:
            piece = (total, 8, rng.random() < 0.5)
        pieces.insert(rng.randint(0, len(pieces)), piece)
    return [(at, min(size, 3400 // 8 * 8 if more else 3400), more) for at, size, more in pieces]


def interleaved(rng, lists):
    """One list of all, each in its own order, a few at a time."""
    lists, live = iter(lists), []
    while True:
        while len(live) < 8:
            one = next(lists, None)
            if one is None:
                break
            live.append(one)
        if not live:
            return
        one = rng.choice(live)
        if one:
            yield one.pop(0)
        else:
            live.remove(one)


def test_model(lab):
    seed, n = int(os.environ.get("SEED", SEED)), int(os.environ.get("N", 3000))
    note("SEED=%d N=%d" % (seed, n))
    for v in (4, 6):
        rng = random.Random(seed + v)
        load(lab, WEB)
        datagrams = [(Datagram(v, ident=i + 1), random_train(rng)) for i in range(n)]
        steps = list(interleaved(rng, [[(d, p) for p in pieces] for d, pieces in datagrams]))
        frames = [d.piece(*p) for d, p in steps]
        for instance, hook in HOOKS:
            model, wrong = Model(), []
            # the flow is there before
            run(lab, instance, hook, [Datagram(v, ident=0).piece(0, 64, 1)])
            tally = {}
            for (d, p), answer in zip(steps, run(lab, instance, hook, frames)):
                want, got = model.judge(d.ident, *p, 20 if v == 4 else 0), outcome(answer)
                tally[want] = tally.get(want, 0) + 1
                if got != want:
                    wrong.append((d.ident, "datagram %d, %s: %s, wanted %s" % (d.ident, p, got, want)))
            ok(not wrong and min(tally.get(k, 0) for k in (LATER, DENIED, BAD)) > 10,
               "IPv%d at %s: %d datagrams as the model has it (%s)" % (v, hook, n, ", ".join("%d %s" % (t, k) for k, t in tally.items())),
               "%d wrong, all pieces of the first: %s" % (len(wrong), [p for d, p in steps if wrong and d.ident == wrong[0][0]]),
               *[w for _, w in wrong[:6]])


# ---- real stacks ----


def exchange(lab, v, what):
    """60 kB each way and a large ping each way. The pieces as counted: {rule: (allowed, flow)}."""
    with lab.inside("host", lab.group):
        h, out = udp_socket(HOST[v], 53), udp_socket(HOST[v])
    with lab.inside("peer"):
        p, back = udp_socket(PEER[v], 54), udp_socket(PEER[v])
    big = bytes(range(256)) * 234 + b"end"
    before = lab.count()
    for name, sender, to, receiver in (("in", back, (HOST[v], 53), h), ("out", out, (PEER[v], 54), p)):
        try:
            sender.sendto(big, to)
        except OSError as e:
            ok(False, "%s: 60 kB %s" % (what, name), e)
            continue
        got = receives(receiver)
        ok(got and got[0] == big, "%s: 60 kB %s" % (what, name), "got %s bytes" % (got and len(got[0])))
    d = lab.count() - before
    for s in (h, p, out, back):
        s.close()
    # with -I ping doesn't find out its address by a connect() of UDP, which the policy denies
    for role, me, to in (("peer", PEER[v], HOST[v]), ("host", HOST[v], PEER[v])):
        try:
            lab.run(role, "ping", "-c", "2", "-i", "0.02", "-W", "2", "-s", "3000", "-I", me, to, cgroup=lab.group if role == "host" else None)
            reason = None
        except Refused as e:
            reason = e
        ok(not reason, "%s: ping -s 3000 from %s" % (what, role), reason)
    return {n: (d.rules[n]["packets_allowed"], d.rules[n]["packets_flow"]) for n in ("in", "out")}, d.verdicts


def test_live(lab):
    doc = policy(rule("in", "ingress", protocol="udp", destination_ports=[53]), rule("out", "egress", protocol="udp", destination_ports=[54]),
                 rule("ping", protocol="icmp", icmp_types=["echo-request"]))
    while lab.instances:
        lab.unload(lab.instances[0][-1])
    lab.loaded = None
    ways = {"XDP and TC": ("-i", "eth0", "--xdp", "native"), "TC": ("-i", "eth0", "--xdp", "off"), "cgroup": ("-g", lab.group),
            "all": ("-i", "eth0", "--xdp", "native", "-g", lab.group)}
    for mtu in (1500, 1280):
        lab.ip("host", "link set eth0 mtu %d" % mtu)
        lab.ip("peer", "link set p0 mtu %d" % mtu)
        for what, where in ways.items():
            if lab.instances:
                lab.unload()
            lab.load(doc, *where)
            for v in (4, 6):
                room = (mtu - (20 if v == 4 else 48)) // 8 * 8
                pieces = -(-(59907 + 8) // room)
                whole, cut = (1, 0), (1, pieces - 1)
                want = {"in": whole if what == "cgroup" else cut, "out": cut if what in ("XDP and TC", "TC") else whole}
                got, verdicts = exchange(lab, v, "%s, MTU %d, IPv%d" % (what, mtu, v))
                same(got, want, "%s, MTU %d, IPv%d: every piece counted for its rule" % (what, mtu, v), verdicts)


if __name__ == "__main__":
    main(make, test_trains, test_extension_headers, test_protocols, test_size, test_denied_first, test_same_id, test_others,
         test_other_namespace, test_timeout, test_reply, test_stateless, test_model, test_live)
