# SPDX-License-Identifier: GPL-2.0-only
"""What fwload attaches to and what it needs of the kernel: programs of others beside ours or in our place, interfaces and cgroups
that go away while it works, missing types, a verifier that refuses, missing capabilities. (fwstat.t has what fwstat says of
interfaces and cgroups that were renamed, deleted and made anew.)"""
import os
import re
import shutil
import signal
import subprocess
import time

from faults import FULL, NAME, PEER, PORTS, Sweep, attached, few, fwload, make, need, of_generations, pins, run
from live import call, main, note, ok, same, udp_socket, wait_until

SOURCE = """
#include <linux/bpf.h>
#define SEC(s) __attribute__((section(s), used))
SEC("xdp") int other_xdp(struct xdp_md *c) { return XDP_PASS; }
SEC("tc") int other_tc(struct __sk_buff *c) { return -1; }
SEC("cgroup_skb/egress") int other_group(struct __sk_buff *c) { return 1; }
char lic[] SEC("license") = "GPL";
"""


def setting(lab):
    make(lab)
    source, lab.other = os.path.join(lab.folder, "other.c"), os.path.join(lab.folder, "other.o")
    with open(source, "w", encoding="ascii") as f:
        f.write(SOURCE)
    call("clang", "-O2", "-g", "-target", "bpf", "-isystem", "/usr/include/%s-linux-gnu" % os.uname().machine, "-c", source, "-o", lab.other)
    second(lab)


def second(lab):
    """Another interface, that nothing runs over."""
    lab.veth("host", "eth1", "peer", "eth1")


def calls(lab, about, *args, **kw):
    """Which of the bpf() calls of this load the pattern finds, numbered from 1."""
    log = os.path.join(lab.folder, "trace")
    fwload(lab, *args, trace=log, **kw)
    with open(log, encoding="utf-8", errors="replace") as f:
        lines = [line for line in f if " bpf(" in line]
    return [i + 1 for i, line in enumerate(lines) if re.search(about, line)]


def both(lab):
    return lab.where + ("-i", "eth1")


def test_foreign_xdp(lab):
    """On an interface that comes in addition: nothing changes anywhere."""
    fwload(lab, "old")
    expected = pins(lab)
    before = attached(lab)
    lab.ip("host", "link set eth1 xdp obj %s sec xdp" % lab.other)
    sweep = Sweep(lab, "reload with a second interface whose XDP another program has")
    done = fwload(lab, "new", where=both(lab))
    sweep.judge("taken", done, "old", "new")
    sweep.wrong_if(done.status != 3 or "XDP on eth1 is taken by program 'other_xdp'" not in done.err, "taken", "does not name it", done)
    left = set(pins(lab)) ^ set(expected)
    sweep.wrong_if(left - of_generations(left), "taken", "pins changed: %s" % left)
    # what was attached at eth1 before XDP was tried goes away with the links' last user, soon
    wait_until(lambda: sorted(attached(lab)) == sorted(before + ["eth1 xdp"]), 2)
    sweep.wrong_if(sorted(attached(lab)) != sorted(before + ["eth1 xdp"]), "taken", "attached: %s" % attached(lab))
    lab.ip("host", "link set eth1 xdp off")
    sweep.repair("taken", "new", where=both(lab))
    sweep.report()
    fwload(lab, "--unload")


def test_beside_others(lab):
    """Programs of others at TC and the cgroup, there before ours and after: both run, and theirs stay."""
    pinned = "/sys/fs/bpf/" + NAME
    lab.run("host", "tc", "qdisc", "add", "dev", "eth0", "clsact")
    for side in ("ingress", "egress"):
        lab.run("host", "tc", "filter", "add", "dev", "eth0", side, "bpf", "da", "obj", lab.other, "sec", "tc")
    try:
        call("bpftool", "prog", "loadall", lab.other, pinned)
        call("bpftool", "cgroup", "attach", lab.group, "egress", "pinned", pinned + "/other_group", "multi")
        theirs = attached(lab)
        for options in ((), ("--xdp", "off")):
            sweep = Sweep(lab, "beside clsact filters of others %s" % " ".join(options))
            where = lab.where + options
            for target in ("old", "new"):
                done = fwload(lab, target, where=where)
                sweep.judge(target, done, target, target)
                sweep.wrong_if(done.status, target, "not loaded", done)
            fwload(lab, "--unload")
            wait_until(lambda: attached(lab) == theirs, 2)
            sweep.wrong_if(attached(lab) != theirs, "unload", "attached: %s, before: %s" % (attached(lab), theirs))
            sweep.report()
    finally:
        lab.run("host", "tc", "qdisc", "del", "dev", "eth0", "clsact")
        if os.path.isdir(pinned):
            call("bpftool", "cgroup", "detach", lab.group, "egress", "pinned", pinned + "/other_group")
            shutil.rmtree(pinned)


