# SPDX-License-Identifier: GPL-2.0-only
"""The bpf file system absent, read-only, squatted, and with pins under our names that are not ours: of another size, type or
content. In a mount namespace of the test's own, with a bpf file system of its own. (A full one: faults_syscall.py.)"""
import ctypes
import os
import random
import re
import struct

from faults import FULL, Sweep, few, fwload, make, need, pins, run
from live import call, main, same

libc = ctypes.CDLL(None, use_errno=True)
SYS_BPF = 321 if os.uname().machine == "x86_64" else 280
MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, OBJ_PIN, OBJ_GET, OBJ_INFO = 0, 1, 2, 6, 7, 15
HASH, ARRAY = 1, 2
MMAPABLE = 1 << 10


def bpf(command, form, *values):
    attr = ctypes.create_string_buffer(struct.pack(form, *values).ljust(128, b"\0"), 128)
    done = libc.syscall(SYS_BPF, command, attr, 128)
    if done < 0:
        raise OSError(ctypes.get_errno(), "bpf(%d)" % command)
    return done


def map_create(kind, key, value, entries, flags=0):
    return bpf(MAP_CREATE, "=IIIII", kind, key, value, entries, flags)


def pin(fd, path):
    name = ctypes.create_string_buffer(path.encode())
    bpf(OBJ_PIN, "=QI", ctypes.addressof(name), fd)


def get(path):
    name = ctypes.create_string_buffer(path.encode())
    return bpf(OBJ_GET, "=QI", ctypes.addressof(name), 0)


def value_size(fd):
    info = ctypes.create_string_buffer(256)
    bpf(OBJ_INFO, "=IIQ", fd, 256, ctypes.addressof(info))
    return struct.unpack_from("=IIIII", info)[3]


