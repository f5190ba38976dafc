# SPDX-License-Identifier: GPL-2.0-only
"""ICMP errors under a default of deny: by test run at every pair of hooks, which error passes because of which flow."""
import itertools
import socket
import struct
import time

from live import TestRun, call, main, ok, same, wait_until
from build import eth, extensions, icmp, ipv4, ipv6, tcp, udp
import pmtu

US, THIRD = {4: "10.9.0.1", 6: "2001:db8:9::1"}, {4: "10.9.0.3", 6: "2001:db8:9::3"}
ROUTER = {4: "192.0.2.1", 6: "2001:db8:ff::1"}
# instance, hook of ingress, hook of egress
WAYS = (("x", "xdp", "tc_egress"), ("t", "tc_ingress", "tc_egress"), ("c", "cgroup_ingress", "cgroup_egress"))
PROTOCOLS = ("tcp", "udp", "ping", "gre")
PASSES, NEW, DEFAULT, CUT, LIMITED = "passes", "new", "default", "flow_cut", "rate_limited"


def make(lab):
    pmtu.make(lab)
    lab.space("host", "peer")
    for n in range(2):
        lab.veth("host", "eth%d" % n, "peer", "p%d" % n)
    lab.group = lab.cgroup()
    lab.bench = TestRun(lab)
    with lab.inside("host"):
        index = [socket.if_nametoindex("eth%d" % n) for n in range(2)]
    lab.index = {"x": index[0], "t": index[1], "c": index[0]}


def rule(name, direction="both", action="allow", **keys):
    return dict(keys, name=name, direction=direction, action=action)


def policy(*rules, **more):
    doc = {"default_action": "deny", "log_limit": 0, "log_default": {"deny": True, "allow": True}}
    return dict(doc, rules=[dict(r, priority=n) for n, r in enumerate(rules)], **more)


RULES = {"tcp": rule("tcp", protocol="tcp", destination_ports=[443]), "udp": rule("udp", protocol="udp", destination_ports=[443]),
         "ping": rule("ping", protocol="icmp", icmp_types=["echo-request"]), "gre": rule("gre", protocol=47)}
POLICY = policy(*RULES.values())


def load(lab, doc, instance, keep=False):
    if not keep and any(name.endswith("-" + instance) for name in lab.instances):
        lab.unload(instance)
    where = {"x": ("-i", "eth0", "--xdp", "native"), "t": ("-i", "eth1", "--xdp", "off"), "c": ("-g", lab.group)}[instance]
    lab.load(doc, *where, instance=instance)


# ---- packets ----


class Flow:
    """What its ends send, and errors about that. ${ours}: we open it."""
    port = 1000

    def __init__(self, v, proto, ours):
        Flow.port += 1
        self.v, self.proto, self.ours, self.port = v, proto, ours, Flow.port
        # of other protocols two hosts have one flow between them
        them = "10.10.%d.%d" % divmod(self.port, 256) if v == 4 else "2001:db8:10::%x" % self.port
        self.opener, self.other = (US[v], them) if ours else (them, US[v])

    def payload(self, of_opener, port=0):
        ports = (port or self.port, 443) if of_opener else (443, port or self.port)
        if self.proto == "tcp":
            return 6, tcp(*ports, 0x02 if of_opener else 0x12)
        if self.proto == "udp":
            return 17, udp(*ports)
        if self.proto == "ping":
            kind = (8 if of_opener else 0) if self.v == 4 else 128 if of_opener else 129
            return (1 if self.v == 4 else 58), bytes([kind, 0, 0, 0]) + struct.pack("!HH", port or self.port, 1)
        return 47, bytes(8)

    def packet(self, of_opener=True, src=None, dst=None, port=0, **kw):
        """Without Ethernet."""
        ends = (self.opener, self.other) if of_opener else (self.other, self.opener)
        proto, data = self.payload(of_opener, port)
        return (ipv4 if self.v == 4 else ipv6)(src or ends[0], dst or ends[1], proto, data, **kw)

    def frame(self, of_opener=True):
        return eth(0x0800 if self.v == 4 else 0x86DD, self.packet(of_opener))

    def error(self, of_opener=True, about=None, dst=None, kind=None, code=0, src=None, **kw):
        """To the sender of what it is about, by a router."""
        kind = (3 if self.v == 4 else 1) if kind is None else kind
        dst = dst or (self.opener if of_opener else self.other)
        data = icmp(kind, code, self.packet(of_opener) if about is None else about)
        build, proto = (ipv4, 1) if self.v == 4 else (ipv6, 58)
        return eth(0x0800 if self.v == 4 else 0x86DD, build(src or ROUTER[self.v], dst, proto, data, **kw))


