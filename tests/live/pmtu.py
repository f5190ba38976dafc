# SPDX-License-Identifier: GPL-2.0-only
"""ICMP errors that real stacks send and need: client - near - far - server, of which any may be protected. Path-MTU
discovery through a small hop, closed ports, traceroute. Run by related.py."""
import socket
import struct
import threading
import time

from live import Refused, ok, receives, same, udp_socket, wait_until

SMALL = 1300
IP_MTU, IP_MTU_DISCOVER, PMTUDISC_DO, IP_RECVERR = 14, 10, 2, 11
IPV6_MTU, IPV6_MTU_DISCOVER, IPV6_RECVERR = 24, 23, 25
CLIENT, SERVER = {4: "10.81.0.2", 6: "fd81::2"}, {4: "10.83.0.2", 6: "fd83::2"}
HOPS = {4: ("10.81.0.1", "10.82.0.2"), 6: ("fd81::1", "fd82::2")}
# who is protected, and how
WHERE = {
    "client, XDP and TC": ("client", ("-i", "c0", "--xdp", "native")), "client, TC": ("client", ("-i", "c0", "--xdp", "off")),
    "client, all": ("client", ("-i", "c0", "--xdp", "native", "-g")),
    "server, XDP and TC": ("server", ("-i", "s0", "--xdp", "native")), "server, TC": ("server", ("-i", "s0", "--xdp", "off")),
    "server, all": ("server", ("-i", "s0", "--xdp", "native", "-g")),
    "router, XDP and TC": ("near", ("-i", "n0", "-i", "n1", "--xdp", "native")), "router, TC": ("near", ("-i", "n0", "-i", "n1", "--xdp", "off")),
}


def make(lab):
    lab.space("client", "near", "far", "server")
    lab.veth("client", "c0", "near", "n0")
    lab.veth("near", "n1", "far", "f0")
    lab.veth("far", "f1", "server", "s0")
    for role, device, net, n in (("client", "c0", 81, 2), ("near", "n0", 81, 1), ("near", "n1", 82, 1), ("far", "f0", 82, 2),
                                 ("far", "f1", 83, 1), ("server", "s0", 83, 2)):
        lab.address(role, device, "10.%d.0.%d/24" % (net, n), "fd%d::%d/64" % (net, n))
    for role in ("near", "far"):
        # each probe is to be answered
        lab.sysctl(role, "ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1", "ipv4/icmp_ratelimit=0", "ipv6/icmp/ratelimit=0",
                   "ipv4/icmp_msgs_per_sec=100000", "ipv4/icmp_msgs_burst=100000")
    lab.sysctl("server", "ipv4/icmp_ratelimit=0", "ipv6/icmp/ratelimit=0")
    lab.ip("client", "route add default via 10.81.0.1", "-6 route add default via fd81::1")
    lab.ip("server", "route add default via 10.83.0.1", "-6 route add default via fd83::1")
    lab.ip("near", "route add 10.83.0.0/24 via 10.82.0.2", "-6 route add fd83::/64 via fd82::2")
    lab.ip("far", "route add 10.81.0.0/24 via 10.82.0.1", "-6 route add fd81::/64 via fd82::1")
    lab.ends = lab.cgroup("-ends")


def rule(name, direction="both", action="allow", **keys):
    return dict(keys, name=name, direction=direction, action=action)


def policy(*rules, **more):
    doc = {"default_action": "deny", "log_default": {"deny": True, "allow": True}}
    return dict(doc, rules=[dict(r, priority=n) for n, r in enumerate(rules)], **more)


# what each may open: the client outwards, the server is opened to, the router lets in from the client's side
def opening(role, *names):
    keys = {"tcp": dict(protocol="tcp", destination_ports=[80]), "udp": dict(protocol="udp", destination_ports=[9, 33434])}
    way = {"client": dict(direction="egress"), "server": dict(direction="ingress"),
           "near": dict(direction="ingress", interfaces=["n0"])}[role]
    return policy(*[rule(n, **keys[n], **way) for n in names])


