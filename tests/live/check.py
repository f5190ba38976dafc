# SPDX-License-Identifier: GPL-2.0-only
"""fwstat --check against everything that can end protection without anybody saying so: interfaces and cgroups made anew, links
and pins taken away, other programs, other maps, tables that were written to, events that get lost, another policy on disk."""
import ctypes
import glob
import json
import mmap
import os
import platform
import shutil
import signal
import socket
import struct
import subprocess
import threading

from live import BUILD, NAME, Refused, call, libc, main, ok, prog_run_built, same, wait_until
from build import eth, ipv4, udp

SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
OBJ_GET, MAP_GET_FD_BY_ID, LINK_CREATE, LINK_UPDATE, F_BEFORE, TCX_EGRESS = 7, 14, 28, 29, 8, 47
BPFTOOL = shutil.which("bpftool", path=os.environ["PATH"] + ":/usr/sbin") or "bpftool"
POLICY = {"default_action": "deny", "log_limit": 0, "rules": [
    {"name": "ssh", "priority": 10, "direction": "ingress", "protocol": "tcp", "destination_ports": [22], "action": "allow"},
    {"name": "out", "priority": 20, "direction": "egress", "action": "allow"}]}


def make(lab):
    lab.space("host", "peer")
    lab.veth("host", "eth0", "peer", "p0")
    lab.group = lab.cgroup()
    lab.where = ("-i", "eth0", "-g", "/" + NAME)


def load(lab, policy=None, *options):
    lab.load(policy or POLICY, *lab.where, *options)


def check(lab, *options, **kw):
    """(exit status, text)"""
    done = subprocess.run(lab.command("host", (lab.program("fwstat"), "-N", NAME + "-a", "--check") + options), check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
    text = done.stdout.decode()
    if text.count("\n") != 1 or done.stderr:
        return done.returncode, "not one line: %r %r" % (text, done.stderr)
    return done.returncode, text.split(" | ")[0].rstrip("\n")


def critical(lab, what, *parts):
    status, text = check(lab)
    ok(status == 2 and text.startswith("FW CRITICAL - ") and all(p in text for p in parts), what, status, text, parts)


def repaired(lab):
    load(lab)
    same(check(lab), (0, "FW OK - generation %d, 2 rules, %d hooks attached" % (lab.stat()["generation"], len(lab.stat()["hooks"]))),
         "a load puts it right")


# ---- the kernel's side of it ----


def bpf(command, attr):
    attr = attr.ljust(128, b"\0")
    fd = libc.syscall(SYS_BPF, command, ctypes.c_char_p(attr), len(attr))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "bpf command %d" % command)
    return fd


def pinned(path):
    name = ctypes.create_string_buffer(path.encode())
    return bpf(OBJ_GET, struct.pack("<QII", ctypes.addressof(name), 0, 0))


def link(lab, hook):
    return glob.glob(lab.pin("links/%s-*" % hook))[0]


def update_link(path, prog):
    """Another program for the link pinned at ${path}."""
    fds = pinned(path), pinned(prog)
    bpf(LINK_UPDATE, struct.pack("<III", *fds, 0))
    for fd in fds:
        os.close(fd)


class Tables:
    """The memory of the active tables."""

    def __init__(self, lab):
        slot = lab.stat()["control"]["active_slot"]
        found = json.loads(call(BPFTOOL, "-j", "map", "lookup", "pinned", lab.pin("maps/arenas"), "key", str(slot), "0", "0", "0"))
        arena = found["inner_map_id"] if "inner_map_id" in found else struct.unpack("<I", bytes(int(b, 16) for b in found["value"]))[0]
        self.fd = bpf(MAP_GET_FD_BY_ID, struct.pack("<I", arena))
        self.memory = mmap.mmap(self.fd, 1 << 16)

    def flip(self, at):
        self.memory[at] ^= 1

    def close(self):
        self.memory.close()
        os.close(self.fd)


# ---- tests ----


