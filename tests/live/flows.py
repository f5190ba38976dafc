# SPDX-License-Identifier: GPL-2.0-only
"""Minimal state: under default deny the replies to what a rule allowed pass, and nothing else does; until the flow has
been idle too long; also through a router."""
import os
import socket
import struct
import time

from live import main, ok, receives, same, udp_socket, wait_until
from build import icmp

WHERE = {"XDP and TC": ("-i", "eth0", "--xdp", "native"), "TC": ("-i", "eth0", "--xdp", "off"), "cgroup": None, "all": None}
HOST, PEER = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
LOUD = {"log_default": {"deny": True, "allow": True}, "log_limit": 0}


def make(lab):
    """peer - host (protected) and, for forwarding, peer - router (protected) - far."""
    lab.space("host", "peer", "router", "far")
    lab.veth("host", "eth0", "peer", "p0")
    lab.veth("peer", "p1", "router", "r0")
    lab.veth("router", "r1", "far", "f0")
    lab.address("host", "eth0", "10.77.0.1/24", "fd77::1/64")
    lab.address("peer", "p0", "10.77.0.2/24", "fd77::2/64")
    lab.address("peer", "p1", "10.78.0.2/24", "fd78::2/64")
    lab.address("router", "r0", "10.78.0.1/24", "fd78::1/64")
    lab.address("router", "r1", "10.79.0.1/24", "fd79::1/64")
    lab.address("far", "f0", "10.79.0.2/24", "fd79::2/64")
    lab.ip("peer", "route add 10.79.0.0/24 via 10.78.0.1", "-6 route add fd79::/64 via fd78::1")
    lab.ip("far", "route add 10.78.0.0/24 via 10.79.0.1", "-6 route add fd78::/64 via fd79::1")
    lab.sysctl("router", "ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1")
    for role in ("host", "peer"):
        lab.sysctl(role, "ipv4/ping_group_range=0 2147483647")
    lab.group = lab.cgroup()
    WHERE["cgroup"] = ("-g", lab.group)
    WHERE["all"] = WHERE["XDP and TC"] + ("-g", lab.group)


def load(lab, doc, where, role="host"):
    if lab.instances:
        lab.unload()  # flows outlive a policy
    lab.load(doc, *where, role=role)


def rule(name, direction="ingress", action="allow", **keys):
    return dict(keys, name=name, direction=direction, action=action)


def policy(*rules, default="deny", **more):
    return dict({"default_action": default, "rules": [dict(r, priority=n) for n, r in enumerate(rules)]}, **more)


def connects(lab, role, to, port, timeout=0.5):
    """A TCP connection that carries data both ways; None, or why not."""
    try:
        with lab.inside(role, lab.group if role == "host" else None):
            s = socket.create_connection((to, port), timeout)
        with s:
            s.sendall(b"question")
            return None if s.recv(64) == b"answer" else "no answer"
    except OSError as e:
        return str(e) or repr(e)


def tcp_server(lab, role, address, port):
    """In the background: answers each connection once."""
    with lab.inside(role, lab.group if role == "host" else None):
        s = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    pid = os.fork()
    if not pid:
        while True:
            try:
                c = s.accept()[0]
                c.settimeout(1)
                if c.recv(64):
                    c.sendall(b"answer")
                c.close()
            except OSError:
                pass
    s.close()
    return pid


def stop(*pids):
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def echo(lab, role, to, v, ident=0):
    """An ICMP echo by an unprivileged socket: does the reply come?"""
    with lab.inside(role, lab.group if role == "host" else None):
        s = socket.socket(FAMILY[v], socket.SOCK_DGRAM, socket.IPPROTO_ICMP if v == 4 else socket.IPPROTO_ICMPV6)
    with s:
        try:
            s.sendto(icmp(8 if v == 4 else 128, payload=b"echo"), (to, 0))
        except OSError:  # of a cgroup's denial EPERM, of TC's ENOBUFS
            return False
        return receives(s, 0.3) is not None


def udp_pair(lab, v, host_port=0, peer_port=0, wildcard=False):
    with lab.inside("host", lab.group):
        h = udp_socket("" if wildcard else HOST[v], host_port, fam=FAMILY[v])
    with lab.inside("peer"):
        p = udp_socket(PEER[v], peer_port)
    return h, p


def said(sender, to, receiver, data=b"x", seconds=0.3):
    """Does a datagram arrive?"""
    try:
        sender.sendto(data, to)
    except OSError:
        return False
    got = receives(receiver, seconds)
    return bool(got) and got[0] == data


# ---- replies ----