def load(lab, doc, role, where):
    while lab.instances:
        lab.unload(lab.instances[0].rsplit("-", 1)[1])
    lab.load(doc, *where, *([lab.ends] if where[-1] == "-g" else []), role=role, instance="m")


def related_packets(lab, instance):
    return int(lab.stat(instance)["flows"]["related_packets"])


def inside(lab, role, protected):
    return lab.inside(role, lab.ends if role == protected else None)


def hop(lab, link):
    """The link from near to far is the small one, or the one from far to the server as far as far is concerned."""
    for role, device, small in (("near", "n1", link == "middle"), ("far", "f0", link == "middle"), ("far", "f1", link == "end")):
        lab.ip(role, "link set %s mtu %d" % (device, SMALL if small else 1500))
    for role in ("client", "near", "far", "server"):
        lab.ip(role, "route flush cache", "-6 route flush cache")


def learnt(lab, role, to):
    """The MTU that the kernel has learnt for this destination, or None."""
    words = lab.run(role, "ip", "route", "get", to).decode().split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words else None


def transfer(lab, v, protected, upload, size=3 << 20, seconds=5):
    """Bytes that have arrived of ${size}."""
    with inside(lab, "server", protected):
        listener = socket.create_server((SERVER[v], 80), family=socket.AF_INET6 if v == 6 else socket.AF_INET)
    got, ends = [0], []
    end = time.monotonic() + seconds

    def give(s):
        try:
            s.sendall(bytes(size))
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def get(s):
        try:
            while time.monotonic() < end:
                data = s.recv(1 << 16)
                if not data:
                    return
                got[0] += len(data)
        except OSError:
            pass

    def serve():
        try:
            s = listener.accept()[0]
        except OSError:
            return
        ends.append(s)
        s.settimeout(seconds)
        (get if upload else give)(s)

    listener.settimeout(seconds)
    thread = threading.Thread(target=serve)
    thread.start()
    with inside(lab, "client", protected):
        ends.append(socket.socket(socket.AF_INET6 if v == 6 else socket.AF_INET))
    try:
        ends[0].settimeout(seconds)
        ends[0].connect((SERVER[v], 80))
        (give if upload else get)(ends[0])
    except OSError:
        pass
    thread.join()
    for s in ends:
        if got[0] < size:  # else the kernel would go on trying, and learn the MTU once the policy is gone
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    listener.close()
    return got[0]


def test_discovery(lab):
    """A transfer of some MB through the small hop, and datagrams that must not be cut."""
    for what, (role, where) in WHERE.items():
        load(lab, opening(role, "tcp", "udp"), role, where)
        for link in ("middle", "end") if role == "near" else ("middle",):
            for v in (4, 6):
                hop(lab, link)
                name = "%s, small hop in the %s, IPv%d" % (what, link, v)
                before = related_packets(lab, "m")
                upload = role != "server"
                me, to = ("client", SERVER[v]) if upload else ("server", CLIENT[v])
                same((transfer(lab, v, role, upload), learnt(lab, me, to)), (3 << 20, SMALL), "%s: a transfer of 3 MB" % name)
                ok(related_packets(lab, "m") > before, "%s: it took an error that belongs to its flow" % name)
                if upload:
                    datagram(lab, v, role, name)
    # and without the errors: rules for both ways, and none for ICMP but for what discovers neighbours
    for what in ("client, XDP and TC", "server, TC", "router, XDP and TC"):
        role, where = WHERE[what]
        hop(lab, "middle" if role != "near" else "end")
        load(lab, policy(rule("there", protocol="tcp", destination_ports=[80]), rule("back", protocol="tcp", source_ports=[80]), stateful=False), role, where)
        for v in (4, 6):
            upload = role != "server"
            me, to = ("client", SERVER[v]) if upload else ("server", CLIENT[v])
            came = transfer(lab, v, role, upload, seconds=1)
            ok(came < 1 << 16 and learnt(lab, me, to) is None, "%s, IPv%d: without the errors the transfer hangs" % (what, v), "%d bytes came" % came)
    hop(lab, None)


