#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""fwstat against an instance with known contents (stat_fixture.c), and against a real one with traffic, hooks that
lose their targets, and readers that die. All in a mount and a network namespace of the test's own. Prints TAP.
The program is the sanitizers' build where there is a fresh one; FWSTAT=PROGRAM names another."""
import datetime
import fcntl
import glob
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "oracle"))

from lab import BUILD, call, mounted, why_not  # noqa: E402  (the path comes first)


def program():
    plain, asan = os.path.join(BUILD, "bin/fwstat"), os.path.join(BUILD, "asan/bin/fwstat")
    fresh = os.path.exists(asan) and (not os.path.exists(plain) or os.path.getmtime(asan) >= os.path.getmtime(plain))
    return os.environ.get("FWSTAT", asan if fresh else plain)


FWSTAT = program()
BPFTOOL = shutil.which("bpftool", path=os.environ["PATH"] + ":/usr/sbin") or "bpftool"
NAME = "fwstat-%d" % os.getpid()
BIG = 2**53 + 1
ran = failed = 0


def ok(good, what, *why):
    global ran, failed
    ran += 1
    failed += not good
    print("%s %d - %s" % ("ok" if good else "not ok", ran, what))
    for text in () if good else why:
        print("\n".join("#   " + line for line in str(text).splitlines()))
    sys.stdout.flush()


def same(got, want, what):
    ok(got == want, what, "got:  %r" % (got,), "want: %r" % (want,))


def fwstat(*args, instance="t", **kw):
    done = subprocess.run((FWSTAT, "-N", instance) + args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          timeout=60, **kw)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def read_json(instance="t"):
    return json.loads(fwstat("-o", "json", instance=instance)[1])


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


# ---- Prometheus: the text format, more strictly than its parsers ----

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
FORBIDDEN = {"ip", "addr", "address", "port", "pid", "src", "dst", "instance", "job", "le", "quantile"}


def unescape(s):
    return re.sub(r'\\(.)', lambda m: "\n" if m[1] == "n" else m[1], s)


def prometheus(text):
    """Samples as {(name, frozenset of labels): value}; AssertionError says what is wrong."""
    samples, seen, family, kind, helped = {}, set(), None, None, None
    assert text.endswith("\n"), "no newline at the end"
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            assert helped not in seen, "second block of " + helped
            assert line.endswith("."), "help is no sentence: " + line
            continue
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family == helped, "TYPE without HELP: " + line
            assert kind in ("counter", "gauge"), line
            assert family.startswith("fw_"), "prefix: " + line
            assert (kind == "counter") == family.endswith("_total"), "_total: " + line
            seen.add(family)
            continue
        m = SAMPLE.match(line)
        assert m, "no sample: " + line
        assert m[1] == family, "outside its block: " + line
        labels = [(k, unescape(v)) for k, v in LABEL.findall(m[2])]
        assert len(dict(labels)) == len(labels), "label twice: " + line
        assert not FORBIDDEN & {k for k, _ in labels}, "label: " + line
        value = float(m[3])
        assert value >= 0, "negative: " + line
        assert not family.endswith("_ratio") or value <= 1, "ratio: " + line
        key = (m[1], frozenset(labels))
        assert key not in samples, "sample twice: " + line
        samples[key] = value
    return samples


def read_metrics(instance="t"):
    """{name: ...} by labels without fw_instance."""
    status, out, _ = fwstat("-o", "prometheus", instance=instance)
    try:
        samples = prometheus(out)
    except AssertionError as why:
        ok(False, "Prometheus text format", why)
        return {}
    ok(all(("fw_instance", instance) in labels for _, labels in samples), "every sample names the instance")
    return {(name,) + tuple(sorted(v for k, v in labels if k != "fw_instance")): value
            for (name, labels), value in samples.items()}


# ---- the instance of known contents ----

def fixture(*args):
    source, binary = os.path.join(TOP, "tests/stat_fixture.c"), os.path.join(BUILD, "tests/stat_fixture")
    made_of = [source] + [os.path.join(TOP, name) for name in
                          ("tests/stat_flows.h", "tests/stat_meta.h", "bpf/fw_abi.h", "bpf/tables_abi.h", "bpf/flow_table.h", "lib/flow_set.c", "lib/image_sum.c")]
    if not os.path.exists(binary) or os.path.getmtime(binary) < max(map(os.path.getmtime, made_of)):
        os.makedirs(os.path.dirname(binary), exist_ok=True)
        call(os.environ.get("CC", "gcc"), "-std=gnu11", "-O2", "-g", "-Wall", "-D_GNU_SOURCE", "-I" + TOP, "-o", binary,
             source, os.path.join(TOP, "lib/flow_set.c"), os.path.join(TOP, "lib/image_sum.c"), "-lbpf", "-lelf", "-lz")
    call(binary, *map(str, args))


