# SPDX-License-Identifier: GPL-2.0-only
"""A policy on trial: what decides during it, how it ends - by its deadline with no process of ours alive, by --commit, by
--rollback, by a handshake - and that nothing of the policy before is lost in between."""
import termios
import fcntl
import calendar
import ctypes
import json
import mmap
import os
import re
import signal
import socket
import struct
import subprocess
import time

from flow_ends import HOST, PEER, Host, Tcp, Udp
from live import NAME, Lab, call, family, libc, main, note, ok, packet_socket, same, take, udp_socket, wait_until
from build import eth, ipv4, ipv6, tcp, udp
from fields import checksummed, sum16
import events

INSTANCE = NAME + "-a"
BPF_OBJ_GET, SYS_BPF = 7, 321
QUIET = {"deny": False, "allow": False}
BUSY, JUDGED = 4, 1
LONG = "LONG" in os.environ # every combination, and not only those that between them have everything


def make(lab):
    lab.space("host", "peer")
    for n in (0, 1):
        lab.veth("host", "eth%d" % n, "peer", "p%d" % n)
        lab.address("host", "eth%d" % n, "10.77.%d.1/24" % n, "fd77:%d::1/64" % n)
        lab.address("peer", "p%d" % n, "10.77.%d.2/24" % n, "fd77:%d::2/64" % n)
    lab.group, lab.group2 = lab.cgroup(), lab.cgroup("-2")
    eth0, eth1 = ("-i", "eth0", "--xdp", "native"), ("-i", "eth1", "--xdp", "native")
    lab.where = {"XDP and TC": eth0, "TC": ("-i", "eth0", "--xdp", "off"), "cgroup": ("-g", lab.group), "all": eth0 + ("-g", lab.group),
                 "eth1": eth1, "both": ("-i", "eth0") + eth1, "other cgroup": ("-g", lab.group2)}
    lab.probes = Probes(lab)
    with lab.inside("peer"):
        lab.raw = packet_socket("p0", False)
    with lab.inside("host"), packet_socket("eth0") as s:
        lab.mac = s.getsockname()[4]


# ---- policies and the loader ----


def port(letter):
    return 7000 + ord(letter)


def policy(*letters, default="deny", more=(), **keys):
    """Allows UDP and TCP to the port of each letter, in and out, and nothing else."""
    rules = [{"name": c, "destination_ports": [port(c)], "protocol": p, "action": "allow"} for c in letters for p in ("any",)]
    rules += more
    doc = {"default_action": default, "log_limit": 0, "log_default": QUIET, "rules": [dict(r, priority=n, log=False) for n, r in enumerate(rules)]}
    doc.update(keys)
    return doc


class Said:
    """How a run of fwload ended, and what it said."""

    def __init__(self, done):
        self.status, self.err, self.out = done.returncode, done.stderr.decode(), done.stdout.decode()

    def __repr__(self):
        return "exit %d: %s%s" % (self.status, self.err, self.out)


def fwload(lab, *args, doc=None, where=()):
    argv = [lab.program("fwload"), "-N", INSTANCE, *where, *args]
    if doc:
        argv.append(compiled(lab, doc))
        if INSTANCE not in lab.instances:
            lab.instances.append(INSTANCE)
    return Said(subprocess.run(lab.command("host", tuple(argv)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60))


def compiled(lab, doc):
    """The IR's path; each policy is compiled once."""
    text = json.dumps(doc, sort_keys=True)
    known = lab.__dict__.setdefault("irs", {})
    if text not in known:
        known[text] = os.path.join(lab.folder, "ir%d.json" % len(known))
        os.rename(lab.compile(doc)[0], known[text])
    return known[text]


def fresh(lab, doc=None, where=None):
    """Nothing but that is loaded."""
    if INSTANCE in lab.instances:
        lab.unload()
    lab.control = None
    if doc:
        must(fwload(lab, "-q", doc=doc, where=where))


def must(said):
    if said.status:
        raise OSError("fwload: %s" % said)
    return said


class Control:
    """The control word, mapped."""

    def __init__(self, lab):
        path = ctypes.create_string_buffer(lab.pin("maps/control").encode())
        attr = ctypes.create_string_buffer(struct.pack("QII", ctypes.addressof(path), 0, 0), 128)
        fd = libc.syscall(SYS_BPF, BPF_OBJ_GET, attr, 128)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "no control word")
        self.map = mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(fd)

    def word(self):
        return struct.unpack_from("Q", self.map)[0]

    def deadline(self):
        """Seconds of CLOCK_BOOTTIME; 0 without a trial."""
        return (self.word() >> 16) / 1000

    def last_generation(self):
        return struct.unpack_from("I", self.map, 20)[0]


def boot():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def pass_deadline(lab, more=0.002):
    """Sleeps until the trial is over: nothing else tells of it."""
    left = Control(lab).deadline() - boot()
    if left > 0:
        time.sleep(left + more)


def on_trial(lab, doc, where, seconds=2, *args):
    said = fwload(lab, "-q", "--confirm", "%ds" % seconds, *args, doc=doc, where=where)
    return must(said)


