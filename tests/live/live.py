# SPDX-License-Identifier: GPL-2.0-only
"""What the live tests share: TAP results, and a laboratory of network namespaces, veth pairs, a cgroup and loaded
instances, all of them taken away at the end. Sockets are made here in whichever namespace and cgroup they are to
live in and then used side by side, so that a test reads from top to bottom. (Environment: B, the build directory.)"""
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "oracle"))
# pylint: disable=wrong-import-position
from lab import BUILD, Refused, call, mounted, prog_run_built, why_not

CLONE_NEWNET, ETH_P_ALL, SO_RCVBUFFORCE = 0x40000000, 3, 33
PACKET_IGNORE_OUTGOING, SOL_PACKET = 23, 263
NAME = "fwlive%d" % os.getpid()
libc = ctypes.CDLL(None, use_errno=True)
ran = failed = 0


# ---- results ----


def ok(good, what, *why):
    global ran, failed
    ran += 1
    failed += not good
    print("%s %d - %s" % ("ok" if good else "not ok", ran, what))
    for text in () if good else why:
        for line in str(text).splitlines():
            print("#   %s" % line)
    sys.stdout.flush()
    return good


def same(got, want, what, *why):
    return ok(got == want, what, "got:    %s" % (got,), "wanted: %s" % (want,), *why)


def note(text):
    print("# %s" % text, flush=True)


