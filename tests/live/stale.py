# SPDX-License-Identifier: GPL-2.0-only
"""Flows across reloads: the first packet, from either end, is judged as the opener's was: what the new policy allows
goes on without a loss and without a word, what it denies is cut before anything passes, and the cut is told."""
import itertools
import os
import socket

from flow_ends import ECHO, HOST, PEER, Host, Ping, Tcp, Udp, make, state_stats
from live import TestRun, main, ok, removed, same, wait_until
from build import eth, icmp, ipv4, ipv6, tcp, udp
import events

KINDS = (Tcp, Udp, Ping)
OPENERS = ("host", "peer")
RATE = {"rate_limit_pps": 1, "rate_limit_burst": 3}
ROOM = {"rate_limit_pps": 1, "rate_limit_burst": 100} # of TCP the ACKs cost tokens, too
QUIET = {"deny": True, "allow": False}


def policy(*rules, default="deny", **more):
    doc = dict({"default_action": default, "log_limit": 0, "log_default": QUIET}, **more)
    if rules: # an empty list is refused
        doc["rules"] = [dict(r, priority=n) for n, r in enumerate(rules)]
    return doc


def rule(flow_kind, opener, v, prefix, action="allow", port=None, **keys):
    """The rule that allows or denies such a flow and nothing else of the test."""
    proto = {Tcp: "tcp", Udp: "udp", Ping: "icmpv%d" % v if v == 4 else "icmpv6"}[flow_kind]
    if action == "rate_limit":
        keys = dict(ROOM if flow_kind is Tcp else RATE, **keys)
    r = dict(keys, name="%s_%s_%s_%d" % (prefix, flow_kind.__name__, opener, v), protocol=proto, action=action,
             direction="egress" if opener == "host" else "ingress")
    if flow_kind is Ping:
        r["icmp_types"] = ["echo-request"]
    else:
        r.update(destination_ports=[port or port_of(flow_kind, opener, v)],
                 source_cidrs=[(HOST if opener == "host" else PEER)[v]])
    return r


def port_of(flow_kind, opener, v):
    return 7000 + KINDS.index(flow_kind) * 100 + OPENERS.index(opener) * 10 + v


CELLS = list(itertools.product(KINDS, OPENERS, (4, 6)))


def rules(prefix, action="allow", **keys):
    return [rule(*cell, prefix, action, **keys) for cell in CELLS]


def load(lab, doc, where):
    """The generation that decides now."""
    lab.load(doc, *where)
    return lab.stat()["generation"]


def fresh(lab, doc, where):
    if lab.instances:
        lab.unload()
    return load(lab, doc, where)


def opened(lab, reader, cells=CELLS, host=None):
    """A live flow for each of the cells; each knows the id that its event has told."""
    flows, n = [], len(reader.records())
    for kind, opener, v in cells:
        flows.append(kind(lab, opener, v, port_of(kind, opener, v), host or Host(lab)).open())
        n += 1
        told = reader.wait(n)
        if len(told) != n:
            raise OSError("%d events, not %d: %s" % (len(told), n, told[-2:]))
        flows[-1].id = told[-1].get("flow_id")
    return flows


def cuts(reader, generation):
    """Of each flow the first event of this generation that tells of its cut."""
    first = {}
    for e in reader.records():
        if e["reason"] == "flow_cut" and e["generation"] == generation:
            first.setdefault(e["flow_id"], e)
    return first


def close(flows):
    for f in flows:
        f.close()


# ---- by real sockets: flow x opener x first packet after the reload x hooks x new rule ----

OUTCOMES = {"allow": ("allow", "deny"), "deny": ("deny", "deny"), "reject": ("reject", "deny"),
            "rate_limit": ("rate_limit", "deny"), "no rule, default deny": (None, "deny"), "no rule, default allow": (None, "allow")}


def new_policy(outcome, prefix="new", **keys):
    action, default = OUTCOMES[outcome]
    return policy(*(rules(prefix, action, **keys) if action else ()), default=default)


