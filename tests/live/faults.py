# SPDX-License-Identifier: GPL-2.0-only
"""What the fault tests share. Two policies that differ in everything: "old" allows UDP port 7001 and denies 7002, "new" the
reverse; both allow 7003 and deny 7004, each way. One probe of the four ports at three hooks' places (into the host,
out of a socket of the cgroup, out of one outside of it) tells which policy decides, and whether it does so whole.

The invariant, after every fault: the old or the new policy decides, whole; an exit status that is not 0 comes with a message; what
is pinned does not hinder: loading again succeeds, and then the new policy decides and nothing is left over.

Environment: FULL=1: every point of each sweep rather than a sample of them."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from live import BUILD, NAME, Refused, call, note, ok, receives, take, udp_socket, wait_until

FULL = os.environ.get("FULL", "") not in ("", "0")
HOST, PEER = "10.77.0.1", "10.77.0.2"
PORTS = {"A": 7001, "B": 7002, "M": 7003, "N": 7004}
# M is sent last: when it arrives, what was sent before it has arrived or was dropped
ORDER = "ABNM"
WHOLE = {frozenset("AM"): "old", frozenset("BM"): "new", frozenset("ABNM"): "none"}
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


def sample(points, n):
    """About ${n} of them (all when FULL), ends included, others from run to run."""
    points = list(points)
    if FULL or len(points) <= n:
        return points
    step = len(points) / n
    shift = (os.getpid() % 97) / 97 * step
    return sorted({points[0], points[-1]} | {points[min(int(i * step + shift), len(points) - 1)] for i in range(n)})


def policy(which, **more):
    rules = [{"name": "port_" + letter, "direction": "both", "protocol": "udp", "destination_ports": [PORTS[letter]],
              "action": "allow", "log": False} for letter in ("AM" if which == "old" else "BM")]
    rules += [{"name": "steady_in", "direction": "ingress", "protocol": "udp", "destination_ports": [7005], "action": "allow", "log": False}]
    rules += more.pop("rules", [])
    return dict({"default_action": "deny", "log_default": {"deny": False, "allow": False},
                 "rules": [dict(r, priority=n) for n, r in enumerate(rules)]}, **more)


class Done:
    def __init__(self, argv, process):
        self.argv, self.status = argv, process.returncode
        self.out, self.err = process.stdout.decode(errors="replace"), process.stderr.decode(errors="replace")

    def __str__(self):
        return "exit %d: %s" % (self.status, self.err.strip() or "(no message)")


class Prober:
    """Sockets that are made once: three senders' places, each with its receivers."""

    def __init__(self, lab):
        with lab.inside("host", lab.group):
            at_host = {x: udp_socket(HOST, p) for x, p in PORTS.items()}
            within = udp_socket(HOST, 0)
        with lab.inside("host"):
            outside = udp_socket(HOST, 0)
        with lab.inside("peer"):
            at_peer = {x: udp_socket(PEER, p) for x, p in PORTS.items()}
            peer = udp_socket(PEER, 0)
        self.places = {"into the host": (peer, HOST, at_host), "out of the cgroup": (within, PEER, at_peer),
                       "out of the host": (outside, PEER, at_peer)}

    def __call__(self, places=None, patience=1):
        """"old", "new", "none", or what was seen where."""
        seen = {}
        cpus = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cpus)})  # so that packets keep their order
        try:
            for place in places or self.places:
                seen[place] = self.letters(place, patience)
        finally:
            os.sched_setaffinity(0, cpus)
        kinds = {WHOLE.get(s, "") for s in seen.values()}
        if len(kinds) == 1 and "" not in kinds:
            return kinds.pop()
        return "; ".join("%s: %s" % (p, WHOLE.get(s) or "".join(sorted(s)) or "nothing") for p, s in seen.items())

    def letters(self, place, patience):
        sender, to, receivers = self.places[place]
        for s in receivers.values():
            s.setblocking(False)
            take(s)
        for letter in ORDER:
            try:
                sender.sendto(b"probe", (to, PORTS[letter]))
            except PermissionError:
                pass
        got = {"M"} if receives(receivers["M"], patience) else set()
        for letter, s in receivers.items():
            s.setblocking(False)
            if take(s):
                got.add(letter)
        return frozenset(got)