def no_process(lab):
    """Of ours nothing runs: what ends a trial is the kernel."""
    mine = os.fsencode(INSTANCE)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                if mine in f.read():
                    return False
        except OSError:
            pass
    return True


# ---- what passes ----


class Probes:
    """Packets and calls of both directions, each from a socket of its own, so that no flow is met twice."""

    def __init__(self, lab):
        self.lab, self.ears, self.servers = lab, {}, []

    def hear(self, role, address, number):
        """A socket that takes what comes to that port."""
        key = (role, address, number)
        if key not in self.ears:
            with self.lab.inside(role, self.group(address) if role == "host" else None):
                self.ears[key] = udp_socket(address, number)
            self.ears[key].setblocking(False)
        return self.ears[key]

    def group(self, address):
        """What is on the second network lives in the second cgroup."""
        return self.lab.group2 if address.startswith(("10.77.1.", "fd77:1:")) else self.lab.group

    def mouth(self, role, address):
        with self.lab.inside(role, self.group(address) if role == "host" else None):
            s = udp_socket(address, 0)
        s.setblocking(False)
        return s

    def arrives(self, there, sender, to, tag):
        """What denies a call or a packet that is sent says so; a lost one is silent."""
        try:
            sender.sendto(tag, to)
        except PermissionError:
            return False
        return bool(wait_until(lambda: tag in take(there), 0.02))

    def call(self, what, to, number, tag):
        """From a socket without a port, which the call itself is denied to; a packet of one that has a port is judged as that."""
        with self.lab.inside("host", self.group(to)), socket.socket(family(to), socket.SOCK_DGRAM) as s:
            if what == "sendmsg":
                return self.arrives(self.hear("peer", to, number), s, (to, number), tag + b"s")
            try:
                s.connect((to, number))
            except PermissionError:
                return False
            return True

    def __call__(self, letters="AB", net=0, calls=True):
        """For each letter that all of its packets and calls pass: "AB"; those that only some pass: in brackets."""
        out = ""
        for c in letters:
            got = self.each(port(c), net, calls)
            out += c if all(got.values()) else "(%s: %s)" % (c, [k for k, v in got.items() if v]) if any(got.values()) else ""
        return out

    def each(self, number, net, calls):
        got = {}
        for v, h, p in ((4, "10.77.%d.1" % net, "10.77.%d.2" % net), (6, "fd77:1::1", "fd77:1::2") if net else (6, HOST[6], PEER[6])):
            tag = os.urandom(8)
            with_in = self.hear("host", h, number), self.mouth("peer", p)
            got["in%d" % v] = self.arrives(*with_in, (h, number), tag + b"i")
            with_out = self.hear("peer", p, number), self.mouth("host", h)
            got["out%d" % v] = self.arrives(*with_out, (p, number), tag + b"o")
            with_in[1].close(), with_out[1].close()
            for what in ("sendmsg", "connect") if calls else ():
                got["%s%d" % (what, v)] = self.call(what, p, number, tag)
        return got


# ---- the deadline ----


def test_killed(lab):
    """The loader is killed when it has just switched."""
    for what in ("XDP and TC", "cgroup") if LONG else ("cgroup",):
        where, calls = lab.where[what], what == "cgroup"
        fresh(lab, policy("A"), where)
        control, ir = Control(lab), compiled(lab, policy("B"))
        before = control.word()
        p = lab.start("host", lab.program("fwload"), "-q", "-N", INSTANCE, "--confirm", "1s", *where, ir)
        while control.word() == before and p.poll() is None:
            pass
        p.kill()
        p.wait()
        same(lab.probes(calls=calls), "B", "%s: the new policy decides, its loader killed" % what)
        pass_deadline(lab)
        same((lab.probes(calls=calls), no_process(lab)), ("A", True), "%s: and ends all the same" % what)
        said = fwload(lab, "-v", doc=policy("C"), where=where)
        same((said.status, lab.stat()["generation"], lab.probes("ABC", calls=calls)), (0, 3, "C"), "%s: what is loaded next is generation 3" % what, said)