def test_sockets(lab):
    for what, where in lab.where.items():
        fresh(lab, policy(*rules("old")), where)
        reader = events.Reader(lab)
        for outcome in OUTCOMES:
            for first in ("opener", "other"):
                load(lab, policy(*rules("old")), where)
                flows = opened(lab, reader)
                name = "%s, first from %s: %s" % (what, "the opener" if first == "opener" else "the other end", outcome)
                before, stat, n = lab.count(), state_stats(lab, "flows_cut"), len(reader.records())
                # of another name for each round, because the limit of a rule goes on
                generation = load(lab, new_policy(outcome, "new" if first == "opener" else "new2"), where)
                if "deny" in outcome or outcome == "reject":
                    denied(reader, flows, first, outcome, generation, name)
                    check_counts(lab, before, stat, outcome, name)
                else:
                    allowed(flows, first, outcome, name)
                    same([e for e in reader.records()[n:] if e["reason"] != "rule" or e["verdict"] == "allow"], [],
                         "%s: nothing is told of what goes on" % name)
                    same(state_stats(lab, "flows_cut"), stat, "%s: no flow is cut" % name)
                close(flows)
        same(reader.end(), 0, "%s: the reader ends well" % what)


def denied(reader, flows, first, outcome, generation, name):
    """The first packet cuts each flow; not one passes, from that end or the other."""
    arrived = [f.seen() for f in flows]
    for f in flows:
        f.say(f.opener if first == "opener" else f.other())
    wait_until(lambda: len(cuts(reader, generation)) >= len(flows))
    for f in flows:
        f.say(f.opener)
        f.say(f.other())
    told, wanted, got, sources = cuts(reader, generation), {}, {}, []
    for f in flows:
        e = told.get(f.id, {})
        egress = (f.opener == "host") == (first == "opener")
        named = None if outcome.startswith("no rule") else "%s_%s_%s_%d" % ("new" if first == "opener" else "new2", type(f).__name__, f.opener, f.v)
        wanted[f.name()] = ("deny", named, generation, "egress" if egress else "ingress", f.proto)
        got[f.name()] = (e.get("verdict"), e.get("rule"), e.get("generation"), e.get("direction"), e.get("proto"))
        sources.append(("rule_source" in e) == ("priority" in e) == bool(named))
    same(got, wanted, "%s: each cut is told, with the rule and the generation" % name)
    ok(all(sources), "%s: with the rule's source and priority" % name, told)
    seen = [f.seen() for f in flows]
    same(seen, arrived, "%s: not a packet passes" % name, [f.name() for f, a, b in zip(flows, seen, arrived) if a != b])


def check_counts(lab, before, stat, outcome, name):
    same(state_stats(lab, "flows_cut") - stat, len(CELLS), "%s: state_stats counts each flow once" % name)
    d = lab.count() - before
    if outcome.startswith("no rule"):
        ok(d.get("deny", "flow_cut") >= len(CELLS), "%s: and the reason each packet" % name, d.verdicts)
    else:
        ok(len(d.rules) == len(CELLS) and all(r["packets_denied"] >= 1 for r in d.rules.values()), "%s: and the rules their packets" % name, d.rules)
        same(d.get("deny", "flow_cut"), 0, "%s: which a rule denied, and not the reason" % name, d.verdicts)


def allowed(flows, first, outcome, name):
    """Not a packet is lost; of a rate limit's, as many of the opener's pass as it allows."""
    ends = ["opener", "other"] if first == "opener" else ["other", "opener"]
    lost = ["%s: packet %d, the %s's" % (f.name(), n + 1, end) for f in flows for n, end in enumerate(ends * 2)
            if not f.passes(f.opener if end == "opener" else f.other())]
    same(lost, [], "%s: every packet passes" % name)
    same([f.name() for f in flows if f.lost()], [], "%s: nothing is sent again" % name)
    if outcome == "rate_limit":
        got = {f.name(): (f.passes(f.opener), f.passes(f.opener, 0.1), f.passes(f.other())) for f in flows if not isinstance(f, Tcp)}
        same(set(got.values()), {(True, False, True)}, "%s: the opener pays from now on, and replies are free" % name, got)


# ---- by BPF_PROG_TEST_RUN ----

HOOKS = {"XDP and TC": ("xdp", "tc_egress"), "TC": ("tc_ingress", "tc_egress"), "cgroup": ("cgroup_ingress", "cgroup_egress")}


