# SPDX-License-Identifier: GPL-2.0-only
"""A candidate beside the policy that decides: the live one's verdicts, counters and flows are as without it, and each
packet, flow or call about which the two differ is told, with both rules, and no other."""
import itertools
import json
import os
import random
import socket
import time

from flow_ends import HOST, PEER, Host, Tcp, Udp
from live import TestRun, call, family, main, ok, packet_socket, same, take, udp_socket, wait_until
from build import eth, icmp, ipv4, ipv6, tcp, udp
from trial import Control, fwload, must
import events
import trial

ACTIONS = ("allow", "deny", "reject", "rate_limit", "none")
ALLOWS = {"allow", "rate_limit"}


def make(lab):
    trial.make(lab)
    with lab.inside("peer"):
        lab.out = packet_socket("p0", False)
    with lab.inside("host"), packet_socket("eth0") as s:
        lab.mac = s.getsockname()[4]


def port(live, candidate):
    return 7000 + ACTIONS.index(live) * 10 + ACTIONS.index(candidate)


def policy(*rules, default="deny", **more):
    doc = {"default_action": default, "log_limit": 0, "log_default": {"deny": False, "allow": False}, "stateful": True}
    if rules:
        doc["rules"] = [dict({"log": False, "protocol": "any"}, **dict(r, priority=n)) for n, r in enumerate(rules)]
    return dict(doc, **more)


def rule(name, action, **keys):
    if action == "rate_limit":
        keys = dict({"rate_limit_pps": 1000, "rate_limit_burst": 1000}, **keys)
    return dict(keys, name=name, action=action)


def pairs(prefix, whose, **more):
    """A rule for each action and port; "none": there is no rule."""
    return policy(*[rule("%s_%s_%s" % (prefix, a, b), a if whose == 0 else b, destination_ports=[port(a, b)])
                    for a, b in itertools.product(ACTIONS, ACTIONS) if (a, b)[whose] != "none"], **more)


def audit(lab, live, candidate, where):
    trial.fresh(lab, live, where)
    must(fwload(lab, "-q", "--audit", doc=candidate, where=where))


def stats(lab):
    """(judged by both, disagreed)."""
    cpus = json.loads(call("bpftool", "-j", "map", "dump", "pinned", lab.pin("maps/audit_stats")))[0]["values"]
    return tuple(sum(int.from_bytes(bytes(int(b, 16) for b in c["value"][at:at + 8]), "little") for c in cpus) for at in (0, 8))


def disagreements(reader, count=0):
    wait_until(lambda: len(reader.records("disagreement")) >= count, 2)
    time.sleep(0.05)  # fwmon's rounds are shorter
    return reader.records("disagreement")


def wanted(live, candidate):
    """What a disagreement of such a pair says."""
    said = {"verdict": "allow" if live in ALLOWS else "deny", "candidate_verdict": "allow" if candidate in ALLOWS else "deny"}
    for prefix, a, name in (("", live, "l_%s_%s"), ("candidate_", candidate, "c_%s_%s")):
        said[prefix + ("reason" if a == "none" else "rule")] = "default" if a == "none" else name % (live, candidate)
    return said


def brief(e):
    keys = ["verdict", "candidate_verdict"] + [p + ("rule" if p + "rule" in e else "reason") for p in ("", "candidate_")]
    return {k: e.get(k) for k in keys}


CELLS = list(itertools.product(ACTIONS, ACTIONS))


# ---- each pair of answers ----