def test_fine(lab):
    load(lab)
    status, text = check(lab)
    ok(status == 0 and text.startswith("FW OK - generation 1, 2 rules, "), "all is well", status, text)
    done = subprocess.run(lab.command("host", (lab.program("fwstat"), "-N", NAME + "-none", "--check")), check=False, stdout=subprocess.PIPE)
    ok(done.returncode == 3 and done.stdout.startswith(b"FW UNKNOWN - "), "what is not loaded is UNKNOWN", done.stdout)


def test_expect(lab):
    ir = lab.compile(POLICY)[0]
    load(lab)
    same(check(lab, "--expect", ir)[0], 0, "the policy on disk is the loaded one")
    with open(ir, "rb") as f:
        same(check(lab, "--expect", "-", stdin=f)[0], 0, "from standard input")
    lab.compile(dict(POLICY, description="told anew", generated_at="2026-01-01T00:00:00Z"))
    same(check(lab, "--expect", ir)[0], 0, "texts that judge nothing make no difference")
    rules = [dict(POLICY["rules"][0], destination_ports=[22, 23]), POLICY["rules"][1]]
    lab.compile(dict(POLICY, rules=rules))
    same(check(lab, "--expect", ir), (2, "FW CRITICAL - the loaded policy is not that of " + ir), "another policy")
    lab.compile(dict(POLICY, attach={"interfaces": ["eth0"]}))
    same(check(lab, "--expect", ir), (1, "FW WARNING - the loaded policy is attached elsewhere than %s says" % ir), "attached elsewhere")
    lab.run("host", lab.program("fwload"), "-q", "-N", NAME + "-a", ir)
    same(check(lab, "--expect", ir)[0], 0, "attached where it says")
    with open(ir, "wb") as f:
        f.write(b'{"ir_version":1')
    status, text = check(lab, "--expect", ir)
    ok(status == 2 and "is no policy that could be loaded" in text, "a file that is no policy", status, text)
    status, text = check(lab, "--expect", ir + ".none")
    ok(status == 3 and text.startswith("FW UNKNOWN - cannot open "), "a file that is not there", status, text)
    repaired(lab)


def test_interface(lab):
    load(lab)
    lab.ip("host", "link del eth0")
    wait_until(lambda: check(lab)[0] == 2)
    critical(lab, "an interface was deleted", "xdp on eth0 gone: ", "tc_egress on eth0 gone: ")
    lab.veth("host", "eth0", "peer", "p0")
    critical(lab, "made anew it is not protected", "xdp on eth0 gone: ")
    repaired(lab)


def test_cgroup(lab):
    load(lab)
    os.rmdir(lab.group)
    os.mkdir(lab.group)
    critical(lab, "a cgroup was made anew", "connect4 on /%s gone: " % NAME)
    repaired(lab)
    # a socket that was made in it keeps the old cgroup's hooks: they seem to be attached still
    with lab.inside("host", lab.group):
        kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    os.rmdir(lab.group)
    os.mkdir(lab.group)
    critical(lab, "while the old one is not quite gone", "connect4 on /%s gone: another cgroup has the path now" % NAME)
    kept.close()
    repaired(lab)


def test_links(lab):
    load(lab)
    call(BPFTOOL, "link", "detach", "pinned", link(lab, "connect4"))
    critical(lab, "a link was detached", "connect4 on ", "somebody detached it")
    repaired(lab)
    os.unlink(link(lab, "cgroup_egress"))
    critical(lab, "a link's pin was removed", "cgroup_egress on ", "pin was removed")
    repaired(lab)
    other = "/sys/fs/bpf/%s-other" % NAME
    call(BPFTOOL, "prog", "load", os.path.join(BUILD, "tests/ring.bpf.o"), other, "type", "xdp")
    try:
        update_link(link(lab, "xdp"), other)
        critical(lab, "a link got another program", "xdp on eth0 gone: another program took the place (id ")
    finally:
        os.unlink(other)
    repaired(lab)


