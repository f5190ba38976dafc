# SPDX-License-Identifier: GPL-2.0-only
"""fwload killed, interrupted and failed at its system calls, by strace's injection: a first load, a reload, one that makes
programs and maps anew, and an unload. Reads are left out of the counting: nothing changes in the kernel between two of them, and of
the 1,900 calls of a first load they are 1,400 (libbpf reads the kernel's types)."""
import errno
import json
import os
import re
import signal

from faults import FULL, Steady, Sweep, everywhere, few, fwload, keep, make, need, of_generations, pins, policy, run, sample
from live import main

OTHER = {"old": "new", "new": "old"}
# What changes something in the kernel, or may: a sample is taken among these.
CHANGES = {"bpf", "mkdir", "mkdirat", "rename", "renameat", "unlink", "unlinkat", "rmdir", "sendto", "flock", "mmap"}


def calls(lab, *args, about=None):
    """The system calls that this load makes, each as (name, how many-eth of that name): so does strace count. ${about}: those that
    the pattern finds in strace's line."""
    fwload(lab, *args, trace=os.path.join(lab.folder, "trace"))
    return traced(lab, about)


def traced(lab, about=None):
    """Likewise, of the last load that was traced."""
    seen, found = {}, []
    with open(os.path.join(lab.folder, "trace"), encoding="utf-8", errors="replace") as f:
        for line in f:
            m = re.match(r"\d+ +([a-z0-9_]+)\(", line)
            if m and m[1] != "execve":
                seen[m[1]] = seen.get(m[1], 0) + 1
                if not about or re.search(about, line):
                    found.append((m[1], seen[m[1]]))
    return found


def fresh(lab, which=None):
    fwload(lab, "--unload")
    if which:
        return fwload(lab, which)
    return None


def points_of(made, n, late=("flock", 1)):
    """From the taking of the lock on; all calls when FULL, but for reads: nothing changes in the kernel between two of them."""
    if FULL:
        return [c for c in made if c[0] != "read"]
    return sample([c for c in made[made.index(late):] if c[0] in CHANGES], n)


def first_of(made, name):
    """The first call of this name, or of it and "at"."""
    return next(i for i, c in enumerate(made) if c[0].startswith(name))


def late_load(made):
    """Where the programs are loaded and what is left takes effect: of "bpf" the last sixty before the first pin."""
    return [c for c in made[:first_of(made, "rename")] if c[0] == "bpf"][-60]


def fatal(call, signo):
    return ["%s:signal=%s:when=%d" % (call[0], signal.Signals(signo).name[3:], call[1])]


def ends(signo):
    return lambda done: done.status in (-signo, 128 + signo)


def test_reload_killed(lab, signo=signal.SIGKILL, n=50):
    everywhere(lab)
    fresh(lab, "old")
    fwload(lab, "new")
    expected = pins(lab)
    made = calls(lab, "old")
    sweep = Sweep(lab, "reload: %s at each system call" % signal.Signals(signo).name)
    before = "old"
    with Steady(lab) as steady:
        for k in points_of(made, n):
            target = OTHER[before]
            done = fwload(lab, target, inject=fatal(k, signo))
            sweep.judge(k, done, before, target, ends(signo)(done))
            sweep.repair(k, target, expected)
            before = target
    steady.judge(sweep)
    sweep.report()


def test_reload_interrupted(lab):
    test_reload_killed(lab, signal.SIGINT, 15)
    test_reload_killed(lab, signal.SIGTERM, 15)


def test_first_killed(lab, n=12):
    few(lab)
    fresh(lab)
    made = calls(lab, "new")
    expected = pins(lab)
    sweep = Sweep(lab, "first load: SIGKILL at each system call")
    fresh(lab)
    for i, k in enumerate(points_of(made, n, late_load(made))):
        done = fwload(lab, "new", inject=fatal(k, signal.SIGKILL))
        sweep.judge(k, done, "none", "new", ends(signal.SIGKILL)(done))
        if i % 2 or FULL:
            sweep.repair(k, "new", expected)
        done = fwload(lab, "--unload")
        sweep.wrong_if(done.status, k, "unload", done)
        sweep.gone(k)
    sweep.report()


def big(lab):
    """Policies that need another flow table, more counters and a larger arena than "old" and "new"."""
    extra = [{"name": "x%d" % i, "direction": "ingress", "source_cidrs": ["10.%d.%d.0/24" % divmod(i, 250)], "protocol": "udp",
              "destination_ports": [10000 + i], "action": "deny"} for i in range(9000)]
    for which in ("old", "new"):
        keep(lab, which + "_big", policy(which, max_flows=100000, rules=extra))