def test_pairs(lab):
    """Packets in and out, by socket: each pair of actions, with and without state."""
    for (what, hooks), stateful in itertools.product((("XDP and TC", ("xdp", "tc_egress")), ("TC", ("tc_ingress", "tc_egress")),
                                                      ("cgroup", ("cgroup_ingress", "cgroup_egress"))), (True, False)):
        where, v = lab.where[what], 4 if stateful else 6
        name = "%s, %s: " % (what, "with state" if stateful else "without")
        trial.fresh(lab, pairs("l", 0, stateful=stateful), where)
        ends = {}
        for side, far in (("host", "peer"), ("peer", "host")):
            at, to = (HOST, PEER)[side == "peer"][v], (HOST, PEER)[far == "peer"][v]
            with lab.inside(side, lab.group if side == "host" else None):
                ears = {c: udp_socket(at, port(*c)) for c in CELLS}
            with lab.inside(far, lab.group if far == "host" else None):
                mouths = {c: udp_socket(to, 0) for c in CELLS}
            for s in list(ears.values()) + list(mouths.values()):
                s.setblocking(False)
            ends[side] = (at, ears, mouths)

        def three():
            """Three packets of each cell, in and out: how many arrive."""
            for side, (at, _, mouths) in ends.items():
                for c, s in mouths.items():
                    for _ in range(3):
                        try:
                            s.sendto(b"x", (at, port(*c)))
                        except (PermissionError, ConnectionError):
                            pass
            got = {}
            wait_until(lambda: [got.update({(side, c): got.get((side, c), 0) + len(take(s))}) for side, (_, ears, _) in ends.items()
                                for c, s in ears.items()] and sum(got.values()) >= 60, 0.3)
            return got

        should = {(side, c): 3 if c[0] in ALLOWS else 0 for side in ends for c in CELLS}
        same(three(), should, name + "the live policy decides")
        before = lab.count()
        reader = events.Reader(lab)
        must(fwload(lab, "-q", "--audit", doc=pairs("c", 1, stateful=stateful), where=where))
        same(three(), should, name + "and so it does beside a candidate")
        flows = [c for c in CELLS if c[0] in ALLOWS] if stateful else []
        told = {}
        records = disagreements(reader, sum((1 if c in flows else 3) * 2 for c in CELLS if (c[0] in ALLOWS) != (c[1] in ALLOWS)))
        for e in records:
            told.setdefault((e["hook"], e["dst_port"]), []).append(brief(e))
        def at_hook(h, c):
            """In a cgroup, what isn't to be sent is denied to the call."""
            return "sendmsg%d" % v if h == "cgroup_egress" and c[0] not in ALLOWS else h

        want = {(at_hook(h, c), port(*c)): [wanted(*c)] * (1 if c in flows else 3) for h in hooks for c in CELLS
                if (c[0] in ALLOWS) != (c[1] in ALLOWS)}
        differ = {k: (told.get(k), want.get(k)) for k in set(told) | set(want) if told.get(k) != want.get(k)}
        same(differ, {}, name + "disagreements are told, of a flow once, of packets each, with both rules", "%d told" % len(records))
        same({(e["generation"], e["candidate_generation"]) for e in records}, {(1, 2)}, name + "and both generations")
        n = len(CELLS) * 6 - len(flows) * 4
        judged, differed = stats(lab)
        # (and neighbour discovery, which comes when it likes)
        same((n <= judged <= n + 10, differed), (True, len(records)), name + "audit_stats counts what both judged and where they differ", judged, n)
        d = lab.count() - before
        same({n: sum(x for k, x in r.items() if not k.startswith("events")) for n, r in d.rules.items()},
             {"l_%s_%s" % c: 6 for c in CELLS if c[0] != "none"}, name + "the live rules count as always")
        three()
        again = 0 if stateful else len(records)
        more = sum(3 * 2 for c in CELLS if c[0] not in ALLOWS and c[1] in ALLOWS) if stateful else again
        same(len(disagreements(reader, len(records) + more)) - len(records), more, name + "what has a flow is told once")
        must(fwload(lab, "-q", "--audit-end"))
        n, s = len(reader.records("disagreement")), stats(lab)
        same(three(), should, name + "after --audit-end the live policy decides")
        same((len(disagreements(reader)) - n, stats(lab)), (0, s), name + "and nothing is told or counted")
        reader.end()
        for _, ears, mouths in ends.values():
            for s in list(ears.values()) + list(mouths.values()):
                s.close()


# ---- one by one ----


