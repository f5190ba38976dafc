# SPDX-License-Identifier: GPL-2.0-only
"""Live flows of which a test holds both ends: TCP, UDP and ping, opened by the host or by its peer. What has arrived
is known exactly: of TCP by the segments that each socket has seen, retransmissions and bare ACKs included."""
import encodings.idna  # pylint: disable=unused-import # sockets want it, and other users can't load it
import json
import socket
import struct

from live import call, family, libc, udp_socket, wait_until

HOST, PEER = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
ECHO = {4: (8, 0), 6: (128, 129)}


def make(lab):
    lab.space("host", "peer")
    lab.veth("host", "eth0", "peer", "p0")
    lab.veth("host", "eth1", "peer", "p1")
    lab.address("host", "eth0", "10.77.0.1/24", "fd77::1/64")
    lab.address("peer", "p0", "10.77.0.2/24", "fd77::2/64")
    for role in ("host", "peer"):
        # echo requests are answered by the tests, when they like
        lab.sysctl(role, "ipv4/icmp_echo_ignore_all=1", "ipv6/icmp/echo_ignore_all=1")
    lab.group = lab.cgroup()
    xdp = ("-i", "eth0", "--xdp", "native")
    lab.where = {"XDP and TC": xdp, "TC": ("-i", "eth0", "--xdp", "off"), "cgroup": ("-g", lab.group),
                 "all": xdp + ("-g", lab.group)}


class Host:
    """Where the host's sockets are made."""

    def __init__(self, lab, cgroup=None, uid=0):
        self.lab, self.cgroup, self.uid = lab, cgroup or lab.group, uid

    def __call__(self, what, *args, **kw):
        with self.lab.inside("host", self.cgroup):
            libc.setfsuid(self.uid) # whose a socket is
            try:
                return what(*args, **kw)
            finally:
                libc.setfsuid(0)


class Flow:
    """A packet from either end: say(). How many have come there: got()."""

    def __init__(self, lab, opener, v):
        self.lab, self.opener, self.v = lab, opener, v
        self.ends = {}
        self.id = None  # of its event

    def other(self):
        return "peer" if self.opener == "host" else "host"

    def name(self):
        return "%s in IPv%d by the %s" % (type(self).__name__, self.v, self.opener)

    def where(self, role):
        return (HOST if role == "host" else PEER)[self.v]

    def open(self):
        """Packets from both ends. The flow."""
        raise NotImplementedError

    def passes(self, end, seconds=2):
        """A packet from that end arrives, and only once."""
        there = "peer" if end == "host" else "host"
        before = self.got(there)
        self.say(end)
        wait_until(lambda: self.got(there) > before, seconds)
        return self.got(there) == before + 1

    def close(self):
        for s in self.ends.values():
            s.close()