def frame(kind, opener, v, end, step):
    """A packet of a flow that the test runs: step 0 opens, others go on."""
    src, dst = (HOST[v], PEER[v]) if end == "host" else (PEER[v], HOST[v])
    port = port_of(kind, opener, v)
    ports = (40000, port) if end == opener else (port, 40000)
    if kind is Ping:
        proto, data = (1 if v == 4 else 58), icmp(ECHO[v][end != opener])
        data = data[:4] + (1 + OPENERS.index(opener)).to_bytes(2, "big") + data[6:]
    elif kind is Udp:
        proto, data = 17, udp(*ports, b"x")
    else:
        proto, data = 6, tcp(*ports, (2 if end == opener else 0x12) if step == 0 else 0x10)
    return eth(0x0800, ipv4(src, dst, proto, data)) if v == 4 else eth(0x86DD, ipv6(src, dst, proto, data))


def run(lab, runner, hooks, cells, ends, step):
    """A packet of each cell's flow from the end that ${ends} says: {cell: answer}."""
    answers = {}
    for hook, end in zip(hooks, ("peer", "host")):
        mine = [c for c in cells if ends(c) == end]
        got = runner(hook, [frame(*c, end, step) for c in mine], lab.index, cgroup=lab.group)
        answers.update(zip(mine, got))
    return answers


def test_frames(lab):
    runner, lab.index = TestRun(lab), ifindex(lab)
    for what, hooks in HOOKS.items():
        where, first_end = lab.where[what], ("opener", "other")
        fresh(lab, policy(*rules("old")), where)
        for n, (outcome, first) in enumerate(itertools.product(OUTCOMES, first_end)):
            load(lab, policy(*rules("old")), where)
            name = "%s by test-run, first from %s: %s" % (what, "the opener" if first == "opener" else "the other end", outcome)
            opens = [run(lab, runner, hooks, CELLS, opener_of, 0), run(lab, runner, hooks, CELLS, other_of, 0),
                     run(lab, runner, hooks, CELLS, opener_of, 1)]
            same({a[0] for o in opens for a in o.values()}, {"pass"}, "%s: flows are open" % name)
            load(lab, new_policy(outcome, "n%d" % n), where)
            got = [run(lab, runner, hooks, CELLS, opener_of if first == "opener" else other_of, 1),
                   run(lab, runner, hooks, CELLS, other_of, 1), run(lab, runner, hooks, CELLS, opener_of, 1)]
            stops = "deny" in outcome or outcome == "reject"
            same({a[0] for o in got for a in o.values()}, {"drop" if stops else "pass"}, "%s: %s" % (name, "nothing passes" if stops else "all pass"))
            named = bool(OUTCOMES[outcome][0])
            wanted = {c: [("deny", "flow_cut", "n%d_%s_%s_%d" % (n, c[0].__name__, *c[1:]) if named else None)] if stops else [] for c in CELLS}
            same({c: a[1] for c, a in got[0].items()}, wanted, "%s: and that is told" % name)


def opener_of(cell):
    return cell[1]


def other_of(cell):
    return other(cell[1])


def ifindex(lab, device="eth0"):
    with lab.inside("host"):
        return socket.if_nametoindex(device)


def other(end):
    return "peer" if end == "host" else "host"


# ---- what else is known of the opener ----


def mixed(lab, name, where, old, new, openers, hosts, survives):
    """Of flows that hosts[x] open for x of ${openers}, those of ${survives} go on under ${new}; first packets from both ends."""
    for first in ("opener", "other"):
        load(lab, old, where)
        flows = {x: [kind(lab, "host", v, 7100 + n, hosts[x]).open() for kind, v in ((Tcp, 4), (Udp, 6))] for n, x in enumerate(openers)}
        load(lab, new, where)
        got = {x: [f.passes(f.opener if first == "opener" else f.other(), 2 if x in survives else 0.05) and
                   f.passes(f.other()) and f.passes(f.opener) for f in fs] for x, fs in flows.items()}
        same(got, {x: [x in survives] * 2 for x in openers}, "%s, first from %s" % (name, "the opener" if first == "opener" else "the other end"))
        for fs in flows.values():
            close(fs)


ANY = {"name": "any", "direction": "egress", "destination_ports": ["7100-7199"], "protocol": "any", "action": "allow"}


def only(action, **keys):
    return dict(ANY, name="some", action=action, **keys)