def errors(v):
    return [(3, code) for code in range(16)] + [(4, 0), (11, 0), (11, 1), (12, 0)] if v == 4 else [(k, c) for k in (1, 2, 3, 4) for c in range(8)]


def others(v):
    """Kinds that are no errors, redirects among them; not the echo request, which the policy allows."""
    return [k for k in range(256) if k not in ((3, 4, 8, 11, 12) if v == 4 else (1, 2, 3, 4, 128, 130, 131, 132, 133, 134, 135, 136, 143))]


def outcome(answer):
    verdict, events = answer
    if verdict == "skip":
        return "not run"
    if not events:
        return PASSES if verdict == "pass" else "dropped in silence"
    (said, reason, _), = events[:1]
    if len(events) > 1 or (said != "allow") != (verdict == "drop"):
        return "odd: %s %s" % (verdict, events)
    return NEW if said == "allow" else said if said == LIMITED else reason


class Run:
    """Frames one after another at whichever hook sees them, and what became of them; one result in the end."""

    def __init__(self, lab, way, what):
        self.lab, self.what, self.n, self.wrong = lab, what, 0, []
        self.instance, self.ingress, self.egress = way

    def send(self, outward, steps):
        """${steps}: (name, frame, wanted)."""
        hook = self.egress if outward else self.ingress
        answers = self.lab.bench(hook, [f for _, f, _ in steps], self.lab.index[self.instance], self.instance, self.lab.group)
        for (name, frame, want), answer in zip(steps, answers):
            self.n += 1
            if outcome(answer) != want:
                self.wrong.append("%s at %s: %s, wanted %s: %s" % (name, hook, outcome(answer), want, frame.hex()))

    def end(self):
        ok(not self.wrong, "%s, %s and %s (%d frames)" % (self.what, self.ingress, self.egress, self.n), "%d wrong" % len(self.wrong), *self.wrong[:8])


def each_flow():
    return itertools.product((4, 6), PROTOCOLS, (True, False))


# ---- test runs ----


def test_kinds(lab):
    """Before the flow, while it is unanswered, and then: errors about the packets of both ends."""
    for way in WAYS:
        load(lab, POLICY, way[0])
        for v, proto, ours in each_flow():
            f = Flow(v, proto, ours)
            r = Run(lab, way, "IPv%d, %s opened by %s" % (v, proto, "us" if ours else "them"))
            # an error about the opener's packet goes to the opener: inward if that is us
            r.send(not ours, [("%s before the flow" % (e,), f.error(kind=e[0], code=e[1]), DEFAULT) for e in errors(v)])
            r.send(ours, [("the opener", f.frame(), NEW)])
            r.send(not ours, [("%s to the opener" % (e,), f.error(kind=e[0], code=e[1]), PASSES) for e in errors(v)] +
                   [("kind %d to the opener" % k, f.error(kind=k), DEFAULT) for k in others(v)] +
                   [("to the opener, from the other end itself", f.error(src=f.other), PASSES)])
            r.send(ours, [("%s about an unheard end" % (e,), f.error(False, kind=e[0], code=e[1]), DEFAULT) for e in errors(v)])
            r.send(not ours, [("the reply", f.frame(False), PASSES)])
            r.send(ours, [("%s about the reply" % (e,), f.error(False, kind=e[0], code=e[1]), PASSES) for e in errors(v)] +
                   [("kind %d about the reply" % k, f.error(False, kind=k), DEFAULT) for k in others(v)])
            r.send(not ours, [("%s again" % (e,), f.error(kind=e[0], code=e[1]), PASSES) for e in errors(v)])
            r.end()


