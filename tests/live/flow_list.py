# SPDX-License-Identifier: GPL-2.0-only
"""Flows listed, counted and ended. One policy on eth0, both directions denied by default, and real stacks on both ends."""
import fcntl
import json
import os
import socket
import struct
import subprocess
import time

from live import NAME, main, note, ok, packet_socket, receives, same, udp_socket, wait_until
from build import eth, icmp, ipv4, tcp, udp

HOST, PEER = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
INSTANCE = NAME + "-a"
POLICY = {
    "default_action": {"ingress": "deny", "egress": "deny"}, "max_flows": 20000,
    "rules": [
        {"name": "web", "priority": 1, "direction": "ingress", "protocol": "tcp", "destination_ports": [80], "action": "allow"},
        {"name": "dns", "priority": 2, "direction": "ingress", "protocol": "udp", "destination_ports": ["53-54"], "action": "allow"},
        {"name": "ping", "priority": 3, "direction": "ingress", "protocol": "icmp", "action": "allow"},
        {"name": "out", "priority": 4, "direction": "egress", "protocol": "udp", "destination_ports": [5353], "action": "allow"},
    ],
}


def make(lab):
    lab.space("host", "peer")
    lab.veth("host", "eth0", "peer", "p0")
    lab.address("host", "eth0", "10.77.0.1/24", "fd77::1/64")
    lab.address("peer", "p0", "10.77.0.2/24", "fd77::2/64")
    lab.sysctl("peer", "ipv4/ping_group_range=0 2147483647")
    lab.group = lab.cgroup()
    lab.load(POLICY, "-i", "eth0", "-g", lab.group)
    with lab.inside("peer"):
        lab.out = packet_socket("p0", False)
    with lab.inside("host"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("eth0", 0))
        lab.mac = s.getsockname()[4]


