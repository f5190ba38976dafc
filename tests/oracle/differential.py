# SPDX-License-Identifier: GPL-2.0-only
"""Random policies and packets: the loaded programs against the oracle, verdict, reason, rule, event and
counters of every packet. Prints TAP; a mismatch is shrunk to few rules and shown with what reproduces it.

Environment: SEED, DIFF_POLICIES (40), DIFF_PACKETS (5000 per policy), DIFF_CAPTURES (500 per policy, of the
capture corpus where it is there), DIFF_RULES (rules per policy, else random), DIFF_ONLY (one policy's number),
DIFF_MODE (one of xdp, tc, cgroup, all, else by turns), DIFF_SHOW (mismatches to shrink and show per policy, 2).
"""
import ipaddress
import json
import os
import random
import re
import sys
import time

import capture
import gen
from lab import INTERFACES, MODES, TOP, Lab, Refused, owns, why_not
from packet import NON_IP, Malformed, Packet
from policy import EGRESS_HOOKS, INGRESS_HOOKS, UNKNOWN, Context, Policy, parse_at

# the numbers of fw_abi.h, typed again: the test is to notice when they move
VERDICTS = ("allow", "deny", "rate_limited")
REASONS = ("rule", "default", "flow", "malformed", "fragment", "neighbour", "no_memory", "invalid",
           "flows_full", "flow_cut")
HOOKS = ("xdp", "tc_ingress", "tc_egress", "cgroup_ingress", "cgroup_egress")
RULE_ID_FIRST = 64
KNOWN = {"sport": 1 << 1, "dport": 1 << 2, "icmp": 1 << 3, "tcp": 1 << 4, "vlan": 1 << 5, "length": 1 << 10}
EVENT_FIELDS = ("verdict", "reason", "rule", "generation", "hook", "direction", "known", "version", "proto", "src", "sport",
                "dst", "dport", "icmp_type", "icmp_code", "tcp_flags", "length", "vlan", "ifindex", "uid", "cgroup")
GLOBS = ["fwa0", "fwb0", "fw*", "fw?0", "fwc*", "*"]
USERS = ["root", "nobody", 0, 1000]
ROOT_UID = 0  # test runs of skb programs own a socket of the caller


class Event:
    def __init__(self, words):
        for name, word in zip(EVENT_FIELDS, words):
            setattr(self, name, word if name in ("src", "dst") else int(word))


def integer(name, default):
    return int(os.environ.get(name) or default)


def context(hook, interface):
    return Context(interface, ROOT_UID if hook == "cgroup_egress" else UNKNOWN)


def address16(a):
    value = a[1] | 0xFFFF << 32 if a[0] == 4 else a[1]
    return value


class Loaded:
    """What a load made known: which id is which rule, which generation."""

    def __init__(self, notes):
        self.generation, self.names = None, {}
        for words in notes:
            if words[0] == "generation":
                self.generation = int(words[1])
            elif words[0] == "rule":
                self.names[int(words[1])] = words[2]


def complaints(line, loaded, answer, packet, hook, owner, ifindex):
    """What is wrong with one line of prog_run: a list of texts."""
    verdict, *events = [part.split() for part in line.split(" | ")]
    if verdict == ["skip"]:
        return []
    found = []
    wanted = "pass" if answer.passes() else "drop"
    if verdict != [wanted]:
        found.append("verdict %s, not %s" % (verdict[0], wanted))
    if not owner or answer.reason is None or not answer.logged:
        if events:
            found.append("%d events, not 0" % len(events))
        return found
    if len(events) != 1:
        return found + ["%d events, not 1" % len(events)]
    e = Event(events[0])
    rule = loaded.names.get(e.rule) if e.rule >= RULE_ID_FIRST else None
    for what, got, want in (
        ("verdict", VERDICTS[e.verdict], answer.verdict), ("reason", REASONS[e.reason], answer.reason),
        ("rule", rule, answer.rule), ("generation", e.generation, loaded.generation), ("hook", HOOKS[e.hook], hook),
        ("direction", e.direction, int(hook in EGRESS_HOOKS)), ("ifindex", e.ifindex, ifindex),
    ):
        if got != want:
            found.append("event: %s %s, not %s" % (what, got, want))
    if isinstance(packet, Packet):
        found += field_complaints(e, packet)
    return found


def field_complaints(e, p):
    wanted = [("version", e.version, p.version), ("proto", e.proto, p.proto), ("length", e.length, p.length)]
    for side in ("src", "dst"):
        wanted.append((side, int(ipaddress.IPv6Address(getattr(e, side))), address16(getattr(p, side))))
    for field, bit in (("sport", "sport"), ("dport", "dport"), ("icmp_type", "icmp"), ("icmp_code", "icmp"),
                       ("tcp_flags", "tcp"), ("vlan", "vlan")):
        value = getattr(p, field)
        wanted.append((field + " known", bool(e.known & KNOWN[bit]), value is not None))
        wanted.append((field, getattr(e, field), value or 0))
    return ["event: %s %s, not %s" % w for w in wanted if w[1] != w[2]]


