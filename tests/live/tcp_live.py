# SPDX-License-Identifier: GPL-2.0-only
"""Real stacks on both ends, a router between them, and a default deny in both directions at the host: whatever a
connection does from its first packet to its last, nothing of it is denied, and the table follows."""
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading

from live import main, note, ok, receives, same, udp_socket, wait_until
from table import flows

WHERE = {"XDP and TC": ("-i", "eth0", "--xdp", "native"), "TC": ("-i", "eth0", "--xdp", "off"), "cgroup": None, "all": None}
AT = {"host": {4: "10.77.0.1", 6: "fd77::1"}, "far": {4: "10.79.0.2", 6: "fd79::2"}}
ROUTER = {4: "10.77.0.2", 6: "fd77::2"}
SERVED = {"host": 9000, "far": 8000}  # ports of each that the other end may reach, and a thousand more
LINGER_0 = struct.pack("ii", 1, 0)


def make(lab):
    """host (protected) - router - far."""
    lab.space("host", "router", "far")
    lab.veth("host", "eth0", "router", "r0")
    lab.veth("router", "r1", "far", "f0")
    lab.address("host", "eth0", "10.77.0.1/24", "fd77::1/64")
    lab.address("router", "r0", "10.77.0.2/24", "fd77::2/64")
    lab.address("router", "r1", "10.79.0.1/24", "fd79::1/64")
    lab.address("far", "f0", "10.79.0.2/24", "fd79::2/64")
    lab.ip("host", "route add default via 10.77.0.2", "-6 route add default via fd77::2")
    lab.ip("far", "route add default via 10.79.0.1", "-6 route add default via fd79::1")
    forwards(lab, 1)
    lab.sysctl("router", "ipv4/icmp_ratelimit=0", "ipv6/icmp/ratelimit=0")
    lab.sysctl("far", "ipv4/icmp_ratelimit=0", "ipv6/icmp/ratelimit=0")
    for role in ("host", "far"):
        lab.sysctl(role, "ipv4/ping_group_range=0 2147483647")
    lab.group = lab.cgroup()
    WHERE["cgroup"] = ("-g", lab.group)
    WHERE["all"] = WHERE["XDP and TC"] + ("-g", lab.group)
    for v in (4, 6):  # duplicate address detection and neighbours take their time
        wait_until(lambda v=v: reaches(lab, v), 10)


def reaches(lab, v):
    with lab.inside("far"):
        s = udp_socket(AT["far"][v], 8999)
    with lab.inside("host"):
        c = udp_socket(AT["host"][v])
    with s, c:
        c.sendto(b"?", s.getsockname()[:2])
        got = receives(s, 0.2)
        if got:
            s.sendto(b"!", got[1][:2])
        return receives(c, 0.2) is not None


def forwards(lab, on):
    lab.sysctl("router", "ipv4/ip_forward=%d" % on, "ipv6/conf/all/forwarding=%d" % on)


def policy():
    def rule(name, direction, **keys):
        return dict(keys, name=name, direction=direction, action="allow", log=False)

    rules = [rule("out_tcp", "egress", protocol="tcp", destination_ports=["8000-8999"]),
             rule("in_tcp", "ingress", protocol="tcp", destination_ports=["9000-9999"]),
             rule("out_udp", "egress", protocol="udp", destination_ports=["8000-8999", "33434-33534"]),
             rule("in_udp", "ingress", protocol="udp", destination_ports=["9000-9999"]),
             rule("ping", "both", protocol="icmp", icmp_types=["echo-request"])]
    return {"default_action": "deny", "max_flows": 1024, "log_default": {"deny": False}, "rules": [dict(r, priority=n) for n, r in enumerate(rules)]}


def load(lab, where):
    if lab.instances:
        lab.unload()
    lab.load(policy(), *WHERE[where])


def each_where(lab):
    for where in WHERE:
        load(lab, where)
        for v in (4, 6):
            yield where, v