def wait_until(condition, seconds=5):
    """What ${condition}() gave when it first was true, else what it gave last."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.01)


# ---- the laboratory ----


class Lab:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="fwlive-")
        self.spaces, self.cgroups, self.instances, self.processes = [], [], [], []
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with open("/proc/self/cgroup", encoding="ascii") as f:
            below = [line.strip()[3:] for line in f if line.startswith("0::")][0]
        self.cgroup_home = mounted("cgroup2")[0] + below
        if "/sys/fs/bpf" not in mounted("bpf"):
            call("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")

    # -- namespaces --

    def space(self, *roles):
        for role in roles:
            call("ip", "netns", "add", "%s-%s" % (NAME, role))
            self.spaces.append(role)
            self.ip(role, "link set lo up")

    def ip(self, role, *commands):
        for command in commands:
            call("ip", "-n", "%s-%s" % (NAME, role), *command.split())

    def veth(self, a, device_a, b, device_b):
        call("ip", "link", "add", device_a, "netns", "%s-%s" % (NAME, a), "type", "veth", "peer", "name", device_b, "netns",
             "%s-%s" % (NAME, b))
        self.ip(a, "link set %s up" % device_a)
        self.ip(b, "link set %s up" % device_b)

    def address(self, role, device, *addresses):
        for a in addresses:
            self.ip(role, "addr add %s dev %s%s" % (a, device, " nodad" if ":" in a else ""))

    @contextlib.contextmanager
    def inside(self, role, cgroup=None):
        """Sockets made here live in the namespace, and in the cgroup if one is given."""
        fd = os.open("/run/netns/%s-%s" % (NAME, role), os.O_RDONLY)
        try:
            if cgroup:
                self.join(cgroup)
            setns(fd)
            yield
        finally:
            setns(self.home)
            if cgroup:
                self.join(self.cgroup_home)
            os.close(fd)

    def sysctl(self, role, *settings):
        with self.inside(role):
            for setting in settings:
                key, value = setting.split("=")
                # /proc/sys/net shows the namespace of the task that opens it
                with open("/proc/sys/net/" + key, "w", encoding="ascii") as f:
                    f.write(value)

    # -- cgroups --

    def cgroup(self, below=""):
        path = os.path.join(mounted("cgroup2")[0], NAME + below)
        os.mkdir(path)
        self.cgroups.append(path)
        return path

    @staticmethod
    def join(path):
        with open(os.path.join(path, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write(str(os.getpid()))

    # -- programs --

    def command(self, role, argv):
        return ("nsenter", "--net=/run/netns/%s-%s" % (NAME, role), "--") + argv if role else argv

    def run(self, role, *argv, cgroup=None, **kw):
        """Its output; Refused if it fails."""
        return call(*self.command(role, argv), preexec_fn=(lambda: self.join(cgroup)) if cgroup else None, **kw)

    def start(self, role, *argv, cgroup=None, **kw):
        # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
        p = subprocess.Popen(self.command(role, argv), preexec_fn=(lambda: self.join(cgroup)) if cgroup else None, **kw)
        self.processes.append(p)
        return p

    @staticmethod
    def program(name):
        return os.path.join(BUILD, "bin", name)

    def compile(self, policy, *options):
        """Returns (path of the IR, what fwc said)."""
        yaml, ir = os.path.join(self.folder, "policy.yaml"), os.path.join(self.folder, "ir.json")
        with open(yaml, "w", encoding="utf-8") as f:
            json.dump(policy, f)
        done = subprocess.run([self.program("fwc"), *options, "-o", ir, yaml], stderr=subprocess.PIPE, check=False)
        said = done.stderr.decode()
        if done.returncode:
            raise Refused("fwc: exit %d: %s" % (done.returncode, said))
        return ir, said

    def load(self, policy, *where, instance="a", role="host"):
        """Compiles and loads into an instance of this laboratory, from inside ${role}."""
        name = "%s-%s" % (NAME, instance)
        ir = self.compile(policy)[0]
        if name not in self.instances:
            self.instances.append(name)
        self.run(role, self.program("fwload"), "-q", "-N", name, *where, ir)

    def unload(self, instance="a"):
        call(self.program("fwload"), "-q", "-N", "%s-%s" % (NAME, instance), "--unload")
        self.instances.remove("%s-%s" % (NAME, instance))

    def stat(self, instance="a"):
        return json.loads(call(self.program("fwstat"), "-N", "%s-%s" % (NAME, instance), "-o", "json"))

    def count(self, instance="a"):
        return Counts(self.stat(instance))

    def pin(self, what, instance="a"):
        return "/sys/fs/bpf/fw/%s-%s/%s" % (NAME, instance, what)

    def close(self):
        for p in self.processes:
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.kill()
            p.wait()
        for argv in [(self.program("fwload"), "-q", "-N", n, "--unload") for n in self.instances] + [
                ("ip", "netns", "del", "%s-%s" % (NAME, role)) for role in self.spaces]:
            try:
                call(*argv)
            except Refused as e:
                note(e)
        for path in reversed(self.cgroups):
            if not wait_until(lambda p=path: removed(p), 2):
                note("%s could not be removed" % path)
        os.close(self.home)
        shutil.rmtree(self.folder)


def removed(path):
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def setns(fd):
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Counts:
    """Counters of an instance, to be subtracted: rule name -> {key: number}; (verdict, reason) -> packets."""

    def __init__(self, stat):
        self.rules = {r["name"]: {k: int(v) for k, v in r.items() if k.startswith(("packets", "calls", "events"))}
                      for r in stat["rules"]}
        self.verdicts = {}
        for v in stat["verdicts"]:
            key = (v["verdict"], v["reason"])
            self.verdicts[key] = self.verdicts.get(key, 0) + int(v["packets"])

    def __sub__(self, other):
        d = Counts({"rules": [], "verdicts": []})
        d.rules = {n: {k: v - other.rules.get(n, {}).get(k, 0) for k, v in r.items()} for n, r in self.rules.items()}
        d.verdicts = {k: v - other.verdicts.get(k, 0) for k, v in self.verdicts.items() if v != other.verdicts.get(k, 0)}
        return d

    def packets(self):
        """All that were judged but for neighbour discovery, which comes when it likes."""
        return sum(n for (_, reason), n in self.verdicts.items() if reason != "neighbour")

    def get(self, verdict, reason):
        return self.verdicts.get((verdict, reason), 0)


# ---- frames through pinned programs ----


class TestRun:
    """Frames by BPF_PROG_TEST_RUN (prog_run.c). Each answer is (pass, drop or skip; [(verdict, reason, rule)])."""
    VERDICTS = ("allow", "deny", "rate_limited")
    REASONS = ("rule", "default", "flow", "malformed", "fragment", "neighbour", "no_memory", "invalid",
               "flows_full", "flow_cut")

    def __init__(self, lab):
        self.lab, self.runner = lab, prog_run_built()

    def __call__(self, hook, frames, ifindex=0, instance="a", cgroup=None):
        path = os.path.join(self.lab.folder, "frames")
        with open(path, "wb") as f:
            for frame in frames:
                f.write(struct.pack("<I", len(frame)) + frame)
        out = self.lab.run("host", self.runner, "-r", "-N", "%s-%s" % (NAME, instance), "-i", str(ifindex), hook, path,
                           cgroup=cgroup).decode().splitlines()
        names = {int(w[2]): w[3] for w in (line.split() for line in out) if w[:2] == ["#", "rule"]}
        answers = []
        for line in out:
            if line.startswith("#"):
                continue
            verdict, *events = [part.split() for part in line.split(" | ")]
            answers.append((verdict[0], [(self.VERDICTS[int(e[0])], self.REASONS[int(e[1])], names.get(int(e[2])))
                                         for e in events]))
        if len(answers) != len(frames):
            raise Refused("prog_run answered %d of %d frames" % (len(answers), len(frames)))
        return answers


# ---- sockets ----


def packet_socket(device, take=True):
    """All frames of the device; without ${take}, only to send."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    if take:
        s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    s.bind((device, ETH_P_ALL if take else 0))
    s.setblocking(False)
    return s


def take(s):
    """Everything that has arrived."""
    got = []
    while True:
        try:
            got.append(s.recv(65536))
        except (BlockingIOError, ConnectionError):
            return got


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def udp_socket(address="", port=0, kind=socket.SOCK_DGRAM, fam=None):
    s = socket.socket(fam or family(address), kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    s.bind((address, port))
    s.settimeout(2)
    return s


def receives(s, seconds=2):
    """The next datagram, None when there is none in time."""
    s.settimeout(seconds)
    try:
        return s.recvfrom(65536)
    except (TimeoutError, ConnectionError):
        return None


# ---- running ----


def main(make, *tests):
    """make() gives the laboratory that each of ${tests} takes."""
    reason = why_not()
    if reason:
        print("1..0 # SKIP %s" % reason)
        sys.exit(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lab = Lab()
    try:
        make(lab)
        for test in tests:
            if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
                continue
            try:
                test(lab)
            except (Refused, OSError) as e:
                ok(False, "%s runs to its end" % test.__name__, repr(e), traceback.format_exc())
        print("1..%d" % ran)
    finally:
        lab.close()
    sys.exit(1 if failed else 0)