class Tally:
    """The counters a run should have raised: id -> [allowed, denied, bytes passed, bytes dropped]"""

    def __init__(self, loaded):
        self.ids = {name: number for number, name in loaded.names.items()}
        self.rows = {}

    def add(self, answer, packet, direction):
        if answer.reason is None:
            return
        key = self.ids[answer.rule] if answer.rule else REASONS.index(answer.reason) * 2 + direction
        row = self.rows.setdefault(key, [0, 0, 0, 0])
        dropped = not answer.passes()
        row[dropped] += 1
        if isinstance(packet, Packet):
            row[2 + dropped] += packet.length

    def complaints(self, notes):
        got = {}
        for words in notes:
            if words[0] == "counter":
                number, allowed, denied, limited, flow, passed, dropped, calls, lost = (int(w) for w in words[1:])
                got[number] = [allowed, denied, passed, dropped]
                if limited or flow or calls or lost:
                    return ["counter %d: limited, flow, calls, lost are %s" % (number, (limited, flow, calls, lost))]
        malformed = [REASONS.index("malformed") * 2 + d for d in (0, 1)]
        for rows in (got, self.rows):
            for number in malformed:
                if number in rows:  # how long is what can't be parsed?
                    rows[number][2:] = [0, 0]
        return ["counter %d: [allowed, denied, bytes passed, bytes dropped] %s, not %s" % (n, got.get(n), self.rows.get(n))
                for n in sorted(set(got) | set(self.rows)) if got.get(n) != self.rows.get(n)]


class Mismatch:
    def __init__(self, hook, interface, frame, answer, line, texts):
        self.hook, self.interface, self.frame = hook, interface, frame
        self.answer, self.line, self.texts = answer, line, texts

    def kind(self):
        """Mismatches of one kind are likely one bug."""
        answer = self.answer and (self.answer.verdict, self.answer.reason)
        return (self.hook, answer, tuple(re.sub(r"\d+", "N", text)[:20] for text in self.texts))


def check(lab, policy, hook, interface, frames, tallied=True):
    """(mismatches, frames judged) of one run of one hook."""
    lines, notes = lab.run(hook, interface, frames)
    loaded = Loaded(notes)
    tally, mismatches, judged = Tally(loaded), [], 0
    owner = owns(lab.mode, hook, interface)
    for line, frame in zip(lines, frames):
        if line == "skip":
            continue
        judged += 1
        packet = parse_at(frame, hook)
        answer = policy.judge_frame(frame, hook, context(hook, interface))
        if owner:
            tally.add(answer, packet, int(hook in EGRESS_HOOKS))
        texts = complaints(line, loaded, answer, packet, hook, owner, lab.index[interface])
        if texts:
            mismatches.append(Mismatch(hook, interface, frame, answer, line, texts))
    if tallied and not mismatches:
        texts = tally.complaints(notes)
        if texts:
            mismatches.append(Mismatch(hook, interface, b"", None, "", texts))
    return mismatches, judged


# ---- shrinking ----


def still_wrong(lab, doc, m):
    try:
        with open(lab.load(json.dumps(doc)), encoding="utf-8") as f:
            policy = Policy(json.load(f))
        return bool(check(lab, policy, m.hook, m.interface, [m.frame], False)[0])
    except Refused:
        return False  # a policy that doesn't load shows another thing


def shrink(lab, doc, m):
    """The smallest policy found that still gets the frame wrong: fewer rules, then fewer fields and items."""
    deadline = time.monotonic() + 60

    def wrong(candidate):
        return time.monotonic() < deadline and still_wrong(lab, candidate, m)

    rules, size = doc["rules"], len(doc["rules"])
    while size:
        at = 0
        while at < len(rules):
            fewer = rules[:at] + rules[at + size :]
            if wrong(dict(doc, rules=fewer)):
                rules = fewer
            else:
                at += size
        size //= 2
    for n, rule in enumerate(rules):
        for key in sorted(set(rule) - {"name", "priority", "action", "rate_limit_pps"}):
            values = [{k: v for k, v in rule.items() if k != key}]
            if isinstance(rule[key], list):
                values += [dict(rule, **{key: [item]}) for item in rule[key]]
            for value in values:
                if wrong(dict(doc, rules=rules[:n] + [value] + rules[n + 1 :])):
                    rule = value
                    rules = rules[:n] + [value] + rules[n + 1 :]
                    break
    doc = dict(doc, rules=rules)
    for key in sorted(set(doc) - {"rules", "stateful", "log_default", "log_limit"}):
        fewer = {k: v for k, v in doc.items() if k != key}
        if wrong(fewer):
            doc = fewer
    return doc