def test_addresses(lab):
    """The error goes to the host that sent what it carries, and what it carries is of the flow."""
    for way in WAYS:
        load(lab, POLICY, way[0])
        for v, proto, ours in each_flow():
            f = Flow(v, proto, ours)
            r = Run(lab, way, "IPv%d, %s opened by %s: addresses" % (v, proto, "us" if ours else "them"))
            r.send(ours, [("the opener", f.frame(), NEW)])
            r.send(not ours, [("the reply", f.frame(False), PASSES)])
            for outward, of_opener in itertools.product((True, False), (True, False)):
                sender, receiver = (f.opener, f.other) if of_opener else (f.other, f.opener)
                name = "about the %s" % ("opener's" if of_opener else "other's")
                steps = [("%s, to a third host" % name, f.error(of_opener, dst=THIRD[v]), DEFAULT),
                         ("%s, to its receiver" % name, f.error(of_opener, dst=receiver), DEFAULT),
                         ("%s, but from a third host" % name, f.error(of_opener, f.packet(of_opener, src=THIRD[v])), DEFAULT),
                         ("%s, but from a third host, to which it goes" % name, f.error(of_opener, f.packet(of_opener, src=THIRD[v]), THIRD[v]), DEFAULT),
                         ("%s, but to a third host" % name, f.error(of_opener, f.packet(of_opener, dst=THIRD[v])), DEFAULT),
                         ("%s, but both ends are one" % name, f.error(of_opener, f.packet(of_opener, dst=sender)), DEFAULT),
                         ("%s" % name, f.error(of_opener), PASSES)]
                if proto != "gre":
                    steps.append(("%s, another port" % name, f.error(of_opener, f.packet(of_opener, port=999)), DEFAULT))
                # the ports of one end with the addresses of the other: of ping an echo request by the wrong end
                if proto != "gre":
                    steps.append(("%s, ends crossed" % name, f.error(of_opener, f.packet(not of_opener, src=sender, dst=receiver)), DEFAULT))
                for p in PROTOCOLS:
                    if p != proto:
                        other = Flow(v, p, ours)
                        steps.append(("%s, as %s" % (name, p), f.error(of_opener, other.packet(of_opener, port=f.port)), DEFAULT))
                r.send(outward, steps)
            r.end()


def v6_chain(f, kinds, fragment=0):
    proto, data = f.payload(True)
    following, data = extensions(kinds, proto, data, fragment)
    return ipv6(f.opener, f.other, following, data)


def test_embedded(lab):
    """What is carried is cut, has options, extension headers, fragments, or is no IP packet of this kind at all."""
    for way in WAYS:
        load(lab, POLICY, way[0])
        for v, proto, ours in each_flow():
            f = Flow(v, proto, ours)
            r = Run(lab, way, "IPv%d, %s opened by %s: what is carried" % (v, proto, "us" if ours else "them"))
            whole = f.packet()
            least = (20 if v == 4 else 40) + 8
            r.send(ours, [("the opener", f.frame(), NEW)])
            steps = [("cut to %d" % n, f.error(about=whole[:n]), DEFAULT if n < least else PASSES) for n in range(len(whole) + 1)]
            steps += [("version %d" % n, f.error(about=bytes([whole[0] & 15 | n << 4]) + whole[1:]), PASSES if n == v else DEFAULT) for n in range(16)]
            other_family = Flow(10 - v, proto, ours).packet(port=f.port)
            steps.append(("the other family", f.error(about=other_family), DEFAULT))
            steps.append(("a whole frame", f.error(about=f.frame()), DEFAULT))
            steps += four(f, whole) if v == 4 else six(f)
            r.send(not ours, steps)
            r.end()


