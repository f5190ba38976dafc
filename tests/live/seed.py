# SPDX-License-Identifier: GPL-2.0-only
"""Connections that are older than the first load: those that the policy lets their openers make go on without a
stall, which tcp_strict shows to be by flows that are there from the start; the others are listed with the rule, and
cut. Nothing is seeded by -n or a reload."""
import json
import os
import re
import socket
import struct
import subprocess
import threading

from live import NAME, call, family, main, ok, same, wait_until

HOST, PEER = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
IN, OUT, TELNET, OTHER = 7022, 7080, 7023, 7024  # allowed by the peer and by the host; denied by a rule; by default
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
STATES = ("free busy syn_sent syn_both syn_recv picked_up picked_up_r established fin_wait_o fin_wait_r close_wait_o close_wait_r "
          "last_ack_o last_ack_r time_wait close udp_new udp_replied udp_stream").split()
BUCKET_FLOW, BUCKET_WORD = 0, 448  # struct fw_flow_bucket
SMALL = 64  # max_flows where the whole table is read


def make(lab):
    lab.space("host", "peer")
    for n in (0, 1):
        lab.veth("host", "eth%d" % n, "peer", "p%d" % n)
        lab.address("host", "eth%d" % n, "10.7%d.0.1/24" % (7 + n), "fd7%d::1/64" % (7 + n))
        lab.address("peer", "p%d" % n, "10.7%d.0.2/24" % (7 + n), "fd7%d::2/64" % (7 + n))
    lab.group, lab.beside = lab.cgroup(), lab.cgroup("-beside")
    lab.inner = lab.cgroup("/inner")
    xdp = ("-i", "eth0", "--xdp", "native")
    lab.where = {"XDP and TC": xdp, "TC": ("-i", "eth0", "--xdp", "off"), "cgroup": ("-g", lab.group),
                 "all": xdp + ("-g", lab.group)}


# ---- connections ----


class Pair:
    """Both ends of a connection that is opened while nothing is loaded: .host and .peer. What listens goes on
    listening, as fwload takes from it who has opened what."""
    listening = {}

    def __init__(self, lab, opener, kind, v, port, *, group=None, uid=0, host=None, peer=None, fam=None, loading=False):
        self.lab, self.opener, self.kind, self.group, self.uid = lab, opener, kind, group or lab.group, uid
        host, peer = host or HOST[v], peer or PEER[v]
        if lab.instances and not loading:
            lab.unload()
        here, there = (host, peer) if opener == "peer" else (peer, host)
        server_role = "host" if opener == "peer" else "peer"
        place = (server_role, here, port, kind, fam)
        if place not in self.listening:
            self.listening[place] = self.within(server_role, self.listener, here, port, fam if server_role == "host" else None)
        server = self.listening[place]
        client = self.within(opener, socket.socket, fam if fam and opener == "host" else family(here), KINDS[kind])
        mapped = "::ffff:" if client.family == socket.AF_INET6 and "." in here else ""
        self.within(opener, client.bind, (mapped + there, 0))
        client.settimeout(5)
        client.connect((mapped + here, port))
        if kind == "udp":
            client.send(b"hello")
            data, other = server.recvfrom(64)
            accepted = self.within(server_role, self.listener, here, port, fam if server_role == "host" else None)
            accepted.connect(other)
            accepted.send(data)
            client.recv(64)
        else:
            accepted = server.accept()[0]
        self.client, self.accepted = client, accepted
        self.host, self.peer = (client, accepted) if opener == "host" else (accepted, client)
        for s in (self.host, self.peer):
            if kind == "tcp":
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def within(self, role, what, *args):
        with self.lab.inside(role, self.group if role == "host" else None):
            os.seteuid(self.uid if role == "host" else 0)
            try:
                return what(*args)
            finally:
                os.seteuid(0)

    def listener(self, address, port, fam):
        s = socket.socket(fam or family(address), KINDS[self.kind])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.settimeout(5)
        if fam == socket.AF_INET6 and "." in address:
            address = "::"
        s.bind((address, port))
        if self.kind == "tcp":
            s.listen(64)
        return s

    def text(self):
        """As fwload writes it: the opener's end first."""
        ends = [self.client.getsockname()[:2], self.client.getpeername()[:2]]
        ends = [(a[7:] if a.startswith("::ffff:") else a, p) for a, p in ends]
        return " > ".join(("[%s]:%d" if ":" in a else "%s:%d") % (a, p) for a, p in ends)

    def both(self):
        """Does the opener get something through, and the other end? "yes" and "no"."""
        return tuple(self.says(*ends) for ends in ((self.client, self.accepted), (self.accepted, self.client)))

    @staticmethod
    def says(a, b, seconds=2.0):
        word = os.urandom(8)
        b.settimeout(seconds)
        try:
            a.send(word)
            got = b""
            while not got.endswith(word):
                part = b.recv(64)
                if not part:
                    return False
                got += part
            return True
        except OSError:
            return False

    def dead(self):
        return not self.says(self.client, self.accepted, 0.4) and not self.says(self.accepted, self.client, 0.4)

    def close(self):
        for s in (self.host, self.peer):
            if self.kind == "tcp":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for s in (self.host, self.peer):
            s.close()


