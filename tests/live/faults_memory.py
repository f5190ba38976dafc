# SPDX-License-Identifier: GPL-2.0-only
"""Memory that runs out: malloc() failing at every k-th call, once and from there on; a limit of the address space; a limit of
the memory that the kernel takes for maps (memory cgroup, version 1). Nothing crashes, the message says so, the policy that ran runs."""
import os
import signal


from faults import BUILD, FULL, NAME, Sweep, everywhere, few, fwload, keep, make, need, pins, policy, run, sample
from live import main, note, ok

PRELOAD = os.path.join(BUILD, "tests/preload_malloc.so")
SAYS = ("out of memory", os.strerror(12), "Out of memory")


def failing(at, count=None):
    return ("env", "LD_PRELOAD=" + PRELOAD, *(["FAIL_MALLOC=%s" % at] if at else ["FAIL_MALLOC_COUNT=" + count]))


def count_calls(lab, command):
    path = os.path.join(lab.folder, "count")
    done = command(failing(None, path))
    with open(path, encoding="ascii") as f:
        return int(f.read()), done


def memory_said(sweep, point, done):
    sweep.wrong_if(done.status > 0 and not any(t in done.err for t in SAYS), point, "does not speak of memory", done)


def test_reload(lab, n=80):
    everywhere(lab)
    fwload(lab, "old")
    fwload(lab, "new")
    fwload(lab, "old")
    expected, before = pins(lab), "new"
    fwload(lab, "new")
    calls, _ = count_calls(lab, lambda b: fwload(lab, "old", before=b))
    fwload(lab, "new")
    note("a reload allocates %d times" % calls)
    sweep = Sweep(lab, "reload: malloc() fails")
    # the last are those of the changes
    for k in sample(range(1, calls - 40), n - 40) + list(range(calls - 40, calls + 1)):
        for on in ("", "+") if FULL else (("", "+")[k % 2],):
            target, point = {"old": "new", "new": "old"}[before], "%d%s" % (k, on)
            done = fwload(lab, target, before=failing(point))
            sweep.judge(point, done, before, target)
            memory_said(sweep, point, done)
            sweep.repair(point, target, expected)
            before = target
    sweep.report()
    fwload(lab, "--unload")