class Steady(threading.Thread):
    """Packets all the while to a port that every policy allows, and to one that every policy denies."""

    def __init__(self, lab):
        super().__init__()
        with lab.inside("host"):
            self.at = [udp_socket(HOST, port) for port in (7005, 7006)]
        with lab.inside("peer"):
            self.sender = udp_socket(PEER, 0)
        for s in self.at:
            s.setblocking(False)
        self.sent, self.got, self.stop = [0, 0], [0, 0], threading.Event()

    def run(self):
        while not self.stop.wait(0.001):
            for i in range(2):
                self.sender.sendto(b"steady", (HOST, 7005 + i))
                self.sent[i] += 1
                self.got[i] += len(take(self.at[i]))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join()
        wait_until(lambda: self.drained() == self.sent[0], 1)
        for s in self.at + [self.sender]:
            s.close()

    def drained(self):
        for i in range(2):
            self.got[i] += len(take(self.at[i]))
        return self.got[0]

    def judge(self, sweep):
        note("all the while: %d allowed packets, %d arrived; %d denied packets, %d arrived" % (
            self.sent[0], self.got[0], self.sent[1], self.got[1]))
        sweep.wrong_if(self.got[1], "all the while", "%d denied packets passed" % self.got[1])
        sweep.wrong_if(self.got[0] != self.sent[0], "all the while", "%d allowed packets were lost" % (self.sent[0] - self.got[0]))


def make(lab):
    lab.space("host", "peer")
    lab.veth("host", "eth0", "peer", "eth0")
    lab.address("host", "eth0", HOST + "/24")
    lab.address("peer", "eth0", PEER + "/24")
    lab.group = lab.cgroup()
    everywhere(lab)
    lab.ir = {}
    lab.name = NAME + "-f"
    for which in ("old", "new"):
        keep(lab, which, policy(which))
    lab.instances.append(lab.name)
    lab.probe = Prober(lab)
    wait_until(lambda: lab.probe() == "none")


def everywhere(lab):
    lab.where = ("-i", "eth0", "-g", "/" + NAME)


def few(lab):
    """Two hooks: half a second for each load of programs is spared, and all places are judged by one of them."""
    lab.where = ("-i", "eth0")


def keep(lab, name, content):
    lab.ir[name] = os.path.join(lab.folder, name + ".json")
    os.rename(lab.compile(content, "-q")[0], lab.ir[name])


def run(lab, *argv, role="host", timeout=60, **kw):
    argv = lab.command(role, tuple(argv))
    return Done(argv, subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                                     timeout=timeout, **kw))


def fwload(lab, *args, inject=None, trace=None, before=(), where=None, name=None, **kw):
    """Load the policy "old" or "new" if that is the last argument. ${inject}: to strace; ${trace}: file for its log."""
    args = list(args)
    if args and args[-1] in lab.ir:
        args = list(lab.where if where is None else where) + args[:-1] + [lab.ir[args[-1]]]
    argv = [lab.program("fwload"), "-q", "-N", name or lab.name] + args
    if inject or trace:
        argv = ["strace", "-f", "-qq", "-o", trace or "/dev/null"] + [x for i in inject or () for x in ("-e", "inject=" + i)] + argv
    return run(lab, *before, *argv, **kw)


def pins(lab, name=None):
    top = os.path.join("/sys/fs/bpf/fw", name or lab.name)
    return sorted(os.path.relpath(os.path.join(d, f), top) for d, _, files in os.walk(top) for f in files)


def of_generations(names):
    """Pins that come and go with the generations that are resident."""
    return {n for n in names if re.fullmatch(r"maps/(meta|arena)(_previous|\d+)", n)}


def attached(lab):
    """What is attached at eth0 and the cgroup, whoever's it is."""
    net = json.loads(lab.run("host", "bpftool", "-j", "net", "show"))[0]
    found = [x.get("devname", "") + " " + x.get("kind", "xdp") for kind in ("xdp", "tc") for x in net.get(kind, [])]
    group = lab.run("host", "bpftool", "-j", "cgroup", "show", lab.group)
    return found + [x["attach_type"] for x in json.loads(group.strip() or b"[]")]