def pick(rows, **want):
    return [row for row in rows if all(row.get(k) == v for k, v in want.items())]


def test_json():
    status, out, err = fwstat("-o", "json")
    same((status, err, out.count("\n")), (0, "", 1), "JSON is one line, exit 0")
    j = json.loads(out)
    same([j["instance"], j["generation"], j["loaded_at"], j["digest"], j["version"], j["protecting"]],
         ["t", 7, "2026-09-21T14:13:20.500000000Z", "ab" * 32, "0.1.0", True], "identity")
    same([(r["name"], r["priority"], r["action"], r["direction"], r.get("source")) for r in j["rules"]],
         [("ssh", 10, "allow", "ingress", {"file": 'a "b\\c".yaml', "line": 3}),
          ("web", 20, "rate_limit", "both", {"file": 'a "b\\c".yaml', "line": 9}), ("block", 65535, "deny", "egress", None)],
         "rules in priority order")
    ssh, web, block = j["rules"]
    same((ssh["packets_allowed"], ssh["packets_flow"], ssh["bytes_passed"]), (101, 1000, 66000), "counters summed over CPUs")
    same((web["packets_limited"], web["bytes_dropped"], web["events_lost"]), (7, 420, 3), "limited packets, lost events")
    same((block["packets_denied"], block["bytes_dropped"], block["calls_denied"]), (str(BIG), str(2**64 - 1), 9),
         "integers above 2^53 are strings")
    same((j["totals"]["allow"], j["totals"]["deny"], j["totals"]["rate_limited"], j["totals"]["calls_denied"]),
         (1131, str(BIG + 7), 7, 13), "totals")
    same([v["packets"] for v in pick(j["verdicts"], reason="flow")], [1000], "reason flow")
    same([(v["direction"], v["packets"]) for v in pick(j["verdicts"], reason="default")], [("ingress", 5)], "reason default")
    maps = {m["name"]: m for m in j["maps"]}
    same([(n, maps[n]["type"], maps[n].get("entries"), maps[n]["capacity"]) for n in sorted(maps)],
         [("arenas", "array_of_maps", 2, 5), ("audit_stats", "percpu_array", None, 1), ("control", "array", None, 1),
          ("counters", "percpu_array", 67, 128), ("flow_head", "array", None, 1), ("flows", "array", 500, 1000),
          ("limits", "lru_hash", 22, 1000), ("log_limits", "array", 67, 128), ("meta1", "array", None, 1),
          ("meta2", "array", None, 1), ("readers", "array", None, 1),
          ("rings", "array_of_maps", 4, 4), ("state_stats", "percpu_array", None, 1)], "every map with type, entries and capacity")
    same(maps["flows"]["fill_ratio"], 0.5, "fill ratio")
    states = {"syn_sent": 1, "established": 493, "fin_wait": 2, "udp_stream": 1, "icmp_new": 1, "fragment": 2}
    f = j["flows"]
    same({k: v for k, v in f["states"].items() if v}, states, "live flows by state, those with one name together")
    same([f[k] for k in ("entries", "capacity", "fill_ratio", "created", "expired", "evicted", "full", "cut", "fragments_created",
                         "related_packets")], [500, 1000, 0.5, 1001, 30, 20, 10, 4, 9, 6], "the flow table, summed over CPUs")
    same(j["rate_limits"], {"sources": 22, "limited_now": 3, "created": 30, "evicted_at_least": 8}, "rate limits")
    ok(all(m["memory_bytes"] > 0 for m in j["maps"]) and j["memory_bytes"] > 2 << 20, "memory")
    same([(s["slot"], s["generation"], s["active"], s["used_bytes"], s["size_bytes"]) for s in j["slots"]],
         [(1, 7, True, 300000, 1 << 20), (2, 6, False, 300000, 1 << 20)], "slots")
    same([(r["ring"], r["used_bytes"], r["size_bytes"], r["events_sent"], r["events_lost"]) for r in j["rings"]],
         [(0, 2048, 4096, 128, 11), (1, 0, 4096, 0, 0), (2, 0, 4096, 5, 2), (3, 0, 4096, 0, 0)], "rings")
    same([(h["hook"], h["target"], h["status"]) for h in j["hooks"]],
         [("cgroup_ingress", "/" + NAME, "ok"), ("cgroup_egress", "/" + NAME, "ok")], "hooks")