class Beside:
    """A live policy and a candidate; what they disagree about."""

    def __init__(self, lab, live, candidate, what="XDP and TC"):
        self.lab = lab
        trial.fresh(lab, live, lab.where[what])
        self.reader = events.Reader(lab)
        self.audit(candidate)
        self.n = 0

    def audit(self, candidate):
        must(fwload(self.lab, "-q", "--audit", doc=candidate, where=("-g", self.lab.group)))

    def told(self, count=0):
        """New ones, as brief() has them."""
        all_of = disagreements(self.reader, self.n + count)
        new, self.n = all_of[self.n:], len(all_of)
        return [brief(e) for e in new]

    def send(self, *frames):
        for f in frames:
            self.lab.out.send(self.lab.mac + f[6:])
        time.sleep(0.02)

    def end(self):
        self.reader.end()


def inward(proto, data, v=4, **keys):
    return eth(0x0800, ipv4(PEER[4], HOST[4], proto, data, **keys)) if v == 4 else eth(0x86DD, ipv6(PEER[6], HOST[6], proto, data))


DENIED = {"verdict": "deny", "candidate_verdict": "allow"}
ALLOWED = {"verdict": "allow", "candidate_verdict": "deny"}


def test_not_compared(lab):
    """What goes the way of something else, and neighbour discovery, which goes its way whatever the default is."""
    b = Beside(lab, policy(default="allow"), policy())
    b.send(*[eth(0x86DD, ipv6(PEER[6], HOST[6], 58, icmp(t, 0, bytes(20)), hop_limit=255)) for t in (135, 136)])
    same(b.told(), [], "neighbour discovery passes whichever decides")
    b.send(inward(17, udp(5, 6, b"x" * 8), fragment=1), inward(17, udp(5, 6, b"x" * 8), fragment=0x2001))
    same(b.told(), [], "later fragments, denied by both,")
    b.audit(policy(rule("other", "deny", protocol="sctp"), default="allow"))
    b.send(inward(17, udp(5, 6, b"x" * 8), fragment=1), inward(17, udp(5, 6, b"x" * 8), fragment=0x2001))
    same(b.told(), [], "or by the live policy alone because there is no first one,")
    b.audit(policy())
    b.send(inward(1, icmp(3, 3, ipv4(HOST[4], PEER[4], 17, udp(6, 5)))), inward(58, icmp(1, 4, ipv6(HOST[6], PEER[6], 17, udp(6, 5))), 6))
    same(b.told(), [], "and ICMP errors are not compared")
    b.send(inward(17, udp(5, 6, b"x" * 8), fragment=0x2000))
    same(b.told(1), [dict(ALLOWED, reason="default", candidate_reason="default")], "a first fragment is")
    b.audit(policy(rule("ns", "deny", protocol="icmpv6", icmp_types=[135]), default="allow"))
    b.send(eth(0x86DD, ipv6(PEER[6], HOST[6], 58, icmp(135, 0, bytes(20)), hop_limit=255)))
    same(b.told(1), [dict(ALLOWED, reason="neighbour", candidate_rule="ns")], "neighbour discovery that a rule denies: it is told")
    b.end()


def test_limited(lab):
    """Above a live limit the packet is denied; what the candidate limits counts as allowed, or as limited likewise."""
    slow = {"rate_limit_pps": 1, "rate_limit_burst": 1, "protocol": "udp"}
    for candidate, want in ((rule("c", "allow", protocol="udp"), [dict(DENIED, verdict="rate_limited", rule="l", candidate_rule="c")] * 2),
                            (rule("c", "rate_limit", **slow), []), (rule("c", "deny", protocol="udp"), [dict(ALLOWED, rule="l", candidate_rule="c")])):
        b = Beside(lab, policy(rule("l", "rate_limit", **slow)), policy(candidate))
        b.send(*[inward(17, udp(n, 9)) for n in range(3)])
        same(b.told(len(want)), sorted(want, key=lambda w: w["verdict"]), "three packets of which a limit lets one, and the candidate says %s" % candidate["action"])
        b.end()


