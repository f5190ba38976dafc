# SPDX-License-Identifier: GPL-2.0-only
"""Writers that meet: two loads, a load and an unload, first loads, a lock that is held. Either the second waits and then does its work, or it
exits 4; at the end one policy decides, whole, and it is the one that --status names. RACES: how many (default 100; 1,000 when FULL)."""
import fcntl
import os
import random
import subprocess
import time

from faults import FULL, Sweep, everywhere, few, fwload, make, run
from live import main, note, ok, same

RACES = int(os.environ.get("RACES", "1000" if FULL else "100"))


def start(lab, *args):
    args = list(args)
    if args[-1] in lab.ir:
        args = list(lab.where) + args[:-1] + [lab.ir[args[-1]]]
    argv = lab.command("host", (lab.program("fwload"), "-q", "-N", lab.name, *args))
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lab.processes.append(p)
    return p


class Ended:
    def __init__(self, p):
        self.out, self.err = (x.decode() for x in p.communicate(timeout=60))
        self.status = p.returncode

    def __str__(self):
        return "exit %d: %s" % (self.status, self.err.strip() or "(no message)")


def digest(lab):
    """Of the policy that decides, as --status has it."""
    out = run(lab, lab.program("fwload"), "-N", lab.name, "--status").out
    return next((line.split()[1] for line in out.splitlines() if line.startswith("digest")), None)


def whole(lab, sweep, point, *allowed):
    now = lab.probe()
    return now, sweep.wrong_if(now not in allowed, point, "%s decides" % now)


def test_two_loads(lab):
    everywhere(lab)
    digests = {}
    for which in ("old", "new"):
        fwload(lab, which)
        digests[which] = digest(lab)
    ok(all(digests.values()) and digests["old"] != digests["new"], "--status has a digest for each", digests)
    sweep, rng = Sweep(lab, "two loads at a time"), random.Random(os.getpid())
    wins = {"old": 0, "new": 0}
    for i in range(RACES):
        lab.processes.clear()
        wait = ("--wait", "0s") if i % 2 else ()
        first = start(lab, *wait, "old")
        time.sleep(rng.random() / 50)  # now the one comes first and now the other
        second = start(lab, *wait, "new")
        ended = [Ended(first), Ended(second)]
        sweep.n += 1
        key = ("exit %s" % ",".join(str(e.status) for e in ended), "one policy")
        sweep.seen[key] = sweep.seen.get(key, 0) + 1
        sweep.wrong_if(any(e.status not in ((0, 4) if wait else (0,)) for e in ended), i, "exit", *ended)
        sweep.wrong_if(all(e.status for e in ended), i, "nobody won", *ended)
        sweep.wrong_if(any(e.status == 4 and "busy" not in e.err for e in ended), i, "does not say busy", *ended)
        now, _ = whole(lab, sweep, i, "old", "new")
        wins[now] = wins.get(now, 0) + 1
        sweep.wrong_if(digests.get(now) != digest(lab), i, "--status names another policy than decides")
    note("the last was %s" % wins)
    sweep.report(RACES)


def test_first_loads(lab, n=6):
    """Nothing is there: who comes first makes it."""
    few(lab)
    sweep = Sweep(lab, "two first loads at a time")
    for i in range(n * 10 if FULL else n):
        lab.processes.clear()
        fwload(lab, "--unload")
        ended = [Ended(p) for p in (start(lab, "old"), start(lab, "new"))]
        sweep.n += 1
        sweep.wrong_if(any(e.status for e in ended), i, "exit", *ended)
        whole(lab, sweep, i, "old", "new")
    sweep.report()


def test_failing_first_load(lab, n=4):
    """One of them fails and removes what it made: not what the other has made meanwhile."""
    sweep = Sweep(lab, "two first loads at a time, of which one fails")
    for i in range(n * 10 if FULL else n):
        lab.processes.clear()
        fwload(lab, "--unload")
        bad = start(lab, "-n", "old")
        time.sleep(random.random() / 10)
        good = start(lab, "new")
        ended = [Ended(p) for p in (bad, good)]
        sweep.n += 1
        sweep.wrong_if(ended[0].status not in (0, 4) or ended[1].status, i, "exit", *ended)
        whole(lab, sweep, i, "new")
    sweep.report()


def test_load_and_unload(lab, n=14):
    sweep, rng = Sweep(lab, "a load and an unload at a time"), random.Random(os.getpid())
    for i in range(n * 10 if FULL else n):
        lab.processes.clear()
        fwload(lab, "old")
        first, second = (("--unload",), ("new",)) if i % 2 else (("new",), ("--unload",))
        a = start(lab, *first)
        time.sleep(rng.random() / 100)
        b = start(lab, *second)
        ended = [Ended(a), Ended(b)]
        sweep.n += 1
        sweep.wrong_if(any(e.status for e in ended), i, "exit of %s and %s" % (first, second), *ended)
        now, _ = whole(lab, sweep, i, "new", "none")
        sweep.wrong_if((now == "none") == os.path.isdir("/sys/fs/bpf/fw/" + lab.name), i, "%s decides, and the pins say otherwise" % now)
        sweep.repair(i, "old")
    sweep.report()


def test_wait(lab):
    fwload(lab, "old")
    fd = os.open("/sys/fs/bpf/fw/" + lab.name, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    for wait, least, most in (("0s", 0, 1), ("1s", 1, 2.5)):
        begin = time.monotonic()
        done = fwload(lab, "--wait", wait, "new")
        took = time.monotonic() - begin
        ok(done.status == 4 and least <= took < most and "busy" in done.err, "--wait %s: exit 4 after %.2f s" % (wait, took), done)
    p = start(lab, "--wait", "20s", "new")
    time.sleep(0.3)
    same((p.poll(), lab.probe()), (None, "old"), "it waits")
    same(run(lab, lab.program("fwstat"), "-N", lab.name).status, 0, "a reader doesn't")
    fcntl.flock(fd, fcntl.LOCK_UN)
    done = Ended(p)
    same((done.status, lab.probe()), (0, "new"), "and loads when the lock is free", done)
    os.close(fd)
    fwload(lab, "--unload")


if __name__ == "__main__":
    main(make, test_two_loads, test_first_loads, test_failing_first_load, test_load_and_unload, test_wait)
