# SPDX-License-Identifier: GPL-2.0-only
"""What reads: fwmon killed in the middle of its lines, a disk that is full, clocks that jump or are another namespace's. (events.py and
live_ring.c have readers that stop, are killed or leave early, and rings without a reader.)"""
import datetime
import json
import os
import signal
import subprocess

from faults import BUILD, FULL, HOST, Sweep, fwload, keep, make, need, policy, run
from live import call, main, note, ok, same, wait_until

CLOCK = os.path.join(BUILD, "tests/preload_clock.so")


def setting(lab):
    make(lab)
    rules = [{"name": "logged", "direction": "ingress", "protocol": "udp", "destination_ports": [7010], "action": "deny"}]
    keep(lab, "old", policy("old", rules=rules, log_limit=0))
    done = fwload(lab, "old")
    same(done.status, 0, "loads", done)


def send(lab, n):
    sender = lab.probe.places["into the host"][0]
    for _ in range(n):
        sender.sendto(b"x", (HOST, 7010))


def watch(lab, out, *before, args=()):
    p = lab.start("host", *before, lab.program("fwmon"), "-N", lab.name, *args, stdout=out, stderr=subprocess.PIPE)
    return p


def lines(path):
    with open(path, "rb") as f:
        return f.read().split(b"\n")


def test_killed(lab, n=10):
    """kill -9 amid 2,000 events: every line but the last is whole (the kernel may be killed out of the write of a batch), and the
    next reader takes over the ring."""
    sweep = Sweep(lab, "fwmon killed amid events")
    path = os.path.join(lab.folder, "events")
    for i in range(n * 10 if FULL else n):
        with open(path, "wb") as f:
            p = watch(lab, f)
        if not wait_until(lambda: os.path.getsize(path)):
            sweep.wrong_if(True, i, "no first record")
        send(lab, 400 * (i % 5 + 1))
        p.kill()
        p.communicate()
        got = lines(path)
        sweep.n += 1
        try:
            seen = [json.loads(line) for line in got[:-1]]
            sweep.wrong_if(seen[0]["event_type"] != "meta", i, "does not begin with meta")
        except ValueError as e:
            sweep.wrong_if(True, i, "not JSON: %s" % e)
    # the next one takes over the killed one's ring
    with open(path, "wb") as f:
        p = watch(lab, f)
    wait_until(lambda: os.path.getsize(path))
    send(lab, 100)
    wait_until(lambda: sum(b'"logged"' in x for x in lines(path)) >= 100)
    p.terminate()
    err = p.communicate()[1].decode()
    got = [json.loads(line) for line in lines(path)[:-1]]
    sweep.wrong_if(p.returncode or len(got) < 101, "afterwards", "exit %d, %d lines" % (p.returncode, len(got)), err)
    sweep.report()