SLOW = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *t)
{
	static int n;
	int r = syscall(SYS_clock_gettime, clock, t);

	if (clock == CLOCK_BOOTTIME && ++n == atoi(getenv("SLOW_AT")))
		usleep(1500000);
	return r;
}
"""


def test_late_commit(lab):
    """A --commit that looks at the clock in time and acts when it is over: what has been taken back stays so."""
    where, source, shim = lab.where["XDP and TC"], os.path.join(lab.folder, "slow.c"), os.path.join(lab.folder, "slow.so")
    with open(source, "w", encoding="ascii") as f:
        f.write(SLOW)
    call(os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-o", shim, source)
    fresh(lab, policy("A"), where)
    for n in range(1, 5) if LONG else (2,):
        on_trial(lab, policy("B"), where, 1)
        os.environ.update(LD_PRELOAD=shim, SLOW_AT=str(n))
        said = fwload(lab, "--commit")
        del os.environ["LD_PRELOAD"]
        got = lab.probes(calls=False)
        # (if it looks less often than that it was in time)
        ok((said.status, got) == (JUDGED, "A") or (n > 2 and (said.status, got) == (0, "B")), "a commit that stalls after looking at the clock %d times" % n,
           said, got)
        must(fwload(lab, "-q", doc=policy("A"), where=where))


def test_first_load(lab):
    for what in ("XDP and TC", "cgroup"):
        where, calls = lab.where[what], what == "cgroup"
        for how in ("deadline", "rollback") if LONG else ("rollback",) if calls else ("deadline",):
            fresh(lab)
            said = fwload(lab, "--confirm", "1s", doc=policy("A"), where=where)
            same((said.status, lab.probes(calls=calls)), (0, "A"), "%s: a first load on trial decides" % what, said)
            pass_deadline(lab) if how == "deadline" else must(fwload(lab, "--rollback"))
            same(lab.probes(calls=calls), "AB", "%s: after its %s nothing is filtered" % (what, how))
            said = fwload(lab, "--status")
            same((said.status, "generation 1" in said.out), (JUDGED, True), "%s: --status says so" % what, said)
            said = fwload(lab, "-n", doc=policy("B"), where=where)
            same((said.status, lab.probes(calls=calls)), (0, "AB"), "%s: a dry run changes nothing" % what, said)
            said = [fwload(lab, a) for a in ("--commit", "--rollback")]
            same([x.status for x in said], [JUDGED, JUDGED], "%s: there is nothing to commit, nothing to go back to" % what, said)
            same(lab.probes(calls=calls), "AB", "%s: and that changes nothing" % what)
            said = fwload(lab, doc=policy("B"), where=where)
            same((said.status, lab.probes(calls=calls), lab.stat()["generation"]), (0, "B", 2), "%s: what is loaded next is generation 2" % what, said)
    fresh(lab)
    must(fwload(lab, "-q", "--confirm", "1s", doc=policy("A"), where=where))
    pass_deadline(lab)
    must(fwload(lab, "-q", doc=policy("B"), where=where))
    same((lab.probes(calls=calls), lab.stat()["generation"]), ("B", 2), "the very next load, before anybody has recorded the end, too")


def test_commands(lab):
    where = lab.where["all"]
    fresh(lab, policy("A"), where)
    said = fwload(lab, "--rollback")
    same((said.status, lab.probes()), (JUDGED, "A"), "without a policy before there is no way back", said)
    said = fwload(lab, "--commit")
    same((said.status, lab.probes()), (0, "A"), "without a trial there is nothing to commit, which is no error", said)
    on_trial(lab, policy("B"), where, 60)
    said = [fwload(lab, "--commit"), fwload(lab, "--commit")]
    same(([x.status for x in said], Control(lab).deadline(), lab.probes()), ([0, 0], 0, "B"), "--commit, twice", said)
    said = fwload(lab, "--rollback")
    same((said.status, lab.probes()), (0, "A"), "--rollback after a commit", said)
    said = fwload(lab, "--rollback")
    same((said.status, lab.probes()), (JUDGED, "A"), "--rollback twice: only one policy is kept", said)
    on_trial(lab, policy("B"), where, 60)
    said = fwload(lab, "--rollback")
    same((said.status, lab.probes(), Control(lab).deadline()), (0, "A", 0), "--rollback during a trial", said)
    said = fwload(lab, "--commit")
    same((said.status, lab.probes()), (JUDGED, "A"), "--commit after a rollback is too late", said)
    must(fwload(lab, doc=policy("B"), where=where))
    said = fwload(lab, "--commit")
    same((said.status, lab.probes()), (0, "B"), "a load without a trial, and nothing of the last one is left", said)
    said = fwload(lab, "--rollback")
    same((said.status, lab.probes()), (0, "A"), "--rollback after a load without a trial", said)
    same(Control(lab).last_generation(), 4, "no generation number was used twice")


def test_busy(lab):
    where = lab.where["XDP and TC"]
    fresh(lab, policy("A"), where)
    on_trial(lab, policy("B"), where, 40)
    word = Control(lab).word()
    for args in ((), ("--confirm", "5s"), ("--audit",), ("-n",), ("--wait", "1s")):
        said, left = fwload(lab, *args, doc=policy("C"), where=where), Control(lab).deadline() - boot()
        told = re.search(r"trial pending, (\d+) s left", said.err)
        same((said.status, Control(lab).word()), (BUSY, word), "%s during a trial is refused" % (" ".join(args) or "a load"), said)
        ok(told and left <= int(told[1]) <= left + 1.5, "and says for how long", said, left)
    said = fwload(lab, doc=policy("B"), where=where)
    same((said.status, Control(lab).word()), (BUSY, word), "the same policy, too", said)
    same(lab.probes(calls=False), "B", "all of it changes nothing")
    said = fwload(lab, "--audit-end")
    same((said.status, Control(lab).word()), (0, word), "--audit-end has nothing to end", said)
    said = fwload(lab, "--unload")
    lab.instances.remove(INSTANCE)
    same((said.status, lab.probes(calls=False)), (0, "AB"), "--unload ends it all", said)


def test_counters(lab):
    """What the policy before has counted is what it goes on with."""
    where = lab.where["all"]
    fresh(lab, policy("A", "C"), where)
    lab.probes("AC")
    before = lab.count().rules
    on_trial(lab, policy("B", "C"), where, 1)
    lab.probes("ABC")
    during = lab.count().rules
    pass_deadline(lab)
    after = lab.count().rules
    same((after["A"], sorted(after)), (before["A"], ["A", "C"]), "a rule that only the old policy has, over a trial")
    same((after["C"], sorted(during)), (during["C"], ["B", "C"]), "one that both have goes on")
    same(after["C"], {k: v * 2 for k, v in before["C"].items()}, "from where it was")
    lab.probes("A")
    same((Control(lab).last_generation(), {k: v * 2 for k, v in before["A"].items()}), (2, lab.count().rules["A"]), "and counts on")


def test_deadline(lab):
    for what in ("XDP and TC", "TC", "cgroup", "all") if LONG else ("TC", "all"):
        where, calls = lab.where[what], what in ("cgroup", "all")
        fresh(lab, policy("A"), where)
        same(lab.probes(calls=calls), "A", "%s: before" % what)
        on_trial(lab, policy("B"), where, 1)
        got = lab.probes(calls=calls)
        same((got, Control(lab).deadline() > boot()), ("B", True), "%s: on trial the new policy decides at once" % what)
        pass_deadline(lab)
        got = lab.probes(calls=calls)
        same((got, no_process(lab)), ("A", True), "%s: after the deadline the old one, and no process of ours is there" % what)
        same(fwload(lab, "--commit").status, JUDGED, "%s: too late to commit" % what)
        same(lab.probes(calls=calls), "A", "%s: which changes nothing" % what)


# ---- at the same instant ----

FLIPS = ("xdp", "tc_egress", "cgroup_ingress", "cgroup_egress", "connect4", "connect6", "sendmsg4", "sendmsg6")


def senders(lab, where):
    """Something for each hook, again and again, until it is killed: a process of its own, (what it does, where)."""
    def repeat(what, role, group=None, pause=0.0001):
        pid = os.fork()
        if pid:
            pids.append(pid)
            return
        try:
            with lab.inside(role, group):
                act = what()
                while True:
                    try:
                        act()
                    except OSError:
                        pass
                    time.sleep(pause)
        finally:
            os._exit(0)

    def sendto(address, number, kind=socket.SOCK_DGRAM, proto=0, bound=""):
        s = socket.socket(family(address), kind, proto)
        if kind == socket.SOCK_DGRAM and bound is not None:
            s.bind((bound, 0))
        return lambda: s.sendto(b"\x08\0\xf7\xff\0\0\0\0" if proto else b"x", (address, number))

    def connect(address):
        def act():
            with socket.socket(family(address), socket.SOCK_DGRAM) as s:
                s.connect((address, 9))
        return act

    def unbound(address):
        def act():
            with socket.socket(family(address), socket.SOCK_DGRAM) as s:
                s.sendto(b"x", (address, 9))
        return act

    pids = []
    repeat(lambda: sendto("10.77.0.1", 9), "peer")
    repeat(lambda: sendto("10.77.0.2", 9), "host", lab.group2)
    if "cgroup" in where or where == "all":
        repeat(lambda: sendto("10.77.1.1", port("A")), "peer")
        repeat(lambda: sendto("10.77.0.2", 0, socket.SOCK_RAW, 1), "host", lab.group)
        calls = [connect("10.77.0.2"), connect("fd77::2"), unbound("10.77.0.2"), unbound("fd77::2")]

        def one_by_one():
            def act():
                for c in calls:
                    try:
                        c()
                    except OSError:
                        pass
            return act
        repeat(one_by_one, "host", lab.group)
    return pids


def test_same_instant(lab):
    """Every packet is an event that says who decided and when."""
    doc = {"default_action": "deny", "stateful": False, "log_limit": 0, "log_default": {"deny": True, "allow": True},
           "rules": [{"name": "no", "priority": 1, "protocol": "sctp", "action": "deny"}]}
    docs = [doc, dict(doc, rules=[{"name": "yes", "priority": 1, "protocol": "sctp", "action": "deny"}])]
    for what, hooks in (("all", FLIPS), ("TC", ("tc_ingress", "tc_egress"))):
        fresh(lab, docs[0], lab.where[what])
        with lab.inside("host", lab.group):
            ear = udp_socket("10.77.1.1", port("A"))
        on_trial(lab, docs[1], lab.where[what], 1)
        reader = events.Reader(lab)
        deadline = Control(lab).deadline()
        time.sleep(max(0, deadline - boot() - 0.25))
        pids = senders(lab, what)
        try:
            time.sleep(max(0, deadline - boot() + 0.1))
        finally:
            for p in pids:
                os.kill(p, signal.SIGKILL)
                os.waitpid(p, 0)
        time.sleep(0.1)  # fwmon's rounds are shorter
        said = {h: {1: [], 2: []} for h in hooks}
        for e in reader.records():
            if e["hook"] in said:
                said[e["hook"]][e["generation"]].append(since(e, deadline))
        reader.end(), ear.close()
        counts = {h: (len(s[2]), len(s[1])) for h, s in said.items()}
        note("%s: events before and after, %s" % (what, counts))
        ok(all(min(n) > 10 for n in counts.values()), "%s: each hook has told before and after" % what, counts)
        last, first = {h: max(s[2], default=0) for h, s in said.items()}, {h: min(s[1], default=0) for h, s in said.items()}
        ok(max(last.values()) < 0.001, "%s: nobody decides by the trial after the deadline" % what, last)
        ok(min(first.values()) > -0.001, "%s: nor by the old policy before it" % what, first)
        ok(max(last.values()) < min(first.values()) + 0.001, "%s: all hooks change over at once" % what, last, first)


def since(event, deadline):
    """Seconds from the deadline to an event."""
    whole, part = event["timestamp"][:-1].split(".")
    at = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 10 ** 9 + int(part)
    return (at - round(deadline * 1000) * 10 ** 6 - (time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME))) / 1e9


# ---- flows ----


def flow_ids(lab):
    """{ports of both ends: id} of the flows there are."""
    listed = map(json.loads, call(lab.program("fwstat"), "-N", INSTANCE, "--flows", "-o", "json").splitlines())
    return {frozenset((f.get("src_port"), f.get("dst_port"))): (f["flow_id"], f["state"]) for f in listed}


def open_flows(lab, letter):
    return [kind(lab, opener, v, port(letter), Host(lab)).open() for kind in (Tcp, Udp) for opener in ("host", "peer") for v in (4, 6)]


def move(flows, seconds=2):
    """A packet from both ends of each: those of which both arrive."""
    before = [(f.got("host"), f.got("peer")) for f in flows]
    for f in flows:
        f.say("host"), f.say("peer")
    wait_until(lambda: all((f.got("host"), f.got("peer")) == (h + 1, p + 1) for f, (h, p) in zip(flows, before)), seconds)
    return [f for f, (h, p) in zip(flows, before) if (f.got("host"), f.got("peer")) == (h + 1, p + 1)]


def sent_again(flows):
    return [f.name() for f in flows if f.lost()]


def test_flows(lab):
    """What the trial denies is refused and not forgotten, what only the trial allowed ends with it, the rest goes on."""
    for what in ("XDP and TC", "cgroup", "all") if LONG else ("all",):
        where = lab.where[what]
        fresh(lab, policy("A", "C"), where)
        old, both = open_flows(lab, "A"), open_flows(lab, "C")
        ids = flow_ids(lab)
        seen = [f.seen() for f in old]
        on_trial(lab, policy("B", "C"), where, 2)
        new = open_flows(lab, "B")
        same(move(both), both, "%s: what both allow passes on trial" % what)
        same((move(old, 0.05), [f.seen() for f in old]), ([], seen), "%s: nothing passes of what the trial denies" % what)
        same(move(new), new, "%s: what only the trial allows is open" % what)
        during = flow_ids(lab)
        same({k: during.get(k, (0,))[0] for k in ids}, {k: i for k, (i, _) in ids.items()}, "%s: the flows of the old policy are all still there" % what)
        ok(Control(lab).deadline() > boot(), "%s: all of that during the trial" % what)
        pass_deadline(lab)
        seen = [f.seen() for f in new]
        same((move(new, 0.05), [f.seen() for f in new]), ([], seen), "%s: after it what it alone allowed is cut" % what)
        same(move(both), both, "%s: what both allow goes on" % what)
        same(sent_again(both), [], "%s: and never lost a segment" % what)
        # segments that were refused come again
        tcp_flows, udp_flows = [f for f in old if isinstance(f, Tcp)], [f for f in old if isinstance(f, Udp)]
        same(move(udp_flows), udp_flows, "%s: UDP flows of the old policy go on" % what)
        got = wait_until(lambda f=tcp_flows: {(x.got("host"), x.got("peer")) for x in f} == {(2, 2)}, 5)
        ok(got, "%s: connections deliver what was refused" % what, [(x.got("host"), x.got("peer")) for x in tcp_flows])
        same(move(tcp_flows), tcp_flows, "%s: and go on" % what)
        after = flow_ids(lab)
        same({k: after.get(k, (0,))[0] for k in ids}, {k: i for k, (i, _) in ids.items()}, "%s: each with its flow_id" % what)
        for f in old + both + new:
            f.close()


# ---- --confirm-from ----


def raw_segment(lab, v, sport, number, flags, seq=1000, ack=0, source=None):
    """A TCP segment of our own from the peer to the host, who has a server at ${number}."""
    src, dst = source or PEER[v], HOST[v]
    data = tcp(sport, number, flags)
    data = data[:4] + struct.pack("!II", seq, ack) + data[12:]
    packet = checksummed(ipv4(src, dst, 6, sealed(v, src, dst, data))) if v == 4 else ipv6(src, dst, 6, sealed(v, src, dst, data))
    lab.raw.send(lab.mac + eth(0x0800 if v == 4 else 0x86DD, packet)[6:])


def sealed(v, src, dst, data):
    """With its checksum."""
    fam = socket.AF_INET if v == 4 else socket.AF_INET6
    ends = socket.inet_pton(fam, src) + socket.inet_pton(fam, dst)
    return data[:16] + struct.pack("!H", sum16(ends + struct.pack("!HH", 6, len(data)) + data)) + data[18:]


def pending(lab, seconds=0.1):
    """The trial is still on, also a moment from now."""
    return bool(not wait_until(lambda: not Control(lab).deadline(), seconds))


def listener(lab, v, number):
    with lab.inside("host", lab.group):
        return socket.create_server((HOST[v], number), family=family(HOST[v]))


def connects(lab, v, number, source=None):
    """A connection from the peer; None when there is none."""
    with lab.inside("peer"):
        c = socket.socket(family(HOST[v]), socket.SOCK_STREAM)
    c.settimeout(0.3)
    c.bind((source or PEER[v], 0))
    try:
        c.connect((HOST[v], number))
        return c
    except OSError:
        c.close()
        return None


def test_confirm_from(lab):
    lab.address("peer", "p0", "10.77.0.99/24", "fd77::99/64")
    far = {4: "10.77.0.99", 6: "fd77::99"}
    for what, v in (("XDP and TC", 4), ("XDP and TC", 6), ("cgroup", 4), ("cgroup", 6), ("all", 4)) if LONG else (("XDP and TC", 4), ("cgroup", 6)):
        where, prefix, name = lab.where[what], "%s/%d" % (PEER[v], 31 if v == 4 else 127), "%s, IPv%d: " % (what, v)
        fresh(lab, policy("A", "C"), where)
        servers = [listener(lab, v, port(c)) for c in "ABC"]
        old = connects(lab, v, port("C"))
        on_trial(lab, policy("B", "C"), where, 60, "--confirm-from", prefix)
        for _ in range(3):
            old.send(b"x")
        old.close()
        ok(pending(lab), name + "a connection that was open before doesn't commit")
        same((connects(lab, v, port("A")), pending(lab)), (None, True), name + "nor one that is denied")
        others = [connects(lab, v, port("B"), far[v]) for _ in range(2)]
        for c in others:
            c.send(b"x"), c.close()
        ok(pending(lab), name + "nor one from elsewhere")
        u, ear = lab.probes.mouth("peer", PEER[v]), lab.probes.hear("host", HOST[v], port("B"))
        for _ in range(3):
            u.sendto(b"x", (HOST[v], port("B")))
            wait_until(lambda e=ear: take(e), 0.1)
            ear.sendto(b"y", u.getsockname()[:2])
        ok(pending(lab), name + "nor UDP")
        with lab.inside("peer"):
            at = socket.create_server((PEER[v], port("B")), family=family(PEER[v]))
        with lab.inside("host", lab.group):
            out = socket.create_connection((PEER[v], port("B")), 2)
        out.send(b"x"), at.accept()[0].close(), out.close(), at.close()
        ok(pending(lab), name + "nor one to there")
        raw_segment(lab, v, 2000, port("B"), 2)
        ok(pending(lab), name + "nor a SYN alone")
        raw_segment(lab, v, 2001, port("B"), 0x10)
        ok(pending(lab), name + "nor a lone ACK")
        good = connects(lab, v, port("B"))
        good.send(b"x") # what the host then sends shows that it has taken the handshake for one
        same(wait_until(lambda: not pending(lab)), True, name + "a new connection from there does")
        said = [fwload(lab, "--commit"), fwload(lab, "--status")]
        same(([x.status for x in said], "generation   2" in said[1].out, "trial" in said[1].out), ([0, 0], True, False), name + "and --commit finds it done", *said)
        fwload(lab, "--confirm", "60s", "--confirm-from", prefix, doc=policy("A", "B", "C"), where=where)
        for _ in range(3):
            good.send(b"x")
        wait_until(lambda c=good: not struct.unpack("i", fcntl.ioctl(c, termios.TIOCOUTQ, bytes(4)))[0]) # all of it was acknowledged
        ok(pending(lab), name + "a connection that has confirmed a trial doesn't confirm the next")
        fwload(lab, "--rollback")
        for s in servers + [good, u]:
            s.close()
    said = fwload(lab, "--confirm", "5s", "--confirm-from", "10.0.0.0/8", doc=policy("A", stateful=False), where=where)
    same(said.status, JUDGED, "without state there is no handshake to wait for", said)


def test_forged(lab):
    """An ACK that answers no SYN-ACK of ours is no handshake."""
    where = lab.where["XDP and TC"]
    fresh(lab, policy("A"), where)
    with lab.inside("peer"), packet_socket("p0") as s:
        lab.ip("host", "neigh replace 10.77.0.77 lladdr %s dev eth0" % ":".join("%02x" % b for b in s.getsockname()[4]))
    with listener(lab, 4, port("B")):
        on_trial(lab, policy("B"), where, 60, "--confirm-from", "10.77.0.0/24")
        raw_segment(lab, 4, 3000, port("B"), 2, source="10.77.0.77")
        time.sleep(0.05)
        raw_segment(lab, 4, 3000, port("B"), 0x10, seq=1001, ack=12345, source="10.77.0.77")
        ok(pending(lab), "a SYN and an ACK with a guessed number, from an address that isn't the sender's, don't commit")


# ---- other hooks than before ----

SETS = {"one interface more": ("XDP and TC", "both"), "one less": ("both", "XDP and TC"), "another": ("XDP and TC", "eth1"),
        "TC instead of XDP": ("XDP and TC", "TC"), "a cgroup instead of interfaces": ("both", "cgroup"),
        "interfaces instead of a cgroup": ("cgroup", "both"), "another cgroup": ("cgroup", "other cgroup"), "no cgroup": ("all", "XDP and TC")}
ENDS = ("deadline", "rollback", "commit", "handshake", "commit and rollback")


def filtered(lab, where, letter):
    """What passes on each network when that is enforced there: {(network, kind): letters}."""
    args, got = lab.where[where], {}
    for net in (0, 1):
        calls = (lab.group, lab.group2)[net] in args
        packets = calls or "eth%d" % net in args
        got[net, "packets"], got[net, "calls"] = letter if packets else "AB", letter if calls else "AB"
    return got


def xdp_is_on(lab):
    """Interfaces of the host."""
    return {i["ifname"] for i in json.loads(lab.run("host", "ip", "-j", "link")) if "xdp" in i}


def passing(lab):
    got = {}
    # the kernel takes an XDP program off after its link has gone, and a veth loses packets then
    wait_until(lambda: len(xdp_is_on(lab)) == links(lab).count("xdp"))
    for net in (0, 1):
        each = {c: lab.probes.each(port(c), net, True) for c in "AB"}
        for kind, keys in (("packets", ("in4", "in6", "out4", "out6")), ("calls", ("sendmsg4", "sendmsg6", "connect4", "connect6"))):
            # where packets are denied and calls are not, a call can't be seen to pass by what arrives
            keys = [k for k in keys if not k.startswith("sendmsg") or all(each[c]["out" + k[-1]] for c in "AB")] or ["connect4", "connect6"]
            got[net, kind] = "".join(c if all(each[c][k] for k in keys) else "?" if any(each[c][k] for k in keys) else "" for c in "AB")
    return got


def links(lab):
    return sorted(re.sub(r"-\d+$", "", n) for n in os.listdir(lab.pin("links")))


def wanted_links(lab, where):
    args, n = lab.where[where], []
    for a in args:
        if a.startswith("eth"):
            n += ["tc_ingress" if "off" in args else "xdp", "tc_egress"]
    if "-g" in args:
        n += ["cgroup_ingress", "cgroup_egress", "connect4", "connect6", "sendmsg4", "sendmsg6"]
    return sorted(n)


def end_trial(lab, how, net):
    if how == "deadline":
        pass_deadline(lab)
    elif how == "handshake":
        shake(lab, net)
        ok(wait_until(lambda: not Control(lab).deadline()), "a handshake commits")
    else:
        for part in how.split(" and "):
            must(fwload(lab, "-q", "--" + part))


def shake(lab, net):
    """A TCP connection from the peer."""
    at = "10.77.%d.1" % net
    with lab.inside("host", lab.probes.group(at)):
        server = socket.create_server((at, port("B")))
    with lab.inside("peer"):
        c = socket.create_connection((at, port("B")), 5)
    server.accept()[0].close(), c.close(), server.close()


def test_other_hooks(lab):
    for n, (what, (old, new)) in enumerate(SETS.items()):
        for how in ENDS if LONG else (ENDS[n % 5],):
            fresh(lab, policy("A"), lab.where[old])
            name = "%s, ended by %s" % (what, how)
            on_trial(lab, policy("B"), lab.where[new], 2 if how == "deadline" else 60, *(("--confirm-from", "10.77.0.0/15") if how == "handshake" else ()))
            same(passing(lab), filtered(lab, new, "B"), "%s: on trial its hooks decide, and only they" % name)
            try:
                end_trial(lab, how, int("eth1" in lab.where[new] or new == "other cgroup"))
            except OSError as e:
                ok(False, name, e)
                continue
            stays = new if how in ("commit", "handshake") else old
            same(passing(lab), filtered(lab, stays, "B" if stays == new else "A"), "%s: then those of the policy that stays" % name)
            said = fwload(lab, "--status")
            same(("GONE" in said.out, said.status), (False, 0), "%s: --status finds them" % name, said)
            said = fwload(lab, "-v", "--audit", doc=policy("A", "B", "C"), where=lab.where[stays])
            same((links(lab), said.status), (wanted_links(lab, stays), 0), "%s: what comes next detaches the others" % name, said)
            same(passing(lab), filtered(lab, stays, "B" if stays == new else "A"), "%s: and nothing changes by that" % name)


# ---- larger tables ----


def big(*letters):
    """6,000 rules: tables of the next size class, and more counter ids than there were."""
    more = [{"name": "big%d" % n, "source_cidrs": ["10.%d.%d.0/24" % (100 + n // 250, n % 250), "172.16.%d.%d" % (n // 250, n % 250)],
             "destination_ports": [20000 + n], "protocol": "tcp", "action": "deny"} for n in range(6000)]
    return policy(*letters, more=more)


def test_larger(lab):
    """A trial that needs other programs and maps: interfaces that it doesn't have keep to the policy before, and its end brings that back."""
    for old, new in (("XDP and TC", "XDP and TC"), ("both", "XDP and TC"), ("both", "cgroup")) if LONG else (("both", "XDP and TC"),):
        name = "larger tables, from %s to %s: " % (old, new)
        fresh(lab, policy("A"), lab.where[old])
        must(fwload(lab, "-q", doc=policy("A", "C"), where=lab.where[old]))
        flow = Udp(lab, "peer", 4, port("C"), Host(lab)).open()
        before = lab.count().rules
        on_trial(lab, big("B", "C"), lab.where[new], 3)
        same((passing(lab), flow.passes("peer")), (filtered(lab, new, "B"), True), name + "on trial it decides")
        pass_deadline(lab)
        same((passing(lab), flow.passes("peer"), flow.passes("host")), (filtered(lab, old, "A"), True, True), name + "then the old one")
        said = fwload(lab, "--status")
        same(("GONE" in said.out, said.status), (False, 0), name + "all of whose hooks are there", said)
        after = lab.count().rules
        ok(after["A"]["packets_allowed"] > before["A"]["packets_allowed"] + 3 and after["C"]["packets_flow"] >= before["C"]["packets_flow"] + 2,
           name + "and counts on", before, after)
        # a slot that had tables in the maps before
        on_trial(lab, policy("B"), lab.where["XDP and TC"], 60)
        same(passing(lab), filtered(lab, "XDP and TC", "B"), name + "another trial")
        must(fwload(lab, "-q", "--rollback"))
        same(passing(lab), filtered(lab, old, "A"), name + "and back")
        must(fwload(lab, "-q", doc=big("B"), where=lab.where[new]))
        must(fwload(lab, "-q", "--rollback"))
        same(passing(lab), filtered(lab, old, "A"), name + "loaded and rolled back")
        must(fwload(lab, "-q", doc=policy("B"), where=lab.where[old]))
        same((passing(lab), links(lab)), (filtered(lab, old, "B"), wanted_links(lab, old)), name + "the next load decides everywhere")
        flow.close()