def test_programs(lab):
    """Our own program, but one that works on the maps of another instance: nobody would see it by its name."""
    load(lab)
    lab.veth("host", "eth1", "peer", "p1")
    lab.load(POLICY, "-i", "eth1", instance="b")
    update_link(link(lab, "xdp"), lab.pin("progs/xdp", "b"))
    critical(lab, "a program of another instance", "xdp on eth0 gone: another program took the place")
    os.rename(lab.pin("progs/xdp"), lab.pin("progs/kept"))
    call(BPFTOOL, "prog", "pin", "pinned", lab.pin("progs/xdp", "b"), lab.pin("progs/xdp"))
    critical(lab, "which is pinned here, too", "xdp on eth0 gone: its program works on another map ")
    os.rename(lab.pin("progs/kept"), lab.pin("progs/xdp"))
    repaired(lab)
    with lab.inside("host"):
        index = socket.if_nametoindex("eth0")
        prog = pinned(lab.pin("progs/tc_egress", "b"))
        first = bpf(LINK_CREATE, struct.pack("<IIII", prog, index, TCX_EGRESS, F_BEFORE))
    status, text = check(lab)
    ok(status == 1 and "1 program of others before tc_egress on eth0" in text, "a program before ours", status, text)
    same([h.get("programs_before") for h in json.loads(lab.run("host", lab.program("fwstat"), "-N", NAME + "-a", "-o", "json"))["hooks"] if h["hook"] == "tc_egress"], [1], "and in the JSON")
    os.close(first)
    os.close(prog)
    same(check(lab)[0], 0, "without it, all is well")
    lab.unload("b")


def test_tables(lab):
    load(lab)
    t = Tables(lab)
    for at in (200, 4096, [s for s in lab.stat()["slots"] if s["active"]][0]["used_bytes"] - 1):
        t.flip(at)
        critical(lab, "tables that were written to, at %d" % at, "the tables of generation ", " were written to")
        t.flip(at)
    at = t.memory.find(bytes.fromhex(lab.stat()["digest"]))
    t.flip(at)
    critical(lab, "tables with another digest", " have another digest")
    try:
        status = lab.run("host", lab.program("fwstat"), "-N", NAME + "-a")
    except Refused as why:
        status = str(why)
    ok("have another digest" in str(status), "which plain fwstat sees, too", status)
    t.flip(at)
    same(check(lab)[0], 0, "as it was before")
    t.close()
    load(lab, dict(POLICY, default_action="allow"))
    same(check(lab)[0], 0, "two generations")
    load(lab)
    same(check(lab)[0], 0, "three")


def test_pins(lab):
    load(lab)
    for pin in ("control", "arenas", "flows", "meta%d" % lab.stat()["control"]["active_slot"], "audit_stats"):
        os.rename(lab.pin("maps/" + pin), lab.pin("maps/kept"))
        critical(lab, "a map's pin was removed: " + pin, "cannot ", "No such file")
        os.rename(lab.pin("maps/kept"), lab.pin("maps/" + pin))
    for pin in ("maps/log_limits", "maps/rings", "maps/ring0/events", "progs/commit"):
        os.rename(lab.pin(pin), lab.pin(pin) + "_kept")
        critical(lab, "a pin that fwstat itself doesn't need was removed: " + pin, "the pin %s is missing" % pin)
        os.rename(lab.pin(pin) + "_kept", lab.pin(pin))
    same(check(lab)[0], 0, "as it was before")
    os.rename(lab.pin("maps/limits"), lab.pin("maps/kept"))
    call(BPFTOOL, "map", "create", lab.pin("maps/limits"), "type", "lru_hash", "key", "24", "value", "8", "entries", "16", "name", "limits")
    critical(lab, "another map under the name of one", "its program works on another map limits than the pinned one")
    os.unlink(lab.pin("maps/limits"))
    os.rename(lab.pin("maps/kept"), lab.pin("maps/limits"))
    same(check(lab)[0], 0, "as it was before, again")


def test_reloads(lab):
    """A load in progress, with programs of its own each time, is no tampering."""
    load(lab)
    stop, bad = threading.Event(), []

    def checks():
        while not stop.is_set():
            bad.extend(said for said in [check(lab)] if said[0])

    thread = threading.Thread(target=checks)
    thread.start()
    for n in range(12):
        load(lab, dict(POLICY, max_flows=1000 + 100 * (n % 5), log_limit=n + 1))
    stop.set()
    thread.join()
    same(bad, [], "checks during loads")
    load(lab, dict(POLICY, max_flows=5000))
    call(lab.program("fwload"), "-q", "-N", NAME + "-a", "--rollback")
    status, text = check(lab)
    ok(status == 1 and "was taken back at" in text, "the generation before, with the programs of the one after it", status, text)
    repaired(lab)