def test_full_disk(lab):
    """The file that was there stays as it was, and nothing lies beside it."""
    disk = os.path.join(lab.folder, "disk")
    os.mkdir(disk)
    call("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk)
    try:
        out, filler = os.path.join(disk, "out"), os.path.join(disk, "filler")
        yaml = os.path.join(lab.folder, "disk.yaml")
        with open(yaml, "w", encoding="ascii") as f:
            f.write("rules:\n" + "".join("  - {name: rule_%d, priority: %d, source_cidrs: [10.0.0.%d], action: allow}\n" % (i, i, i % 256)
                                         for i in range(300)))
        commands = {"fwc -o": (lab.program("fwc"), "-q", "-o", out, yaml),
                    "fwstat -O": (lab.program("fwstat"), "-N", lab.name, "-o", "prometheus", "-O", out)}
        for what, argv in commands.items():
            for room in (0, 4096):
                with open(out, "w", encoding="ascii") as f:
                    f.write("before")
                with open(filler, "wb") as f:
                    try:
                        f.write(bytes(1 << 20))
                        f.flush()
                    except OSError:
                        pass
                    size = os.fstat(f.fileno()).st_size
                os.truncate(filler, size - room)
                done = run(lab, *argv)
                with open(out, encoding="ascii") as f:
                    same((done.status, "No space left on device" in done.err, f.read(), sorted(os.listdir(disk))),
                         (3, True, "before", ["filler", "out"]), "%s on a full disk, %d bytes left" % (what, room), done)
                os.unlink(filler)
                os.truncate(out, 0)
        with open(filler, "wb") as f:
            try:
                f.write(bytes(1 << 20))
                f.flush()
            except OSError:
                pass
        with open(out, "wb") as f:
            p = watch(lab, f)
            status = wait_until(lambda: (send(lab, 10), p.poll())[1] is not None, 5) and p.returncode
        err = p.communicate()[1].decode()
        ok(status == 3 and "No space left on device" in err, "fwmon to a full disk: exit 3", status, err)
    finally:
        call("umount", disk)


def seconds(record):
    return datetime.datetime.fromisoformat(record["timestamp"][:19] + "+00:00").timestamp()


def test_clock(lab):
    """Order, completeness and the loader's waiting don't hang on the real-time clock."""
    path = os.path.join(lab.folder, "events")
    for jump in (3600, -3600):
        with open(path, "wb") as f:
            p = watch(lab, f, "env", "LD_PRELOAD=" + CLOCK, "CLOCK_AFTER=3", "CLOCK_JUMP=%d" % jump)
        wait_until(lambda: os.path.getsize(path))
        for batch in range(5):
            send(lab, 20)
            wait_until(lambda n=batch: sum(b'"logged"' in x for x in lines(path)) >= 20 * (n + 1), 3)
        p.send_signal(signal.SIGTERM)
        err = p.communicate()[1].decode()
        got = [json.loads(line) for line in lines(path)[:-1]]
        ids = [r for r in got if r.get("rule") == "logged"]
        same((p.returncode, len(ids)), (0, 100), "the clock jumps by %d s: all events are there" % jump, err)
        stamps = [seconds(r) for r in ids]
        # either clock may be believed; what came later is not stamped earlier but for the jump itself
        back = sum(b < a for a, b in zip(stamps, stamps[1:]))
        ok(back <= (jump < 0), "and in order (%d steps back)" % back, stamps[:3], stamps[-3:])
        done = fwload(lab, "old", before=("env", "LD_PRELOAD=" + CLOCK, "CLOCK_AFTER=0", "CLOCK_JUMP=%d" % jump))
        same((done.status, lab.probe()), (0, "old"), "fwload with that clock", done)


def test_time_namespace(lab):
    """Programs in a time namespace, where the machine has been up for another time than the kernel knows."""
    inside = ("unshare", "-T", "--boottime", "864000", "--monotonic", "864000", "--fork")
    if run(lab, *inside, "true").status:
        ok(True, "# SKIP no time namespaces")
        return
    path = os.path.join(lab.folder, "events")
    with open(path, "wb") as f:
        p = watch(lab, f, *inside, args=("-c", "20"))
    wait_until(lambda: os.path.getsize(path))
    now = datetime.datetime.now(datetime.timezone.utc).timestamp()
    send(lab, 20)
    p.wait(10)
    got = [json.loads(line) for line in lines(path)[:-1]]
    off = [seconds(r) - now for r in got if r.get("rule") == "logged"]
    note("stamps in a time namespace are off by %s s" % sorted({round(x) for x in off}))
    same(len(off), 20, "fwmon in a time namespace: all events are there")
    done = fwload(lab, "new", before=inside)
    same((done.status, lab.probe()), (0, "new"), "fwload in a time namespace", done)
    done = run(lab, *inside, lab.program("fwstat"), "-N", lab.name)
    same(done.status, 0, "fwstat in a time namespace", done)
    fwload(lab, "old")


if __name__ == "__main__":
    need("unshare")
    main(setting, test_killed, test_full_disk, test_clock, test_time_namespace)