def four(f, whole):
    proto, data = f.payload(True)
    steps = []
    for n in range(1, 11):
        packet = ipv4(f.opener, f.other, proto, data, options=b"\1" * 4 * n)
        steps += [("%d bytes of options" % (4 * n), f.error(about=packet), PASSES),
                  ("options cut", f.error(about=packet[: 20 + 4 * n + 7]), DEFAULT)]
    steps += [("header length %d" % n, f.error(about=bytes([0x40 | n]) + whole[1:]), DEFAULT) for n in range(5)]
    for fragment, want in ((0x4000, PASSES), (0x2000, PASSES), (1, DEFAULT), (0x2001, DEFAULT), (185, DEFAULT), (0x1FFF, DEFAULT)):
        steps.append(("fragment %x" % fragment, f.error(about=f.packet(fragment=fragment)), want))
    steps.append(("in pieces itself", f.error(about=whole + bytes(-len(whole) % 8), fragment=0x2000), DEFAULT))
    steps.append(("with options itself", f.error(options=b"\1" * 8), PASSES))
    return steps


def six(f):
    steps = []
    for kinds in ((0,), (43,), (60,), (51,), (0, 60, 43, 51), (0, 43, 44, 60), ((44, 0),), ((44, 1),), ((60, 3), (51, 5))):
        packet = v6_chain(f, kinds)
        full = len(packet) - len(f.payload(True)[1]) + 8
        steps += [("headers %s cut to %d" % (kinds, n), f.error(about=packet[:n]), PASSES if n >= full else DEFAULT) for n in range(40, len(packet) + 1)]
    for kinds in (((44, 8),), ((44, 9),), ((44, 0xFFF8),), (0, (44, 8)), (60,) * 5, (99,), (59,), (50,)):
        steps.append(("headers %s" % (kinds,), f.error(about=v6_chain(f, kinds)), DEFAULT))
    inner, data = extensions((0, 60), 58, icmp(1, 0, f.packet()))
    steps.append(("headers of its own", eth(0x86DD, ipv6(ROUTER[6], f.opener, inner, data)), PASSES))
    inner, data = extensions((44,), 58, icmp(1, 0, f.packet() + bytes(-len(f.packet()) % 8)), 1)
    steps.append(("in pieces itself", eth(0x86DD, ipv6(ROUTER[6], f.opener, inner, data)), DEFAULT))
    return steps


def table(lab, instance):
    """All of the flow table's bytes."""
    return call("bpftool", "-j", "map", "dump", "pinned", lab.pin("maps/flows", instance))


def test_changes_nothing(lab):
    """Errors don't make flows, nor change the state of one or when it was seen; they cost no tokens."""
    for way in WAYS:
        load(lab, dict(POLICY, max_flows=16), way[0])
        for v, proto in itertools.product((4, 6), PROTOCOLS):
            f, none = Flow(v, proto, True), Flow(v, proto, True)
            r = Run(lab, way, "IPv%d, %s: errors change nothing" % (v, proto))
            r.send(True, [("the opener", f.frame(), NEW)])
            before = table(lab, way[0])
            time.sleep(0.3)  # within 1/8 s not even a packet of the flow would be noted
            r.send(False, [("error", f.error(kind=k, code=c), PASSES) for k, c in errors(v)] +
                   [("of no flow", none.error(), DEFAULT)])
            if table(lab, way[0]) != before:
                r.wrong.append("the flow table has changed")
            r.send(False, [("the reply", f.frame(False), PASSES)])
            if table(lab, way[0]) == before:
                r.wrong.append("a reply is not to be seen in the flow table")
            r.end()
        slow = policy(rule("slow", protocol="udp", destination_ports=[443], action="rate_limit", rate_limit_pps=1, rate_limit_burst=2))
        load(lab, slow, way[0])
        f = Flow(4, "udp", True)
        r = Run(lab, way, "errors cost no tokens")
        r.send(True, [("the opener", f.frame(), NEW)])
        r.send(False, [("error", f.error(), PASSES)] * 5)
        r.send(True, [("the opener", f.frame(), PASSES), ("too often", f.frame(), LIMITED)])
        r.end()