def test_cut_flows(lab):
    """A flow that has been cut, by two policies that would both cut it."""
    default = {"ingress": "deny", "egress": "allow"}
    trial.fresh(lab, policy(rule("go", "allow", destination_ports=[7000], direction="ingress"), default=default), lab.where["XDP and TC"])
    f = Udp(lab, "peer", 4, 7000, Host(lab)).open()
    must(fwload(lab, "-q", doc=policy(rule("stop", "deny", destination_ports=[7000], direction="ingress"), default=default), where=lab.where["XDP and TC"]))
    seen = f.seen()
    f.say("peer"), f.say("host")
    time.sleep(0.05)
    same(f.seen(), seen, "the flow is cut")
    reader = events.Reader(lab)
    must(fwload(lab, "-q", "--audit", doc=policy(rule("halt", "deny", destination_ports=[7000], direction="ingress"), default=default), where=lab.where["XDP and TC"]))
    f.say("peer"), f.say("host")
    same([brief(e) for e in disagreements(reader)], [], "two that both cut a flow agree about its packets, from either end")
    must(fwload(lab, "-q", "--audit", doc=policy(rule("again", "allow", destination_ports=[7000], direction="ingress"), default=default), where=lab.where["XDP and TC"]))
    f.say("host")
    same([brief(e).get("candidate_verdict") for e in disagreements(reader, 1)], ["allow"], "one that would allow it again differs")
    reader.end(), f.close()


def test_strict(lab):
    doc = policy(rule("web", "allow", protocol="tcp", destination_ports=[80]), tcp_strict=True)
    www = dict(doc, rules=[dict(doc["rules"][0], name="www")])
    invalid, passed = dict(ALLOWED, rule="web", candidate_reason="invalid"), dict(DENIED, reason="invalid", candidate_rule="www")
    for what, live, candidate, want in (("to both", doc, www, []), ("to the candidate", dict(doc, tcp_strict=False), www, [invalid]),
                                        ("to the live policy", doc, dict(www, tcp_strict=False), [passed])):
        b = Beside(lab, live, candidate)
        b.send(inward(6, tcp(5, 80, 0x10)))
        same(b.told(len(want)), want, "a stray ACK is invalid %s" % what)
        b.end()


def test_malformed(lab):
    bad = inward(17, udp(5, 6), total=19)
    b = Beside(lab, policy(default="allow"), policy(default="allow", rules=[rule("x", "deny", protocol="sctp", priority=1)]))
    b.send(bad)
    same(b.told(), [], "a malformed packet is that to both")
    b.end()


def test_calls(lab):
    """connect() and sendmsg(): only the denied ones, because what goes on becomes a packet."""
    there = rule("there", "allow", destination_cidrs=["10.77.0.8/29", "fd77::8/125"], direction="egress")
    denied = dict(DENIED, reason="default", candidate_rule="there")
    for name, live, candidate, want in (
            ("denied by the live one", policy(), policy(there), [("connect4", denied), ("sendmsg4", denied), ("connect6", denied), ("sendmsg6", denied)]),
            ("denied by both", policy(), policy(rule("no", "deny")), []),
            ("denied by the candidate: the packets", policy(there), policy(), [("cgroup_egress", dict(ALLOWED, rule="there", candidate_reason="default"))] * 2),
            ("of which the candidate would judge the packets", policy(), policy(dict(there, interfaces=["eth0"])),
             [("connect4", denied), ("sendmsg4", denied), ("connect6", denied), ("sendmsg6", denied)])):
        b = Beside(lab, live, candidate, "cgroup")
        for v, to in ((4, "10.77.0.9"), (6, "fd77::9")):
            for kind in ("connect", "sendmsg"):
                with lab.inside("host", lab.group), socket.socket(family(to), socket.SOCK_DGRAM) as s:
                    try:
                        if kind == "sendmsg":
                            s.bind((HOST[v], 0)) # without an address the call is left to the packet
                        s.connect((to, 9)) if kind == "connect" else s.sendto(b"x", (to, 9))
                    except PermissionError:
                        pass
        b.told(len(want))
        same([(e["hook"], brief(e)) for e in b.reader.records("disagreement")], want, "calls %s" % name)
        b.end()