def datagram(lab, v, protected, name):
    """A UDP socket that forbids fragments is told the path's MTU."""
    lab.ip("client", "route flush cache", "-6 route flush cache")
    with inside(lab, "client", protected):
        c = udp_socket(CLIENT[v])
    with inside(lab, "server", protected):
        s = udp_socket(SERVER[v], 9)
    level, discover, mtu = (socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_MTU) if v == 4 else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_MTU)
    c.setsockopt(level, discover, PMTUDISC_DO)
    c.connect((SERVER[v], 9))
    with c, s:
        c.send(bytes(1400))
        got = wait_until(lambda: (lambda m: m if m != 1500 else None)(c.getsockopt(level, mtu)), 2)
        same(got, SMALL, "%s: a UDP socket is told the MTU" % name)
        try:
            c.send(bytes(1200))
        except OSError:  # the error that was pending
            c.send(bytes(1200))
        same(len((receives(s) or [b""])[0]), 1200, "%s: and what fits arrives" % name)


def refused(lab, v, protected):
    """What a connected UDP socket hears of a closed port."""
    with inside(lab, "client", protected):
        c = udp_socket(CLIENT[v])
    with c:
        c.connect((SERVER[v], 9))
        c.settimeout(1)
        try:
            c.send(b"x")
            c.recv(1)
        except OSError as e:
            return type(e).__name__
    return "an answer"


def test_unreachable(lab):
    """A datagram to a closed port is refused at once."""
    for what, (role, where) in WHERE.items():
        load(lab, opening(role, "udp"), role, where)
        for v in (4, 6):
            same(refused(lab, v, role), "ConnectionRefusedError", "%s, IPv%d: a closed UDP port refuses" % (what, v))
    role, where = WHERE["client, XDP and TC"]
    load(lab, dict(opening(role, "udp"), stateful=False), role, where)
    same(refused(lab, 4, role), "TimeoutError", "without the errors nothing is heard of it")


def probe(lab, v, protected, ttl):
    """Who says why a datagram of this TTL doesn't arrive: (address, type, code), or None."""
    with inside(lab, "client", protected):
        c = udp_socket(CLIENT[v])
    with c:
        if v == 4:
            c.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            c.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        else:
            c.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            c.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        c.sendto(b"probe", (SERVER[v], 33434))

        def heard():
            try:
                return c.recvmsg(512, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)[1]
            except OSError:
                return None

        said = wait_until(heard, 1)
    for _, _, data in said or ():
        kind, code = struct.unpack_from("BB", data, 5)  # struct sock_extended_err, then the offender's address
        return (socket.inet_ntop(socket.AF_INET, data[20:24]) if v == 4 else socket.inet_ntop(socket.AF_INET6, data[24:40])), kind, code
    return None


def test_traceroute(lab):
    for what, (role, where) in WHERE.items():
        load(lab, opening(role, "udp"), role, where)
        for v in (4, 6):
            exceeded, closed = (11, 3) if v == 4 else (3, 1)
            want = [(a, exceeded, 0) for a in HOPS[v]] + [(SERVER[v], closed, 3 if v == 4 else 4)]
            same([probe(lab, v, role, n) for n in (1, 2, 3)], want, "%s, IPv%d: every hop on the way is heard" % (what, v))
    try:
        lab.run("client", "traceroute", "-V")
    except (Refused, OSError):
        return
    load(lab, opening("client", "udp"), *WHERE["client, XDP and TC"])
    out = lab.run("client", "traceroute", "-n", "-U", "-p", "33434", "-q", "1", "-w", "1", SERVER[4]).decode()
    ok(all(a in out for a in HOPS[4]) and out.strip().splitlines()[-1].split()[1] == SERVER[4], "traceroute", out)


if __name__ == "__main__":
    from live import main
    main(make, test_discovery, test_unreachable, test_traceroute)