def element(command, fd, value):
    key = ctypes.create_string_buffer(4)
    bpf(command, "=IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
    return value


def put_pin(path, kind, key, value, entries, flags=0, content=None):
    """In the place of what is pinned there, which is kept beside it."""
    if os.path.lexists(path):
        os.rename(path, path + "-kept")
    fd = map_create(kind, key, value, entries, flags)
    if content is not None:
        element(MAP_UPDATE, fd, ctypes.create_string_buffer(content, value))
    pin(fd, path)
    os.close(fd)


def put_back(path):
    if os.path.lexists(path):
        os.unlink(path)
    if os.path.lexists(path + "-kept"):
        os.rename(path + "-kept", path)


def own(lab):
    """bpffs of the test's own, where everything looks for it."""
    if libc.unshare(0x20000):  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    call("mount", "--make-rprivate", "/")
    call("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    make(lab)


def elsewhere(*commands):
    """In a mount namespace of its own after these commands."""
    return ("unshare", "-m", "--propagation", "private", "sh", "-ec", "; ".join(commands) + '; exec "$@"', "sh")


def refused(sweep, point, done, *words):
    sweep.wrong_if(done.status == 0, point, "not refused")
    sweep.wrong_if(not all(w in done.err for w in words), point, "does not say %s" % (words,), done)


def test_absent(lab):
    where = elsewhere("umount -l /sys/fs/bpf", "umount -l /sys/fs/bpf 2>/dev/null || :")
    for first in (True, False):
        before = "none" if first else "old"
        if not first:
            fwload(lab, "old")
        sweep = Sweep(lab, "%s: no bpf file system" % ("first load" if first else "reload"))
        done = fwload(lab, "new", before=where)
        sweep.judge("absent", done, before, "new")
        refused(sweep, "absent", done, "no bpf file system on /sys/fs/bpf", "mount -t bpf")
        done = run(lab, *where, "sh", "-c", '"$@" >/dev/null 2>&1; stat -f -c %T /sys/fs/bpf', "sh", lab.program("fwload"), "-q", "-N",
                   lab.name, *lab.where, lab.ir["new"])
        sweep.wrong_if("bpf" in done.out, "absent", "one was mounted silently", done.out)
        sweep.repair("absent", "new")
        sweep.report()
    fwload(lab, "--unload")


def test_read_only(lab):
    where = elsewhere("mount -o remount,bind,ro /sys/fs/bpf")
    for first in (True, False):
        before = "none" if first else "old"
        if not first:
            fwload(lab, "old")
        sweep = Sweep(lab, "%s: the bpf file system is read-only" % ("first load" if first else "reload"))
        done = fwload(lab, "new", before=where)
        sweep.judge("read-only", done, before, "new")
        refused(sweep, "read-only", done, "Read-only file system")
        if first:
            sweep.gone("read-only")
        else:
            done = fwload(lab, "old", before=where)
            sweep.wrong_if(done.status, "read-only", "the same policy again needs no writing", done)
            done = fwload(lab, "--unload", before=where)
            sweep.judge("unload", done, "old", "none")
            refused(sweep, "unload", done, "Read-only file system")
        sweep.repair("read-only", "new")
        sweep.report()
    fwload(lab, "--unload")


TOP = "/sys/fs/bpf/fw"


def squat_owner(path):
    os.mkdir(path, 0o700)
    os.chown(path, 65534, 65534)


def squat_group(path):
    os.mkdir(path)
    os.chmod(path, 0o770)


def squat_others(path):
    os.mkdir(path)
    os.chmod(path, 0o702)


def squat_link(path):
    target = "/sys/fs/bpf/elsewhere"
    if not os.path.isdir(target):
        os.mkdir(target, 0o700)
    os.symlink(target, path)


def squat_pin(path):
    fd = map_create(ARRAY, 4, 4, 1)
    pin(fd, path)
    os.close(fd)


def remove(path):
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
    else:
        for name in os.listdir(path):
            remove(os.path.join(path, name))
        os.rmdir(path)


def test_squatted(lab):
    """Somebody was there first."""
    few(lab)
    fwload(lab, "--unload")
    if os.path.isdir(TOP):
        os.rmdir(TOP)
    mine = os.path.join(TOP, lab.name)
    sweep = Sweep(lab, "first load: directories of others in the way")
    for path in (TOP, mine, mine + "/maps", mine + "/progs", mine + "/links"):
        for squat in (squat_owner, squat_group, squat_others, squat_link, squat_pin):
            point = "%s %s" % (path.replace(lab.name, "INSTANCE"), squat.__name__)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            squat(path)
            done = fwload(lab, "new")
            sweep.judge(point, done, "none", "new")
            refused(sweep, point, done, path)
            sweep.wrong_if(os.path.isdir("/sys/fs/bpf/elsewhere") and os.listdir("/sys/fs/bpf/elsewhere"), point, "went where the link leads")
            if os.path.lexists(path):
                remove(path)
            if FULL or squat == squat_owner:
                sweep.repair(point, "new")
                fwload(lab, "--unload")
            if os.path.isdir(mine):
                remove(mine)
            if os.path.isdir(TOP):
                os.rmdir(TOP)
    sweep.report()
    fwload(lab, "old")
    sweep = Sweep(lab, "reload: directories that others can write")
    for path in (TOP, mine, mine + "/maps", mine + "/progs", mine + "/links"):
        for change in (lambda p: os.chown(p, 65534, -1), lambda p: os.chmod(p, 0o720), lambda p: os.chmod(p, 0o777)):
            change(path)
            done = fwload(lab, "new")
            sweep.judge(path, done, "old", "new")
            refused(sweep, path, done, "refusing " + path)
            done = fwload(lab, "--unload")
            sweep.judge(path + ", unload", done, "old", "none")
            refused(sweep, path, done, "refusing " + path)
            os.chown(path, 0, 0)
            os.chmod(path, 0o700)
            sweep.repair(path, "old")
    sweep.report()
    fwload(lab, "--unload")


def test_wrong_maps(lab):
    """Maps of another layout under our names: refused, named, and removed by --unload."""
    fwload(lab, "old")
    sweep = Sweep(lab, "reload: a pinned map is another")
    for name in sorted(p for p in pins(lab) if p.startswith("maps/") and "/ring" not in p):
        path = os.path.join(TOP, lab.name, name)
        for what, shape in (("hash", (HASH, 4, 4, 1)), ("small array", (ARRAY, 4, 4, 1, MMAPABLE)), ("large array", (ARRAY, 4, 8192, 3, MMAPABLE))):
            point = "%s is a %s" % (name, what)
            put_pin(path, *shape)
            done = fwload(lab, "new")
            sweep.judge(point, done, "old", "new")
            sweep.wrong_if(done.status and os.path.basename(name) not in done.err, point, "the map is not named", done)
            crashed = [(c, d) for c, d in ((c, run(lab, lab.program(c[0]), "-N", lab.name, *c[1:])) for c in (
                ("fwstat",), ("fwstat", "--flows"), ("fwload", "--status"))) if d.status < 0 or d.status > 4]
            sweep.wrong_if(crashed, point, "a reader crashed", *("%s %s" % c for c in crashed))
            if os.path.lexists(path + "-kept"):
                put_back(path)
            done = fwload(lab, "old")
            if sweep.wrong_if(done.status or lab.probe() != "old", point, "does not go on when it is put back: %s decides" % lab.probe(), done):
                fwload(lab, "--unload")
                fwload(lab, "old")
    sweep.report()


def garbage(good, kind, rng):
    if kind == 0:
        return bytes(rng.randrange(256) for _ in good)
    if kind == 1:
        return bytes(len(good))
    data = bytearray(good)
    if kind == 2:  # the head, whose offsets and counts the rest is read by
        at = rng.randrange(0, min(len(data), 256) & ~3, 4)
        struct.pack_into("<I", data, at, rng.choice((0, 1, 0x7fffffff, 0x80000000, 0xffffffff, rng.randrange(1 << 32))))
    else:
        for _ in range(rng.randrange(1, 32)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def test_garbage_meta(lab, n=24):
    """What is read from the meta map is checked before it is believed."""
    rng = random.Random(int(os.environ.get("SEED", "4711")))
    fwload(lab, "--unload")
    fwload(lab, "old")
    sweep = Sweep(lab, "garbage in the meta map")
    for i in range(n * 10 if FULL else n):
        metas = [p for p in pins(lab) if re.fullmatch(r"maps/meta\d*", p)]
        path = os.path.join(TOP, lab.name, metas[i % len(metas)])
        fd = get(path)
        size = value_size(fd)
        good = element(MAP_LOOKUP, fd, ctypes.create_string_buffer(size)).raw
        os.close(fd)
        kind = i % 4 if i > 3 else i
        bad = garbage(good, kind, rng)
        put_pin(path, ARRAY, 4, size, 1, 0, bad)
        point = "%d (kind %d)" % (i, kind)
        for argv in (("fwload", "--status"), ("fwstat",), ("fwstat", "-o", "json"), ("fwstat", "--check"), ("fwload", "-n", *lab.where, lab.ir["new"])):
            done = run(lab, lab.program(argv[0]), "-q" if argv[0] != "fwstat" else "-v", "-N", lab.name, *argv[1:])
            sweep.wrong_if(done.status < 0 or done.status > 4, point, "%s crashed" % (argv,), done)
        sweep.wrong_if(lab.probe() != "old", point, "looking at it changed something: %s" % lab.probe())
        done = fwload(lab, "new")
        sweep.judge(point, done, "old", "new")
        if os.path.lexists(path + "-kept"):
            if done.status:
                put_back(path)
            else:
                os.unlink(path + "-kept")
        done = fwload(lab, "old")
        if sweep.wrong_if(done.status or lab.probe() != "old", point, "does not go on with the old one put back: %s decides" % lab.probe(), done):
            fwload(lab, "--unload")
            fwload(lab, "old")
    sweep.report()
    done = fwload(lab, "--unload")
    same((done.status, lab.probe()), (0, "none"), "unloads")


if __name__ == "__main__":
    need("unshare")
    main(own, test_absent, test_read_only, test_squatted, test_wrong_maps, test_garbage_meta)
