# SPDX-License-Identifier: GPL-2.0-only
"""Where the programs under test are loaded: a network namespace with three veth devices (down, so that nothing
but the test's frames is judged) and a cgroup, per way of attaching. Everything made here is removed here."""
import os
import re
import struct
import subprocess
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("B", "build"))
INTERFACES = ("fwa0", "fwb0", "fwc0")
ATTACHED = INTERFACES[:2]  # fwc0 and lo stay without interface hooks

MODES = {
    # name: (fwload's arguments, hooks to run)
    "xdp": (["--xdp", "native"], ("xdp", "tc_egress")),
    "tc": (["--xdp", "off"], ("tc_ingress", "tc_egress")),
    "cgroup": ([], ("cgroup_ingress", "cgroup_egress")),
    "all": (["--xdp", "native"], ("xdp", "tc_egress", "cgroup_ingress", "cgroup_egress")),
}


class Refused(Exception):
    """A program said no: what it was asked and what it answered."""


def owns(mode, hook, interface):
    """Does this hook count and report, or does another do it for the packet?"""
    if mode != "all":
        return True
    if hook == "tc_egress":
        return False  # the cgroup hook sees it too
    return hook != "cgroup_ingress" or interface not in ATTACHED


def mounted(kind):
    with open("/proc/mounts", encoding="utf-8") as f:
        return [line.split()[1] for line in f if line.split()[2] == kind]


def call(*argv, **kw):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **kw)
    if done.returncode:
        raise Refused("%s: exit %d: %s" % (" ".join(argv), done.returncode, done.stderr.decode(errors="replace").strip()))
    return done.stdout


def prog_run_built():
    """The runner's path; compiled when it is older than its source."""
    source, binary = os.path.join(TOP, "tests/prog_run.c"), os.path.join(BUILD, "tests/prog_run")
    if not os.path.exists(binary) or os.path.getmtime(binary) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(binary), exist_ok=True)
        new = "%s.%d" % (binary, os.getpid())
        call(os.environ.get("CC", "gcc"), "-std=gnu11", "-O2", "-g", "-Wall", "-D_GNU_SOURCE", "-I" + TOP, "-o", new, source,
             "-lbpf", "-lelf", "-lz")
        os.rename(new, binary)
    return binary


def why_not():
    """Why the test can't run here, or None."""
    if os.geteuid():
        return "needs root"
    for program in ("fwc", "fwload"):
        if not os.path.exists(os.path.join(BUILD, "bin", program)):
            return "no %s" % os.path.join(BUILD, "bin", program)
    if not mounted("cgroup2"):
        return "no cgroup v2"
    return None


class Lab:
    """One namespace, cgroup and instance with programs attached in one mode."""

    def __init__(self, mode):
        self.mode = mode
        self.arguments, self.hooks = MODES[mode]
        self.name = "difftest-%d-%s" % (os.getpid(), mode)
        self.cgroup = os.path.join(mounted("cgroup2")[0], self.name)
        self.folder = tempfile.TemporaryDirectory(prefix="difftest-")
        self.runner = prog_run_built()
        self.made = False

    def make(self):
        if self.made:
            return
        self.made = True
        if "/sys/fs/bpf" not in mounted("bpf"):
            call("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
        call("ip", "netns", "add", self.name)
        for interface in INTERFACES:
            call("ip", "-n", self.name, "link", "add", interface, "type", "veth", "peer", interface + "p")
        os.mkdir(self.cgroup)
        self.index = {"lo": 1}
        for line in self.inside("ip", "-o", "link").decode().splitlines():
            number, interface = re.match(r"(\d+): ([^:@]+)", line).groups()
            self.index[interface] = int(number)

    def inside(self, *argv, in_cgroup=False):
        """Runs in the namespace, mounts as they are; ${in_cgroup}: as a member of the lab's cgroup."""

        def join():
            with open(os.path.join(self.cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write(str(os.getpid()))

        return call("nsenter", "--net=/var/run/netns/" + self.name, "--", *argv, preexec_fn=join if in_cgroup else None)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def load(self, yaml_text):
        """Compiles and loads; returns the IR's path."""
        self.make()
        with open(self.path("policy.yaml"), "w", encoding="utf-8") as f:
            f.write(yaml_text)
        call(os.path.join(BUILD, "bin/fwc"), "-q", "-o", self.path("ir.json"), self.path("policy.yaml"))
        where = []
        if self.mode != "cgroup":
            where += [x for i in ATTACHED for x in ("-i", i)]
        if self.mode in ("cgroup", "all"):
            where += ["-g", self.cgroup]
        self.inside(os.path.join(BUILD, "bin/fwload"), "-q", "-N", self.name, *where, *self.arguments,
                    self.path("ir.json"))
        return self.path("ir.json")

    def run(self, hook, interface, frames):
        """(lines for the frames, {what: [words]} of the "#" lines)"""
        with open(self.path("frames"), "wb") as f:
            for frame in frames:
                f.write(struct.pack("<I", len(frame)) + frame)
        out = self.inside(self.runner, "-r", "-c", "-N", self.name, "-i", str(self.index[interface]), hook, self.path("frames"),
                          in_cgroup=True)
        lines, notes = [], []
        for line in out.decode().splitlines():
            (notes if line.startswith("# ") else lines).append(line)
        if len(lines) != len(frames):
            raise Refused("prog_run answered %d of %d frames" % (len(lines), len(frames)))
        return lines, [note.split()[1:] for note in notes]

    def close(self):
        if not self.made:
            return
        for argv in ((os.path.join(BUILD, "bin/fwload"), "-q", "-N", self.name, "--unload"),
                     ("ip", "netns", "del", self.name)):
            try:
                call(*argv)
            except Refused as e:
                print("# %s" % e)
        try:
            os.rmdir(self.cgroup)
        except OSError as e:
            print("# %s" % e)
        self.folder.cleanup()