class Tcp(Flow):
    proto = "tcp"

    def __init__(self, lab, opener, v, port, host):
        super().__init__(lab, opener, v)
        self.port = port
        there, at = self.other(), self.where(self.other())

        def in_peer(what, *args, **kw):
            with lab.inside("peer"):
                return what(*args, **kw)

        make_in = {"host": host, "peer": in_peer}
        with make_in[there](socket.create_server, (at, port), family=family(at)) as server:
            self.ends[opener] = make_in[opener](socket.create_connection, (at, port), 5)
            self.ends[there] = server.accept()[0]
        for s in self.ends.values():
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.setblocking(False)
        self.ports = frozenset((port, self.ends[opener].getsockname()[1]))
        self.taken = {"host": 0, "peer": 0}

    def open(self):
        for end in (self.opener, self.other()):
            self.passes(end)
        wait_until(lambda: not any(self.info(24)))  # so that no ACK is still to come
        return self

    def say(self, end):
        self.ends[end].send(b"x")

    def info(self, at):
        """A number of struct tcp_info, of both ends."""
        return [struct.unpack_from("I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232), at)[0] for s in self.ends.values()]

    def got(self, end):
        """Bytes: each is one segment unless the firewall loses some."""
        try:
            self.taken[end] += len(self.ends[end].recv(4096))
        except BlockingIOError:
            pass
        return self.taken[end]

    def seen(self):
        """Segments that the two ends have received."""
        return self.info(140)

    def lost(self):
        """Segments that were sent again, and not in vain: a busy machine makes TCP impatient, but then the other end says
        that it has had them before (DSACK, RFC 2883)."""
        return sum(max(0, again - twice) for again, twice in zip(self.info(100), self.info(216)))


class Datagrams(Flow):
    """What receives and sends without the kernel adding anything of its own."""

    def __init__(self, lab, opener, v):
        super().__init__(lab, opener, v)
        self.taken = {"host": 0, "peer": 0}

    def open(self):
        for end in (self.opener, self.other()):
            if not self.passes(end):
                raise OSError("the flow %s can't be opened from the %s" % (self.name(), end))
        return self

    def got(self, end):
        while True:
            try:
                data = self.ends[end].recv(4096)
            except (BlockingIOError, ConnectionError):
                return self.taken[end]
            self.taken[end] += self.ours(end, data)

    def ours(self, _end, _data):
        return 1

    def seen(self):
        return [self.got("host"), self.got("peer")]

    def lost(self):
        return 0


class Udp(Datagrams):
    proto = "udp"
    openers = iter(range(12000, 32768))  # ports: with SO_REUSEADDR the kernel may give one to two

    def __init__(self, lab, opener, v, port, host):
        super().__init__(lab, opener, v)
        self.port = port
        own = next(self.openers)
        self.ends["host"] = host(udp_socket, HOST[v], port if opener == "peer" else own)
        with lab.inside("peer"):
            self.ends["peer"] = udp_socket(PEER[v], port if opener == "host" else own)
        for s in self.ends.values():
            s.setblocking(False)
        self.ports = frozenset(s.getsockname()[1] for s in self.ends.values())

    def say(self, end):
        there = "peer" if end == "host" else "host"
        try:
            self.ends[end].sendto(b"x", self.ends[there].getsockname()[:2])
        except (PermissionError, OSError):  # a denied send is told to who sends
            pass


class Ping(Datagrams):
    """Raw sockets at both ends: the one that asks and the one that answers, as often as we like."""
    idents = iter(range(1000, 60000))

    def __init__(self, lab, opener, v, _port, host):
        super().__init__(lab, opener, v)
        self.proto = "icmp" if v == 4 else "icmpv6"
        kind = (socket.AF_INET, socket.SOCK_RAW, 1) if v == 4 else (socket.AF_INET6, socket.SOCK_RAW, 58)
        self.ends["host"] = self.raw(host, kind)
        with lab.inside("peer"):
            self.ends["peer"] = socket.socket(*kind)
        for end, s in self.ends.items():
            self.wants(s, ECHO[v][end == opener])
            s.setblocking(False)
        self.ident, self.ports = next(self.idents), None

    @staticmethod
    def raw(host, kind):
        """Only root may make one, and then it is root's."""
        return Host(host.lab, host.cgroup)(socket.socket, *kind)

    def wants(self, s, kind):
        """Nothing else: a cgroup judges a packet once for each socket that takes it."""
        if self.v == 4:
            s.setsockopt(255, 1, struct.pack("I", ~(1 << kind) & 0xFFFFFFFF))
        else:
            s.setsockopt(58, 1, b"".join(struct.pack("I", ~(1 << kind % 32) & 0xFFFFFFFF if kind // 32 == n else 0xFFFFFFFF) for n in range(8)))

    def ours(self, end, data):
        data = data[20:] if self.v == 4 else data
        return data[0] == ECHO[self.v][end == self.opener] and struct.unpack_from("!H", data, 4)[0] == self.ident

    def say(self, end):
        there = "peer" if end == "host" else "host"
        data = struct.pack("!BBHHH", ECHO[self.v][end != self.opener], 0, 0, self.ident, 1)
        if self.v == 4:
            total = sum(struct.unpack("!4H", data))
            data = data[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + data[4:]
        try:
            self.ends[end].sendto(data, (self.where(there), 0))
        except OSError:
            pass


def state_stats(lab, what):
    """A number of struct fw_state_stats (bpf/fw_abi.h), over all CPUs."""
    names = ("flows_created", "flows_expired", "flows_evicted", "flows_full", "flows_cut", "fragments_created", "limits_created", "related")
    dump = json.loads(call("bpftool", "-j", "map", "dump", "pinned", lab.pin("maps/state_stats")))
    at = names.index(what) * 8
    return sum(int.from_bytes(bytes(int(b, 16) for b in cpu["value"][at:at + 8]), "little") for cpu in dump[0]["values"])