def test_cgroups(lab):
    """Users and cgroups, also those made after the candidate was loaded."""
    top = lab.group[len(os.path.dirname(lab.group)):]
    lab.cgroup("/a"), lab.cgroup("/b")
    live = policy(rule("all", "allow", direction="egress"), stateful=False)
    b = Beside(lab, live, policy(rule("some", "deny", cgroups=[top + "/a"], direction="egress"), rule("who", "deny", users=["1001"], direction="egress"),
                                 rule("rest", "allow", direction="egress"), stateful=False), "cgroup")
    lab.cgroup("/a/late"), lab.cgroup("/b/late")
    for below, uid, want in (("/a", 0, "some"), ("/b", 0, None), ("/b", 1001, "who"), ("/a/late", 0, "some"), ("/b/late", 0, None), ("/b/late", 1001, "who")):
        host = Host(lab, lab.group + below, uid)
        with host(udp_socket, HOST[4], 0) as s:
            s.sendto(b"x", (PEER[4], 9))
        got = b.told(1 if want else 0)
        same([e["candidate_rule"] for e in got], [want] if want else [], "cgroup %s, user %d" % (below, uid))
    b.end()


def test_many(lab):
    """Each audit looks at a flow anew, the eighth too."""
    trial.fresh(lab, policy(rule("l", "allow")), lab.where["XDP and TC"])
    f = Udp(lab, "peer", 4, 7000, Host(lab)).open()
    reader, got = events.Reader(lab), []
    for n in range(9):
        must(fwload(lab, "-q", "--audit", doc=policy(rule("c%d" % n, "deny")), where=()))
        f.say("peer"), f.say("peer")
        got.append(len(disagreements(reader, sum(got) + 1)) - sum(got))
    same(got, [1] * 9, "nine audits in a row tell of a flow once each")
    reader.end(), f.close()