def test_served(lab):
    """Default deny in both directions, and one rule each that lets the peer in."""
    doc = policy(rule("ssh", protocol="tcp", destination_ports=[22]), rule("dns", protocol="udp", destination_ports=[53]),
                 rule("ping", protocol="icmp", icmp_types=["echo-request"]), **LOUD)
    for what, where in WHERE.items():
        load(lab, doc, where)
        for v in (4, 6):
            name = "%s, IPv%d" % (what, v)
            served = tcp_server(lab, "host", HOST[v], 22), tcp_server(lab, "host", HOST[v], 23), tcp_server(lab, "peer", PEER[v], 22)
            same(connects(lab, "peer", HOST[v], 22, 2), None, "%s: the peer's connection to an allowed port" % name)
            ok(connects(lab, "peer", HOST[v], 23, 0.3), "%s: but not to another" % name)
            ok(connects(lab, "host", PEER[v], 22, 0.3), "%s: nor does the host get out by a rule of ingress" % name)
            stop(*served)
            h, p = udp_pair(lab, v, 53)
            ok(said(p, (HOST[v], 53), h) and said(h, p.getsockname()[:2], p), "%s: a UDP reply passes" % name)
            with lab.inside("peer"):
                q = udp_socket(PEER[v])
            ok(not said(h, q.getsockname()[:2], q), "%s: but nothing to another port of the peer" % name)
            with lab.inside("host", lab.group):
                g = udp_socket(HOST[v], 54)
            ok(not said(g, p.getsockname()[:2], p), "%s: and nothing from another port" % name)
            h.close()
            w, p = udp_pair(lab, v, 53, wildcard=True)
            ok(said(p, (HOST[v], 53), w) and said(w, p.getsockname()[:2], p), "%s: a UDP server on the wildcard answers" % name)
            ok(not said(w, q.getsockname()[:2], q), "%s: and reaches nobody else" % name)
            w.close()
            # what answers a ping is no socket in a cgroup: cgroup hooks see none of it
            same(echo(lab, "peer", HOST[v], v), True, "%s: ping is answered" % name)
            same(echo(lab, "host", PEER[v], v), False, "%s: and the host can't ping" % name)


def test_client(lab):
    """Default deny in both directions, and rules that let the host out."""
    doc = policy(rule("web", "egress", protocol="tcp", destination_ports=[80]), rule("dns", "egress", protocol="udp", destination_ports=[53]),
                 rule("ping", "egress", protocol="icmp", icmp_types=["echo-request"]), **LOUD)
    for what, where in WHERE.items():
        load(lab, doc, where)
        for v in (4, 6):
            name = "%s, IPv%d" % (what, v)
            served = tcp_server(lab, "peer", PEER[v], 80), tcp_server(lab, "host", HOST[v], 80)
            same(connects(lab, "host", PEER[v], 80, 2), None, "%s: the host's connection to an allowed port" % name)
            ok(connects(lab, "peer", HOST[v], 80, 0.3), "%s: the peer can't do the same" % name)
            stop(*served)
            h, p = udp_pair(lab, v, 0, 53)
            port = h.getsockname()[1]
            ok(not said(p, (HOST[v], port), h), "%s: unsolicited UDP from the allowed port doesn't pass" % name)
            ok(said(h, (PEER[v], 53), p) and said(p, (HOST[v], port), h), "%s: after a question the answer does" % name)
            with lab.inside("peer"):
                q = udp_socket(PEER[v], 54)
            ok(not said(q, (HOST[v], port), h), "%s: but not from another port" % name)
            with lab.inside("host", lab.group):
                g = udp_socket(HOST[v])
            ok(not said(p, (HOST[v], g.getsockname()[1]), g), "%s: nor to another" % name)
            p.close()
            same(echo(lab, "host", PEER[v], v), True, "%s: the reply to a ping passes" % name)
            if what != "cgroup":
                same(echo(lab, "peer", HOST[v], v), False, "%s: and the host answers none" % name)
                unsolicited_echo(lab, v, name)


def unsolicited_echo(lab, v, name):
    """Echo replies that nobody asked for."""
    with lab.inside("peer"):
        s = socket.socket(FAMILY[v], socket.SOCK_RAW, socket.IPPROTO_ICMP if v == 4 else socket.IPPROTO_ICMPV6)
    before = lab.count()
    for ident in range(4):
        data = bytes([0 if v == 4 else 129, 0]) + bytes(2) + struct.pack("!HH", 40000 + ident, 1)
        s.sendto(data if v == 6 else data[:2] + struct.pack("!H", ~(sum(struct.unpack("!4H", data)) % 0xFFFF) & 0xFFFF) + data[4:],
                 (HOST[v], 0))
    s.close()
    d = wait_until(lambda: (lambda c: c if c.packets() >= 4 else None)(lab.count() - before), 2)
    ok(d and d.get("deny", "default") == 4, "%s: echo replies that nobody asked for are denied" % name, d and d.verdicts)