def test_users(lab):
    uids = (1001, 1002)
    hosts = {u: Host(lab, uid=u) for u in uids}
    for what in ("cgroup",):
        where = lab.where[what]
        fresh(lab, policy(ANY), where)
        mixed(lab, "%s: a rule denies a user" % what, where, policy(ANY), policy(only("deny", users=["1001"]), ANY), uids, hosts, {1002})
        mixed(lab, "%s: only a user is allowed" % what, where, policy(ANY), policy(only("allow", users=["1001"])), uids, hosts, {1001})
        mixed(lab, "%s: from one user to the other" % what, where, policy(only("allow", users=["1001", "1002"])),
              policy(only("allow", users=["1002"])), uids, hosts, {1002})


def test_cgroups(lab):
    paths = {"named": "/a", "below": "/a/b", "outside": "/c"}
    hosts = {k: Host(lab, lab.cgroup(p)) for k, p in paths.items()}
    named = lab.group[len(os.path.dirname(lab.group)):] + "/a"
    deny, allow = policy(only("deny", cgroups=[named]), ANY), policy(only("allow", cgroups=[named]))
    late = 0
    for what in ("cgroup",):
        where = lab.where[what]
        fresh(lab, policy(ANY), where)
        for old_name, old in (("any", policy(ANY)), ("a rule with cgroups", policy(only("allow", cgroups=[named], log=False), dict(ANY, name="rest")))):
            for new_name, new, inside in (("a rule denies a cgroup", deny, False), ("only a cgroup is allowed", allow, True)):
                load(lab, old, where)
                late += 1
                # made after the load of which its flow is, at two levels
                hosts["late"], hosts["later"] = Host(lab, lab.cgroup("/a/late%d" % late)), Host(lab, lab.cgroup("/a/late%d/x" % late))
                survives = set(hosts) - {"outside"} if inside else {"outside"}
                mixed(lab, "%s, from %s: %s" % (what, old_name, new_name), where, old, new, list(hosts), hosts, survives)


def test_removed_cgroups(lab):
    """Of a flow's cgroup that has been removed nobody knows where it was: the flow goes on where that makes no difference."""
    top, where = lab.group[len(os.path.dirname(lab.group)):], lab.where["cgroup"]
    lab.cgroup("/r"), lab.cgroup("/s")
    named = [top + "/r"]
    cases = (("a rule denies the cgroup it was in", "/r/x", policy(only("deny", cgroups=named), ANY), False),
             ("only the cgroup it was in is allowed", "/r/x", policy(only("allow", cgroups=named)), False),
             ("a rule denies another cgroup", "/s/x", policy(only("deny", cgroups=named), ANY), False),
             ("such a rule is for other ports", "/r/x", policy(dict(only("deny", cgroups=named), destination_ports=[9]), ANY), True),
             ("all are allowed before such a rule", "/s/x", policy(ANY, only("deny", cgroups=named)), True))
    fresh(lab, policy(ANY), where)
    for what, below, new, survives in cases:
        load(lab, policy(ANY), where)
        host = Host(lab, lab.cgroup(below))
        flows = [kind(lab, "host", v, 7100, host).open() for kind, v in ((Tcp, 4), (Udp, 6))]
        path = lab.cgroups.pop()
        ok(wait_until(lambda p=path: removed(p), 2), "a cgroup with live flows is removed")
        load(lab, new, where)
        same([f.passes(f.other(), 2 if survives else 0.05) for f in flows], [survives] * 2, "removed cgroup: %s" % what)
        close(flows)


def test_other_end_may_open(lab):
    """A cut connection stays cut although the end that was not its opener may open some of its own."""
    for what, where in lab.where.items():
        for opener, default in (("peer", {"ingress": "deny", "egress": "allow"}), ("host", {"ingress": "allow", "egress": "deny"})):
            cell = (Tcp, opener, 4)
            fresh(lab, policy(rule(*cell, "old"), default=default), where)
            f = Tcp(lab, opener, 4, port_of(*cell), Host(lab)).open()
            arrived = f.seen()
            for new in (policy(rule(*cell, "new", "deny"), default=default), policy(default=default)):
                load(lab, new, where)
                before = lab.count()
                f.say(f.other())
                # a retransmission is what would open it again
                wait_until(lambda b=before: sum((lab.count() - b).verdicts.values()) >= 3, 5)
                f.say(f.opener)
                same(f.seen(), arrived, "%s, opened by the %s: no packet passes" % (what, opener))
            same(state_stats(lab, "flows_cut"), 1, "%s, opened by the %s: it is cut once" % (what, opener))
            load(lab, policy(rule(*cell, "again"), default=default), where)
            got = wait_until(lambda g=f: (g.got("host"), g.got("peer")) == (3, 3), 10)
            ok(got, "%s, opened by the %s: allowed again, it goes on, and nothing is lost" % (what, opener), (f.got("host"), f.got("peer")))
            f.close()


