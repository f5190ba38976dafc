# SPDX-License-Identifier: GPL-2.0-only
"""The flow table of an instance as it is pinned (bpf/fw_abi.h), and frames through its programs in bulk."""
import collections
import ctypes
import ipaddress
import mmap
import os
import platform
import re
import struct
import subprocess

from live import NAME
from lab import BUILD, TOP, Refused, call, prog_run_built

WAYS, BUCKET, FLOW = 7, 512, 64
SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
BPF_OBJ_GET = 7


def contract():
    """Of bpf/fw_abi.h: [state, ...] and {state: is evictable}, by the names of enum fw_flow_state, in its order; and where
    the members of a bucket are."""
    with open(os.path.join(TOP, "bpf/fw_abi.h"), encoding="utf-8") as f:
        text = f.read()
    rows = re.findall(r"X\((\w+), \"(\w+)\", TMO_(\w+), ([01])\)", text)
    members = re.findall(r"\b(tags|word|flow)\b(?=[;[])", re.search(r"struct fw_flow_bucket \{(.*?)\n\};", text, re.S)[1])
    size, at = {"tags": 8, "word": 8 * WAYS, "flow": FLOW * WAYS}, {}
    for m in members:
        at[m] = sum(size[before] for before in at)
    return [r[0] for r in rows], {r[0]: r[3] == "1" for r in rows}, at


STATES, EVICTABLE, AT = contract()


def obj_get(path):
    buffer = ctypes.create_string_buffer(path.encode())
    attr = struct.pack("=QII", ctypes.addressof(buffer), 0, 0).ljust(128, b"\0")
    fd = ctypes.CDLL(None, use_errno=True).syscall(SYS_BPF, BPF_OBJ_GET, attr, 16)
    if fd < 0:
        raise OSError(ctypes.get_errno(), path)
    return fd


class Map:
    """An mmapable array."""

    def __init__(self, path):
        self.fd = obj_get(path)
        with open("/proc/self/fdinfo/%d" % self.fd, encoding="ascii") as f:
            info = dict(line.split(":", 1) for line in f)
        self.size = int(info["value_size"]) * int(info["max_entries"])
        pages = (self.size + mmap.PAGESIZE - 1) & -mmap.PAGESIZE
        self.memory = mmap.mmap(self.fd, pages, mmap.MAP_SHARED, mmap.PROT_READ)

    def read(self):
        return self.memory[:self.size]

    def close(self):
        self.memory.close()
        os.close(self.fd)


Flow = collections.namedtuple("Flow", "state src sport dst dport proto bucket way version tag generation egress hook")


def address(raw):
    a = ipaddress.IPv6Address(raw)
    return str(a.ipv4_mapped or a)


def flows(lab, instance="a"):
    """Every entry that is neither free nor a fragment's, and what is wrong with the table at rest."""
    table = Map(lab.pin("maps/flows", instance))
    data, wrong, found = table.read(), [], []
    table.close()
    for n in range(len(data) // BUCKET):
        at = n * BUCKET
        *words, tags = struct.unpack_from("<8Q", data, at + 64 * WAYS)
        for way, word in enumerate(words):
            tag, state = tags >> 8 * way & 0xFF, STATES[word & 0xFF]
            if state == "BUSY":
                wrong.append("bucket %d, way %d: busy" % (n, way))
            if (tag != 0) != (state != "FREE"):
                wrong.append("bucket %d, way %d: tag %02x of a flow that is %s" % (n, way, tag, state))
            if state in ("FREE", "BUSY"):
                continue
            src, dst, sport, dport, proto, hook, _, stamp = struct.unpack_from("<16s16sHHBBHQ", data, at + 64 * way)
            if state not in ("FRAGMENT", "CUT", "CUT_TCP"):
                found.append(Flow(state, address(src), sport, address(dst), dport, proto, n, way, word >> 16 & 0xFF, tag,
                                  stamp >> 32, bool(word & 0x200), hook))
        if tags >> 56:
            wrong.append("bucket %d: a tag without a way" % n)
    ends = collections.Counter(frozenset(((f.src, f.sport), (f.dst, f.dport))) | {f.proto} for f in found)
    wrong += ["%d times: %s" % (times, key) for key, times in ends.items() if times > 1]
    return found, wrong[:5]


def head(lab, instance="a"):
    """(buckets, max_flows)"""
    m = Map(lab.pin("maps/flow_head", instance))
    data = m.read()
    m.close()
    return struct.unpack_from("<II", data, 96)


def race_built():
    """prog_race's path; compiled when it is older than its source."""
    source, binary = os.path.join(TOP, "tests/prog_race.c"), os.path.join(BUILD, "tests/prog_race")
    if not os.path.exists(binary) or os.path.getmtime(binary) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(binary), exist_ok=True)
        call(os.environ.get("CC", "gcc"), "-std=gnu11", "-O2", "-g", "-Wall", "-D_GNU_SOURCE", "-I" + TOP, "-o", binary, source,
             "-lbpf", "-lelf", "-lz", "-pthread")
    return binary


def race(lab, first, second, ifindex, instance="a"):
    """Through XDP on two CPUs, frame by frame at the same moment: (answers of the first CPU, of the second)."""
    paths = []
    for n, frames in enumerate((first, second)):
        paths.append(os.path.join(lab.folder, "race%d" % n))
        with open(paths[-1], "wb") as f:
            f.write(b"".join(struct.pack("<I", len(frame)) + frame for frame in frames))
    out = lab.run("host", race_built(), lab.pin("progs/xdp", instance), str(ifindex), *paths).decode().split()
    if len(out) != len(first) + len(second):
        raise Refused("prog_race answered %d times" % len(out))
    return out[::2], out[1::2]


class Runner:
    """Frames by BPF_PROG_TEST_RUN, many at a time and without their events: "pass" or "drop" for each."""

    def __init__(self, lab, role="host"):
        self.lab, self.role, self.n, self.program = lab, role, 0, prog_run_built()

    def start(self, hook, frames, ifindex, instance="a", cpu=None):
        self.n += 1
        path = os.path.join(self.lab.folder, "run%d" % self.n)
        with open(path, "wb") as f:
            f.write(b"".join(struct.pack("<I", len(frame)) + frame for frame in frames))
        argv = ("taskset", "-c", str(cpu)) if cpu is not None else ()
        argv += (self.program, "-N", "%s-%s" % (NAME, instance), "-i", str(ifindex), hook, path)
        return self.lab.start(self.role, *argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE), path, len(frames)

    @staticmethod
    def finish(started):
        p, path, n = started
        out, err = p.communicate()
        os.unlink(path)
        answers = [a.decode() for a in out.split()]
        if p.returncode or len(answers) != n:
            raise Refused("prog_run: exit %s, %d of %d answers: %s" % (p.returncode, len(answers), n, err.decode()))
        return answers

    def __call__(self, *args, **kw):
        return self.finish(self.start(*args, **kw))