def stopped_at(lab, nth, *args, where):
    """fwload stopped right after its nth bpf(); returns (strace's process, the loader's pid)."""
    argv = lab.command("host", ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=bpf:signal=STOP:when=%d" % nth,
                                lab.program("fwload"), "-q", "-N", lab.name) + tuple(where) + tuple(args[:-1]) + (lab.ir[args[-1]],))
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lab.processes.append(p)

    seen = []

    def stopped():
        """Its pid, when it doesn't get on any more: between two calls, too, a traced process is in state t for a moment."""
        try:
            with open("/proc/%d/task/%d/children" % (p.pid, p.pid), encoding="ascii") as f:
                pid = int((f.read().split() or [0])[0])
            with open("/proc/%d/status" % pid, encoding="ascii") as f:
                status = f.read()
        except FileNotFoundError:
            return -1 if p.poll() is not None else None
        here = re.search(r"Name:\s+fwload\n", status) and re.search(r"State:\s+[tT]", status) and (
            re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", status)[1])
        seen.append(here)
        return pid if here and len(seen) > 6 and len(set(seen[-6:])) == 1 else None
    return p, wait_until(stopped, 10)


def let_go(p, pid):
    """Not stopped where it should have been."""
    if pid and pid > 0:
        os.kill(pid, signal.SIGKILL)
    p.kill()
    p.communicate()


class Ended:
    def __init__(self, p):
        out, err = p.communicate(timeout=60)
        self.status, self.out, self.err = p.returncode, out.decode(), err.decode()

    def __str__(self):
        return "exit %d: %s" % (self.status, self.err.strip() or "(no message)")


def test_gone_under_way(lab):
    """eth1 goes away between two calls of a load that is to protect it, too."""
    fwload(lab, "old")
    expected = pins(lab)
    fwload(lab, "new", where=both(lab))
    fwload(lab, "old")
    fwload(lab, "--unload")
    fwload(lab, "old")
    # stopped after the call before each: numbers from 1
    links = [n - 1 for n in calls(lab, "BPF_LINK_CREATE", "new", where=both(lab))]
    sweep = Sweep(lab, "an interface disappears between being found and being attached to")
    for at in (1, *links, links[-1] + 2):
        for change in ("deleted", "recreated", "renamed"):
            point = "%s after bpf() %d" % (change, at)
            fwload(lab, "old")  # and leaves eth1
            p, pid = stopped_at(lab, at, "new", where=both(lab))
            if sweep.wrong_if(not pid or pid < 0, point, "was not stopped"):
                let_go(p, pid)
                continue
            if change == "renamed":
                lab.ip("host", "link set eth1 name eth9")
            else:
                lab.ip("host", "link del eth1")
            if change == "recreated":
                second(lab)
            os.kill(pid, signal.SIGCONT)
            done = Ended(p)
            sweep.judge(point, done, "old", "new")
            sweep.wrong_if(done.status and "eth1" not in done.err, point, "the interface is not named", done)
            if done.status:
                left = set(pins(lab)) - set(expected)
                left -= of_generations(left)
                sweep.wrong_if(left, point, "pins left: %s" % left)
            elif change != "renamed":
                check = run(lab, lab.program("fwstat"), "-N", lab.name, "--check")
                sweep.wrong_if(check.status != 2, point, "exit 0 and fwstat --check is not CRITICAL", check.out)
            if change == "renamed":
                lab.ip("host", "link set eth9 name eth1")
            elif change == "deleted":
                second(lab)
            sweep.repair(point, "new", where=both(lab))
    sweep.report()
    fwload(lab, "--unload")


def test_cgroup_under_way(lab):
    """Likewise a cgroup: the load that is to protect it, too, fails, or fwstat is CRITICAL."""
    top = lab.cgroup("-gone")
    where = ("-i", "eth0", "-g", "/%s-gone" % NAME)
    sweep = Sweep(lab, "a cgroup is made anew between being found and being attached to")
    fwload(lab, "old", where=("-i", "eth0"))
    found = [n - 1 for n in calls(lab, "BPF_LINK_CREATE", "new", where=where)]
    links = found if FULL else (found[0], found[-1])
    for at in (1, *links):
        fwload(lab, "--unload")
        fwload(lab, "old", where=("-i", "eth0"))
        p, pid = stopped_at(lab, at, "new", where=where)
        point = "after bpf() %d" % at
        if sweep.wrong_if(not pid or pid < 0, point, "was not stopped"):
            let_go(p, pid)
            continue
        os.rmdir(top)
        os.mkdir(top)
        os.kill(pid, signal.SIGCONT)
        done = Ended(p)
        sweep.judge(point, done, "old", "new")
        if not done.status:
            check = run(lab, lab.program("fwstat"), "-N", lab.name, "--check")
            sweep.wrong_if(check.status != 2 and not denied_in(lab, top), point,
                           "exit 0, no protection and fwstat --check is not CRITICAL", done, check.out)
        sweep.repair(point, "new", where=where)
        sweep.wrong_if(not denied_in(lab, top), point, "loading again does not protect the new cgroup")
    sweep.report()
    fwload(lab, "--unload")


def denied_in(lab, group):
    """A call of a process of this cgroup to what "new" denies is refused."""
    with lab.inside("host", group):
        s = udp_socket()
    try:
        s.sendto(b"x", (PEER, PORTS["A"]))
        return False
    except PermissionError:
        return True
    finally:
        s.close()


def test_recreated(lab):
    """Protection that ended is CRITICAL at once, says where, and a load brings it back."""
    top = os.path.join(os.path.dirname(lab.group), NAME + "-again")
    os.mkdir(top)
    lab.cgroups.append(top)
    where = ("-i", "eth0", "-i", "eth1", "-g", "/%s-again" % NAME)
    fwload(lab, "old", where=where)

    def critical(what, word):
        check = run(lab, lab.program("fwstat"), "-N", lab.name, "--check")
        ok(check.status == 2 and word in check.out, "fwstat --check: CRITICAL when %s" % what, check.status, check.out)
        plain = run(lab, lab.program("fwstat"), "-N", lab.name, "-q")
        same(plain.status, 1, "and fwstat's exit status says so, too")

    same(run(lab, lab.program("fwstat"), "-N", lab.name, "--check").status, 0, "fwstat --check: OK before")
    os.rmdir(top)
    os.mkdir(top)
    critical("a cgroup has this moment been made anew", top.rsplit("/", 1)[1])
    os.rmdir(top)
    critical("a cgroup was removed", top.rsplit("/", 1)[1])
    os.mkdir(top)
    critical("a cgroup was made anew", top.rsplit("/", 1)[1])
    time.sleep(3.2)  # the kernel shows the old id for up to three seconds
    critical("a cgroup was made anew some seconds ago", top.rsplit("/", 1)[1])
    done = fwload(lab, "old", where=where)
    same((done.status, run(lab, lab.program("fwstat"), "-N", lab.name, "--check").status), (0, 0), "loading the same again protects it", done)
    lab.ip("host", "link del eth1")
    critical("an interface was deleted", "eth1")
    second(lab)
    critical("an interface was made anew", "eth1")
    done = fwload(lab, "old", where=where)
    same((done.status, run(lab, lab.program("fwstat"), "-N", lab.name, "--check").status), (0, 0), "loading the same again protects it", done)
    lab.ip("host", "link set eth1 name eth9")
    same(run(lab, lab.program("fwstat"), "-N", lab.name, "--check").status, 0, "a renamed interface is protected")
    lab.ip("host", "link set eth9 name eth1")
    fwload(lab, "--unload")


def test_netns_deleted(lab):
    lab.space("gone")
    lab.veth("gone", "d0", "peer", "d0")
    done = fwload(lab, "old", where=("-i", "d0"), role="gone")
    same(done.status, 0, "a load in a network namespace of its own", done)
    call("ip", "netns", "del", NAME + "-gone")
    lab.spaces.remove("gone")
    check = wait_until(lambda: [c for c in [run(lab, lab.program("fwstat"), "-N", lab.name, "--check")] if c.status == 2], 5)
    ok(check, "fwstat --check: CRITICAL when the network namespace was deleted")
    done = fwload(lab, "new")
    same((done.status, lab.probe()), (0, "new"), "loading elsewhere under the same name", done)
    done = fwload(lab, "--unload")
    same((done.status, lab.probe()), (0, "none"), "unloads", done)


def without(what):
    return ("setpriv", "--bounding-set", ",".join("-" + c for c in what), "--inh-caps", ",".join("-" + c for c in what))


def test_privileges(lab):
    """Named, and nothing changes; also for a load that has programs already."""
    cases = {"no CAP_BPF": without(("bpf", "sys_admin")), "no CAP_NET_ADMIN": without(("net_admin", "sys_admin")),
             "no capability": ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all"), "another user": ("setpriv", "--reuid=65534", "--clear-groups")}
    for first in (True, False):
        before = "none" if first else "old"
        fwload(lab, "--unload")
        if not first:
            fwload(lab, "old")
        sweep = Sweep(lab, "%s without privileges" % ("first load" if first else "reload"))
        for point, prefix in cases.items():
            done = fwload(lab, "new", before=prefix)
            if done.status in (126, 127):
                note("%s: can't run from here: %s" % (point, done))
                continue
            sweep.judge(point, done, before, "new")
            sweep.wrong_if(done.status not in (0, 3), point, "not the system's refusal", done)
            sweep.wrong_if(done.status and not re.search("Operation not permitted|Permission denied|CAP_", done.err), point, "not named", done)
            note("%s: %s" % (point, str(done).replace("\n", " / ")))
            if first and done.status:
                sweep.gone(point)
                fwload(lab, "--unload")
            else:
                sweep.repair(point, "old")
                if first:
                    fwload(lab, "--unload")
        sweep.report()
    fwload(lab, "--unload")


def test_kernel_refuses(lab):
    """The verifier's refusal by injection; the kernel's types hidden."""
    few(lab)
    programs = calls(lab, "BPF_PROG_LOAD.*prog_name=.fw_", "new")
    fwload(lab, "--unload")
    sweep = Sweep(lab, "first load: the verifier refuses a program")
    for at in programs:
        for error in ("EACCES", "EINVAL", "E2BIG")[::1 if FULL else 2]:
            point = "program load %d %s" % (at, error)
            done = fwload(lab, "new", inject=["bpf:error=%s:when=%d+" % (error, at)])
            sweep.judge(point, done, "none", "new")
            sweep.wrong_if(done.status != 3 or "refuses the programs" not in done.err, point, "does not say so", done)
            sweep.gone(point)
    sweep.report()
    for first in (True, False):
        fwload(lab, "--unload")
        if not first:
            fwload(lab, "old")
        sweep = Sweep(lab, "%s: the kernel's types are hidden" % ("first load" if first else "reload with programs"))
        done = fwload(lab, "new", where=None if first else both(lab) + ("--xdp", "off"), before=(
            "unshare", "-m", "--propagation", "private", "sh", "-ec", 'mount --bind /dev/null /sys/kernel/btf/vmlinux; exec "$@"', "sh"))
        note(str(done).replace("\n", " / "))
        sweep.judge("no BTF", done, "none" if first else "old", "new")
        if first and done.status:
            sweep.gone("no BTF")
        sweep.repair("no BTF", "new")
        sweep.report()
    fwload(lab, "--unload")


if __name__ == "__main__":
    for command in ("strace", "clang", "setpriv", "unshare", "bpftool", "tc"):
        need(command)
    main(setting, test_foreign_xdp, test_beside_others, test_gone_under_way, test_cgroup_under_way, test_recreated, test_netns_deleted,
         test_privileges, test_kernel_refuses)