def test_interfaces(lab):
    """Of flows that come in on one interface; their replies, where they are forwarded, on another."""
    runner = TestRun(lab)
    cells = [(k, "peer", v) for k, v in itertools.product(KINDS, (4, 6))]
    one, two = ifindex(lab), ifindex(lab, "eth1")
    doc = {d: policy(*[dict(r, name="x" + r["name"], action="deny", interfaces=[d]) for r in rules("no")], *rules("yes")) for d in ("eth0", "eth1", "eth*", "wg*")}
    for hook, where in (("xdp", ("-i", "eth0", "-i", "eth1", "--xdp", "native")), ("tc_ingress", ("-i", "eth0", "-i", "eth1", "--xdp", "off"))):
        fresh(lab, policy(*rules("old")), where)
        for device, passes in (("eth1", True), ("wg*", True), ("eth0", False), ("eth*", False)):
            for first, index in (("opener", one), ("other", two)):
                load(lab, policy(*rules("old")), where)
                lab.index = one
                run(lab, runner, (hook,), cells, opener_of, 0)
                load(lab, doc[device], where)
                got = runner(hook, [frame(*c, c[1] if first == "opener" else other(c[1]), 1) for c in cells], index)
                same({a[0] for a in got}, {"pass" if passes else "drop"}, "%s: what came in by eth0 when %s is denied, first from %s" %
                     (hook, device, "the opener" if first == "opener" else "the other end"), got)


# ---- logging ----


def test_silent(lab):
    """log: false of the rule that cuts, and log_default where none does."""
    for what, doc in (("log: false", policy(*rules("new", "deny", log=False))), ("log_default", policy(log_default={"deny": False, "allow": False}))):
        where = lab.where["XDP and TC"]
        fresh(lab, policy(*rules("old")), where)
        reader = events.Reader(lab)
        flows, before = opened(lab, reader), lab.count()
        load(lab, doc, where)
        arrived = [f.seen() for f in flows]
        for f in flows:
            f.say(f.other())
        wait_until(lambda: state_stats(lab, "flows_cut") == len(CELLS))
        same((state_stats(lab, "flows_cut"), [f.seen() for f in flows]), (len(CELLS), arrived), "%s: the flows are cut" % what)
        d = lab.count() - before
        counted = sum(r["packets_denied"] > 0 for r in d.rules.values()) + d.get("deny", "flow_cut")
        same(counted, len(CELLS), "%s: and counted" % what, d.verdicts)
        reader.end()
        same([e for e in reader.records() if e["verdict"] == "deny" and e["reason"] == "flow_cut"], [], "%s: without an event" % what)
        close(flows)


# ---- rate limits ----


def test_rate_limit(lab):
    """A flow pays while its rule limits, whichever rule that is by now."""
    cell = (Udp, "peer", 4)
    free, paid = policy(rule(*cell, "free")), {n: policy(rule(*cell, "paid%d" % n, "rate_limit")) for n in range(3)}
    for what, where in lab.where.items():
        fresh(lab, free, where)
        f = Udp(lab, "peer", 4, port_of(*cell), Host(lab)).open()

        def burst():
            """How many of 20 packets of the opener pass."""
            before = f.got("host")
            for _ in range(20):
                f.say("peer")
            wait_until(lambda: f.got("host") == before + 20, 0.1)
            return f.got("host") - before

        got = [burst()]
        # (an id that no resident policy names may be that of another limit, as full as it was)
        for doc in (paid[0], paid[1], free):
            load(lab, doc, where)
            got += [burst(), f.passes("host")]
        same(got, [20, 3, True, 3, True, 20, True], "%s: allow, rate_limit, another rate_limit, allow" % what)
        fresh(lab, paid[0], where)
        f.open()
        got = [burst()]
        load(lab, free, where)
        got.append(burst())
        same(got, [2, 20], "%s: a flow made under a rate_limit pays no longer when it is allowed" % what)
        f.close()


if __name__ == "__main__":
    main(make, test_sockets, test_frames, test_users, test_cgroups, test_removed_cgroups, test_other_end_may_open, test_interfaces, test_silent, test_rate_limit)