def close(pairs):
    for p in pairs:
        p.close()
    while Pair.listening:
        Pair.listening.popitem()[1].close()


# ---- loading ----


def rule(name, direction, action="allow", **keys):
    return dict(keys, name=name, direction=direction, action=action)


def policy(*rules, default="deny", **more):
    if not rules:
        rules = (rule("served", "ingress", destination_ports=[IN]), rule("used", "egress", destination_ports=[OUT]),
                 rule("telnet", "ingress", "deny", destination_ports=[TELNET]))
    return dict({"default_action": default, "rules": [dict(r, priority=n) for n, r in enumerate(rules)]}, **more)


def load(lab, doc, where, *options, reload=False):
    """What fwload said on standard error; a first load unless ${reload}."""
    name = "%s-a" % NAME
    if name in lab.instances and not reload:
        lab.unload()
    ir = lab.compile(doc)[0]
    if "-n" not in options and name not in lab.instances:
        lab.instances.append(name)
    done = subprocess.run(lab.command("host", (lab.program("fwload"), "-N", name, *options, *where, ir)),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    said = done.stderr.decode()
    if done.returncode:
        raise OSError("fwload: exit %d: %s" % (done.returncode, said))
    return said


def cuts(said):
    """The list, without the rules' places (test_rule_place)."""
    return [re.sub(r" \(\S+:\d+\)", "", line) for line in said.splitlines() if " cut: " in line]


def flows(lab):
    """{"source > destination": what the flow is} of a small table, whole."""
    out = {}
    for bucket in json.loads(call("bpftool", "-j", "map", "dump", "pinned", lab.pin("maps/flows"))):
        data = bytes(int(b, 16) for b in bucket["value"])
        for way in range(7):
            word = struct.unpack_from("<Q", data, BUCKET_WORD + 8 * way)[0]
            if word & 0xFF > 1:
                flow = data[BUCKET_FLOW + 64 * way :][:64]
                ends = [(flow[at : at + 16], struct.unpack_from("<H", flow, 32 + at // 8)[0]) for at in (0, 16)]
                text = " > ".join("%s:%d" % (address(a), p) for a, p in ends)
                stamp, _, uid = struct.unpack_from("<QQI", flow, 40)
                out[text] = {"state": STATES[word & 0xFF], "egress": bool(word & 0x200), "v6": bool(word & 0x400),
                             "limited": bool(word & 0x100), "uid": uid if uid != 0xFFFFFFFF else None,
                             "rule": stamp & 0xFFFFFFFF, "generation": stamp >> 32}
    return out


def address(raw):
    if raw[:12] == bytes(10) + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return "[%s]" % socket.inet_ntop(socket.AF_INET6, raw)


# ---- what is kept, what is cut ----


def test_kept(lab):
    """Default deny both ways. With tcp_strict nothing of TCP passes but by a flow that is there."""
    for what, where in lab.where.items():
        for strict in (False, True)[what not in ("TC", "cgroup"):]:
            kept = [Pair(lab, opener, kind, v, IN if opener == "peer" else OUT)
                    for opener in ("peer", "host") for kind in KINDS for v in (4, 6)]
            named = [Pair(lab, "peer", kind, 4, TELNET) for kind in KINDS]
            rest = [Pair(lab, "peer", "tcp", 6, OTHER), Pair(lab, "host", "tcp", 4, OTHER), Pair(lab, "host", "udp", 6, IN)]
            said = load(lab, policy(tcp_strict=strict), where, "-v")
            name = "%s, tcp_strict: %s" % (what, str(strict).lower())
            # the end that didn't open it begins: without a flow its packet is nothing that a rule allows
            same([(p.kind, p.opener, p.text()) for p in kept if not (p.says(p.accepted, p.client) and all(p.both()))], [],
                 "%s: TCP and UDP, IPv4 and IPv6, opened by either end, go on if allowed" % name, said)
            listed = cuts(said)
            same(sorted(re.sub(" +", " ", line) for line in listed),
                 sorted(["fwload: will be cut: %s %s (opened by the remote): denied by rule telnet" % (p.kind, p.text()) for p in named] +
                        ["fwload: will be cut: %s %s (opened %s): denied by default" %
                         (p.kind, p.text(), "by the remote" if p.opener == "peer" else "from here") for p in rest]),
                 "%s: the denied ones are listed" % name, said)
            same(len({line.index("(opened") for line in listed}), 1, "%s: and the list is aligned" % name, *listed)
            ok("open connections: 8 got a flow, 5 denied" in said, "%s: with -v it is said how many" % name, said)
            same([p.text() for p in named + rest if not p.dead()], [], "%s: and really cut" % name)
            close(kept + named + rest)


def test_rule_place(lab):
    """The rule with its place in the YAML."""
    p = Pair(lab, "peer", "tcp", 4, TELNET)
    path = os.path.join(lab.folder, "place.yaml")
    with open(path, "w", encoding="ascii") as f:
        f.write("default_action: deny\nrules:\n- name: telnet\n  priority: 1\n  destination_ports: [%d]\n" % TELNET)
    ir = call(lab.program("fwc"), "-q", path)
    if lab.instances:
        lab.unload()
    done = subprocess.run(lab.command("host", (lab.program("fwload"), "-n", "-N", NAME + "-a", *lab.where["TC"])), input=ir,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    same([line for line in done.stderr.decode().splitlines() if " cut: " in line],
         ["fwload: would be cut: tcp %s (opened by the remote): denied by rule telnet (%s:3)" % (p.text(), path)],
         "a denied connection is listed with the rule's place")
    close((p,))


def test_download(lab):
    """Data streams while the policy is loaded, from the side that didn't open."""
    for what, where in lab.where.items():
        if lab.instances:
            lab.unload()
        p = Pair(lab, "peer", "tcp", 4, IN)
        sent, got, stop = [0], [0], threading.Event()

        def pump(p=p, sent=sent, stop=stop):
            piece = bytes(range(256)) * 64
            p.host.settimeout(10)
            try:
                while not stop.is_set():
                    sent[0] += p.host.send(piece)
                p.host.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def drain(p=p, got=got):
            p.peer.settimeout(10)
            try:
                while True:
                    part = p.peer.recv(1 << 16)
                    if not part:
                        return
                    if part[0] != got[0] % 256:
                        return
                    got[0] += len(part)
            except OSError:
                pass

        threads = [threading.Thread(target=pump), threading.Thread(target=drain)]
        for t in threads:
            t.start()
        wait_until(lambda: got[0] > 1 << 20)
        before = got[0]
        load(lab, policy(tcp_strict=True), where)
        at_load = got[0]
        wait_until(lambda: got[0] > at_load + (8 << 20))
        judged = lab.count()
        stop.set()
        for t in threads:
            t.join()
        ok(before < at_load < got[0] == sent[0], "%s: a download runs on while the policy is loaded, every byte of it" % what,
           "%d, %d, %d of %d" % (before, at_load, got[0], sent[0]))
        same({k: n for k, n in judged.verdicts.items() if k[0] != "allow" and n}, {}, "%s: of its packets none was denied" % what)
        close((p,))


def test_flows(lab):
    """The flows as they are written: state by TCP's and the opener, flags, rule, owner."""
    doc = policy(rule("served", "ingress", destination_ports=[IN]),
                 rule("limited", "egress", "rate_limit", destination_ports=[OUT], rate_limit_pps=1000), max_flows=SMALL)
    for what in ("cgroup", "TC"):
        opened = {}
        for opener in ("peer", "host"):
            port = IN if opener == "peer" else OUT
            me, they = ("o", "r") if opener == "host" else ("r", "o")
            opened[Pair(lab, opener, "tcp", 4, port)] = "established"
            opened[Pair(lab, opener, "tcp", 6, port)] = "established"
            opened[Pair(lab, opener, "udp", 4, port)] = "udp_stream"
            p = Pair(lab, opener, "tcp", 4, port)  # half-closed by the host: FIN_WAIT2
            p.host.shutdown(socket.SHUT_WR)
            opened[p] = "close_wait_" + me
            p = Pair(lab, opener, "tcp", 6, port)  # and by the peer: CLOSE_WAIT
            p.peer.shutdown(socket.SHUT_WR)
            opened[p] = "close_wait_" + they
        load(lab, doc, lab.where[what])
        table = flows(lab)
        want = {p.text(): {"state": state, "egress": p.opener == "host", "v6": p.client.family == socket.AF_INET6,
                           "limited": p.opener == "host", "uid": 0 if what == "cgroup" and p.opener == "host" else None,
                           "rule": 65 if p.opener == "host" else 64, "generation": 1} for p, state in opened.items()}
        same(table, want, "%s: each has the flow that its packets would have made" % what,
             *["%s: %s, not %s" % (k, table.get(k), w) for k, w in want.items() if table.get(k) != w])
        half = [p for p, state in opened.items() if state.startswith("close_wait")]
        # tcpi_state 8, CLOSE_WAIT: the peer has closed its side
        stalled = [p.text() for p in half if not p.says(*((p.host, p.peer) if p.host.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
                                                          == b"\x08" else (p.peer, p.host)))]
        same(stalled, [], "%s: half-closed ones go on in the open direction" % what)
        close(opened)


def test_handshake(lab):
    """A connection whose SYN has been sent and not been answered yet."""
    with lab.inside("host", lab.group):
        s = socket.socket()
    s.setblocking(False)
    lab.ip("peer", "addr del 10.77.0.2/24 dev p0")
    lab.ip("host", "neigh replace 10.77.0.2 lladdr 02:00:00:00:00:07 dev eth0")
    try:
        with lab.inside("host", lab.group):
            s.bind((HOST[4], 0))
            s.connect_ex((PEER[4], OUT))
        load(lab, policy(max_flows=SMALL), lab.where["all"])
        same([(k, f["state"]) for k, f in flows(lab).items()], [("%s:%d > %s:%d" % (*s.getsockname(), PEER[4], OUT), "syn_sent")],
             "a connection that is being opened has its flow")
    finally:
        lab.ip("host", "neigh del 10.77.0.2 dev eth0")
        lab.address("peer", "p0", "10.77.0.2/24")
        s.close()


def test_mapped(lab):
    """IPv6 sockets that speak IPv4 are judged as IPv4."""
    doc = policy(rule("served", "ingress", destination_ports=[IN], source_cidrs=[PEER[4]]),
                 rule("used", "egress", destination_ports=[OUT], destination_cidrs=[PEER[4]]), tcp_strict=True, max_flows=SMALL)
    for what, where in lab.where.items():
        pairs = [Pair(lab, opener, kind, 4, IN if opener == "peer" else OUT, fam=socket.AF_INET6)
                 for opener in ("peer", "host") for kind in KINDS]
        cut = Pair(lab, "peer", "tcp", 4, OTHER, fam=socket.AF_INET6)
        said = load(lab, doc, where)
        same([p.text() for p in pairs if not (p.says(p.accepted, p.client) and all(p.both()))], [], "%s: mapped addresses" % what, said)
        ok("cut: tcp %s (" % cut.text() in said, "%s: one that is denied is listed as IPv4" % what, said)
        same({f["v6"] for f in flows(lab).values()}, {False}, "%s: their flows are of IPv4" % what)
        close(pairs + [cut])


def test_owner(lab):
    """users and cgroups, known where the opener is on this host."""
    below = lab.inner[len(lab.inner) - len(NAME + "/inner") - 1 :]
    for key, mine, doc in (
            ("user", {"uid": 4321}, rule("mine", "egress", users=["4321"], destination_ports=[OUT])),
            ("cgroup", {"group": lab.inner}, rule("mine", "egress", cgroups=[below], destination_ports=[OUT])),
            ("cgroup above", {"group": lab.inner}, rule("mine", "egress", cgroups=["/" + NAME], destination_ports=[OUT]))):
        for kind in KINDS:
            yes, no = Pair(lab, "host", kind, 4, OUT, **mine), Pair(lab, "host", kind, 4, OUT)
            inward = Pair(lab, "peer", kind, 4, OUT, **mine)
            said = load(lab, policy(doc, tcp_strict=True), lab.where["cgroup"])
            same(yes.both(), (True, True), "%s: the %s's %s goes on" % (key, key.split()[0], kind), said)
            others = [no, inward] if key != "cgroup above" else [inward]
            same(sorted(line.split("cut: ")[1].split(" (")[0].split(" ", 1)[1].strip() for line in cuts(said)),
                 sorted(p.text() for p in others), "%s: others are listed, and what came in, too" % key, said)
            same([p.text() for p in others if not p.dead()], [], "%s: and cut" % key)
            close((yes, no, inward))


def test_owner_unknown(lab):
    """The owner of a connection that no process has any more is the hook's to know."""
    p = Pair(lab, "host", "tcp", 4, OUT)
    p.host.setblocking(False)
    sent = 0
    try:
        while True:
            sent += p.host.send(bytes(1 << 16))
    except BlockingIOError:
        pass
    p.host.close()
    said = load(lab, policy(rule("root", "egress", users=["0"])), lab.where["cgroup"], "-v")
    ok(not cuts(said) and "left to the rules, because their owner is not known: 1" in said, "what can't be judged is not listed", said)
    p.peer.settimeout(5)
    got = 0
    while got < sent:
        got += len(p.peer.recv(1 << 20)) or sent
    same(got, sent, "and goes on if a rule on its user allows it")
    p.peer.close()


# ---- what is nobody's business ----


def test_elsewhere(lab):
    """Not judged: other interfaces, other cgroups, loopback."""
    far = {"host": "10.78.0.1", "peer": "10.78.0.2"}
    eth1 = Pair(lab, "peer", "tcp", 4, OTHER, **far)
    beside = Pair(lab, "peer", "tcp", 4, OTHER + 1, group=lab.beside)
    said = load(lab, policy(), lab.where["TC"])
    ok(eth1.text() not in said and eth1.both() == (True, True), "on an interface that is not attached: neither listed nor cut", said)
    ok(beside.text() in said and beside.dead(), "any cgroup on one that is", said)
    close((eth1, beside))
    eth1 = Pair(lab, "peer", "tcp", 4, OTHER, **far)
    beside = Pair(lab, "peer", "tcp", 4, OTHER + 1, group=lab.beside, **far)
    inner = Pair(lab, "peer", "tcp", 4, OTHER + 2, group=lab.inner, **far)
    said = load(lab, policy(), lab.where["cgroup"])
    ok(beside.text() not in said and beside.both() == (True, True), "in a cgroup beside the attached one: neither", said)
    ok(eth1.text() in said and eth1.dead(), "in the attached one: both, on any interface", said)
    ok(inner.text() in said and inner.dead(), "and in one below", said)
    close((eth1, beside, inner))
    eth1, beside = Pair(lab, "peer", "tcp", 4, OTHER, **far), Pair(lab, "peer", "tcp", 4, OTHER + 1, group=lab.beside)
    neither = Pair(lab, "peer", "tcp", 4, OTHER + 2, group=lab.beside, **far)
    said = load(lab, policy(), lab.where["all"])
    same((eth1.text() in said, beside.text() in said, neither.text() in said), (True, True, False), "with both attached: those of either", said)
    same((eth1.dead(), beside.dead(), neither.both()), (True, True, (True, True)), "and that is what happens")
    close((eth1, beside, neither))


class Inside(Pair):
    """Both ends on the host."""

    def within(self, role, what, *args):
        return super().within("host", what, *args)


def test_loopback(lab):
    for v, a in ((4, "127.0.0.1"), (6, "::1"), (4, HOST[4])):
        p = Inside(lab, "peer", "tcp", v, OTHER, host=a, peer=a)
        said = load(lab, policy(), lab.where["cgroup"])
        ok(not cuts(said) and p.both() == (True, True), "%s to itself: neither listed nor cut" % a, said)
        said = load(lab, policy(filter_loopback=True), lab.where["cgroup"])
        same(len(cuts(said)), 1, "%s with filter_loopback: listed once" % a, said)
        ok(p.text() in said and p.dead(), "%s with filter_loopback: cut" % a, said)
        close((p,))
        p = Inside(lab, "peer", "tcp", v, IN, host=a, peer=a)
        said = load(lab, policy(rule("in", "ingress", destination_ports=[IN]), filter_loopback=True), lab.where["cgroup"])
        ok(p.text() in said and p.dead(), "%s: a rule of ingress alone doesn't let it out" % a, said)
        close((p,))
        p = Inside(lab, "peer", "tcp", v, IN, host=a, peer=a)
        doc = policy(rule("out", "egress", destination_ports=[IN]), filter_loopback=True, tcp_strict=True)
        said = load(lab, doc, lab.where["cgroup"], "-n") + load(lab, doc, lab.where["cgroup"])
        ok(not cuts(said) and p.both() == (True, True), "%s: one of egress does, as for a new connection" % a, said)
        close((p,))


def test_interfaces(lab):
    """Rules on interfaces, from the cgroup's hooks, too."""
    doc = policy(rule("near", "both", interfaces=["eth0"], destination_ports=[IN, OUT]), tcp_strict=True)
    far = {"host": "10.78.0.1", "peer": "10.78.0.2"}
    for what in ("cgroup", "all"):
        near = [Pair(lab, "peer", "tcp", 4, IN), Pair(lab, "host", "tcp", 6, OUT)]
        away = [Pair(lab, "peer", "tcp", 4, IN, **far), Pair(lab, "host", "tcp", 4, OUT, **far)]
        said = load(lab, doc, lab.where[what])
        same([p.both() for p in near], [(True, True)] * 2, "%s: what the rule's interface carries goes on" % what, said)
        same([p.text() in said and p.dead() for p in away], [True] * 2, "%s: what another does not" % what, said)
        close(near + away)


# ---- when ----


def test_dry_run(lab):
    if lab.instances:
        lab.unload()
    kept, cut = Pair(lab, "peer", "tcp", 4, IN), Pair(lab, "peer", "tcp", 4, TELNET)
    said = load(lab, policy(), lab.where["all"], "-n")
    same(cuts(said), ["fwload: would be cut: tcp %s (opened by the remote): denied by rule telnet" % cut.text()],
         "-n lists what a first load would cut", said)
    same((kept.both(), cut.both()), ((True, True), (True, True)), "and cuts nothing")
    ok(not os.path.exists(lab.pin("")), "and leaves nothing behind")
    close((kept, cut))


def test_between(lab):
    """What is opened between the first list and the switch is found by the second. The list of the denied is told before
    the switch: while nobody reads it, fwload waits right there."""
    for what in ("XDP and TC", "cgroup"):
        # (one that the peer opened would be taken for the session of this process, and be spoken of before)
        cut = Pair(lab, "host", "tcp", 4, OTHER)
        ir = lab.compile(policy(tcp_strict=True))[0]
        out, into = os.pipe()
        os.set_blocking(into, False)
        try:
            while True:
                os.write(into, bytes(4096))
        except BlockingIOError:
            os.set_blocking(into, True)
        lab.instances.append(NAME + "-a")
        p = lab.start("host", lab.program("fwload"), "-N", NAME + "-a", *lab.where[what], ir, stderr=into)
        os.close(into)
        ok(wait_until(lambda p=p: "pipe" in content("/proc/%d/wchan" % p.pid), 20), "%s: fwload tells before it switches" % what,
           content("/proc/%d/wchan" % p.pid), content("/proc/%d/comm" % p.pid))
        late = [Pair(lab, "peer", kind, 4, IN, loading=True) for kind in KINDS] + [Pair(lab, "host", "tcp", 6, OUT, loading=True)]
        late_cut = Pair(lab, "peer", "tcp", 4, OTHER, loading=True)
        same((cut.both(), late[0].both()), ((True, True), (True, True)), "%s: nothing is cut yet" % what)
        with os.fdopen(out, "rb") as f:
            said = f.read().lstrip(b"\0").decode()
        same(p.wait(), 0, "%s: the policy is loaded" % what)
        same([x.text() for x in late if not (x.says(x.accepted, x.client) and all(x.both()))], [],
             "%s: what was opened in between goes on" % what, said)
        same([line.split("cut: ")[1].split(" (")[0] for line in cuts(said)], ["tcp " + cut.text(), "tcp " + late_cut.text()],
             "%s: or is listed, and nothing twice" % what)
        ok(cut.dead() and late_cut.dead(), "%s: and cut" % what)
        close(late + [cut, late_cut])


def content(path):
    try:
        with open(path, encoding="ascii") as f:
            return f.read()
    except OSError as e:
        return str(e)


def test_later_loads(lab):
    """Only the first load seeds; after --unload it is the first again."""
    doc = policy(rule("served", "ingress", destination_ports=[IN]), tcp_strict=True)
    wide = policy(rule("served", "ingress", destination_ports=[IN]), rule("more", "ingress", destination_ports=[OTHER]), tcp_strict=True)
    for size in ({}, {"max_flows": 4096}):
        kept, cut = Pair(lab, "peer", "tcp", 4, IN), Pair(lab, "peer", "tcp", 4, OTHER)
        ok(cut.text() in load(lab, doc, lab.where["all"]), "the first load lists what it cuts")
        said = load(lab, dict(wide, **size), lab.where["all"], "-v", reload=True)
        ok(not cuts(said) and "got a flow" not in said, "a reload%s lists and seeds nothing" % (" with another max_flows" if size else ""), said)
        same((kept.both(), cut.dead()), ((True, True), True), "what was kept goes on, what was cut stays cut")
        load(lab, wide, lab.where["all"])
        ok(wait_until(lambda c=cut: c.both() == (True, True)), "unloaded and loaded, the new policy keeps it")
        close((kept, cut))


def test_stateless(lab):
    p = Pair(lab, "peer", "tcp", 4, OTHER)
    said = load(lab, policy(stateful=False, max_flows=SMALL), lab.where["all"], "-v")
    ok(not cuts(said) and "got a flow" not in said and not flows(lab), "without state nothing is seeded and listed", said)
    close((p,))


# ---- defaults that allow ----


def test_default_allow(lab):
    """What the other end may send all the same takes a connection up in its middle, but for tcp_strict."""
    telnet = rule("telnet", "ingress", "deny", destination_ports=[TELNET])
    for strict in (False, True):
        p, q = Pair(lab, "peer", "tcp", 4, TELNET), Pair(lab, "peer", "tcp", 4, IN)
        doc = policy(telnet, default={"ingress": "deny", "egress": "allow"}, tcp_strict=strict)
        said = load(lab, doc, lab.where["all"])
        want = ("will be cut: tcp %s (opened by the remote): denied by rule telnet" if strict else
                "may be cut: tcp %s (opened by the remote): denied by rule telnet, but not what this host sends on it")
        ok(any(line == "fwload: " + want % p.text() for line in cuts(said)), "egress is allowed, tcp_strict: %s" % strict, said)
        if strict:
            ok(p.dead() and q.dead(), "and so it is")
        else:
            ok(not p.says(p.client, p.accepted, 0.4) and p.says(p.accepted, p.client) and p.says(p.client, p.accepted),
               "and so it is: until this host speaks")
        close((p, q))
    p, q = Pair(lab, "peer", "tcp", 4, IN), Pair(lab, "host", "tcp", 4, OUT)
    said = load(lab, policy(telnet, default="allow", tcp_strict=True, max_flows=SMALL), lab.where["all"])
    same((p.both(), q.both(), cuts(said)), ((True, True), (True, True), []), "default allow with a rule that denies: all goes on", said)
    close((p, q))


# ---- how much ----


def test_many(lab):
    pairs = [Pair(lab, "peer", "udp", 4, 7100 + n) for n in range(23)]
    said = load(lab, policy(), lab.where["all"])
    same((len(cuts(said)), said.splitlines()[20]), (20, "fwload: and 3 more (-v lists all)"), "the list ends after 20", said)
    same(len(cuts(load(lab, policy(), lab.where["all"], "-v"))), 23, "but not with -v")
    same(load(lab, policy(), lab.where["all"], "-q"), "", "and with -q there is none")
    close(pairs)


def test_full(lab):
    """More open connections than the table holds."""
    pairs = [Pair(lab, "host", "udp", 4, OUT) for n in range(140)]
    said = load(lab, policy(max_flows=16), lab.where["all"])
    found = re.search(r"max_flows: (\d+) open connections that the policy allows found no room", said)
    there = len(flows(lab))
    ok(found and there >= 16, "what finds no room is counted and said", said)
    # the second list finds the same ones without room
    same(found and int(found.group(1)) + there, 140, "exactly", said)
    close(pairs)


if __name__ == "__main__":
    main(make, test_kept, test_rule_place, test_download, test_flows, test_handshake, test_mapped, test_owner, test_owner_unknown, test_elsewhere, test_loopback,
         test_interfaces, test_dry_run, test_between, test_later_loads, test_stateless, test_default_allow, test_many, test_full)
