# SPDX-License-Identifier: GPL-2.0-only
"""Log limits under floods. For each rule and each reader, from the reader's first record to its last, shown + suppressed +
lost = counted, to the last event: with several readers, rings that overflow, two CPUs, readers that come and go, and new
policies. The floods are frames that the pinned XDP program runs over and over (prog_run -n), millions a second."""
import collections
import json
import os
import signal
import socket
import struct
import subprocess
import time

from live import BUILD, NAME, main, note, ok, prog_run_built, same, wait_until
from build import eth, ipv4, udp
from events import DENY, FWMON, INSTANCE, RING_RECORDS, Reader, load, make

OTHER = dict(DENY, name="other", destination_ports=[7001])
LIMIT = {"rate": 100, "burst": 1000}
KEYS = ("no", "other", "default")
PORTS = {"no": 7000, "other": 7001, "default": 7009}
RATE = 100000  # denials a second that a flood has at least


def loaded(lab, limit, *rules):
    """Everything is denied and logged: by two rules and by the default."""
    load(lab, DENY, OTHER, *rules, default_action="deny", log_default={"deny": True, "allow": False}, log_limit=limit)
    with lab.inside("host"):
        lab.index = socket.if_nametoindex("eth0")
    lab.frames = os.path.join(lab.folder, "flood")
    with open(lab.frames, "wb") as f:
        for key in KEYS:
            frame = eth(0x0800, ipv4("10.77.0.2", "10.77.0.1", 17, udp(1, PORTS[key])))
            f.write(struct.pack("<I", len(frame)) + frame)


def reload(lab, *rules, **more):
    """A new generation beside the present one, with the same readers."""
    doc = {"default_action": "deny", "stateful": False, "log_default": {"deny": True, "allow": False}, "log_limit": LIMIT}
    doc.update(more, rules=[dict(r, priority=n) for n, r in enumerate(rules)])
    lab.load(doc, "-i", "eth0", "--xdp", "native")


def flood(lab, repeat, cpus=2):
    """Starts ${repeat} denials by each of the three on each CPU."""
    return [lab.start("host", "taskset", "-c", str(cpu), prog_run_built(), "-N", INSTANCE, "-i", str(lab.index), "-n",
                      str(repeat), "xdp", lab.frames, stdout=subprocess.DEVNULL) for cpu in range(min(cpus, os.cpu_count()))]


def finished(floods):
    return all([p.wait() == 0 for p in floods])


def counted(lab):
    """Denials so far, by rule."""
    c = lab.count()
    return {key: c.rules[key]["packets_denied"] if key in c.rules else c.get("deny", key) for key in KEYS}


def minus(a, b):
    return {key: a[key] - b[key] for key in a}


class Account:
    """What a reader's records say, by rule."""

    def __init__(self, reader):
        self.shown, self.carried, self.suppressed, self.lost = (collections.Counter() for _ in range(4))
        self.nameless = 0
        for line in reader.lines():
            r = json.loads(line)
            key = r.get("rule", r.get("reason"))
            if r["event_type"] == "verdict":
                self.shown[key] += 1
                self.carried[key] += r.get("suppressed", 0)
            elif r["event_type"] in ("lost", "suppressed"):
                getattr(self, r["event_type"])[key] += r["count"]
                self.nameless += r["count"] if key is None else 0

    def sum(self, *more):
        return {key: self.shown[key] + self.carried[key] + self.suppressed[key] + self.lost[key] for key in KEYS + more}

    def __str__(self):
        return ", ".join("%s: %d shown + %d + %d suppressed + %d lost" % (
            key, self.shown[key], self.carried[key], self.suppressed[key], self.lost[key]) for key in KEYS)


def left(lab, ring):
    """What log_limits still holds for a ring: events suppressed, events lost."""
    out = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", lab.pin("maps/log_limits")], stdout=subprocess.PIPE, check=True)
    suppressed = lost = 0
    for element in json.loads(out.stdout):
        words = struct.unpack("=5Q4I", bytes(int(b, 16) for b in element["value"])[:56])
        suppressed += words[1 + ring]
        lost += words[5 + ring]
    return suppressed, lost