def test_metrics():
    m = read_metrics()
    same(m.get(("fw_generation",)), 7, "fw_generation")
    same(m.get(("fw_load_timestamp_seconds",)), 1790000000.5, "fw_load_timestamp_seconds")
    same(m.get(("fw_info", "0.1.0")), 1, "fw_info")
    same(m.get(("fw_policy_info", "7", "ab" * 32)), 1, "fw_policy_info")
    same(m.get(("fw_rule_packets_total", "allow", "ssh")), 1101, "fw_rule_packets_total")
    same(m.get(("fw_rule_bytes_total", "dropped", "web")), 420, "fw_rule_bytes_total")
    same(m.get(("fw_rule_calls_denied_total", "block")), 9, "fw_rule_calls_denied_total")
    same(m.get(("fw_packets_total", "default", "deny", "ingress")), 5, "fw_packets_total")
    same(m.get(("fw_map_fill_ratio", "flows")), 0.5, "fw_map_fill_ratio")
    same([m.get(("fw_map_entries", "flows")), m.get(("fw_map_capacity", "flows"))], [500, 1000], "fw_map_entries, fw_map_capacity")
    same({k[1]: v for k, v in m.items() if k[0] == "fw_flows" and v},
         {"syn_sent": 1, "established": 493, "fin_wait": 2, "udp_stream": 1, "icmp_new": 1, "fragment": 2}, "fw_flows")
    ok(sum(k[0] == "fw_flows" for k in m) == 19 and ("fw_flows", "busy") not in m, "fw_flows: a series for each name", m)
    same([m.get((n,)) for n in ("fw_flows_created_total", "fw_flows_expired_total", "fw_flows_evicted_total", "fw_flows_full_total",
                                "fw_flows_cut_total", "fw_fragments_created_total", "fw_related_packets_total")],
         [1001, 30, 20, 10, 4, 9, 6], "totals of the flow table")
    same([m.get((n,)) for n in ("fw_rate_limited_sources", "fw_limits_created_total", "fw_limits_evicted_total")], [3, 30, 8],
         "rate limits as metrics")
    same(m.get(("fw_ring_fill_ratio", "0")), 0.5, "fw_ring_fill_ratio")
    same(m.get(("fw_events_lost_total", "2")), 2, "fw_events_lost_total")
    same(m.get(("fw_hook_up", "/" + NAME, "cgroup_egress")), 1, "fw_hook_up")