def test_programs_of_another_size(lab):
    """Programs that a load in between didn't need are of other maps by then."""
    for old, new in (("XDP and TC", "cgroup"), ("cgroup", "XDP and TC"))[:2 if LONG else 1]:
        fresh(lab, policy("A"), lab.where[old])
        must(fwload(lab, "-q", doc=big("B"), where=lab.where[new]))
        same(passing(lab), filtered(lab, new, "B"), "larger tables at %s" % new)
        for letter in "AB":
            must(fwload(lab, "-q", doc=policy(letter), where=lab.where[old]))
            same(passing(lab), filtered(lab, old, letter), "then at %s again, which decides" % old)


# ---- again and again ----

ROUNDS = 500 if LONG else 120


def test_rounds(lab):
    """Trials, commits and rollbacks under traffic: what all policies allow never loses a packet, what none does never passes."""
    where = lab.where["all"]
    fresh(lab, policy("A", "C"), where)
    flows = [Udp(lab, opener, 4, port("C"), Host(lab)).open() for opener in ("host", "peer")]
    pids = [deluge(f, end) for f in flows for end in ("host", "peer")]
    ears = {n: lab.probes.hear("host", HOST[4], n) for n in (port("C") + 100, port("Z"))}
    pids.append(single(lab, port("Z")))
    times, wrong = [], []
    try:
        for n in range(ROUNDS):
            doc = policy("AB"[(n + 1) % 2], "C")
            start = time.monotonic()
            said = [fwload(lab, "-q", "--confirm", "60s", doc=doc, where=where)] if n % 3 else [fwload(lab, "-q", doc=doc, where=where)]
            times.append(time.monotonic() - start)
            if n % 3:
                said.append(fwload(lab, "-q", "--commit" if n % 3 == 1 else "--rollback"))
            wrong += [x for x in said if x.status]
    finally:
        for p in pids:
            os.kill(p, signal.SIGTERM)
    sent = {p: os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids}
    times.sort()
    note("%d loads: %.0f ms (p50), %.0f ms (p99)" % (len(times), times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3))
    same(wrong[:3], [], "%d loads, trials, commits, rollbacks" % ROUNDS)
    same(sent, {p: 0 for p in pids}, "not one allowed packet is lost")
    same([len(take(s)) for s in ears.values()], [0, 0], "and no denied one passes")
    for f in flows:
        f.close()


def deluge(f, end):
    """A process that says a number and waits for it at the other end, until SIGTERM; 1: one was lost."""
    pid = os.fork()
    if pid:
        return pid
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(1))
    there, lost = f.ends["peer" if end == "host" else "host"], 0
    to = there.getsockname()[:2]
    for s in f.ends.values():
        s.setblocking(True)
        s.settimeout(2)
    while not over:
        try:
            f.ends[end].sendto(b"x", to)
            there.recv(9)
            time.sleep(0.0005)
        except OSError:
            lost = 1
            break
    os._exit(lost)


def single(lab, number):
    """A process that sends what nobody allows, until SIGTERM."""
    with lab.inside("peer"):
        s = udp_socket(PEER[4], 0)
    pid = os.fork()
    if pid:
        s.close()
        return pid
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(1))
    while not over:
        s.sendto(b"x", (HOST[4], number))
        time.sleep(0.0005)
    os._exit(0)


if __name__ == "__main__":
    main(make, test_deadline, test_killed, test_late_commit, test_first_load, test_commands, test_busy, test_counters, test_same_instant, test_flows, test_confirm_from, test_forged, test_other_hooks, test_larger, test_programs_of_another_size, test_rounds)