def balance(lab, readers, before, what):
    """Ends the readers; each must account for everything since ${before}."""
    total = minus(counted(lab), before)
    ends = [r.end() for r in readers]
    accounts = [Account(r) for r in readers]
    for n, a in enumerate(accounts):
        note("reader %d: %s" % (n + 1, a))
        same(a.sum(), total, "%s: shown + suppressed + lost = counted, for each rule and reader %d" % (what, n + 1))
    same((ends, [a.nameless for a in accounts]), ([0] * len(readers), [0] * len(readers)), "%s: readers end well" % what)
    return accounts


# ---- floods ----


def test_flood(lab):
    """The limit holds on two CPUs, for four readers, and what it left out is told to the last event."""
    loaded(lab, LIMIT)
    readers, before = [Reader(lab) for _ in range(4)], counted(lab)
    start = time.monotonic()
    same(finished(flood(lab, 1000000)), True, "a flood on two CPUs")
    seconds = time.monotonic() - start
    total = sum(minus(counted(lab), before).values())
    note("%d denials in %.1f s: %d a second" % (total, seconds, total / seconds))
    ok(total >= RATE * seconds, "of more than %d denials a second" % RATE)
    accounts = balance(lab, readers, before, "under the limit")
    for key in KEYS:
        most = LIMIT["burst"] + LIMIT["rate"] * (seconds + 1)
        ok(LIMIT["burst"] <= accounts[0].shown[key] <= most, "%s: burst and rate hold on two CPUs" % key, accounts[0], most)
    same([a.shown for a in accounts[1:]], [accounts[0].shown] * 3, "every reader is shown the same events")
    same([sum(a.lost.values()) for a in accounts], [0] * 4, "and nothing is lost")
    ok(all(a.suppressed[key] for a in accounts for key in KEYS), "the last of what was suppressed is told at the end")


def test_overflow(lab):
    """No limit: rings overflow, of a stopped reader and perhaps of the other."""
    loaded(lab, 0)
    readers, before = [Reader(lab), Reader(lab)], counted(lab)
    readers[0].process.send_signal(signal.SIGSTOP)
    same(finished(flood(lab, 50000)), True, "a flood without a limit")
    stopped = balance(lab, readers, before, "without a limit")[0]
    ok(all(stopped.lost[key] for key in KEYS), "the stopped reader lost some of each rule", stopped)
    same(sum(stopped.shown.values()), RING_RECORDS, "all that its ring has room for was kept")


def test_overflow_limited(lab):
    """Limit and overflow at once: what a record would have carried that did not fit must go to a later one."""
    loaded(lab, {"rate": 200000, "burst": 5000})
    readers, before = [Reader(lab), Reader(lab)], counted(lab)
    readers[0].process.send_signal(signal.SIGSTOP)
    same(finished(flood(lab, 100000)), True, "a flood above a generous limit")
    readers[0].process.send_signal(signal.SIGCONT)
    wait_until(lambda: readers[0].records("lost"))
    same(finished(flood(lab, 100000)), True, "and another one")
    stopped = balance(lab, readers, before, "limit and overflow")[0]
    ok(all(stopped.lost[key] and stopped.carried[key] for key in KEYS), "both happened to each rule", stopped)


# ---- readers that come and go ----


def test_come_and_go(lab):
    """Readers begin and end in the middle of a flood. Each one's sum lies between what was counted just around it, and
    when it has ended, no program has left anything behind for its ring."""
    loaded(lab, LIMIT)
    floods, good, clean, n = flood(lab, 30000000), [], [], 0
    while n < 12:
        outer = counted(lab)
        r = Reader(lab)
        inner = counted(lab)
        time.sleep(0.1)
        inner = minus(counted(lab), inner)
        if n % 4 == 3:
            r.end(signal.SIGKILL)  # the next one takes its ring over
        else:
            r.end()
            outer, got = minus(counted(lab), outer), Account(r).sum()
            good.append(all(inner[key] <= got[key] <= outer[key] for key in KEYS) or (inner, got, outer))
            clean.append(left(lab, 0))
        n += 1
    running = all(p.poll() is None for p in floods)
    for p in floods:
        p.kill()
        p.wait()
    same(running, True, "the flood outlasts them")
    same(good, [True] * 9, "nine readers in the middle of a flood: each accounts for its time")
    same(clean, [(0, 0)] * 9, "and leaves nothing, nor does a program after it")