def show(lab, doc, m):
    print("# mismatch at %s on %s: %s" % (m.hook, m.interface, "; ".join(m.texts)))
    if not m.frame:
        return
    print("#   frame  %s" % m.frame.hex())
    print("#   parsed %s" % parse_at(m.frame, m.hook))
    print("#   oracle %s" % m.answer)
    print("#   kernel %s" % m.line)
    if still_wrong(lab, doc, m):
        small = shrink(lab, doc, m)
        print("#   policy %s" % json.dumps(small))
        still_wrong(lab, doc, m)
    else:
        print("#   alone, the frame is judged right: it takes the frames before it")


# ---- one policy ----


def batches(rnd, frames):
    """[(interface, frames)]: most on interfaces that have hooks, some on others."""
    result = {name: [] for name in INTERFACES + ("lo",)}
    for frame in frames:
        result[rnd.choices(list(result), [50, 30, 10, 10])[0]].append(frame)
    return [(interface, chosen) for interface, chosen in result.items() if chosen]


def usable(frame, hook):
    """Test runs strip the Ethernet header for cgroup programs and leave VLAN tags where no live packet has them."""
    return hook not in ("cgroup_ingress", "cgroup_egress") or frame[12:14] in (b"\x08\x00", b"\x86\xdd")


def compiled_right(doc, policy, frames):
    """fwc is under test too: the policy as written must say what its IR says."""
    written = Policy(dict(doc, rules=sorted(doc["rules"], key=lambda r: r["priority"])))
    for frame in frames:
        for hook in ("xdp", "tc_egress"):
            one, two = (p.judge_frame(frame, hook, Context("fwa0", ROOT_UID)) for p in (written, policy))
            if one != two:
                return ["the IR says %s, the policy %s for %s" % (two, one, frame.hex())]
    return []


def policy_test(number, seed, labs, captured):
    rnd = random.Random("%s-%d" % (seed, number))
    mode = os.environ.get("DIFF_MODE") or list(MODES)[number % len(MODES)]
    lab = labs[mode]
    rules = integer("DIFF_RULES", 0) or None
    # beside interface hooks fwload rightly refuses users: other cgroups' packets pass there, and no later hook knows
    doc = gen.policy(rnd, GLOBS, USERS if mode == "cgroup" else (), rules)
    source = gen.Packets(rnd, doc)
    frames = [source.frame() for _ in range(integer("DIFF_PACKETS", 5000))]
    frames += rnd.sample(captured, min(len(captured), integer("DIFF_CAPTURES", 500)))
    title = "policy %d: %d rules, mode %s" % (number, len(doc["rules"]), mode)
    try:
        policy = Policy.load(lab.load(json.dumps(doc)))
        wrong, judged = compiled_right(doc, policy, frames[:500]), 0
        mismatches = []
        for hook in lab.hooks:
            for interface, chosen in batches(rnd, [f for f in frames if usable(f, hook)]):
                found, count = check(lab, policy, hook, interface, chosen)
                mismatches += found
                judged += count
    except Refused as e:
        return False, title, ["%s" % e]
    kinds = {}
    for m in mismatches:
        kinds.setdefault(m.kind(), m)
    for m in list(kinds.values())[: integer("DIFF_SHOW", 2)]:
        show(lab, doc, m)
    if mismatches:
        wrong.append("%d mismatches of %d kinds; again: SEED=%s DIFF_ONLY=%d" % (len(mismatches), len(kinds), seed, number))
    return not wrong and judged > 0, "%s, %d packets judged" % (title, judged), wrong


def captures():
    folder = os.path.join(os.path.dirname(TOP), "shared/corpora/tcpdump")
    if not os.path.isdir(folder):
        return []
    names = sorted(n for n in os.listdir(folder) if n.endswith((".pcap", ".pcapng")))
    return [frame for name in names for frame in capture.frames(os.path.join(folder, name))]


def main():
    reason = why_not()
    if reason:
        print("1..0 # SKIP %s" % reason)
        return 0
    seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(1 << 32))
    only = os.environ.get("DIFF_ONLY")
    numbers = [int(only)] if only else range(integer("DIFF_POLICIES", 40))
    print("# SEED=%s" % seed, flush=True)
    captured, failed = captures(), 0
    labs = {mode: Lab(mode) for mode in MODES}
    try:
        for n, number in enumerate(numbers):
            good, title, texts = policy_test(number, seed, labs, captured)
            failed += not good
            for text in texts:
                print("# %s" % text.replace("\n", "\n# "))
            print("%s %d - %s" % ("ok" if good else "not ok", n + 1, title), flush=True)
        print("1..%d" % len(numbers))
    finally:
        for lab in labs.values():
            lab.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