def test_stateless(lab):
    doc = policy(rule("ssh", protocol="tcp", destination_ports=[22]), rule("dns", protocol="udp", destination_ports=[53]),
                 rule("ping", protocol="icmp", icmp_types=["echo-request"]), stateful=False)
    said_by_fwc = lab.compile(doc)[1]
    ok("warning" in said_by_fwc and "stateful" in said_by_fwc, "fwc warns of a default deny without state or reply rules", said_by_fwc)
    for what, where in WHERE.items():
        load(lab, doc, where)
        served = tcp_server(lab, "host", HOST[4], 22)
        ok(connects(lab, "peer", HOST[4], 22), "stateful: false, %s: no TCP without a reply rule" % what)
        stop(served)
        h, p = udp_pair(lab, 4, 53)
        ok(said(p, (HOST[4], 53), h), "stateful: false, %s: the question passes" % what)
        ok(not said(h, p.getsockname(), p), "stateful: false, %s: the answer doesn't" % what)
        h.close()
        if what != "cgroup":
            same(echo(lab, "peer", HOST[4], 4), False, "stateful: false, %s: nor the answer to a ping" % what)
        maps = {m["name"]: m.get("entries", 0) for m in lab.stat()["maps"]}
        same((maps.get("flows4", 0), maps.get("flows6", 0)), (0, 0), "stateful: false, %s: no flow is made" % what)
        doc2 = dict(doc, rules=doc["rules"] + [dict(rule("back", "egress", source_ports=[22, 53]), priority=9)])
        load(lab, doc2, where)
        served = tcp_server(lab, "host", HOST[4], 22)
        same(connects(lab, "peer", HOST[4], 22, 2), None, "stateful: false, %s: with a rule for replies there is" % what)
        stop(served)


# ---- time ----


def test_idle(lab):
    """timeouts of 1 s: a reply within passes, and one long after doesn't."""
    short = {"udp_stream": 1, "udp": 1, "icmp": 1, "generic": 1, "tcp_established": 1}
    doc = policy(rule("dns", protocol="udp", destination_ports=[53]), timeouts=short)
    for n, (what, where) in enumerate(WHERE.items()):
        for v in (4, 6)[n % 2 :: 2]:
            load(lab, doc, where)
            h, p = udp_pair(lab, v, 53)
            to = p.getsockname()[:2]
            ok(said(p, (HOST[v], 53), h) and said(h, to, p), "%s, IPv%d: a prompt reply passes" % (what, v))
            start = time.monotonic()

            def late():
                time.sleep(1.2)  # idle: looking would keep the flow alive
                return not said(h, to, p)

            ok(wait_until(late, 4), "%s, IPv%d: after the timeout a reply no longer does (%.1f s)" % (what, v, time.monotonic() - start))
            ok(said(p, (HOST[v], 53), h) and said(h, to, p), "%s, IPv%d: the next question opens it again" % (what, v))
            h.close()


def test_busy(lab):
    """A flow that is never idle for the whole timeout lives on, though only replies are seen."""
    for timeout in (1, 2):
        doc = policy(rule("dns", protocol="udp", destination_ports=[53]), timeouts={"udp_stream": timeout, "udp": timeout})
        load(lab, doc, WHERE["XDP and TC"])
        h, p = udp_pair(lab, 4, 53)
        ok(said(p, (HOST[4], 53), h), "a flow is opened")
        start, lost = time.monotonic(), None
        while time.monotonic() - start < 2 * timeout + 1 and lost is None:
            if not said(h, p.getsockname(), p):
                lost = time.monotonic() - start
            time.sleep(0.2)
        ok(lost is None, "replies every 0.2 s pass for %d s under a timeout of %d s" % (2 * timeout + 1, timeout),
           "the first lost one after %s s" % lost)
        h.close()


# ---- forwarding ----