def test_after_kill(lab):
    """What was counted for a reader that was killed is none of the next one's."""
    loaded(lab, LIMIT)
    r = Reader(lab)
    finished(flood(lab, 5000))
    r.end(signal.SIGKILL)
    finished(flood(lab, 5000))
    ok(left(lab, 0)[0] > 0, "a killed reader leaves its counts")
    r, before = Reader(lab), counted(lab)
    finished(flood(lab, 5000))
    balance(lab, [r], before, "after a killed reader")


def test_count(lab):
    """-c: what comes after the last event that was asked for is told as a number."""
    loaded(lab, {"rate": 1, "burst": 1000})
    r, before = Reader(lab, "-c", "5"), counted(lab)
    r.process.send_signal(signal.SIGSTOP)
    finished(flood(lab, 20000))
    r.process.send_signal(signal.SIGCONT)
    r.process.wait()
    a = Account(r)
    same((sum(a.shown.values()), a.sum()), (5, minus(counted(lab), before)), "-c 5: five events, and the others counted")
    r = Reader(lab, "--rule", "other")
    before = counted(lab)
    finished(flood(lab, 5000))
    r.end()
    a = Account(r)
    same({key: a.shown[key] + a.carried[key] + a.suppressed[key] for key in KEYS},
         dict(dict.fromkeys(KEYS, 0), other=minus(counted(lab), before)["other"]), "--rule: the account of that rule, and no other")


# ---- new policies ----


def test_new_policy(lab):
    """A generation with so many rules that the counts move to a larger map."""
    loaded(lab, LIMIT)
    readers, before = [Reader(lab), Reader(lab)], counted(lab)
    finished(flood(lab, 10000))
    many = [dict(DENY, name="r%d" % n, destination_ports=[8000 + n]) for n in range(5000)]
    reload(lab, DENY, OTHER, *many)
    size = [m["capacity"] for m in lab.stat()["maps"] if m["name"] == "log_limits"]
    ok(size[0] > 5000, "the map of the counts is another one", size)
    finished(flood(lab, 10000))
    wait_until(lambda: all(len(r.records("meta")) == 2 for r in readers))
    order = [json.loads(line)["event_type"] for line in readers[0].lines()]
    at = len(order) - order[::-1].index("meta") - 1
    same(order[at - 1], "suppressed", "before the new meta record the account is closed")
    balance(lab, readers, before, "a new policy with more rules than the map had room for")


def test_reused_id(lab):
    """What was suppressed under a rule that goes never counts for another one that gets its id."""
    loaded(lab, LIMIT)
    r, before = Reader(lab), counted(lab)
    finished(flood(lab, 10000))
    total = minus(counted(lab), before)
    for n, rules in enumerate(([DENY], [DENY], [DENY, dict(OTHER, name="third")])):
        reload(lab, *rules, description="generation %d" % n, log_limit={"rate": 50000 + n, "burst": 1000})
        finished(flood(lab, 1000))
        wait_until(lambda n=n: len(r.records("meta")) == n + 2)
    third = lab.count().rules["third"]["packets_denied"]
    r.end()
    got = Account(r).sum("third")
    same((got["other"], got["third"]), (total["other"], third), "each rule's account is its own, though they had the same id")


def test_unload(lab):
    loaded(lab, LIMIT)
    r, before = Reader(lab), counted(lab)
    finished(flood(lab, 5000))
    total = minus(counted(lab), before)
    lab.unload()
    r.process.wait()
    same(Account(r).sum(), total, "unloaded: the account is closed")


if __name__ == "__main__":
    main(make, test_flood, test_overflow, test_overflow_limited, test_come_and_go, test_after_kill, test_count, test_new_policy,
         test_reused_id, test_unload)