def test_commands(lab):
    where = lab.where["all"]
    trial.fresh(lab, trial.policy("A", "D"), where)
    same(fwload(lab, "--audit-end").status, 0, "--audit-end without an audit is no error")
    said, word = fwload(lab, "--audit", doc=trial.policy("A", "D"), where=where), Control(lab).word()
    same((said.status, word >> 12 & 15), (0, 0), "an audit of the same policy is none", said)
    big = trial.policy("B", more=[{"name": "big%d" % n, "source_cidrs": ["10.%d.%d.0/24" % (100 + n // 250, n % 250), "172.16.%d.%d" % (n // 250, n % 250)],
                                   "destination_ports": [20000 + n], "protocol": "tcp", "action": "deny"} for n in range(6000)])
    f = [kind(lab, "peer", 4, trial.port("D"), Host(lab)).open() for kind in (Tcp, Udp)]
    lab.probes("A")
    before = lab.count().rules["D"]
    said = fwload(lab, "--audit", doc=big, where=where)
    same((said.status, lab.probes(), trial.links(lab)), (0, "A", trial.wanted_links(lab, "all")), "a candidate that needs larger tables", said)
    said = fwload(lab, "--status")
    same((said.status, "GONE" in said.out, "generation   1" in said.out, "2 is the candidate" in said.out), (0, False, True, True), "--status tells of it", said)
    same([x for x in f if not (x.passes("peer") and x.passes("host"))], [], "flows go on")
    ok(lab.count().rules["D"]["packets_flow"] >= before["packets_flow"] + 4, "and are counted", before, lab.count().rules)
    must(fwload(lab, "-q", doc=trial.policy("B"), where=where))
    same((lab.probes(), Control(lab).word() >> 12 & 15, lab.stat()["generation"]), ("B", 0, 3), "a load ends the audit")
    must(fwload(lab, "-q", "--audit", doc=trial.policy("A"), where=where))
    trial.on_trial(lab, trial.policy("C"), where, 60)
    same((lab.probes("ABC"), Control(lab).word() >> 12 & 15), ("C", 0), "and so does a trial")
    must(fwload(lab, "-q", "--rollback"))
    same((lab.probes("ABC"), Control(lab).word() >> 12 & 15), ("B", 0), "whose end doesn't bring it back")
    for x in f:
        x.close()


# ---- any policies ----


def random_policy(r):
    """Stateless, of few values, so that packets hit."""
    def prefix():
        v6 = r.random() < 0.3
        return r.choice(("fd77::/64", "fd77::2/128", "::/0")) if v6 else "10.77.0.%d/%d" % (r.choice(((0, 24), (2, 32), (0, 30), (4, 30))))
    rules = []
    for n in range(r.randrange(1, 9)):
        keys = {"direction": r.choice(("ingress", "egress", "both"))}
        proto = r.choice(("tcp", "udp", "icmp", "icmpv6", "any"))
        if r.random() < 0.5:
            keys["source_cidrs"] = [prefix() for _ in range(r.randrange(1, 3))]
        if proto in ("tcp", "udp") and r.random() < 0.7:
            keys[r.choice(("source_ports", "destination_ports"))] = [r.randrange(1, 5), "3-%d" % r.randrange(3, 9)]
        if proto in ("icmp", "icmpv6") and r.random() < 0.5:
            keys["icmp_types"] = [r.choice((0, 8) if proto == "icmp" else (128, 129))]
        if r.random() < 0.2:
            keys["interfaces"] = [r.choice(("eth0", "eth1", "eth*"))]
        rules.append(dict(rule("r%d" % n, r.choice(("allow", "deny", "reject")), **keys), protocol=proto))
    return policy(*rules, default=r.choice(("allow", "deny")), stateful=False)


def random_frame(r, incoming):
    v = r.choice((4, 4, 6))
    near, far = "10.77.0.1", "10.77.0.%d" % r.randrange(1, 8)
    if v == 6:
        near, far = "fd77::1", r.choice(("fd77::2", "fd77::3", "fd99::1"))
    src, dst = (far, near) if incoming else (near, far)
    kind = r.choice(("tcp", "udp", "icmp", "other"))
    ports = r.randrange(1, 10), r.randrange(1, 10)
    proto, data = {"tcp": (6, tcp(*ports, r.choice((2, 16)))), "udp": (17, udp(*ports, b"x")), "other": (47, b"abcd"),
                   "icmp": (1, icmp(r.choice((0, 8, 13)))) if v == 4 else (58, icmp(r.choice((128, 129, 139))))}[kind]
    return eth(0x0800, ipv4(src, dst, proto, data)) if v == 4 else eth(0x86DD, ipv6(src, dst, proto, data))


def test_any(lab):
    """Frames by test-run: an audit tells of exactly those that the two policies, loaded each by itself, answer differently."""
    seed = int(os.environ.get("SEED", "0")) or int.from_bytes(os.urandom(4), "little")
    r, runner = random.Random(seed), TestRun(lab)
    with lab.inside("host"):
        index = socket.if_nametoindex("eth0")
    wrong, differing, total = [], 0, 0
    where = lab.where["XDP and TC"] + ("-g", lab.group2)
    trial.fresh(lab, policy(rule("first", "deny")), where)
    for n in range(60 if trial.LONG else 12):
        docs = [random_policy(r), random_policy(r)]
        frames = {hook: [random_frame(r, hook == "xdp") for _ in range(200)] for hook in ("xdp", "tc_egress")}
        alone = []
        for doc in docs:
            must(fwload(lab, "-q", doc=doc, where=where))
            alone.append({hook: [a[0] for a in runner(hook, f, index)] for hook, f in frames.items()})
        must(fwload(lab, "-q", doc=docs[0], where=where))
        must(fwload(lab, "-q", "--audit", doc=docs[1], where=where))
        for hook, f in frames.items():
            for pair in itertools.product(("pass", "drop"), repeat=2):
                these = [x for x, a, b in zip(f, alone[0][hook], alone[1][hook]) if (a, b) == pair]
                if not these:
                    continue
                before = stats(lab)
                got = {a[0] for a in runner(hook, these, index)}
                after = stats(lab)
                want = len(these) if pair[0] != pair[1] else 0
                differing, total = differing + want, total + len(these)
                if got != {pair[0]} or after[1] - before[1] != want:
                    wrong.append((n, hook, pair, got, len(these), after[1] - before[1], docs))
    same(wrong[:1], [], "%d frames, %d of which two policies answer differently (SEED=%d)" % (total, differing, seed))
    ok(differing > total // 10, "which are enough", differing)


if __name__ == "__main__":
    main(make, test_pairs, test_not_compared, test_limited, test_cut_flows, test_strict, test_malformed, test_calls, test_cgroups, test_many, test_commands, test_any)