def test_expired(lab):
    """Errors don't keep a flow alive, and end with it."""
    short = dict(POLICY, timeouts={k: 1 for k in ("tcp_syn_sent", "udp", "icmp", "generic")})
    for n, way in enumerate(WAYS):
        load(lab, short, way[0])
        v = (4, 6)[n % 2]
        for proto in PROTOCOLS:
            f = Flow(v, proto, True)
            r = Run(lab, way, "IPv%d, %s: until it has expired" % (v, proto))
            r.send(True, [("the opener", f.frame(), NEW)])
            start = time.monotonic()

            def over():
                answer = lab.bench(way[1], [f.error()], lab.index[way[0]], way[0], lab.group)[0]
                return outcome(answer) == DEFAULT

            gone = wait_until(over, 4)
            took = time.monotonic() - start
            if not gone or not 0.9 < took < 2.5:
                r.wrong.append("errors passed for %.1f s" % took)
            r.send(True, [("the opener", f.frame(), NEW)])
            r.end()


def test_reload(lab):
    """A policy that denies the flow denies its errors."""
    for way in WAYS:
        for n, proto in enumerate(PROTOCOLS):
            v = (4, 6)[(n + WAYS.index(way)) % 2]
            load(lab, POLICY, way[0], keep=True)
            f = Flow(v, proto, True)
            r = Run(lab, way, "IPv%d, %s: after a reload" % (v, proto))
            r.send(True, [("the opener", f.frame(), NEW)])
            load(lab, dict(POLICY, log_default={"deny": True, "allow": False}), way[0], keep=True)
            r.send(False, [("error, still allowed", f.error(), PASSES)])
            load(lab, dict(POLICY, rules=[x for x in POLICY["rules"] if x["name"] != proto]), way[0], keep=True)
            r.send(False, [("error", f.error(), CUT), ("error again", f.error(), DEFAULT)])
            r.send(True, [("the flow", f.frame(), DEFAULT)])
            r.end()


def test_counted(lab):
    """For the rule of the flow, and as related."""
    for way in WAYS:
        load(lab, POLICY, way[0])
        f, r = Flow(4, "udp", True), Run(lab, way, "counted")
        r.send(True, [("the opener", f.frame(), NEW)])
        before, related = lab.count(way[0]), pmtu.related_packets(lab, way[0])
        r.send(False, [("error", f.error(), PASSES)] * 3 + [("not its", f.error(dst=THIRD[4]), DEFAULT)])
        r.end()
        d = lab.count(way[0]) - before
        same((d.rules["udp"]["packets_flow"], d.get("deny", "default"), pmtu.related_packets(lab, way[0]) - related), (3, 1, 3),
             "%s: errors are counted for the flow's rule" % way[1], d.verdicts)


def test_stateless(lab):
    for way in WAYS:
        load(lab, dict(POLICY, stateful=False), way[0])
        for v in (4, 6):
            f, r = Flow(v, "udp", True), Run(lab, way, "IPv%d, stateful: false" % v)
            r.send(True, [("the opener", f.frame(), NEW)])
            r.send(False, [("error", f.error(), DEFAULT)])
            r.end()


if __name__ == "__main__":
    main(make, test_kinds, test_addresses, test_embedded, test_changes_nothing, test_expired, test_reload, test_counted,
         test_stateless, pmtu.test_discovery, pmtu.test_unreachable, pmtu.test_traceroute)