def test_resize_killed(lab, n=5):
    """Each time from the first sizes: programs and maps are replaced under way."""
    few(lab)
    big(lab)
    fresh(lab, "old")
    made = calls(lab, "new_big")
    expected = pins(lab)
    sweep = Sweep(lab, "reload with other sizes: SIGKILL at each system call")
    pinned = [c for c in made if c[0].startswith("rename")]  # between two of them the pins are of two sizes
    points = points_of(made, n, late_load(made))
    for k in points + [c for c in sample(pinned, n) if c not in points]:
        fresh(lab, "old")
        done = fwload(lab, "new_big", inject=fatal(k, signal.SIGKILL))
        sweep.judge(k, done, "old", "new", ends(signal.SIGKILL)(done))
        done = fwload(lab, "new_big")
        now = lab.probe()
        sweep.wrong_if(done.status or now != "new", k, "loading again does not repair: %s decides" % now, done)
        left = set(pins(lab)) ^ set(expected)
        left -= of_generations(left)
        sweep.wrong_if(left, k, "pins after loading again: %s" % left)
    sweep.report()
    fresh(lab)


def test_unload_killed(lab, n=8):
    few(lab)
    sweep = Sweep(lab, "unload: SIGKILL at each system call")
    fresh(lab, "old")
    made = calls(lab, "--unload")
    fwload(lab, "old")
    loaded = True
    for i, k in enumerate(points_of(made, n)):
        if not loaded:
            fwload(lab, "old")
        done = fwload(lab, "--unload", inject=fatal(k, signal.SIGKILL))
        sweep.judge(k, done, "old", "none", ends(signal.SIGKILL)(done))
        if i % 2:
            done = fwload(lab, "--unload")
            sweep.wrong_if(done.status, k, "unloading again", done)
            sweep.gone(k)
            loaded = False
        else:
            sweep.repair(k, "new")
            fwload(lab, "old")
            loaded = True
    sweep.report()
    fresh(lab)


def test_clsact_killed(lab, n=5):
    """Filters have no pins: what was attached is known from elsewhere, if at all."""
    os.environ["FW_TC"] = "clsact"
    lab.where = ("-i", "eth0", "--xdp", "off")
    sweep = Sweep(lab, "clsact: first load and unload killed")
    fresh(lab)
    for args, before, after in (("new",), "none", "new"), (("--unload",), "new", "none"):
        fresh(lab, None if before == "none" else before)
        made = calls(lab, *args)
        for k in points_of(made, n, late_load(made) if before == "none" else ("flock", 1)):
            fresh(lab, None if before == "none" else before)
            done = fwload(lab, *args, inject=fatal(k, signal.SIGKILL))
            sweep.judge(k, done, before, after, ends(signal.SIGKILL)(done))
            done = fwload(lab, "--unload")
            sweep.wrong_if(done.status, k, "unload", done)
            if sweep.gone(k):
                lab.run("host", "tc", "qdisc", "del", "dev", "eth0", "clsact")
    sweep.report()
    del os.environ["FW_TC"]


# ---- calls that fail ----

STRERROR = {e: os.strerror(getattr(errno, e)) for e in ("ENOMEM", "EPERM", "E2BIG", "EINTR", "ENOSPC", "EROFS", "EIO", "EACCES")}


def failing(call, error, on=""):
    return ["%s:error=%s:when=%d%s" % (call[0], error, call[1], on)]


def names_cause(sweep, point, done, error):
    """Something on stderr says what the call said."""
    if done.status and STRERROR[error] not in done.err:
        sweep.unnamed.setdefault(done.err.strip(), []).append(point)