def denied(d):
    return {k: n for k, n in d.verdicts.items() if k[0] != "allow"}


@contextlib.contextmanager
def nothing_denied(lab, what):
    before = lab.count()
    yield
    d = lab.count() - before
    same(denied(d), {}, "%s: no packet is denied" % what, d.verdicts)


def inside(lab, role):
    return lab.inside(role, lab.group if role == "host" else None)


def other(role):
    return "far" if role == "host" else "host"


def server(lab, role, v, port):
    with inside(lab, role):
        s = socket.create_server((AT[role][v], port), family=socket.AF_INET6 if v == 6 else socket.AF_INET, backlog=64)
    s.settimeout(3)
    return s


def connect(lab, role, v, port, source=0):
    with inside(lab, role):
        s = socket.socket(socket.AF_INET6 if v == 6 else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(3)
    try:
        s.bind((AT[role][v], source))
        s.connect((AT[other(role)][v], port))
    except OSError:
        s.close()
        raise
    return s


def pair(lab, opener, v, listening, source=0):
    """(the opener's end, the other)"""
    c = connect(lab, opener, v, listening.getsockname()[1], source)
    s = listening.accept()[0]
    s.settimeout(3)
    return c, s


def carries(a, b, data=b"some data"):
    """Both ways?"""
    a.sendall(data)
    if take_n(b, len(data)) != data:
        return False
    b.sendall(data)
    return take_n(a, len(data)) == data


def take_n(s, n):
    got = b""
    while len(got) < n:
        more = s.recv(n - len(got))
        if not more:
            break
        got += more
    return got


def ends_of(*sockets):
    """Two (address, port), of the ends of a connection."""
    return {s.getsockname()[:2] for s in sockets}


def state_of(lab, ends):
    """The state of the flow between these, None without one."""
    return next((f.state for f in flows(lab)[0] if f.proto == 6 and {(f.src, f.sport), (f.dst, f.dport)} == ends), None)


def becomes(lab, ends, wanted, what):
    wait_until(lambda: state_of(lab, ends) in wanted, 2)
    return ok(state_of(lab, ends) in wanted, "%s: the flow is in state %s" % (what, " or ".join(wanted)), state_of(lab, ends))


# ---- TCP ----


def test_close(lab):
    """Opened by either end, closed by either end first."""
    for where, v in each_where(lab):
        for opener in ("host", "far"):
            listening = server(lab, other(opener), v, SERVED[other(opener)])
            for closer in ("opener", "other end"):
                what = "%s, IPv%d, opened by %s, closed by the %s" % (where, v, opener, closer)
                with nothing_denied(lab, what):
                    c, s = pair(lab, opener, v, listening)
                    ends = ends_of(c, s)
                    first, last = (c, s) if closer == "opener" else (s, c)
                    good = carries(c, s) and carries(s, c)
                    becomes(lab, ends, ["ESTABLISHED"], what)
                    first.close()
                    good = good and last.recv(1) == b""
                    side = "O" if closer == "opener" else "R"
                    becomes(lab, ends, ["CLOSE_WAIT_" + side], what)
                    last.close()
                    # after its FIN is acknowledged an end that was closed has no socket: cgroup hooks see nothing any more
                    blind = where == "cgroup" and (opener == "host") == (closer == "opener")
                    becomes(lab, ends, ["CLOSE_WAIT_O", "CLOSE_WAIT_R", "LAST_ACK_O", "LAST_ACK_R"] if blind else ["TIME_WAIT"], what)
                ok(good, "%s: data both ways, then the end of it" % what)
            listening.close()


def test_half_close(lab):
    """One end has sent its FIN; the other sends on, a lot and for a while."""
    data = os.urandom(1 << 20)
    for where, v in each_where(lab):
        for opener, half in (("host", "opener"), ("far", "opener"), ("host", "other end"), ("far", "other end")):
            what = "%s, IPv%d, opened by %s, half closed by the %s" % (where, v, opener, half)
            listening = server(lab, other(opener), v, SERVED[other(opener)])
            with nothing_denied(lab, what):
                c, s = pair(lab, opener, v, listening)
                silent, speaks = (c, s) if half == "opener" else (s, c)
                silent.sendall(b"question")
                silent.shutdown(socket.SHUT_WR)
                question = take_n(speaks, 9)
                sending = threading.Thread(target=speaks.sendall, args=(data,))
                sending.start()
                got = take_n(silent, len(data))
                sending.join()
                state = state_of(lab, ends_of(c, s))
                speaks.close()
                end = silent.recv(1)
                silent.close()
            same((question, got == data, end), (b"question", True, b""), "%s: the other end sends on" % what)
            same(state, "CLOSE_WAIT_" + ("O" if half == "opener" else "R"), "%s: the state meanwhile" % what)
            listening.close()


def test_reset(lab):
    """Aborted in the middle of data that flow in both directions; the ports are used again at once."""
    for where, v in each_where(lab):
        for opener, aborter in (("host", "opener"), ("far", "opener"), ("host", "other end"), ("far", "other end")):
            what = "%s, IPv%d, opened by %s, aborted by the %s" % (where, v, opener, aborter)
            listening, good = server(lab, other(opener), v, SERVED[other(opener)]), 0
            with nothing_denied(lab, what):
                for _ in range(5):
                    c, s = pair(lab, opener, v, listening, 7000)
                    ends = ends_of(c, s)
                    good += carries(c, s)
                    aborts, suffers = (c, s) if aborter == "opener" else (s, c)
                    aborts.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
                    sending = threading.Thread(target=flood, args=(suffers,))
                    sending.start()
                    take_n(aborts, 100000)
                    aborts.close()
                    sending.join()
                    suffers.close()
                becomes(lab, ends, ["CLOSE", "PICKED_UP", "PICKED_UP_R"], what)
            same(good, 5, "%s: five times with the same ports" % what)
            listening.close()


def flood(s):
    """Sends until the connection is gone."""
    try:
        while True:
            s.sendall(bytes(65536))
    except OSError:
        pass


def test_reuse(lab):
    """The same addresses and ports again and again, right after the end of the last connection."""
    times = 30
    for where, v in each_where(lab):
        for opener in ("host", "far"):
            for how in ("closed by the other end", "aborted by the opener", "aborted by the other end"):
                what = "%s, IPv%d, opened by %s, %s" % (where, v, opener, how)
                listening, good, states = server(lab, other(opener), v, SERVED[other(opener)]), 0, set()
                with nothing_denied(lab, what):
                    for _ in range(times):
                        c, s = pair(lab, opener, v, listening, 7001)
                        good += carries(c, s)
                        states.add(state_of(lab, ends_of(c, s)))
                        if how.startswith("aborted"):
                            end = c if how.endswith("opener") else s
                            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
                        first, last = (c, s) if how.endswith("opener") else (s, c)
                        first.close()
                        with contextlib.suppress(ConnectionError):
                            last.recv(1)
                        last.close()
                same((good, states), (times, {"ESTABLISHED"}), "%s: %d connections with the same ports" % (what, times))
                mine = [f for f in flows(lab)[0] if 7001 in (f.sport, f.dport) and f.src == AT[opener][v]]
                same(len(mine), 1, "%s: one flow for all of them" % what, mine)
                listening.close()


def test_simultaneous(lab):
    """Both ends connect to each other: neither listens. Until both wait for an answer the router forwards nothing."""
    for where in WHERE:
        load(lab, where)
        with nothing_denied(lab, "%s, simultaneous open" % where):
            forwards(lab, 0)
            waiting = {}
            for n, first in enumerate(("far", "host")):  # whose second SYN comes first
                for v in (4, 6):
                    ends = {}
                    for role in (first, other(first)):
                        with inside(lab, role):
                            s = socket.socket(socket.AF_INET6 if v == 6 else socket.AF_INET)
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        s.bind((AT[role][v], (8500 if role == "far" else 7500) + n))
                        ends[role] = s
                    waiting[first, v] = ends
            for first in ("far", "host"):
                for v in (4, 6):
                    for role in (first, other(first)):
                        s = waiting[first, v][role]
                        s.setblocking(False)
                        s.connect_ex((AT[other(role)][v], waiting[first, v][other(role)].getsockname()[1]))
            forwards(lab, 1)
            for (first, v), ends in waiting.items():
                what = "%s, IPv%d, simultaneous open, %s first" % (where, v, first)
                for s in ends.values():
                    s.settimeout(4)
                try:
                    peers = [wait_until(lambda s=s: connected(s), 4) for s in ends.values()]
                    good = all(peers) and carries(ends["host"], ends["far"]) and carries(ends["far"], ends["host"])
                except OSError as e:
                    good = None
                    note(e)
                ok(good, "%s: connected, and data both ways" % what)
                becomes(lab, ends_of(*ends.values()), ["ESTABLISHED"], what)
                for s in ends.values():
                    s.close()


def connected(s):
    try:
        return s.getpeername()
    except OSError:
        return None


# ---- UDP, ICMP ----


def test_udp(lab):
    for where, v in each_where(lab):
        for asker in ("host", "far"):
            what = "%s, IPv%d, asked by %s" % (where, v, asker)
            with nothing_denied(lab, what):
                with inside(lab, asker):
                    a = udp_socket(AT[asker][v])
                with inside(lab, other(asker)):
                    b = udp_socket(AT[other(asker)][v], SERVED[other(asker)])
                good = 0
                for _ in range(20):
                    a.sendto(b"question", b.getsockname()[:2])
                    got = receives(b)
                    if got:
                        b.sendto(b"answer", got[1][:2])
                        good += (receives(a) or [b""])[0] == b"answer"
            same(good, 20, "%s: 20 questions and answers over UDP" % what)
            a.close()
            b.close()


def has(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        ok(True, "%s # SKIP %s not installed" % (" ".join(programs), ", ".join(missing)))
    return not missing


def tool(lab, role, *argv, **kw):
    """(exit status, output)"""
    p = lab.start(role, *argv, cgroup=lab.group if role == "host" else None, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)
    try:
        out = p.communicate(timeout=20)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        p.kill()
        out = p.communicate()[0].decode(errors="replace")
    return p.returncode, out


def test_ping(lab):
    if not has("ping"):
        return
    for where, v in each_where(lab):
        for role in ("host", "far"):
            what = "%s, IPv%d, %s pings" % (where, v, role)
            with nothing_denied(lab, what):
                # given its address, ping does not look for it by a connect() over UDP
                status, out = tool(lab, role, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "-I", AT[role][v], AT[other(role)][v])
            ok(status == 0 and "3 received" in out, "%s: three replies" % what, out)


def test_traceroute(lab):
    """The errors of the router and of the closed port are of the flow that caused them."""
    if not has("traceroute"):
        return
    for where, v in each_where(lab):
        for mode in ((), ("-I",)):
            what = "%s, IPv%d, traceroute by %s" % (where, v, "ICMP" if mode else "UDP")
            with nothing_denied(lab, what):
                status, out = tool(lab, "host", "traceroute", "-n", "-%d" % v, "-q", "2", "-w", "2", "-m", "5", *mode, AT["far"][v])
            hops = [line.split()[1:2] for line in out.splitlines()[1:]]
            same((status, hops), (0, [[ROUTER[v]], [AT["far"][v]]]), "%s: the router and the far end answer" % what, out)
            ok("*" not in out, "%s: to every probe" % what, out)


# ---- programs ----


def serving(lab, role, port, *argv, **kw):
    """A program that listens."""
    p = lab.start(role, *argv, cgroup=lab.group if role == "host" else None, **kw)
    ok(wait_until(lambda: listens(lab, role, port), 5), "%s listens" % argv[0])
    return p


def listens(lab, role, port):
    with lab.inside(role):
        for name in ("/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"):
            with open(name, encoding="ascii") as f:
                if any(line.split()[1].endswith(":%04X" % port) and line.split()[3] == "0A" for line in f.readlines()[1:]):
                    return True
    return False


def stop(p):
    p.terminate()
    p.wait()


def test_iperf3(lab):
    if not has("iperf3"):
        return
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for where, v in each_where(lab):
        for role in ("host", "far"):
            port = SERVED[other(role)] + 5
            p = serving(lab, other(role), port, "iperf3", "-s", "-p", str(port), **quiet)
            for options in (("-n", "8M"), ("-n", "8M", "-R", "-P", "3"), ("-n", "1M", "-u", "-b", "200M", "-l", "1200")):
                what = "%s, IPv%d, iperf3 %s by %s" % (where, v, " ".join(options), role)
                with nothing_denied(lab, what):
                    status, out = tool(lab, role, "iperf3", "-c", AT[other(role)][v], "-p", str(port), *options)
                same(status, 0, what, out)
            stop(p)


def answer_http(listening, data):
    """Once, whatever the request is."""
    s = listening.accept()[0]
    s.settimeout(5)
    s.recv(4096)
    s.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    s.close()


def test_curl(lab):
    if not has("curl"):
        return
    data, got = os.urandom(3 << 20), os.path.join(lab.folder, "got")
    for where, v in each_where(lab):
        for role in ("host", "far"):
            what = "%s, IPv%d, curl by %s" % (where, v, role)
            listening = server(lab, other(role), v, SERVED[other(role)] + 6)
            serves = threading.Thread(target=answer_http, args=(listening, data))
            serves.start()
            with nothing_denied(lab, what):
                at = "[%s]" % AT[other(role)][v] if v == 6 else AT[other(role)][v]
                status, out = tool(lab, role, "curl", "-sS", "--noproxy", "*", "-m", "15", "-o", got,
                                   "http://%s:%d/file" % (at, SERVED[other(role)] + 6))
            serves.join()
            listening.close()
            with open(got, "rb") as f:
                same((status, f.read() == data), (0, True), "%s: the file as it is" % what, out)
            os.unlink(got)


def test_nc(lab):
    """A file by nc, which half closes after it and waits for the other end."""
    if not has("nc"):
        return
    data = os.urandom(1 << 20)
    path, got = os.path.join(lab.folder, "sent"), os.path.join(lab.folder, "received")
    with open(path, "wb") as f:
        f.write(data)
    for where, v in each_where(lab):
        for role in ("host", "far"):
            port, what = SERVED[other(role)] + 7, "%s, IPv%d, nc by %s" % (where, v, role)
            with open(path, "rb") as sent, open(got, "wb") as received:
                p = serving(lab, other(role), port, "nc", "-l", AT[other(role)][v], str(port), stdin=subprocess.DEVNULL, stdout=received)
                with nothing_denied(lab, what):
                    status, out = tool(lab, role, "nc", "-N", "-w", "5", AT[other(role)][v], str(port), stdin=sent)
                    p.wait(5)
            with open(got, "rb") as f:
                same((status, f.read() == data), (0, True), "%s: the file as it is" % what, out)


def test_denied(lab):
    """All of it by the rules: without one nothing passes."""
    for where, v in each_where(lab):
        for opener in ("host", "far"):
            listening = server(lab, other(opener), v, SERVED[opener])  # where only the other way is allowed
            try:
                with inside(lab, opener):
                    s = socket.create_connection((AT[other(opener)][v], SERVED[opener]), 0.2)
                s.close()
                good = False
            except OSError:
                good = True
            ok(good, "%s, IPv%d: %s can't reach another port" % (where, v, opener))
            listening.close()


if __name__ == "__main__":
    main(make, test_close, test_half_close, test_reset, test_reuse, test_simultaneous, test_udp, test_ping, test_traceroute,
         test_iperf3, test_curl, test_nc, test_denied)
