# SPDX-License-Identifier: GPL-2.0-only
"""Events and their readers: each reader sees everything or is told how much it lost, verdicts don't depend on any of
them, and every line is JSON that says no more than it knows."""
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import time

from live import BUILD, NAME, main, ok, packet_socket, same, wait_until
from build import eth, icmp, ipv4, ipv6, tcp, udp

FIELDS = {"timestamp": str, "event_type": str, "verdict": str, "reason": str, "rule": str, "priority": int, "rule_source": str,
          "hook": str, "direction": str, "in_iface": str, "src_ip": str, "src_port": int, "dst_ip": str, "dst_port": int,
          "proto": str, "ip_version": int, "icmp_type": int, "icmp_code": int, "tcp_flags": str, "length": int, "vlan": int,
          "generation": int, "pid": int, "comm": str, "uid": int, "cgroup_id": str, "cgroup": str, "container": str,
          "flow_id": str, "suppressed": int}
ALWAYS = {"timestamp", "event_type", "verdict", "reason", "hook", "direction", "generation"}
# Reasons whose events name a rule; None: where one decided
NAMED = {"rule": True, "no_memory": True, "flow_cut": None, "flows_full": None}
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")
INSTANCE = NAME + "-a"
RING_RECORDS = ((1 << 20) - 1) // 136  # an event of 128 bytes and its header; the ring is never quite full
PR_SET_NAME = 15
FWMON = os.path.join(BUILD, "bin", "fwmon")


def make(lab):
    lab.space("host", "peer")
    lab.veth("host", "eth0", "peer", "p0")
    lab.address("host", "eth0", "10.77.0.1/24", "fd77::1/64")
    lab.address("peer", "p0", "10.77.0.2/24", "fd77::2/64")
    lab.group = lab.cgroup()
    with lab.inside("peer"):
        lab.out = packet_socket("p0", False)
    with lab.inside("host"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("eth0", 0))
        lab.mac = s.getsockname()[4]


def load(lab, *rules, where=None, **more):
    if lab.instances:
        lab.unload()
    doc = {"default_action": "allow", "stateful": False, "log_limit": 0, "log_default": {"deny": False, "allow": False}}
    lab.load(dict(doc, rules=[dict(r, priority=n) for n, r in enumerate(rules)], **more), *(where or ("-i", "eth0", "--xdp", "native")))


DENY = {"name": "no", "protocol": "udp", "destination_ports": [7000], "action": "deny"}


def send(lab, count=1, port=7000):
    """UDP frames from the peer, numbered by their source port."""
    for n in range(count):
        lab.out.send(lab.mac + eth(0x0800, ipv4("10.77.0.2", "10.77.0.1", 17, udp(n & 0xFFFF, port)))[6:])


class Reader:
    """A running fwmon."""

    def __init__(self, lab, *options, wait=True):
        self.path = os.path.join(lab.folder, "reader%d" % len(lab.processes))
        with open(self.path, "wb") as out, open(self.path + ".err", "wb") as err:
            self.process = lab.start("host", FWMON, "-N", INSTANCE, *options, stdout=out, stderr=err)
        if wait:
            wait_until(lambda: os.path.getsize(self.path))

    def lines(self):
        with open(self.path, "rb") as f:
            return [line for line in f.read().split(b"\n") if line]

    def records(self, kind="verdict"):
        records = []
        for line in self.lines():
            try:
                records.append(json.loads(line))
            except ValueError:
                pass  # not whole yet
        return [r for r in records if r["event_type"] == kind]

    def wait(self, count, seconds=5):
        """The events, once there are ${count}."""
        needle = b'"event_type":"verdict"'
        wait_until(lambda: sum(needle in line for line in self.lines()) >= count, seconds)
        return self.records()

    def lost(self):
        return sum(r["count"] for r in self.records("lost"))

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(how)
        self.process.wait()
        return self.process.returncode


# ---- who sees what ----