def test_forwarding(lab):
    """A router is an ordinary host with two interfaces: judged as ingress where packets enter; the flow lets them leave and
    the reply return. Without a flow, as egress where they leave."""
    for how in ("native", "off"):
        where = ("-i", "r0", "-i", "r1", "--xdp", how)
        doc = policy(rule("web", protocol="tcp", destination_ports=[80], interfaces=["r0"]),
                     rule("dns", protocol="udp", destination_ports=[53], interfaces=["r0"]), **LOUD)
        load(lab, doc, where, "router")
        for v, far in ((4, "10.79.0.2"), (6, "fd79::2")):
            name = "router, xdp %s, IPv%d" % (how, v)
            near = "10.78.0.2" if v == 4 else "fd78::2"
            served = [tcp_server(lab, "far", far, 80), tcp_server(lab, "far", far, 81), tcp_server(lab, "peer", near, 80)]
            same(connects(lab, "peer", far, 80, 2), None, "%s: what may enter passes, and its replies" % name)
            ok(connects(lab, "peer", far, 81), "%s: what may not enter doesn't" % name)
            ok(connects(lab, "far", near, 80), "%s: nothing is opened from the other side" % name)
            stop(*served)
            with lab.inside("far"):
                f = udp_socket(far, 53)
            with lab.inside("peer"):
                p = udp_socket(near)
                q = udp_socket(near)
            ok(not said(f, q.getsockname()[:2], q), "%s: unsolicited UDP from the far side doesn't pass" % name)
            before = lab.count()
            ok(said(p, (far, 53), f) and said(f, p.getsockname()[:2], p), "%s: UDP there and back" % name)
            d = lab.count() - before
            # four hooks see two packets: the first makes the flow, the other three belong to it
            r = d.rules["dns"]
            same((r["packets_allowed"], r["packets_flow"]), (1, 3), "%s: counted where it enters and where it leaves" % name, d.verdicts)
            f.close()
        # without a flow: egress is judged where packets leave
        doc = policy(rule("no", "egress", "deny", protocol="udp", destination_ports=[53], interfaces=["r1"]), default="allow",
                     stateful=False)
        load(lab, doc, where, "router")
        with lab.inside("far"):
            f, g = udp_socket("10.79.0.2", 53), udp_socket("10.79.0.2", 54)
        with lab.inside("peer"):
            p = udp_socket("10.78.0.2")
        same((said(p, ("10.79.0.2", 53), f), said(p, ("10.79.0.2", 54), g)), (False, True),
             "router, xdp %s: without a flow a rule of egress judges what leaves" % how)
        f.close()
        g.close()


# ---- once ----


def test_once(lab):
    """Several hooks see a packet; it is counted once and reported once."""
    doc = policy(rule("dns", protocol="udp", destination_ports=[53]), rule("out", "egress", protocol="udp", destination_ports=[54]),
                 log_limit=0, log_default={"deny": True, "allow": True})
    for what in ("all", "TC and cgroup", "cgroup"):
        where = WHERE["TC"] + WHERE["cgroup"] if what == "TC and cgroup" else WHERE[what]
        load(lab, doc, where)
        path = os.path.join(lab.folder, "once")
        with open(path, "wb") as f:
            mon = lab.start(None, lab.program("fwmon"), "-N", lab.instances[0], stdout=f)
        wait_until(lambda: os.path.getsize(path))
        before = lab.count()
        h, p = udp_pair(lab, 4, 53)
        with lab.inside("peer"):
            q = udp_socket(PEER[4], 54)
        with lab.inside("host", lab.group):
            g, n = udp_socket(HOST[4]), udp_socket(HOST[4], 55)
        ok(said(p, (HOST[4], 53), h) and said(h, p.getsockname(), p), "%s: in and back" % what)
        ok(said(g, (PEER[4], 54), q) and said(q, g.getsockname(), g), "%s: out and back" % what)
        ok(not said(p, (HOST[4], 55), n), "%s: a denied packet in" % what)
        g.connect((PEER[4], 54))
        d = lab.count() - before
        same(({n: (r["packets_allowed"], r["packets_flow"]) for n, r in d.rules.items()}, d.verdicts.get(("deny", "default"))),
             ({"dns": (1, 1), "out": (1, 1)}, 1), "%s: each packet is counted once" % what, d.verdicts)
        wait_until(lambda: events_of(path) >= 3, 1)
        mon.terminate()
        mon.wait()
        same(events_of(path), 3, "%s: one event for each of two new flows and one denial" % what, open(path, encoding="utf-8").read())
        for s in (h, q, n):
            s.close()


def events_of(path):
    with open(path, encoding="utf-8") as f:
        return sum('"event_type":"verdict"' in line and '"neighbour"' not in line for line in f)


if __name__ == "__main__":
    main(make, test_served, test_client, test_stateless, test_idle, test_busy, test_forwarding, test_once)