def test_first(lab, n=8):
    few(lab)
    calls, _ = count_calls(lab, lambda b: fwload(lab, "new", before=b))
    fwload(lab, "--unload")
    note("a first load allocates %d times" % calls)
    sweep = Sweep(lab, "first load: malloc() fails")
    # libbpf's share is in the middle
    for k in sorted(set(sample(range(1, calls // 2), n) + sample(range(calls - 400, calls + 1), n))):
        point = "%d%s" % (k, ("", "+")[k % 2])
        done = fwload(lab, "new", before=failing(point))
        now = sweep.judge(point, done, "none", "new")
        memory_said(sweep, point, done)
        if now == "none":
            sweep.gone(point)
        fwload(lab, "--unload")
    sweep.report()


class Alone(Sweep):
    """A program that decides nothing."""

    def take(self, point, done):
        self.n += 1
        self.seen["exit %d" % done.status, "nothing"] = self.seen.get(("exit %d" % done.status, "nothing"), 0) + 1
        self.wrong_if(done.status not in (0, 3), point, "neither done nor refused", done)
        memory_said(self, point, done)


def test_compiler(lab, n=150):
    """fwc: what it writes is whole or not there."""
    out, yaml = os.path.join(lab.folder, "out.json"), os.path.join(lab.folder, "memory.yaml")
    with open(yaml, "w", encoding="ascii") as f:
        f.write("default_action: deny\nsets: {lan: [10.0.0.0/8, 'fd00::/8']}\nattach: {interfaces: [eth0]}\nrules:\n" + "".join(
            "  - {name: r%d, priority: %d, source_cidrs: ['@lan', 192.0.2.%d], destination_ports: [%d, 8000-8010], protocol: tcp,"
            " action: allow, description: 'x'}\n" % (i, i, i, i + 1) for i in range(20)))
    fwc = lab.program("fwc")
    calls, done = count_calls(lab, lambda b: run(lab, *b, fwc, "-q", "-o", out, yaml))
    with open(out, "rb") as f:
        whole = f.read()
    note("fwc allocates %d times" % calls)
    sweep = Alone(lab, "fwc: malloc() fails")
    for k in sample(range(1, calls + 1), n):
        for on in ("", "+"):
            os.unlink(out)
            done = run(lab, *failing("%d%s" % (k, on)), fwc, "-q", "-o", out, yaml)
            sweep.take("%d%s" % (k, on), done)
            there = os.path.exists(out)
            sweep.wrong_if(there != (done.status == 0), k, "exit %d and the output is %s" % (done.status, "there" if there else "not there"))
            sweep.wrong_if(len([n for n in os.listdir(lab.folder) if n.startswith("out.json")]) > there, k, "a temporary file stays")
            if there:
                with open(out, "rb") as f:
                    sweep.wrong_if(f.read() != whole, k, "the output is another")
            else:
                with open(out, "w", encoding="ascii"):
                    pass
    sweep.report()


def test_readers(lab, n=60):
    """fwstat, and fwmon reading a file."""
    fwload(lab, "old")
    for argv in (("fwstat", "-N", lab.name), ("fwstat", "-N", lab.name, "-o", "json"), ("fwstat", "-N", lab.name, "--flows"),
                 ("fwload", "-N", lab.name, "--status")):
        argv = (lab.program(argv[0]),) + argv[1:]
        calls, _ = count_calls(lab, lambda b, argv=argv: run(lab, *b, *argv))
        sweep = Alone(lab, "%s: malloc() fails" % " ".join((os.path.basename(argv[0]),) + argv[3:]))
        for k in sample(range(1, calls + 1), n // 4):
            sweep.take(k, run(lab, *failing("%d%s" % (k, ("", "+")[k % 2])), *argv))
        sweep.report()
    fwload(lab, "--unload")


def test_address_space(lab, n=12):
    fwload(lab, "old")
    before = "old"
    sweep = Sweep(lab, "reload: a limit of the address space")
    # from where the dynamic linker has what it wants to where the load succeeds
    limits = [kib for kib in range(4096, 16384, 64) if run(lab, "prlimit", "--as=%d" % (kib << 10), lab.program("fwload"), "-V").status == 0]
    for kib in sample([k for k in limits if k < limits[0] + 2560], n):
        target = {"old": "new", "new": "old"}[before]
        done = fwload(lab, target, before=("prlimit", "--as=%d" % (kib << 10)))
        sweep.judge("%d KiB" % kib, done, before, target)
        memory_said(sweep, "%d KiB" % kib, done)
        sweep.repair("%d KiB" % kib, target)
        before = target
    sweep.report()
    fwload(lab, "--unload")


def memory_cgroup():
    with open("/proc/mounts", encoding="ascii") as f:
        return next((line.split()[1] for line in f if line.split()[2] == "cgroup" and "memory" in line.split()[3].split(",")), None)


def test_kernel_memory(lab):
    """Maps are charged to the loader's memory cgroup: refused, or the loader is killed for it."""
    few(lab)
    top = memory_cgroup()
    if not top:
        return ok(True, "# SKIP no memory cgroup of version 1")
    group = os.path.join(top, NAME)
    os.mkdir(group)
    try:
        for first in (False, True):
            sweep = Sweep(lab, "%s: the memory that the kernel may take is limited" % ("first load" if first else "reload"))
            before = "none" if first else "old"
            for mib in (1, 2, 4, 8, 16, 32) if FULL else (3, 16):
                fwload(lab, "--unload")
                if not first:
                    fwload(lab, "old")
                with open(os.path.join(group, "memory.limit_in_bytes"), "w", encoding="ascii") as f:
                    f.write(str(mib << 20))
                done = fwload(lab, "new_large", before=("sh", "-c", 'echo $$ >%s/cgroup.procs && exec "$@"' % group, "sh"))
                sweep.judge("%d MiB" % mib, done, before, "new", done.status in (-signal.SIGKILL, 137))
                memory_said(sweep, "%d MiB" % mib, done)
                if first and done.status > 0:
                    sweep.gone("%d MiB" % mib)
                sweep.repair("%d MiB" % mib, "new_large")
            sweep.report()
    finally:
        fwload(lab, "--unload")
        os.rmdir(group)
    return None


def large(lab):
    make(lab)
    keep(lab, "new_large", policy("new", max_flows=200000))


if __name__ == "__main__":
    need("prlimit")
    main(large, test_reload, test_first, test_compiler, test_readers, test_address_space, test_kernel_memory)