def trial_of_hooks(lab, policy, what):
    """On trial where other hooks are attached, and back: the hooks of both work on the same maps."""
    load(lab)
    load(lab, policy, "--xdp", "off", "--confirm", "1s")
    same(check(lab)[0], 0, "a trial with %s" % what)
    said = wait_until(lambda: [s for s in [check(lab)] if s[0]], 6)
    ok(said and said[0][0] == 1 and "was taken back at" in said[0][1], "and back at its end", said)
    load(lab, dict(POLICY, log_limit=7))
    same(check(lab)[0], 0, "and after the next load")


def test_trial_hooks(lab):
    trial_of_hooks(lab, dict(POLICY, default_action="allow"), "other hooks")


def test_trial_flows(lab):
    trial_of_hooks(lab, dict(POLICY, max_flows=200000), "other hooks and another flow table")


def test_losses(lab):
    load(lab)
    reader = lab.start("host", lab.program("fwmon"), "-N", NAME + "-a", stdout=subprocess.PIPE)
    reader.stdout.readline()
    same(check(lab)[0], 0, "a reader that keeps up")
    reader.send_signal(signal.SIGSTOP)
    frames = os.path.join(lab.folder, "flood")
    with open(frames, "wb") as f:
        frame = eth(0x0800, ipv4("10.77.0.2", "10.77.0.1", 17, udp(1, 7000)))
        f.write(struct.pack("<I", len(frame)) + frame)
    with lab.inside("host"):
        index = socket.if_nametoindex("eth0")
    flood = lab.start("host", prog_run_built(), "-N", NAME + "-a", "-i", str(index), "-n", "20000000", "xdp", frames,
                      stdout=subprocess.DEVNULL)
    said = wait_until(lambda: [s for s in [check(lab)] if "ring0 is losing events" in s[1]])
    ok(said and said[0][0] == 2, "events are being lost", said, check(lab))
    flood.kill()
    flood.wait()
    status, text = check(lab)
    ok(status in (1, 2) and "losing" not in text, "not any more", status, text)
    reader.kill()
    reader.wait()
    status, text = check(lab)
    ok(status == 1 and "was left by a killed reader" in text, "a killed reader", status, text)
    reader = lab.start("host", lab.program("fwmon"), "-N", NAME + "-a", "-c", "1", stdout=subprocess.DEVNULL)
    ok(wait_until(lambda: "events lost by ring0" in check(lab)[1]), "a new one is told that events were lost since the ring was made")
    reader.terminate()
    reader.wait()


def test_trial(lab):
    load(lab)
    generation = lab.stat()["generation"]
    load(lab, dict(POLICY, default_action="allow"), "--confirm", "3s")
    status, text = check(lab)
    ok(status == 0 and "generation %d on trial, " % (generation + 1) in text, "a trial is OK", status, text)
    said = wait_until(lambda: [s for s in [check(lab)] if s[0]], 6)
    ok(said and said[0][0] == 1 and "generation %d was taken back at " % (generation + 1) in said[0][1] and
       said[0][1].endswith(", %d decides" % generation), "one that ran out is a WARNING", said)
    load(lab, dict(POLICY, log_limit=5))
    same(check(lab)[0], 0, "until the next load")
    call(lab.program("fwload"), "-q", "-N", NAME + "-a", "--rollback")
    status, text = check(lab)
    ok(status == 1 and "was taken back at " in text, "a rollback, too", status, text)
    load(lab, dict(POLICY, log_limit=6))


if __name__ == "__main__":
    main(make, test_fine, test_expect, test_interface, test_cgroup, test_links, test_programs, test_tables, test_pins, test_reloads, test_losses,
         test_trial, test_trial_hooks, test_trial_flows)