def test_two_readers(lab):
    load(lab, DENY)
    readers, before = [Reader(lab), Reader(lab)], lab.count()
    send(lab, 3000)
    for n, r in enumerate(readers):
        ports = [e["src_port"] for e in r.wait(3000)]
        same(ports, list(range(3000)), "reader %d of two sees every event, in order" % (n + 1))
        same([rec["event_type"] for rec in map(json.loads, r.lines()[:1])], ["meta"], "its first record is meta")
    same([r.lost() for r in readers], [0, 0], "nothing is lost")
    # each reader takes the offset between the clocks for itself, so that the last digits of the time may differ
    one, two = ([{k: v[:21] if k == "timestamp" else v for k, v in e.items()} for e in r.records()] for r in readers)
    differ = [pair for pair in zip(one, two) if pair[0] != pair[1]]
    ok(len(differ) < 30 and all(a["src_port"] == b["src_port"] for a, b in differ), "both say the same", *differ[:2])
    same((lab.count() - before).rules["no"]["events_lost"], 0, "nor counted as lost")
    same([r.end() for r in readers], [0, 0], "SIGTERM ends a reader with 0")


def test_stopped_reader(lab):
    load(lab, DENY)
    quick, slow, total = Reader(lab), Reader(lab), RING_RECORDS + 5000
    slow.process.send_signal(signal.SIGSTOP)
    before = lab.count()
    for _ in range(total // 1000):
        send(lab, 1000)
        time.sleep(0.01)
    sent = total // 1000 * 1000
    d = wait_until(lambda: (lambda c: c if c.rules["no"]["packets_denied"] >= sent else None)(lab.count() - before))
    same(d and (d.rules["no"]["packets_denied"], d.packets()), (sent, sent), "with a stopped reader each packet is judged the same")
    counted = d.rules["no"]["events_lost"]
    ok(counted > 0, "its losses are counted under their rule (%d)" % counted)
    same(len(quick.wait(sent)) + quick.lost(), sent, "the other reader has them all")
    same(quick.lost(), 0, "and lost none")
    slow.process.send_signal(signal.SIGCONT)
    wait_until(lambda: slow.lost() >= counted)
    same((len(slow.records()) + slow.lost(), slow.lost()), (sent, counted), "woken, it says how many it lost: seen and lost are all")
    rings = [int(r["events_lost"]) for r in lab.stat()["rings"]]
    same(sorted(rings, reverse=True)[:2], [counted, 0], "and the ring's count is the same")
    send(lab, 10)
    wait_until(lambda: slow.records()[-1]["src_port"] == 9)
    same([e["src_port"] for e in slow.records()[-10:]], list(range(10)), "then it goes on")
    same([quick.end(), slow.end()], [0, 0], "both end well")


def test_five_readers(lab):
    load(lab, DENY)
    four = [Reader(lab) for _ in range(4)]
    fifth = Reader(lab, wait=False)
    same(fifth.process.wait(5), 4, "the fifth reader exits 4")
    with open(fifth.path + ".err", encoding="utf-8") as f:
        ok(f.read().startswith("fwmon: "), "and says why")
    same(fifth.lines(), [], "on stderr alone")
    four[1].process.kill()
    four[1].process.wait()
    states = sorted(r["state"] for r in lab.stat()["rings"])
    same(states, ["abandoned", "read", "read", "read"], "a reader killed by -9 leaves its ring claimed")
    send(lab, 50)
    wait_until(lambda: len(four[0].records()) >= 50)
    fresh = Reader(lab)
    send(lab, 7)
    events = fresh.wait(7)
    same([e["src_port"] for e in events], list(range(7)), "a new reader takes the ring and sees none of what was left in it")
    same(len(four[0].wait(57)), 57, "the others have not noticed")
    for r in (four[0], four[2], four[3], fresh):
        r.end()
    same({r["state"] for r in lab.stat()["rings"]}, {"free"}, "all rings are free in the end")


def test_no_reader(lab):
    load(lab, DENY)
    before = lab.count()
    send(lab, 200)
    d = wait_until(lambda: (lambda c: c if c.packets() >= 200 else None)(lab.count() - before))
    same(d and (d.rules["no"]["packets_denied"], d.rules["no"]["events_lost"]), (200, 0), "without a reader: counted, and nothing is lost")
    r = Reader(lab)
    time.sleep(0.1)
    same(r.records(), [], "a reader sees nothing from before its time")
    r.end()


def test_endings(lab):
    load(lab, DENY)
    r = Reader(lab, "-c", "5")
    send(lab, 20)
    same(r.process.wait(5), 0, "-c 5 ends with 0")
    same([e["src_port"] for e in r.records()], list(range(5)), "after five events")
    command = "%s -N %s | head -n 1; echo ${PIPESTATUS[0]}" % (FWMON, INSTANCE)
    p = lab.start("host", "bash", "-c", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 5
    while p.poll() is None and time.monotonic() < end:
        send(lab, 10)
        time.sleep(0.02)
    out, err = p.communicate(timeout=5)
    lines = out.decode().splitlines()
    same((len(lines), json.loads(lines[0])["event_type"], err), (2, "meta", b""), "fwmon | head -1 ends without a word")
    ok(lines[-1] in ("0", "141"), "its status is 0 or SIGPIPE's", lines[-1])
    same({s["state"] for s in lab.stat()["rings"]} - {"abandoned"}, {"free"}, "and holds no ring any more")
    p = subprocess.run([FWMON, "-N", INSTANCE + "none"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=5)
    ok(p.returncode in (1, 3) and not p.stdout and p.stderr.startswith(b"fwmon: "), "no such instance is an error", p)
    r = Reader(lab)
    lab.unload()
    status = None
    try:
        status = r.process.wait(5)
    except subprocess.TimeoutExpired:
        pass
    same(status, 0, "unloading the instance ends its readers")


# ---- what is said ----


def complaints(line):
    """What is wrong with one line."""
    text = line.decode()  # UTF-8 or an exception
    wrong = ["control character" for c in text if ord(c) < 32 or 127 <= ord(c) < 160]
    e = json.loads(text)
    if e["event_type"] != "verdict":
        return wrong
    wrong += ["%s is no field" % k for k in e if k not in FIELDS]
    wrong += ["%s is a %s" % (k, type(v).__name__) for k, v in e.items() if k in FIELDS and type(v) is not FIELDS[k]]
    wrong += ["%s is missing" % k for k in ALWAYS - set(e)]
    if not STAMP.match(e["timestamp"]):
        wrong.append("timestamp %s" % e["timestamp"])
    named = NAMED.get(e["reason"], False)
    return wrong + (["fields of a rule"] if ("rule" in e) != ("priority" in e) or named not in (None, "rule" in e) else [])


def test_packet_fields(lab):
    load(lab, {"name": "web", "protocol": "tcp", "action": "allow"}, {"name": "no", "protocol": "any", "action": "deny"},
         log_default={"deny": True, "allow": False})
    r = Reader(lab)
    a, b, c, d = "10.77.0.2", "10.77.0.1", "fd77::2", "fd77::1"
    frames = [eth(0x0800, ipv4(a, b, 6, tcp(1, 2))), eth(0x86DD, ipv6(c, d, 17, udp(3, 4, b"12345"))),
              eth(0x0800, ipv4(a, b, 1, icmp(8, 0))), eth(0x86DD, ipv6(c, d, 58, icmp(1, 4))),
              eth(0x0800, ipv4(a, b, 47, b"abc")), eth(0x0800, ipv4(a, b, 17, udp(5, 6), fragment=1)),
              eth(0x0800, ipv4(a, b, 17, udp(5, 6)), [(0x8100, 0x2007)]), eth(0x0800, ipv4(a, b, 17, udp(5, 6), total=19)),
              eth(0x86DD, ipv6("::ffff:10.1.2.3", d, 17, udp(1, 1)))]
    for f in frames:
        lab.out.send(lab.mac + f[6:])
    wait_until(lambda: len(told(r)) >= len(frames))
    events = told(r)
    base = {"verdict": "deny", "reason": "rule", "rule": "no", "hook": "xdp", "direction": "ingress", "in_iface": "eth0"}
    v4, v6 = {"src_ip": a, "dst_ip": b, "ip_version": 4}, {"src_ip": c, "dst_ip": d, "ip_version": 6}
    wanted = [dict(base, **v4, verdict="allow", rule="web", proto="tcp", src_port=1, dst_port=2, tcp_flags="SYN", length=40),
              dict(base, **v6, proto="udp", src_port=3, dst_port=4, length=53),
              dict(base, **v4, proto="icmp", icmp_type=8, icmp_code=0, length=28),
              dict(base, **v6, proto="icmpv6", icmp_type=1, icmp_code=4, length=48), dict(base, **v4, length=23),
              dict(base, **v4, proto="udp", length=28), dict(base, **v4, proto="udp", src_port=5, dst_port=6, vlan=7, length=28),
              dict({k: v for k, v in base.items() if k != "rule"}, reason="malformed")]
    for what, want, e in zip(("TCP", "UDP in IPv6", "ICMP", "ICMPv6", "GRE", "a later fragment", "a VLAN tag", "malformed"), wanted, events):
        given = {k: v for k, v in e.items() if k not in ("timestamp", "event_type", "priority", "rule_source", "generation", "proto"
                                                         if what == "GRE" else "event_type")}
        # malformed packets may say what could be read of them
        good = want.items() <= given.items() if what == "malformed" else given == want
        ok(good, "an event of %s says what is known and no more" % what, "got:    %s" % given, "wanted: %s" % want)
    tcp_event = events[0]
    same((tcp_event["priority"], tcp_event["generation"], tcp_event["rule_source"].endswith(":1")), (0, 1, True),
         "rule, priority, source and generation are those of the policy", tcp_event)
    same(len(events), len(frames), "a mapped address is an event, too")
    same([w for line in r.lines() for w in complaints(line)], [], "every line is as promised")
    r.end()


def told(r):
    """The events of what the test sent: not those of neighbour discovery."""
    return [e for e in r.records() if e["reason"] != "neighbour" and e.get("icmp_type") not in (130, 131, 132, 133, 134, 135, 136, 143)]


def test_process_fields(lab):
    """Names that a process gives itself, at the hooks that know the caller."""
    load(lab, {"name": "no", "destination_cidrs": ["192.0.2.0/24", "2001:db8::/32"], "direction": "egress", "action": "deny"},
         where=("-g", lab.group))
    names = [b"plain", b'q"uo\\te', b"\x1b]0;own\x07ed", b"new\nline\t", b"\xff\xfe\x80bad", "\u202ebidi\u00e9".encode(), b"del\x7f\xc2\x9b", b" ",
             b"fifteen-bytes-x", b"}{\"a\":1"]
    kinds = [("connect4", socket.AF_INET, socket.SOCK_STREAM, "192.0.2.1"), ("connect6", socket.AF_INET6, socket.SOCK_STREAM, "2001:db8::1"),
             ("connect6", socket.AF_INET6, socket.SOCK_STREAM, "::ffff:192.0.2.1"),
             ("sendmsg4", socket.AF_INET, socket.SOCK_DGRAM, "192.0.2.1"), ("sendmsg6", socket.AF_INET6, socket.SOCK_DGRAM, "2001:db8::1")]
    r, wanted = Reader(lab), []
    for name in names:
        for hook, fam, kind, to in kinds:
            wanted.append((caller(lab, name, fam, kind, to), hook, to.replace("::ffff:", "")))
    r.wait(len(wanted))
    events = r.records()
    same([(e["pid"], e["hook"], e["dst_ip"]) for e in events], wanted, "pid, hook and destination of each call")
    same({(e["uid"], e["verdict"], e["rule"], e["direction"], e["dst_port"], e.get("cgroup")) for e in events},
         {(0, "deny", "no", "egress", 9, lab.group[len(os.path.dirname(lab.group)):])}, "user, rule, port and cgroup of each")
    ids = {e["cgroup_id"] for e in events}
    same(ids, {str(os.stat(lab.group).st_ino)}, "and the cgroup's id")
    same([w for line in r.lines() for w in complaints(line)], [], "every line is JSON in UTF-8 without control characters")
    comms = [e["comm"] for e in events[::len(kinds)]]
    same((comms[0], comms[1], comms[8], comms[9]), ("plain", 'q"uo\\te', "fifteen-bytes-x", '}{"a":1'), "plain names are given as they are", comms)
    r.end()
    t = Reader(lab, "-o", "text", wait=False)
    wait_until(lambda: "read" in {s["state"] for s in lab.stat()["rings"]})
    for name in names:
        caller(lab, name, *kinds[0][1:])
    wait_until(lambda: len(t.lines()) >= len(names), 2)
    bad = [c for c in b"\n".join(t.lines()).decode() if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
    ok(len(t.lines()) >= len(names) and not bad, "nor does the text form send any to a terminal", t.lines())
    t.end()


def caller(lab, name, fam, kind, to):
    """A process of that name tries to reach ${to} and is denied; its id."""
    pid = os.fork()
    if not pid:
        with lab.inside("host", lab.group):
            try:
                ctypes.CDLL(None).prctl(PR_SET_NAME, ctypes.c_char_p(name))
                s = socket.socket(fam, kind)
                (s.connect if kind == socket.SOCK_STREAM else lambda a: s.sendto(b"x", a))((to, 9))
            except OSError:
                pass
            finally:
                os._exit(0)
    os.waitpid(pid, 0)
    return pid


# ---- what is logged ----


def count_events(lab, count, *ports):
    """Events of ${count} packets to each port, by (verdict, reason, rule)."""
    r, before, seen = Reader(lab), lab.count(), {}
    for port in ports:
        send(lab, count, port)
    wait_until(lambda: (lab.count() - before).packets() >= count * len(ports))
    time.sleep(0.15)  # fwmon's rounds are shorter
    for e in told(r):
        key = (e["verdict"], e["reason"], e.get("rule"))
        seen[key] = seen.get(key, 0) + 1
    r.end()
    return seen


def test_log(lab):
    rules = [dict(DENY, log=False), {"name": "yes", "protocol": "udp", "destination_ports": [7001], "action": "allow", "log": False},
             dict(DENY, name="told", destination_ports=[7002])]
    load(lab, *rules)
    same(count_events(lab, 10, 7000, 7001, 7002), {("deny", "rule", "told"): 10}, "log: false silences denials and permissions")
    for default in ("allow", "deny"):
        for logged in ({}, {"deny": True, "allow": True}, {"deny": False, "allow": False}, {"deny": False, "allow": True}):
            load(lab, DENY, default_action=default, **{"log_default": logged} if logged else {"log_default": {"deny": True, "allow": False}})
            wanted = {("deny", "rule", "no"): 5}
            if logged.get(default, default == "deny"):
                wanted[(default, "default", None)] = 5
            same(count_events(lab, 5, 7000, 7009), wanted, "default %s, log_default %s" % (default, logged or "left out"))


def test_log_limit(lab):
    """A burst of 10 and one a second: the rest is counted, and told by the next event of the same rule."""
    load(lab, DENY, dict(DENY, name="other", destination_ports=[7001]), log_limit=LIMIT)
    r, before = Reader(lab), lab.count()
    send(lab, 500)
    wait_until(lambda: (lab.count() - before).packets() >= 500)
    r.wait(10, 1)
    time.sleep(0.1)
    shown = r.records()
    ok(10 <= len(shown) <= 11, "a burst of 10 is shown", len(shown))
    same([e.get("suppressed") for e in shown[:10]], [None] * 10, "which suppressed nothing")
    same((lab.count() - before).rules["no"]["packets_denied"], 500, "and all 500 are denied and counted")
    send(lab, 1, 7001)
    other = r.wait(len(shown) + 1)[-1]
    same((other["rule"], other.get("suppressed")), ("other", None), "another rule has a limit of its own")
    time.sleep(1.3)
    send(lab, 1)
    r.wait(len(shown) + 2)
    same(sum(e.get("suppressed", 0) for e in r.records()), 500 - len(shown), "the next event carries the number that was left out")
    same(r.records()[-1]["suppressed"] > 0, True, "in its field suppressed")
    r.end()


LIMIT = {"rate": 1, "burst": 10}

if __name__ == "__main__":
    main(make, test_two_readers, test_stopped_reader, test_five_readers, test_no_reader, test_endings, test_packet_fields,
         test_process_fields, test_log, test_log_limit)