def on_terminal(columns, *args, **env):
    """fwstat's output on a terminal of this width."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    p = subprocess.Popen((FWSTAT, "-N", "t") + args, stdin=child, stdout=child, env=dict(os.environ, **env))
    os.close(child)
    text = b""
    try:
        while True:
            piece = os.read(parent, 65536)
            if not piece:
                break
            text += piece
    except OSError:  # the terminal's other end was closed
        pass
    p.wait()
    os.close(parent)
    return text.decode().replace("\r\n", "\n")


def test_table():
    status, out, err = fwstat()
    ok(status == 0 and "\033" not in out and err == "", "table without colours in a pipe", out, err)
    rows = [line.split() for line in out.splitlines()]
    ok(["flows", "array", "500", "1000", "50.0%"] in [r[:5] for r in rows], "table: a map", out)
    ok(["fin_wait", "2"] in rows and ["flows", "evicted", "20"] in [r[:3] for r in rows] and "3 of 22 rate limit keys" in out,
       "table: flows and rate limits", out)
    ok("65535  block" in out and str(BIG) in out, "table: a rule", out)
    same([line for line in out.splitlines() if line.endswith(" ")], [], "table: no blanks at line ends")
    for columns, cut in (120, True), (100, False):
        out = on_terminal(columns)
        ok("\033[1mRULES\033[0m" in out and max(len(line) for line in out.splitlines()) <= columns and ("~" in out) == cut,
           "table: colour and a terminal of %d columns" % columns, out)
    ok("\033" not in on_terminal(80, NO_COLOR="1"), "NO_COLOR")
    same(on_terminal(80, "-o", "json")[:14], '{"instance":"t', "JSON is the same on a terminal")


def test_check():
    fixture("claim", 0)
    status, out, _ = fwstat("--check")
    ok(status == 0 and re.fullmatch(r"FW OK - [^|\n]+ \|( [a-z0-9_]+=[0-9.]+(%;80;95;0;100|c|B))+\n", out), "check: OK", out)
    fixture("fill", 800)
    same(fwstat("--check")[:2][0], 1, "check: at 80 % WARNING")
    ok(fwstat("--check")[1].startswith("FW WARNING - flows 80.0% full |"), "check: says what is full")
    same(fwstat("--check", "-w", "81")[0], 0, "check: -w")
    same(fwstat("--check", "-w", "10", "-c", "80")[0], 2, "check: -c")
    fixture("fill", 1000)
    ok(fwstat("--check")[1].startswith("FW CRITICAL - flows 100.0% full |"), "check: full is CRITICAL")
    same(pick(read_json()["maps"], name="flows")[0]["entries"], 1000, "a full map")
    ok(" flows_full=10c flows_evicted=20c " in fwstat("--check")[1], "check: what had no room, as performance data")
    fixture("fill", 500)
    fixture("word", 0)
    ok(fwstat("--check")[:1] == (2,) and "no policy is active" in fwstat("--check")[1], "check: no policy is CRITICAL")
    status, out, err = fwstat("-o", "json")
    ok(status == 1 and json.loads(out)["protecting"] is False and "everything passes" in err, "no policy: exit 1", err)
    same(fwstat("-q")[2], "", "-q: no note")
    fixture("word", 1)
    status, out, err = fwstat("--check", instance="absent")
    ok(status == 3 and out.startswith("FW UNKNOWN - ") and out.count("\n") == 1 and err == "", "check: not loaded", out, err)


def word(active, fallback=0, candidate=0, deadline=0):
    """A control word: bpf/fw_abi.h."""
    return active | fallback << 8 | candidate << 12 | (deadline << 16 | 16 if deadline else 0)


def boot_ms():
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)


def test_trial():
    fixture("word", word(1, 2, deadline=boot_ms() + 60000))
    c = read_json()["control"]
    ok(c["active_slot"] == 1 and 50 < c["trial_seconds_left"] <= 60 and c["previous_generation"] == 6, "trial", c)
    m = read_metrics()
    ok(50 < m.get(("fw_trial_seconds_left",)) <= 60 and m.get(("fw_reverted",)) == 0 and m.get(("fw_previous_generation",)) == 6,
       "trial as metrics", m)
    status, out, err = fwstat()
    ok(status == 0 and re.search(r"\non trial: [56][0-9] s left, then generation 6 decides again\n", out), "trial in the table", out, err)
    status, out, _ = fwstat("--check")
    ok(status == 0 and re.match(r"FW OK - generation 7 on trial, [56][0-9] s left, 3 rules, 2 hooks attached \|", out), "check: a trial is OK", out)
    fixture("word", word(1, 2, deadline=boot_ms() - 1500))
    j = read_json()
    same((j["control"]["active_slot"], j["control"]["reverted"], j["control"]["reverted_generation"], j["generation"],
          "trial_seconds_left" in j["control"]), (2, True, 7, 6, False), "trial that ran out")
    ok(abs(time.time() - 1.5 - when(j["control"]["reverted_at"])) < 1, "when it ran out", j["control"]["reverted_at"])
    ok("generation 7 was taken back at " in fwstat()[1], "in the table")
    fixture("reverted", boot_ms() - 60000)
    j = read_json()
    same((j["control"]["reverted_generation"], j["generation"], read_metrics().get(("fw_reverted",))), (8, 7, 1), "one that is recorded")
    ok(abs(time.time() - 60 - when(j["control"]["reverted_at"])) < 1, "when that was", j["control"]["reverted_at"])
    status, out, _ = fwstat("--check")
    ok(status == 1 and re.match(r"FW WARNING - generation 8 was taken back at [-0-9T:]*Z, 7 decides \|", out), "check: WARNING until the next load", out)
    fixture("word", word(1, 0, deadline=boot_ms() - 1))
    status, out, err = fwstat("-o", "json")
    j = json.loads(out)
    same((status, j["generation"], j["protecting"], "digest" in j, j["rules"]), (1, 0, False, False, []), "a first load that ran out: no policy")
    for args in ([], ["-o", "prometheus"], ["--flows"]):
        status, out, err = fwstat(*args)
        ok(status == (0 if args == ["--flows"] else 1) and out, "without a policy: fwstat " + " ".join(args), status, err)
    read_metrics()
    status, out, _ = fwstat("--check")
    ok(status == 2 and out.startswith("FW CRITICAL - no policy is active: generation 7 was taken back at "), "check: that is CRITICAL", out)
    fixture("word", word(1))


def when(text):
    return datetime.datetime.strptime(text[:19] + "+0000", "%Y-%m-%dT%H:%M:%S%z").timestamp()


def test_audit():
    same("audit" in read_json(), False, "no audit")
    fixture("word", word(1, 0, 2))
    same(read_json()["audit"], {"generation": 6, "judged": 100, "disagreed": 3}, "an audit, summed over CPUs")
    m = read_metrics()
    same([m.get((n,)) for n in ("fw_audit_generation", "fw_audit_judged_total", "fw_audit_disagreed_total")], [6, 100, 3], "as metrics")
    ok("\naudit of generation 6: 100 judged, 3 disagree\n" in fwstat()[1], "in the table")
    ok("audit of generation 6: 3 of 100 disagree |" in fwstat("--check")[1], "in the check")
    fixture("word", word(1))


def tampered():
    status, out, _ = fwstat("--check")
    return out.split(" | ", maxsplit=1)[0] if status == 2 else "exit %d: %s" % (status, out)


def test_tamper(bpffs):
    maps = os.path.join(bpffs, "fw/t/maps")
    for what, at, want in (("a table", 200000, "were written to"), ("the header", 64, "were written to")):
        fixture("poke", at)
        same(tampered(), "FW CRITICAL - the tables of generation 7 in slot 1 " + want, "check: a bit of %s" % what)
        fixture("poke", at)
    fixture("tag", 128)
    ok(re.match(r"FW CRITICAL - cgroup_ingress on /%s gone: its program \(id [0-9]+\) has another tag than that which was loaded$" % NAME,
                tampered()), "check: a program of another tag", tampered())
    fixture("tag", 128)
    same(fwstat("--check")[0], 0, "check: as it was before")
    fixture("word", word(1, 2))
    same(fwstat("--check")[0], 0, "check: the generation before, as it was loaded")
    fixture("word", word(2, 1))
    fixture("poke", 200000)
    ok("the tables of generation 7 in slot 1 were written to" in tampered(), "check: tables that are kept count, too")
    fixture("poke", 200000)
    fixture("word", word(1))
    os.rename(maps + "/meta1", maps + "/meta3")
    os.rename(maps + "/meta2", maps + "/meta1")
    ok("the tables of generation 6 in slot 1 are of another generation" in tampered(), "check: names of another generation", tampered())
    os.rename(maps + "/meta1", maps + "/meta2")
    ok(tampered().startswith("FW CRITICAL - cannot read map meta1 "), "check: no names", tampered())
    os.rename(maps + "/meta3", maps + "/meta1")
    for name in ("control", "arenas", "flows", "counters", "readers"):
        os.rename(maps + "/" + name, maps + "/gone")
        ok(tampered().startswith("FW CRITICAL - cannot ") and "No such file" in tampered(), "check: no pin of map " + name, tampered())
        os.rename(maps + "/gone", maps + "/" + name)
    os.rename(maps + "/control", maps + "/gone")
    os.rename(maps + "/readers", maps + "/control")
    same(fwstat("--check")[0], 2, "check: another map in its place")
    os.rename(maps + "/control", maps + "/readers")
    os.rename(maps + "/gone", maps + "/control")


def test_rings(bpffs):
    fixture("claim", 3)
    ring = os.open(os.path.join(bpffs, "fw/t/maps/ring0"), os.O_RDONLY)
    fcntl.flock(ring, fcntl.LOCK_EX)
    same([r["state"] for r in read_json()["rings"]], ["read", "abandoned", "free", "free"], "states of rings")
    ok("11 events lost by ring0" in fwstat("--check")[1], "check: losses of a ring that is read")
    fixture("events", 100)
    status, out, _ = fwstat("--check")
    ok(status == 1 and "ring0 89.1% full" in out, "check: a ring that is read fills", out)
    losing = subprocess.Popen((os.path.join(BUILD, "tests/stat_fixture"), "lose", "3000"))
    ok(wait_for(lambda: re.match(r"FW CRITICAL - ring0 is losing events \([1-9][0-9]* in 0.2 s\) ", fwstat("--check")[1]), 2.5),
       "check: events that get lost now are CRITICAL", fwstat("--check")[1])
    losing.wait()
    same(fwstat("--check")[0], 1, "check: that some were is a WARNING")
    os.close(ring)
    fixture("claim", 0)


def test_output(tmp):
    path = os.path.join(tmp, "out.prom")
    same(fwstat("-o", "prometheus", "-O", path)[:2], (0, ""), "-O: nothing on standard output")
    with open(path, encoding="utf-8") as f:
        ok(("fw_generation", frozenset({("fw_instance", "t")})) in prometheus(f.read()), "-O: the file")
    same(os.listdir(tmp), ["out.prom"], "-O: no temporary file stays")
    status, _, err = fwstat("-O", os.path.join(tmp, "no/dir"))
    ok(status == 3 and "no/dir" in err, "-O: a directory that is not there", err)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run((FWSTAT, "-N", "t"), stdout=full, stderr=subprocess.PIPE, check=False)
    ok(done.returncode == 3 and b"No space left" in done.stderr, "full device", done.stderr)
    p = subprocess.Popen((FWSTAT, "-N", "t", "-o", "json", "--watch", "1"), stdout=subprocess.PIPE)
    lines = [json.loads(p.stdout.readline()) for _ in range(3)]
    p.send_signal(signal.SIGTERM)
    ok(p.wait(10) == 0 and lines[0]["time"] < lines[2]["time"], "--watch: an object a line, until a signal")
    p.stdout.close()


def flows(*args):
    status, out, err = fwstat("--flows", "-o", "json", *args)
    if status or err:
        ok(False, "fwstat --flows " + " ".join(args), status, err)
    return [json.loads(line) for line in out.splitlines()]


def test_flows():
    listed = flows()
    same(len(listed), 498, "--flows: all but the expired and the fragments")
    by = {f["src_ip"]: f for f in listed}
    f = by["fd77::1"]
    flow_id = f.pop("flow_id")
    ok(re.fullmatch("[1-9][0-9]*", flow_id), "--flows: flow_id is a string", flow_id)
    same(f, {"state": "udp_stream", "reason": "rule", "rule": "block", "priority": 65535, "direction": "egress", "src_ip": "fd77::1",
             "src_port": 40000, "dst_ip": "fd77::2", "dst_port": 443, "proto": "udp", "ip_version": 6, "generation": 6,
             "idle_seconds": 12.0, "expires_seconds": 88.0, "uid": 1000, "cgroup_id": str(2**64 - 2)}, "--flows: every field")
    f = by["10.1.0.2"]
    same([f.get(k) for k in ("state", "proto", "icmp_id", "src_port", "dst_port", "uid", "cgroup_id")],
         ["icmp_new", "icmp", 0x1234, None, None, None, None], "--flows: an echo")
    f = by["10.1.0.5"]
    same([f.get(k) for k in ("reason", "rule", "idle_seconds", "expires_seconds")], ["default", None, 7200, 432000 - 7200],
         "--flows: allowed by default")
    f = by["10.1.0.6"]
    same([f.get(k) for k in ("reason", "rule", "idle_seconds", "expires_seconds")], ["rule", None, 99, 1], "--flows: a rule that is gone")
    for args, want in ((["--state", "fin_wait"], 2), (["--rule", "web"], 492), (["--direction", "egress"], 1), (["--src", "10.1.0.4"], 1),
                       (["--src", "10.1.0.0/29"], 5), (["--proto", "udp", "--port", "443"], 1), (["--interface", "lo"], 0)):
        same(len(flows(*args)), want, "--flows " + " ".join(args))
    status, out, err = fwstat("--flows")
    rows = [line.split() for line in out.splitlines()]
    same((status, err, len(rows), rows[0][:4]), (0, "", 499, ["state", "direction", "proto", "opener"]), "--flows: a table")
    ok(any(r[3:8] == ["10.1.0.6:40000", "10.9.0.1:443", "(gone)", "99s", "1s"] for r in rows) and
       any(r[3:8] == ["10.1.0.5:40000", "10.9.0.1:443", "(default)", "2h", "4d"] for r in rows), "--flows: rows", out)
    fixture("word", word(1, 2))
    same([f.get("rule") for f in flows("--src", "10.1.0.6")], ["went"], "--flows: which the generation that is kept still has")
    fixture("word", 0)
    same([len(flows()), "idle_seconds" in flows()[0]], [501, False], "--flows: without a policy nothing expires")
    fixture("word", 1)


def test_noise():
    """A table full of nonsense: what is printed is text all the same."""
    for seed in range(4):
        fixture("noise", seed)
        for args in ([], ["-o", "json"], ["-o", "prometheus"], ["--flows"], ["--flows", "-o", "json"], ["--flows", "--cgroup", "/"]):
            status, out, err = fwstat(*args)
            ok(status == 0 and err == "" and out.replace("\n", "").isprintable(), "noise %d: fwstat %s" % (seed, " ".join(args)), status, err)
            if "json" in args:
                same([type(json.loads(line)) for line in out.splitlines()][:1], [dict], "noise %d: every line is JSON" % seed)
        ok(len(flows()) > 50, "noise %d: some of it looks like flows" % seed)


def test_usage():
    for args in (["-w", "80"], ["-c", "5"], ["--check", "-w", "101"], ["--check", "-w", "x"], ["--check", "-w", "9", "-c", "8"],
                 ["--check", "-o", "json"], ["-o", "xml"], ["--watch", "0"], ["--watch", "1.5"], ["--http"], ["extra"],
                 ["--unknown"], ["-N", "../x"], ["--rule", "web"], ["--flows", "--check"],
                 ["--expect", "x"], ["--flows", "-o", "prometheus"], ["--flows", "--state", "busy"], ["--flows", "--src", "x"]):
        status, out, err = fwstat(*args)
        ok(status == 2 and out == "" and err.startswith("fwstat: "), "usage: " + " ".join(args), status, out, err)
    same(fwstat("--http")[2], "fwstat: --http is not supported yet\n", "--http")
    status, out, _ = fwstat("--help")
    ok(status == 0 and out.startswith("usage: fwstat "), "--help")
    same(fwstat("-V")[1].split()[0], "fwstat", "--version")
    same(fwstat("-N", "absent")[:2], (3, ""), "not loaded: exit 3")
    done = subprocess.run(("setpriv", "--reuid=65534", "--clear-groups", FWSTAT, "-N", "t"), stderr=subprocess.PIPE, check=False)
    ok(done.returncode == 3 and b"Permission denied" in done.stderr, "without privilege: exit 3", done.stderr)


def test_gone(bpffs, cgroup):
    os.unlink(os.path.join(bpffs, "fw/t/links/cgroup_egress-1"))
    status, out, err = fwstat("-o", "json")
    gone = pick(json.loads(out)["hooks"], status="gone")
    ok(status == 1 and len(gone) == 1 and gone[0]["detail"] == "the link's pin was removed", "a link that is gone", out)
    same(err, "fwstat: hook cgroup_egress on /%s no longer protects: the link's pin was removed\n" % NAME, "and a line on stderr")
    same(read_metrics().get(("fw_hook_up", "/" + NAME, "cgroup_egress")), 0, "fw_hook_up 0")
    os.rmdir(cgroup)
    os.mkdir(cgroup)
    status, out, _ = fwstat("--check")
    ok(status == 2 and "cgroup_ingress on /%s gone" % NAME in out, "a cgroup made anew is not protected", out)


def test_fixture(bpffs, cgroup):
    fixture("make", cgroup)
    fixture("events", 128)
    test_json()
    test_metrics()
    test_table()
    test_flows()
    test_check()
    test_trial()
    test_audit()
    test_tamper(bpffs)
    test_rings(bpffs)
    with tempfile.TemporaryDirectory() as tmp:
        test_output(tmp)
    test_usage()
    test_noise()
    test_gone(bpffs, cgroup)


# ---- a real one ----

POLICY = """
default_action: deny
rules:
  - {name: pings, priority: 10, direction: ingress, protocol: icmp, action: rate_limit, rate_limit_pps: 1, rate_limit_burst: 2}
  - {name: open_port, priority: 20, direction: ingress, protocol: udp, destination_ports: [7000], action: allow}
  - {name: no_dns, priority: 30, direction: egress, destination_ports: [53], action: deny}
  - {name: out, priority: 40, direction: egress, action: allow}