class Sweep:
    """A series of faults of one kind: what went wrong is collected and reported as one result."""

    def __init__(self, lab, what):
        self.lab, self.what, self.n, self.wrong, self.seen, self.said = lab, what, 0, [], {}, set()
        self.unnamed, self.pins = {}, None  # messages that don't name the cause; what is pinned when all is well
        self.started = time.monotonic()

    def wrong_if(self, bad, point, text, *more):
        if bad:
            self.wrong.append("%s: %s%s" % (point, text, "".join("\n    %s" % (m,) for m in more)))
        return bad

    def judge(self, point, done, before, target, killed=False):
        """After a load of ${target} over ${before} met a fault."""
        now = self.lab.probe()
        self.n += 1
        key = (killed and "killed") or "exit %d" % done.status, "target" if now == target else "as before" if now == before else now
        self.seen[key] = self.seen.get(key, 0) + 1
        self.wrong_if(now not in (before, target), point, "neither old nor new: %s" % now, done)
        if killed:
            return now
        # a failure after the switch: the new policy stays
        self.wrong_if(done.status == 0 and now != target, point, "exit 0, yet %s decides, not %s" % (now, target), done)
        self.wrong_if(done.status < 0 or done.status > 4, point, "ended badly", done)
        self.wrong_if(done.status > 0 and "fwload: " not in done.err, point, "no message", done)
        if done.status:
            self.said.update(line for line in done.err.splitlines() if line)
        return now

    def repair(self, point, target, expected_pins=None, where=None):
        """Loading again does it, and leaves nothing over."""
        done = fwload(self.lab, target, where=where)
        now = self.lab.probe()
        policy_of = target.split("_", maxsplit=1)[0]
        bad = self.wrong_if(done.status or now != policy_of, point, "loading again does not repair: %s decides" % now, done)
        if expected_pins is not None:
            have = pins(self.lab)
            left = set(have) ^ set(expected_pins)
            left = sorted(left - of_generations(left))
            self.wrong_if(left, point, "pins after loading again: %s" %
                          ", ".join(("+" if p in have else "-") + p for p in left))
        if bad:
            fwload(self.lab, "--unload")
            self.wrong_if(fwload(self.lab, target, where=where).status, point, "not even --unload and load does")

    def gone(self, point):
        """Nothing of ours is left after a first load that failed, or an unload."""
        now = self.lab.probe()
        self.wrong_if(now != "none", point, "%s decides" % now)
        top = "/sys/fs/bpf/fw/" + self.lab.name
        left = os.path.lexists(top) and [top] + pins(self.lab)
        self.wrong_if(left, point, "left behind: %s" % left)
        # the kernel lets go of an unpinned link when it comes to it, after the call
        wait_until(lambda: not attached(self.lab), 2)
        hooks = attached(self.lab)
        return self.wrong_if(hooks, point, "still attached: %s" % hooks) or left

    def report(self, minimum=1):
        note("%s: %d points, %.1f s: %s" % (self.what, self.n, time.monotonic() - self.started, ", ".join(
            "%s and %s decides: %d" % (k[0], k[1], v) for k, v in sorted(self.seen.items()))))
        for text in sorted(self.said) if FULL else ():
            note("  said: " + text)
        for text, points in sorted(self.unnamed.items()) if FULL else ():
            note("  cause not named: %s: %s" % (points, text))
        extra = ["... and %d more" % (len(self.wrong) - 12)] if len(self.wrong) > 12 and not FULL else []
        return ok(not self.wrong and self.n >= minimum, "%s (%d points)" % (self.what, self.n),
                  *(self.wrong if FULL else self.wrong[:12]), *extra)


def need(program):
    if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        print("1..0 # SKIP no %s" % program)
        raise SystemExit(0)


__all__ = ["BUILD", "FULL", "HOST", "NAME", "PEER", "PORTS", "Done", "Refused", "Steady", "Sweep", "attached", "call", "everywhere", "few", "fwload", "keep",
           "make", "need", "of_generations", "pins", "policy", "run", "sample", "socket"]
