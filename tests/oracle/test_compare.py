# SPDX-License-Identifier: GPL-2.0-only
"""The comparison of differential.py against a stand-in for the kernel: silent where it is right, loud where one
answer, event field or counter is wrong, and shrunk to one rule. Needs neither privilege nor programs. Prints TAP."""
import contextlib
import io
import ipaddress
import json
import os
import random
import sys
import tempfile

import differential as d
import gen
from lab import ATTACHED, INTERFACES, MODES, owns
from packet import Packet
from policy import EGRESS_HOOKS, Policy, parse_at


class FakeLab:
    """Answers as prog_run does, by the oracle; ${twist}(answer, packet, event, counter) may spoil it."""

    def __init__(self, mode, twist=None):
        self.mode, self.hooks = mode, MODES[mode][1]
        self.index = {name: n for n, name in enumerate(("", "lo") + INTERFACES)}
        self.twist = twist or (lambda *_: None)
        self.folder = tempfile.mkdtemp()
        self.loads = 0

    def load(self, text):
        self.loads += 1
        doc = json.loads(text)
        doc["rules"].sort(key=lambda r: r["priority"])
        path = os.path.join(self.folder, "ir.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(doc, f)
        self.policy = Policy(doc)
        self.ids = {r.name: 64 + n for n, r in enumerate(self.policy.rules)}
        return path

    def event(self, answer, p, hook, interface):
        """The fields of EVENT_FIELDS as a mapping."""
        e = dict.fromkeys(d.EVENT_FIELDS, 0)
        direction = int(hook in EGRESS_HOOKS)
        reason = d.REASONS.index(answer.reason)
        e.update(verdict=d.VERDICTS.index(answer.verdict), reason=reason, generation=9, hook=d.HOOKS.index(hook),
                 direction=direction, rule=self.ids.get(answer.rule, reason * 2 + direction),
                 ifindex=self.index[interface], src="::", dst="::")
        if isinstance(p, Packet):
            known = 1 << 10
            for name, bit in (("sport", 1), ("dport", 2), ("icmp_type", 3), ("tcp_flags", 4), ("vlan", 5)):
                known |= (getattr(p, name) is not None) << bit
            e.update(known=known, version=p.version, proto=p.proto, length=p.length, sport=p.sport or 0,
                     dport=p.dport or 0, icmp_type=p.icmp_type or 0, icmp_code=p.icmp_code or 0,
                     tcp_flags=p.tcp_flags or 0, vlan=p.vlan or 0,
                     src=str(ipaddress.IPv6Address(d.address16(p.src))),
                     dst=str(ipaddress.IPv6Address(d.address16(p.dst))))
        return e

    def run(self, hook, interface, frames):
        lines, counters = [], {}
        for frame in frames:
            p = parse_at(frame, hook)
            answer = self.policy.judge_frame(frame, hook, d.context(hook, interface))
            if answer.reason is None or not owns(self.mode, hook, interface):
                self.twist(answer, p, {}, {})
                lines.append("pass" if answer.passes() else "drop")
                continue
            e = self.event(answer, p, hook, interface)
            length = p.length if isinstance(p, Packet) else 0
            row = [int(answer.passes()), int(not answer.passes()), 0, 0, 0, 0, 0, 0]
            row[4 if answer.passes() else 5] = length
            self.twist(answer, p, e, row)
            counters[e["rule"]] = [a + b for a, b in zip(counters.get(e["rule"], [0] * 8), row)]
            line = "pass" if answer.passes() else "drop"
            lines.append(line + (" | " + " ".join(str(e[k]) for k in d.EVENT_FIELDS) if answer.logged else ""))
        notes = [["generation", "9"]] + [["rule", str(i), n] for n, i in self.ids.items()]
        notes += [["counter", str(i)] + [str(v) for v in row] for i, row in sorted(counters.items())]
        return lines, notes


def spoil(**fields):
    """Every UDP packet to an odd port is reported wrong in the named fields."""

    def twist(answer, p, e, row):
        if isinstance(p, Packet) and p.proto == 17 and (p.dport or 0) & 1 and e:
            for name, change in fields.items():
                e[name] = change(e[name])

    return twist


def wrong_verdict(answer, p, e, row):
    if isinstance(p, Packet) and p.proto == 17 and answer.reason == "rule":
        answer.verdict = "allow" if answer.verdict == "deny" else "deny"


def wrong_count(answer, p, e, row):
    if isinstance(p, Packet) and p.proto == 17 and row:
        row[4] += 1


def outcome(lab, number=0, frames=1500):
    """(did the test pass, what it printed)"""
    os.environ.update(DIFF_MODE=lab.mode, DIFF_PACKETS=str(frames), DIFF_RULES="12", DIFF_SHOW="1")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        good, title, texts = d.policy_test(number, "compare", {lab.mode: lab}, [])
    return good, "\n".join([out.getvalue(), title] + texts)


def main():
    results = []

    def ok(good, what, why=""):
        results.append(good)
        print("%s %d - %s%s" % ("ok" if good else "not ok", len(results), what, "" if good else "\n# " + str(why)[:2000]))

    for mode in MODES:
        good, text = outcome(FakeLab(mode))
        ok(good, "mode %s: nothing to complain of a kernel that is right" % mode, text)
    plus = {"rule": lambda v: v + 1, "reason": lambda v: (v + 1) % 7, "verdict": lambda v: 2, "generation": lambda v: v - 1,
            "hook": lambda v: (v + 1) % 5, "direction": lambda v: 1 - v, "ifindex": lambda v: v + 1,
            "known": lambda v: v ^ 2, "version": lambda v: 10 - v, "proto": lambda v: v + 1, "src": lambda v: "::2",
            "dst": lambda v: "::2", "sport": lambda v: v + 1, "dport": lambda v: v ^ 256, "length": lambda v: v - 14,
            "vlan": lambda v: v + 1, "tcp_flags": lambda v: 2, "icmp_type": lambda v: 8}
    for field, change in plus.items():
        good, text = outcome(FakeLab("tc", spoil(**{field: change})))
        ok(not good and "event: " in text, "a wrong %s is noticed" % field, text)
    for mode in ("xdp", "all"):
        good, text = outcome(FakeLab(mode, wrong_verdict))
        ok(not good and "verdict" in text, "mode %s: a wrong verdict is noticed" % mode, text)
    good, text = outcome(FakeLab("cgroup", wrong_count))
    ok(not good and "counter " in text, "a wrong byte count is noticed", text)
    shown = [line for line in outcome(FakeLab("tc", wrong_verdict))[1].splitlines() if line.startswith("#   policy ")]
    small = json.loads(shown[0][len("#   policy "):]) if shown else {"rules": []}
    ok(len(small["rules"]) == 1 and set(small["rules"][0]) <= {"name", "priority", "action", "rate_limit_pps"},
       "a mismatch is shrunk to one rule without needless fields", shown)
    ok([owns("all", h, i) for h, i in (("xdp", ATTACHED[0]), ("tc_egress", ATTACHED[0]), ("cgroup_ingress", ATTACHED[0]),
                                       ("cgroup_ingress", "fwc0"), ("cgroup_egress", ATTACHED[0]))] ==
       [True, False, False, True, True], "one hook owns a packet")
    ok(gen.policy(random.Random("compare-0"), rules=1)["stateful"] is False, "test policies keep no state")
    print("1..%d" % len(results))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