"""


def fwload(policy, *args):
    ir = call(os.path.join(BUILD, "bin/fwc"), input=policy.encode())
    call(os.path.join(BUILD, "bin/fwload"), "-q", "-N", "real", *args, input=ir)


def send(where, address, port, count):
    """UDP datagrams from a process with this command before it."""
    code = ("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor i in range(%d):\n"
            "    try:\n        s.sendto(b'x' * 100, (%r, %d))\n    except PermissionError:\n        pass\n" % (count, address, port))
    call(*where, sys.executable, "-c", code)


def connect(where, address, port, count):
    code = ("import socket\nfor i in range(%d):\n    try:\n        socket.create_connection((%r, %d), 1)\n"
            "    except PermissionError:\n        pass\n" % (count, address, port))
    call(*where, sys.executable, "-c", code)


def network(peer):
    call("ip", "link", "add", "fws0", "type", "veth", "peer", "name", "fws1")
    call("ip", "link", "set", "fws1", "netns", str(peer))
    call("ip", "addr", "add", "10.77.0.1/24", "dev", "fws0")
    call("ip", "link", "set", "fws0", "up")
    call("ip", "link", "set", "lo", "up")
    call("nsenter", "-t", str(peer), "-n", "ip", "addr", "add", "10.77.0.2/24", "dev", "fws1")
    call("nsenter", "-t", str(peer), "-n", "ip", "link", "set", "fws1", "up")


def test_traffic(peer, cgroup):
    there = ("nsenter", "-t", str(peer), "-n")
    inside = ("sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', cgroup)
    send(there, "10.77.0.1", 9999, 3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("10.77.0.1", 7000))
        send(there, "10.77.0.1", 7000, 5)
    send(inside, "10.77.0.2", 53, 2)
    connect(inside, "10.77.0.2", 53, 4)
    subprocess.run(there + ("ping", "-q", "-n", "-i", "0.01", "-c", "6", "-W", "1", "10.77.0.1"), stdout=subprocess.DEVNULL,
                   check=False)
    j = read_json("real")
    rules = {r["name"]: r for r in j["rules"]}
    same([v["packets"] for v in pick(j["verdicts"], reason="default", direction="ingress", verdict="deny")], [3],
         "datagrams denied by default")
    same((rules["open_port"]["packets_allowed"] + rules["open_port"]["packets_flow"], rules["open_port"]["bytes_passed"]),
         (5, 5 * 128), "datagrams allowed")
    d = rules["no_dns"]
    ok(d["calls_denied"] >= 4 and d["calls_denied"] + d["packets_denied"] == 6, "calls denied", d)
    p = rules["pings"]
    ok(p["packets_limited"] >= 3 and p["packets_allowed"] >= 1, "pings above the limit", p)
    maps = {m["name"]: m for m in j["maps"]}
    ok(maps["flows"]["entries"] >= 1 and maps["limits"]["entries"] == 1, "flows and limits in their maps", j["maps"])
    same((j["flows"]["created"] >= maps["flows"]["entries"], j["rate_limits"]), (True, {"sources": 1, "limited_now": 1, "created": 1,
         "evicted_at_least": 0}), "the one who pinged is above the limit")
    send(there, "10.77.0.1", 7000, 1)
    same(read_json("real")["flows"]["related_packets"], 1, "that nobody listens any more is said to the sender")
    m = read_metrics("real")
    same(m.get(("fw_packets_total", "default", "deny", "ingress")), 3, "the same as metrics")
    same(m.get(("fw_generation",)), j["generation"], "generation as a metric")


def test_readers():
    fwmon = os.path.join(BUILD, "bin/fwmon")
    if not os.path.exists(fwmon):
        return
    p = subprocess.Popen((fwmon, "-N", "real"), stdout=subprocess.DEVNULL)
    ok(wait_for(lambda: read_json("real")["rings"][0]["state"] == "read"), "fwmon reads a ring")
    p.kill()
    p.wait()
    same(read_json("real")["rings"][0]["state"], "abandoned", "a killed fwmon's ring")


def test_hooks(bpffs, cgroup):
    down = lambda: sorted("%s %s" % (h["hook"], h["detail"]) for h in pick(read_json("real")["hooks"], status="gone"))  # noqa: E731
    same(down(), [], "every hook is ok")
    same({h["mode"] for h in read_json("real")["hooks"] if h["target"] == "fws0"} <= {"native", "generic", "tcx", "clsact"}, True,
         "modes")
    call("ip", "link", "set", "fws0", "down")
    call("ip", "link", "set", "fws0", "name", "fwsx")
    ok(not down() and "is called fwsx now" in fwstat(instance="real")[1], "a renamed interface is protected", down())
    call("ip", "link", "add", "fws0", "type", "veth", "peer", "name", "fws9")
    ok(len(down()) == 2 and "another interface has the name now" in down()[0], "another interface with the name is not", down())
    call("ip", "link", "del", "fws0")
    same(fwstat("-q", instance="real")[0], 0, "without it, all is well")
    call("ip", "link", "del", "fwsx")
    ok(wait_for(lambda: len(down()) == 2) and "was deleted" in down()[0], "a deleted interface", down())
    call("ip", "link", "add", "fws0", "type", "veth", "peer", "name", "fws9")
    same((len(down()), fwstat("--check", instance="real")[0]), (2, 2), "made anew it is not protected")
    call(BPFTOOL, "link", "detach", "pinned", glob.glob(os.path.join(bpffs, "fw/real/links/connect4-*"))[0])
    ok("connect4 somebody detached it" in down(), "a detached link", down())
    os.rmdir(cgroup)
    same(wait_for(lambda: len(down()) == 8), True, "a deleted cgroup")
    os.mkdir(cgroup)
    same((len(down()), fwstat("-q", instance="real")[0]), (8, 1), "made anew it is not protected")


def test_namespace():
    """From another network namespace names can't be judged, and nothing is called gone."""
    done = subprocess.run(("unshare", "-n", FWSTAT, "-N", "real", "-o", "json"), stdout=subprocess.PIPE, check=False)
    hooks = pick(json.loads(done.stdout)["hooks"], target="fws0")
    ok(done.returncode == 0 and all("another network namespace" in h["detail"] for h in hooks), "another namespace", done.stdout)