def run(lab, program, *args):
    """(exit status, standard output, standard error)"""
    done = subprocess.run(lab.command("host", (lab.program(program), "-N", INSTANCE) + args), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def flows(lab, *filters):
    status, out, err = run(lab, "fwstat", "--flows", "-o", "json", *filters)
    if status or err:
        ok(False, "fwstat --flows " + " ".join(filters), status, err)
    return [json.loads(line) for line in out.splitlines()]


def kill(lab, *what):
    status, out, err = run(lab, "fwload", "--kill-flows", *what)
    return status, out.strip(), err


def begin(lab):
    """A table without flows."""
    kill(lab, "all")
    same(flows(lab), [], "an empty table lists nothing")


class Connection:
    """TCP from the peer to port 80 of the host; both ends here."""

    def __init__(self, lab, v=4):
        with lab.inside("host", lab.group):
            listener = socket.create_server((HOST[v], 80), family=socket.AF_INET6 if v == 6 else socket.AF_INET)
        with listener:
            with lab.inside("peer"):
                self.client = socket.create_connection((HOST[v], 80), 2)
            self.server = listener.accept()[0]
        self.client.settimeout(1)
        self.server.settimeout(1)
        self.port = self.client.getsockname()[1]

    def works(self):
        try:
            self.client.sendall(b"question")
            if self.server.recv(64) != b"question":
                return False
            self.server.sendall(b"answer")
            return self.client.recv(64) == b"answer"
        except OSError:
            return False

    def close(self):
        self.client.close()
        self.server.close()

    def abort(self):
        """By RST, which makes no flow: what is left of an ended connection would go on knocking."""
        for s in (self.client, self.server):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


def datagrams(lab, v, port, back=True):
    """From the peer to the host, and back; the two sockets."""
    with lab.inside("host", lab.group):
        h = udp_socket(HOST[v], port)
    with lab.inside("peer"):
        p = udp_socket(PEER[v])
    p.sendto(b"q", (HOST[v], port))
    if receives(h) and back:
        h.sendto(b"a", p.getsockname()[:2])
        receives(p)
    return h, p


def wait_state(lab, want, *filters):
    """The states of the flows that pass, when they are these."""
    got = []

    def look():
        got[:] = sorted(f["state"] for f in flows(lab, *filters))
        return got == want

    wait_until(look, 3)
    return got


# ---- what is listed ----


def test_fields(lab):
    begin(lab)
    c = Connection(lab)
    ok(c.works(), "a connection")
    f = flows(lab)
    same(len(f), 1, "is one flow")
    f = f[0]
    events_of_it = f["flow_id"]
    same({k: f.get(k) for k in ("state", "reason", "rule", "priority", "direction", "in_iface", "src_ip", "src_port", "dst_ip", "dst_port",
                                "proto", "ip_version", "generation")},
         {"state": "established", "reason": "rule", "rule": "web", "priority": 1, "direction": "ingress", "in_iface": "eth0",
          "src_ip": PEER[4], "src_port": c.port, "dst_ip": HOST[4], "dst_port": 80, "proto": "tcp", "ip_version": 4,
          "generation": lab.stat()["generation"]}, "with the fields of its event")
    ok(isinstance(events_of_it, str) and int(events_of_it), "flow_id is a string, as in events")
    ok(0 <= f["idle_seconds"] < 60 and 431900 < f["expires_seconds"] <= 432000, "idle and expiry", f)
    c.close()
    same(wait_state(lab, ["time_wait"]), ["time_wait"], "both have closed: time_wait")


def test_event_id(lab):
    """The id is that of the events."""
    begin(lab)
    path = os.path.join(lab.folder, "events")
    with open(path, "wb") as out:
        mon = lab.start("host", lab.program("fwmon"), "-N", INSTANCE, stdout=out)
    wait_until(lambda: os.path.getsize(path))
    h, p = datagrams(lab, 4, 53)

    def seen():
        with open(path, encoding="utf-8") as f:
            return [e for e in map(json.loads, f.read().splitlines()) if e.get("rule") == "dns"]

    got = wait_until(seen)
    mon.terminate()
    same([e.get("flow_id") for e in got], [f["flow_id"] for f in flows(lab)], "flow_id is that of the event")
    h.close()
    p.close()


def test_states(lab):
    begin(lab)
    c = Connection(lab, 6)
    h, p = datagrams(lab, 4, 53, False)
    h6, p6 = datagrams(lab, 6, 54)
    with lab.inside("peer"):
        ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    ping.sendto(icmp(8, payload=b"echo"), (HOST[4], 0))
    ok(receives(ping), "a ping")
    lab.out.send(lab.mac + eth(0x0800, ipv4("10.77.0.9", HOST[4], 6, tcp(1234, 80, 2)))[6:])
    same(wait_state(lab, ["established", "icmp_replied", "syn_sent", "udp_new", "udp_replied"]),
         ["established", "icmp_replied", "syn_sent", "udp_new", "udp_replied"], "each in its state")
    by = {f["state"]: f for f in flows(lab)}
    same((by["established"]["src_ip"], by["established"]["ip_version"]), (PEER[6], 6), "IPv6")
    echo = by["icmp_replied"]
    same(("src_port" in echo, echo["icmp_id"], echo["rule"]), (False, ping.getsockname()[1], "ping"), "an echo has no ports, but its identifier")
    p6.sendto(b"more", (HOST[6], 54))
    receives(h6)
    same(wait_state(lab, ["udp_stream"], "--port", "54"), ["udp_stream"], "udp_stream when the opener goes on")
    c.client.shutdown(socket.SHUT_WR)
    c.server.recv(1)
    same(wait_state(lab, ["close_wait"], "--proto", "tcp", "--src", PEER[6]), ["close_wait"], "half closed")
    states = lab.stat()["flows"]["states"]
    same({k: v for k, v in states.items() if v},
         {"close_wait": 1, "icmp_replied": 1, "syn_sent": 1, "udp_new": 1, "udp_stream": 1}, "fwstat counts them by state")
    maps = {m["name"]: m for m in lab.stat()["maps"]}
    same((maps["flows"]["entries"], maps["flows"]["capacity"]), (5, 20000), "and as entries of max_flows")
    c.close()
    for s in (h, p, h6, p6, ping):
        s.close()


def test_owner(lab):
    """What the host opens carries its user and cgroup."""
    begin(lab)
    with lab.inside("host", lab.group):
        h = udp_socket(HOST[4])
    h.sendto(b"x", (PEER[4], 5353))
    f = flows(lab)
    same([(x["direction"], x["rule"], x.get("uid"), x.get("cgroup")) for x in f], [("egress", "out", 0, "/" + NAME)], "uid and cgroup")
    same(f[0].get("cgroup_id"), str(os.stat(lab.group).st_ino), "the cgroup's id")
    same([len(flows(lab, "--cgroup", x)) for x in ("/" + NAME, lab.group, "/", "/other", str(os.stat(lab.group).st_ino))],
         [1, 1, 1, 0, 1], "--cgroup")
    h.close()


def test_filters(lab):
    begin(lab)
    c = Connection(lab)
    pairs = [datagrams(lab, v, port) for v in (4, 6) for port in (53, 54)]
    with lab.inside("host", lab.group):
        h = udp_socket(HOST[4])
    h.sendto(b"x", (PEER[4], 5353))
    for filters, want in (
            ((), 6), (("--proto", "tcp"), 1), (("--proto", "udp"), 5), (("--proto", "17"), 5), (("--rule", "dns"), 4),
            (("--rule", "dns", "--rule", "web"), 5), (("--src", PEER[4]), 3), (("--src", "fd77::/64"), 2), (("--dst", PEER[4]), 1),
            (("--port", "53"), 2), (("--port", str(c.port)), 1), (("--direction", "egress"), 1), (("--direction", "ingress"), 5),
            (("--interface", "eth0"), 6), (("--interface", "eth9"), 0), (("--state", "established"), 1),
            (("--state", "established", "--state", "udp_new"), 2), (("--state", "fin_wait"), 0),
            (("--rule", "dns", "--port", "54", "--src", "::/0"), 1), (("--rule", "absent"), 0)):
        same(len(flows(lab, *filters)), want, "filter " + (" ".join(filters) or "none"))
    c.close()
    h.close()
    for a, b in pairs:
        a.close()
        b.close()


def test_table(lab):
    begin(lab)
    status, out, err = run(lab, "fwstat", "--flows")
    same((status, out.count("\n"), err), (0, 1, ""), "without flows there are only titles")
    c = Connection(lab, 6)
    pair = datagrams(lab, 4, 53)
    lines = run(lab, "fwstat", "--flows")[1].splitlines()
    same(len(lines), 3, "titles and two flows")
    row = [line.split() for line in lines if "established" in line][0]
    same(row[:6], ["established", "ingress", "tcp", "[%s]:%d" % (PEER[6], c.port), "[%s]:80" % HOST[6], "web"], "a row")
    at = {title: lines[0].index(title) for title in ("proto", "opener", "rule", "flow")}
    ok(all(line[x - 1] == " " and line[x] != " " for line in lines for x in at.values()), "columns are aligned", *lines)
    same([line for line in lines if line.endswith(" ") or "\033" in line], [], "no blanks at line ends, no colour in a pipe")
    path = os.path.join(lab.folder, "flows.json")
    same(run(lab, "fwstat", "--flows", "-o", "json", "-O", path)[:2], (0, ""), "-O")
    with open(path, encoding="utf-8") as f:
        same(len([json.loads(line) for line in f]), 2, "the file has them")
    c.close()
    for s in pair:
        s.close()


# ---- ending them ----


def test_kill(lab):
    begin(lab)
    one, two = Connection(lab), Connection(lab)
    pair = datagrams(lab, 4, 53)
    same(kill(lab, "src=%s,port=%d" % (PEER[4], one.port)), (0, "1 flow ended", ""), "one of three")
    same(len(flows(lab)), 2, "two are left")
    same(kill(lab, "proto=tcp port=%d" % one.port), (1, "0 flows ended", ""), "it is gone: exit 1")
    same(kill(lab, "rule=dns", "-n"), (0, "1 flow would end", ""), "-n only counts")
    same(len(flows(lab)), 2, "and ends nothing")
    ok(two.works(), "the other connection lives")
    same(kill(lab, "state=established rule=web"), (0, "1 flow ended", ""), "by state and rule")
    same(kill(lab, "all"), (0, "1 flow ended", ""), "all")
    # what ending means: the host's next packet is no reply any more, the peer's is judged as new
    one.server.settimeout(0.3)
    one.server.sendall(b"late")
    one.client.settimeout(0.3)
    try:
        got = one.client.recv(64)
    except OSError:
        got = None
    same(got, None, "what the host sends into an ended connection is denied")
    one.client.sendall(b"q")
    same(wait_state(lab, ["established"], "--port", str(one.port)), ["established"], "the peer's next packet is allowed by the rule again")
    one.abort()
    two.abort()
    for s in pair:
        s.close()


def test_kill_denied(lab):
    """Where the policy does not allow it any more, or asks for a SYN, it stays ended."""
    lab.load(dict(POLICY, tcp_strict=True), "-i", "eth0", "-g", lab.group)
    begin(lab)
    c = Connection(lab)
    ok(c.works(), "tcp_strict: a connection")
    same(kill(lab, "proto=tcp"), (0, "1 flow ended", ""), "ended")
    ok(not c.works(), "it stays dead: its packets are no SYN")
    same(flows(lab, "--proto", "tcp"), [], "and make no flow")
    c.abort()
    lab.load(POLICY, "-i", "eth0", "-g", lab.group)


def test_kill_usage(lab):
    for text, part in (("colour=red", "colour"), ("port=0x50", "port=0x50"), ("src=10.0.0.0/33", "src=10.0.0.0/33"),
                       ("state=open", "established"), ("state=fragment", "state=fragment"), ("", "empty"), (" , ", "empty"),
                       ("all port=80", "alone"), ("port", "KEY=VALUE"), ("port=80 proto=tpc", "proto=tpc"), ("pid=1", "pid")):
        status, out, err = kill(lab, text)
        ok(status == 2 and out == "" and err.startswith("fwload: ") and part in err, "usage: %r" % text, status, out, err)
    for args in (("all", "extra"), ("all", "--status"), ("all", "--unload"), ("all", "--kill-flows", "port=80")):
        same(kill(lab, *args)[0], 2, "usage: " + " ".join(args))
    same(run(lab, "fwload", "--kill-flows", "all", "-N", "absent-instance")[0], 1, "no such instance")
    for args in (("--rule", "web"), ("--flows", "--check"), ("--flows", "-o", "prometheus"), ("--flows", "--state", "open"),
                 ("--flows", "--port", "x")):
        status, out, err = run(lab, "fwstat", *args)
        ok(status == 2 and out == "" and err.startswith("fwstat: "), "usage: fwstat " + " ".join(args), status, out, err)


def test_lock(lab):
    """It waits for a writer."""
    holder = os.open(lab.pin(""), os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    start = time.monotonic()
    status, out, err = kill(lab, "all", "--wait", "1")
    ok(status == 4 and out == "" and "busy" in err and time.monotonic() - start >= 1, "busy: exit 4 after --wait", status, out, err)
    same(run(lab, "fwstat", "--flows")[0], 0, "listing takes no lock")
    os.close(holder)


# ---- generations ----


def test_generations(lab):
    begin(lab)
    c = Connection(lab)
    old = flows(lab)[0]
    more = {"name": "more", "priority": 9, "direction": "ingress", "protocol": "tcp", "destination_ports": [81], "action": "allow"}
    lab.load(dict(POLICY, rules=[r for r in POLICY["rules"] if r["name"] != "web"] + [more]), "-i", "eth0", "-g", lab.group)
    now = flows(lab)
    same([(f["flow_id"], f.get("rule"), f["generation"]) for f in now], [(old["flow_id"], "web", old["generation"])],
         "a flow that has not been judged again keeps its generation, and the name of a rule that is gone")
    same(kill(lab, "rule=web"), (0, "1 flow ended", ""), "and can be ended by it")
    c.abort()
    lab.load(POLICY, "-i", "eth0", "-g", lab.group)


# ---- many ----


def test_many(lab):
    begin(lab)
    before = lab.stat()["flows"]
    sent = 10000
    for n in range(sent):
        lab.out.send(lab.mac + eth(0x0800, ipv4("10.77.%d.%d" % (1 + n // 250, 1 + n % 250), HOST[4], 17, udp(1000 + n, 53)))[6:])
        if n % 500 == 0:
            wait_until(lambda m=n: lab.stat()["flows"]["created"] - before["created"] >= m)
    wait_until(lambda: lab.stat()["flows"]["created"] - before["created"] >= sent)
    after = lab.stat()["flows"]
    same((after["created"] - before["created"], after["entries"], after["states"]["udp_new"]), (sent, sent, sent), "10,000 flows are counted")
    start = time.monotonic()
    got = flows(lab)
    note("%d flows listed and read back in %.3f s" % (len(got), time.monotonic() - start))
    same(len({(f["src_ip"], f["src_port"]) for f in got}), sent, "and listed, each once")
    same(len({f["flow_id"] for f in got}), sent, "each with an id of its own")
    same(len(flows(lab, "--src", "10.77.1.0/24")), 250, "a prefix of them")
    same(kill(lab, "src=10.77.1.0/24"), (0, "250 flows ended", ""), "ended by a prefix")
    same(run(lab, "fwstat", "--flows")[1].count("\n"), 1 + sent - 250, "the table has the others")
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([lab.program("fwstat"), "-N", INSTANCE, "--flows"], stdout=full, stderr=subprocess.PIPE, check=False)
    ok(done.returncode == 3 and b"No space left" in done.stderr, "a full device", done.returncode, done.stderr)
    with subprocess.Popen([lab.program("fwstat"), "-N", INSTANCE, "--flows", "-o", "json"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as p:
        p.stdout.readline()
        p.stdout.close()
        same((p.wait(10), p.stderr.read()), (-13, b""), "a reader that leaves ends it quietly")
    same(kill(lab, "all"), (0, "9750 flows ended", ""), "all of them ended")


if __name__ == "__main__":
    main(make, test_fields, test_event_id, test_states, test_owner, test_filters, test_table, test_kill, test_kill_denied,
         test_kill_usage, test_lock, test_generations, test_many)