def fail_reload(lab, sweep, points, errors):
    before = "old"
    with Steady(lab) as steady:
        for i, (k, on) in enumerate((k, on) for k in points for on in ("", "+")):
            error, target = errors[i // 2 % len(errors)], OTHER[before]
            point = "%s %d%s %s" % (k + (on, error))
            done = fwload(lab, target, inject=failing(k, error, on))
            sweep.judge(point, done, before, target)
            names_cause(sweep, point, done, error)
            left = set(pins(lab)) - set(sweep.pins)
            left -= of_generations(left)
            sweep.wrong_if(done.status and left, point, "pins left: %s" % left)
            sweep.repair(point, target, sweep.pins)
            before = target
    steady.judge(sweep)
    sweep.report()


def test_reload_bpf_fails(lab, n=20):
    everywhere(lab)
    fresh(lab, "old")
    fwload(lab, "new")
    fwload(lab, "old")
    for errors in (("ENOMEM",), ("EPERM",), ("E2BIG", "EINTR")) if FULL else (("ENOMEM", "EPERM", "E2BIG", "EINTR"),):
        sweep = Sweep(lab, "reload: bpf() fails with %s" % " ".join(errors))
        fwload(lab, "new")
        made = calls(lab, "old")
        sweep.pins = pins(lab)
        points = [c for c in (made if FULL else made[made.index(("flock", 1)) - 40:]) if c[0] == "bpf"]
        fail_reload(lab, sweep, sample(points, n), errors)


def test_reload_pin_fails(lab):
    everywhere(lab)
    fresh(lab, "old")
    fwload(lab, "new")
    made = calls(lab, "old", about="BPF_OBJ_PIN")
    sweep = Sweep(lab, "reload: no room for a pin, or read-only")
    sweep.pins = pins(lab)
    fail_reload(lab, sweep, made, ("ENOSPC", "EROFS"))


def test_resize_fails(lab, n=4):
    """Links have been updated to new programs, and an interface was added, when something fails: all goes back."""
    big(lab)
    few(lab)
    one, two = ("-i", "eth0"), ("-i", "eth0", "-i", "lo")
    fresh(lab, "old")
    expected = pins(lab)
    lab.where = two
    made = calls(lab, "new_big", about="BPF_LINK_CREATE|BPF_OBJ_PIN|rename")
    updates = traced(lab, "BPF_LINK_UPDATE")
    sweep = Sweep(lab, "reload with other sizes and a further interface: calls fail")
    for k in updates[-2:] + sample(made, n):
        point = "%s %d" % k
        fresh(lab)  # a load that fails leaves larger maps, and the next one makes fewer calls
        fwload(lab, "old", where=one)
        before = shown(lab)
        done = fwload(lab, "new_big", inject=failing(k, "ENOMEM"))
        sweep.judge(point, done, "old", "new")
        names_cause(sweep, point, done, "ENOMEM")
        sweep.wrong_if(done.status == 0, point, "a call that mattered failed and nobody cared")
        sweep.wrong_if(shown(lab) != before, point, "not as before: %s, before: %s" % (shown(lab), before))
        left = set(pins(lab)) - set(expected)
        sweep.wrong_if({x for x in left if x.startswith("links/")}, point, "links left: %s" % left)
        check = run(lab, lab.program("fwstat"), "-N", lab.name, "--check")
        sweep.wrong_if(check.status, point, "fwstat --check", check.out)
        done = fwload(lab, "new_big")
        sweep.wrong_if(done.status or lab.probe() != "new", point, "loading it again", done)
    sweep.report()
    fresh(lab)


def shown(lab):
    """Programs at the hooks, by number."""
    net = json.loads(lab.run("host", "bpftool", "-j", "net", "show"))[0]
    return sorted((x.get("devname"), x.get("kind", "xdp"), x.get("id", x.get("prog_id"))) for kind in ("xdp", "tc") for x in net.get(kind, []))


def test_reload_others_fail(lab, n=24):
    """Any other call than bpf()."""
    everywhere(lab)
    fresh(lab, "old")
    fwload(lab, "new")
    made = calls(lab, "old")
    begin = first_of(made, "mkdir") if FULL else made.index(("flock", 1))
    sweep = Sweep(lab, "reload: other calls fail")
    sweep.pins = pins(lab)
    points = [c for c in made[begin:] if c[0] not in ("bpf", "exit_group", "close", "munmap")]
    fail_reload(lab, sweep, sample(points, n), ("EIO", "EACCES", "ENOMEM") if FULL else ("EIO",))


def test_first_fails(lab, n=8):
    """A first load leaves nothing, neither attached nor pinned."""
    few(lab)
    fresh(lab)
    made = calls(lab, "new")
    fresh(lab)
    sweep = Sweep(lab, "first load: calls fail")
    late = made.index(late_load(made))
    points = [c for c in (made if FULL else made[late:]) if c[0] == "bpf"]
    begin = first_of(made, "mkdir")
    others = [c for c in made[begin:] if c[0] not in ("bpf", "read", "close", "munmap", "exit_group", "brk", "lseek")]
    for i, k in enumerate(sample(points, n) + sample(others, n // 2)):
        error = ("ENOMEM", "EPERM", "EINTR")[i % 3] if k[0] == "bpf" else ("EIO", "ENOMEM")[i % 2]
        for on in ("", "+")[i % 2:] if not FULL else ("", "+"):
            point = "%s %d%s %s" % (k + (on, error))
            done = fwload(lab, "new", inject=failing(k, error, on))
            now = sweep.judge(point, done, "none", "new")
            names_cause(sweep, point, done, error)
            if now == "none":
                sweep.gone(point)
            if done.status == 0 or os.path.lexists("/sys/fs/bpf/fw/" + lab.name):
                done = fwload(lab, "--unload")
                sweep.wrong_if(done.status, point, "unload", done)
                sweep.gone(point)
    sweep.report()


def test_first_pin_fails(lab, n=5):
    few(lab)
    fresh(lab)
    made = calls(lab, "new", about="BPF_OBJ_PIN")
    fresh(lab)
    sweep = Sweep(lab, "first load: no room for a pin, or read-only")
    for i, k in enumerate(sample(made, n)):
        error = ("ENOSPC", "EROFS")[i % 2]
        done = fwload(lab, "new", inject=failing(k, error, "+" if i % 4 > 1 else ""))
        sweep.judge(k, done, "none", "new")
        names_cause(sweep, k, done, error)
        sweep.wrong_if(done.status == 0, k, "a pin could not be made and nobody cared")
        sweep.gone(k)
    sweep.report()
    fresh(lab)


if __name__ == "__main__":
    need("strace")
    main(make, test_reload_killed, test_reload_interrupted, test_first_killed, test_resize_killed, test_unload_killed,
         test_clsact_killed, test_reload_bpf_fails, test_reload_pin_fails, test_reload_others_fail, test_resize_fails, test_first_fails, test_first_pin_fails)