def test_real(bpffs, cgroup):
    peer = subprocess.Popen(("unshare", "-n", "sleep", "300"))
    try:
        here = os.stat("/proc/self/ns/net").st_ino
        wait_for(lambda: os.stat("/proc/%d/ns/net" % peer.pid).st_ino != here)
        network(peer.pid)
        fwload(POLICY, "-i", "fws0", "-g", "/" + os.path.basename(cgroup))
        test_traffic(peer.pid, cgroup)
        test_readers()
        test_namespace()
        before = read_json("real")["generation"]
        fwload(POLICY.replace("7000", "7001"), "-i", "fws0", "-g", "/" + os.path.basename(cgroup))
        j = read_json("real")
        ok(j["generation"] > before and pick(j["slots"], active=True)[0]["generation"] == j["generation"], "a reload", j["slots"])
        test_hooks(bpffs, cgroup)
    finally:
        subprocess.run((os.path.join(BUILD, "bin/fwload"), "-q", "-N", "real", "--unload"), check=False)
        peer.kill()
        peer.wait()


def main():
    reason = why_not()
    if not reason and not os.path.exists(FWSTAT):
        reason = "no " + FWSTAT
    if reason:
        print("1..0 # SKIP %s" % reason)
        return 0
    if not os.environ.get("FWSTAT_INSIDE"):
        os.environ["FWSTAT_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "-m", "-n", sys.executable, "-B", os.path.abspath(__file__)])
    print("# " + FWSTAT)
    cgroup = os.path.join(mounted("cgroup2")[0], NAME)
    bpffs = tempfile.mkdtemp(prefix="fwstat-")
    call("mount", "-t", "bpf", "bpf", bpffs)
    os.environ["FW_BPFFS"] = bpffs
    os.mkdir(cgroup)
    os.mkdir(cgroup + "-real")
    try:
        test_fixture(bpffs, cgroup)
        test_real(bpffs, cgroup + "-real")
    finally:
        call("umount", "-l", bpffs)
        os.rmdir(bpffs)
        os.rmdir(cgroup)
        os.rmdir(cgroup + "-real")
    print("1..%d" % ran)
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
