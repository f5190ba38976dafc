# SPDX-License-Identifier: GPL-2.0-only
"""Every match field at every packet hook: what matches, what just doesn't, and frames cut inside the header that the
field lives in. Each case runs under a rule that denies among packets that pass, and under one that allows among
packets that don't; by test run, which tells the reason of each answer, and on real veth devices and raw sockets of a
cgroup, where rule counters and what arrives at the other end tell. (Users and cgroups: at the end, and hooks_matrix.t.)"""
import os
import socket
import struct

from live import Lab, Refused, TestRun, main, ok, packet_socket, same, take, wait_until
from build import eth, icmp, ip, ipv4, ipv6, sctp, tcp, udp

A4, B4, A6, B6 = "10.9.0.1", "10.9.0.2", "2001:db8:9::1", "2001:db8:9::2"
MARK = b"mark"
TCP, UDP, SCTP, UDPLITE, ICMP, ICMP6, GRE = 6, 17, 132, 136, 1, 58, 47
MINIMUM = {TCP: 20, UDP: 8, SCTP: 12, UDPLITE: 8, ICMP: 8, ICMP6: 8}
# instance -> (device, fwload's words, hooks)
SETS = {"x": ("eth0", ("-i", "eth0", "--xdp", "native"), ("xdp", "tc_egress")),
        "t": ("eth1", ("-i", "eth1", "--xdp", "off"), ("tc_ingress",)),
        "c": ("eth2", None, ("cgroup_ingress", "cgroup_egress"))}
INGRESS = ("xdp", "tc_ingress", "cgroup_ingress")
RAW4 = (TCP, UDP, SCTP, UDPLITE, ICMP, ICMP6, GRE)


class P:
    """One packet. Live, its payload ends in a number of its own."""
    numbered = 0

    def __init__(self, src=None, dst=None, proto=TCP, sport=1234, dport=80, kind=8, v=4, frag=0, note=""):
        if ":" in (src or "") or ":" in (dst or ""):
            v = 6
        self.v, self.proto, self.frag = v, proto, frag
        self.src, self.dst = src or (A4 if v == 4 else A6), dst or (B4 if v == 4 else B6)
        self.sport, self.dport, self.kind, self.note = sport, dport, kind, note

    def __repr__(self):
        return "%s > %s proto %d ports %d %d type %d frag %d" % (
            self.src, self.dst, self.proto, self.sport, self.dport, self.kind, self.frag)

    def mapped(self):
        return "::ffff" in self.src + self.dst

    def transport(self, payload):
        if self.proto == TCP:
            return tcp(self.sport, self.dport, payload=payload)
        if self.proto in (UDP, UDPLITE):
            return udp(self.sport, self.dport, payload)
        if self.proto == SCTP:
            return sctp(self.sport, self.dport, payload)
        if self.proto in (ICMP, ICMP6):
            return icmp(self.kind, payload=payload)
        return payload

    def ip(self, payload=MARK + bytes(4), keep=None):
        """The IP packet; ${keep}: only so many bytes after its header, and its lengths say so."""
        data = self.transport(payload)[:keep]
        if self.v == 4:
            return checksummed(ipv4(self.src, self.dst, self.proto, data, fragment=self.frag))
        if self.proto == ICMP6 and keep is None:
            total = sum16(ip(self.src) + ip(self.dst) + struct.pack("!II", len(data), ICMP6) + data)
            data = data[:2] + struct.pack("!H", total) + data[4:]
        return ipv6(self.src, self.dst, self.proto, data)

    def ethertype(self):
        return 0x0800 if self.v == 4 else 0x86DD

    def frame(self, data=None):
        return eth(self.ethertype(), self.ip() if data is None else data)


def sum16(data):
    """The Internet checksum (RFC 1071): no hook looks at it, but the kernel's own input does."""
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def checksummed(packet):
    return packet[:10] + struct.pack("!H", sum16(packet[:20])) + packet[12:]


class Case:
    """${keys} of the rule; ${cut}: "ip" or "l4", the header that holds the field."""

    def __init__(self, title, keys, hits, misses, cut=None, sets=None, hooks=None):
        self.title, self.keys, self.hits, self.misses = title, keys, hits, misses
        self.cut, self.sets, self.hooks = cut, sets, hooks

    def policy(self, default, device):
        keys = dict(self.keys)
        if "interfaces" in keys:
            keys["interfaces"] = [i.replace("DEV", device) for i in keys["interfaces"]]
        rule = dict(keys, name="it", priority=1, action="deny" if default == "allow" else "allow")
        policy = {"default_action": default, "stateful": False, "log_limit": 0, "rules": [rule],
                  "log_default": {"deny": True, "allow": True}}
        return dict(policy, sets=self.sets) if self.sets else policy

    def expected(self, hook):
        """(packet, whether the rule matches) at this hook."""
        here = self.hooks is None or hook in self.hooks
        return [(p, here) for p in self.hits] + [(p, False) for p in self.misses]

    def cuts(self):
        """(packet, IP packet cut short, whether its lengths admit it): of one packet per header format."""
        result, seen = [], set()
        for p in self.hits + self.misses:
            key = (p.v, p.proto) if self.cut == "l4" else p.v
            if not self.cut or key in seen or p.frag & 0x1FFF or (self.cut == "l4" and p.proto not in MINIMUM) or (
                    (p.v, p.proto) in ((4, ICMP6), (6, ICMP))):
                continue
            seen.add(key)
            head = 20 if p.v == 4 else 40
            if self.cut == "ip":
                result += [(p, p.ip()[:n], False) for n in (0, 1, 9, 10, 16, head - 1)]
                continue
            least = MINIMUM[p.proto]
            result += [(p, p.ip()[: head + n], False) for n in (0, 1, 3, 4, least - 1)]
            result += [(p, p.ip(keep=n), True) for n in (0, 1, 3, 4, least - 1)]
        return result


# ---- the cases ----


def address_cases(field, side):
    def at(address, **kw):
        return P(**{side: address}, **kw)

    v4, v6 = [at("10.1.2.0"), at("10.1.2.255", proto=UDP)], [at("10.1.1.255"), at("10.1.3.0"), at("138.1.2.0")]
    sets = {"office": ["10.1.2.0/24", "2001:db8:1::/48"], "hole": ["10.1.2.128/25"]}
    long6 = "2001:db8:1:ffff:ffff:ffff:ffff:ffff"
    other = P(v=6)
    yield Case("%s IPv4 prefix" % field, {field: ["10.1.2.0/24"]}, v4, v6 + [other], "ip")
    yield Case("%s IPv4 address" % field, {field: ["10.1.2.3"]}, [at("10.1.2.3")], [at("10.1.2.2"), at("10.1.2.4")], "ip")
    yield Case("%s IPv6 prefix" % field, {field: ["2001:db8:1::/48"]}, [at("2001:db8:1::"), at(long6, proto=UDP)],
               [at("2001:db8:0:ffff:ffff:ffff:ffff:ffff"), at("2001:db8:2::"), P()], "ip")
    yield Case("%s IPv6 address" % field, {field: ["2001:db8:1::7"]}, [at("2001:db8:1::7")],
               [at("2001:db8:1::6"), at("2001:db8:1::8"), at("2001:db8:1:0:8000::7")], "ip")
    yield Case("%s every IPv4" % field, {field: ["0.0.0.0/0"]}, [P(), at("223.255.255.255")], [other])
    yield Case("%s every IPv6" % field, {field: ["::/0"]}, [other], [P()])
    yield Case("%s mapped prefix in the policy" % field, {field: ["::ffff:10.1.2.0/120"]}, v4, v6)
    yield Case("%s mapped address in the packet" % field, {field: ["10.1.2.0/24"]}, [at("::ffff:10.1.2.3")],
               [at("::ffff:10.1.3.3"), at("::10.1.2.3")])
    yield Case("%s exclusion" % field, {field: ["10.1.0.0/16", "!10.1.2.0/24"]}, [at("10.1.1.255"), at("10.1.3.0")],
               [at("10.1.2.0"), at("10.1.2.255"), at("10.2.0.0"), other])
    yield Case("%s set" % field, {field: ["@office"]}, v4 + [at("2001:db8:1::1")], v6 + [at("2001:db8:2::")], "ip", sets)
    yield Case("%s set without another" % field, {field: ["@office", "!@hole"]}, [at("10.1.2.127"), at(long6)],
               [at("10.1.2.128"), at("10.1.2.255"), at("10.1.3.0")], None, sets)


def port_cases(field, side):
    def at(port, **kw):
        return P(**{side: port}, **kw)

    everywhere = [dict(proto=p, v=v) for p in (TCP, UDP, SCTP, UDPLITE) for v in (4, 6)]
    yield Case("%s single" % field, {field: [443]}, [at(443, **e) for e in everywhere],
               [at(n, **e) for e in everywhere for n in (442, 444)] + [at(443, proto=GRE), P(proto=ICMP)], "l4")
    yield Case("%s range" % field, {field: ["1000-2000"]}, [at(n, proto=p) for n in (1000, 1001, 2000) for p in (TCP, UDP)],
               [at(n, proto=p) for n in (999, 2001) for p in (TCP, UDP)], "l4")
    yield Case("%s ends of the scale" % field, {field: [1, 65535], "protocol": "tcp"}, [at(1), at(65535)],
               [at(0), at(2), at(65534), at(1, proto=UDP)], "l4")
    yield Case("%s all" % field, {field: ["1-65535"], "protocol": "udp"}, [at(1, proto=UDP), at(65535, proto=UDP)],
               [at(0, proto=UDP), at(5)])
    yield Case("%s of a later fragment" % field, {field: [443], "protocol": "udp"}, [at(443, proto=UDP)],
               [at(443, proto=UDP, frag=n, note="test") for n in (1, 0x2001, 0x1FFF)])


def protocol_cases():
    one = {"tcp4": P(), "tcp6": P(v=6), "udp4": P(proto=UDP), "udp6": P(proto=UDP, v=6), "sctp4": P(proto=SCTP),
           "sctp6": P(proto=SCTP, v=6), "udplite4": P(proto=UDPLITE), "udplite6": P(proto=UDPLITE, v=6),
           "icmp4": P(proto=ICMP), "icmp6": P(proto=ICMP6, v=6, kind=128), "icmpv6 in IPv4": P(proto=ICMP6),
           "icmp in IPv6": P(proto=ICMP, v=6), "gre4": P(proto=GRE), "gre6": P(proto=GRE, v=6)}
    for value, hits in (("tcp", "tcp4 tcp6"), ("udp", "udp4 udp6"), ("sctp", "sctp4 sctp6"), (136, "udplite4 udplite6"),
                        ("icmp", "icmp4 icmp6"), ("icmpv4", "icmp4"), ("icmpv6", "icmp6"), (47, "gre4 gre6"), (6, "tcp4 tcp6"),
                        ("any", None)):
        names = list(one) if hits is None else hits.split()
        yield Case("protocol %s" % value, {"protocol": value}, [one[n] for n in names],
                   [p for n, p in one.items() if n not in names], "ip")
    yield Case("protocol udp, payload cut off", {"protocol": "udp"}, [P(proto=UDP)], [P()], "l4")


def icmp_cases():
    def four(kind):
        return P(proto=ICMP, kind=kind)

    def six(kind):
        return P(proto=ICMP6, kind=kind, v=6)

    yield Case("icmp_types by name", {"protocol": "icmp", "icmp_types": ["echo-request"]}, [four(8), six(128)],
               [four(0), four(9), six(129), six(127), six(8), four(128), P()], "l4")
    yield Case("icmp_types by number", {"protocol": "icmp", "icmp_types": [3]}, [four(3), six(3)], [four(2), four(4), six(2)], "l4")
    yield Case("icmp_types of ICMP alone", {"protocol": "icmpv4", "icmp_types": [8, "echo-reply"]}, [four(8), four(0)],
               [six(8), six(129), four(3)], "l4")
    yield Case("icmp_types of ICMPv6 alone", {"protocol": "icmpv6", "icmp_types": ["packet-too-big", 128]}, [six(2), six(128)],
               [four(2), six(1), six(3)], "l4")
    yield Case("icmp_types of 0 and 255", {"protocol": "icmp", "icmp_types": [0, 255]}, [four(0), four(255), six(0), six(255)],
               [four(1), four(254)], "l4")


def other_cases():
    some = [P(), P(proto=UDP, v=6)]
    yield Case("interfaces by name", {"interfaces": ["DEV"]}, some, [])
    yield Case("interfaces by glob", {"interfaces": ["eth?"]}, some, [])
    yield Case("interfaces one of two", {"interfaces": ["none0", "DEV"]}, some, [])
    yield Case("interfaces another", {"interfaces": ["spare0"]}, [], some)
    yield Case("interfaces glob of others", {"interfaces": ["spare*", "DEV?"]}, [], some)
    yield Case("direction ingress", {"direction": "ingress"}, some, [], hooks=INGRESS)
    yield Case("direction egress", {"direction": "egress"}, some, [], hooks=("tc_egress", "cgroup_egress"))
    yield Case("direction both", {"direction": "both"}, some, [])
    yield Case("every field at once", {"source_cidrs": [A4 + "/31"], "destination_cidrs": [B4], "protocol": "tcp",
                                       "source_ports": ["1000-1300"], "destination_ports": [80], "interfaces": ["DEV"]},
               [P(), P(sport=1000)],
               [P(src="10.9.0.2"), P(dst="10.9.0.3"), P(proto=UDP), P(sport=999), P(dport=81), P(v=6)], "l4")


def cases():
    yield from address_cases("source_cidrs", "src")
    yield from address_cases("destination_cidrs", "dst")
    yield from port_cases("source_ports", "sport")
    yield from port_cases("destination_ports", "dport")
    yield from protocol_cases()
    yield from icmp_cases()
    yield from other_cases()


# ---- test runs ----


def test_run(bench, case, hook, instance, default):
    """What is wrong, as texts."""
    wanted, frames = [], []
    for p, match in case.expected(hook):
        action = default if not match else {"allow": "deny", "deny": "allow"}[default]
        wanted.append(("drop" if action == "deny" else "pass", [(action, "rule" if match else "default", "it" if match else None)]))
        frames.append((p, p.frame()))
    for p, data, _ in case.cuts():
        wanted.append(("drop", [("deny", "malformed", None)]))
        frames.append(("cut to %d: %s" % (len(data), p), p.frame(data)))
    answers = bench.run(hook, [f for _, f in frames], bench.index[SETS[instance][0]], instance, bench.cgroup)
    cut_skips = sum(a[0] == "skip" for a in answers)
    if cut_skips and any(a[0] == "skip" for a, w in zip(answers, wanted) if w[1][0][1] != "malformed"):
        return ["whole frames were refused by the kernel"]
    return ["%s: %s, wanted %s" % (f[0], a, w) for f, a, w in zip(frames, answers, wanted) if a != w and a[0] != "skip"]


# ---- live ----


class Bench:
    def __init__(self, lab):
        self.lab, self.run, self.cgroup = lab, TestRun(lab), lab.cgroup_path
        self.index, self.number = {}, 0
        with lab.inside("host"):
            self.index = {d: socket.if_nametoindex(d) for d in ("eth0", "eth1", "eth2")}
            self.at = {d: packet_socket(d) for d in ("eth0",)}
            self.raw_tc = raw_receivers("eth1")
        with lab.inside("peer"):
            self.at.update({d: packet_socket(d) for d in ("p0", "p1", "p2")})
        with lab.inside("host", self.cgroup):
            self.raw_cgroup = raw_receivers("eth2")
            self.out = [raw_sender(socket.AF_INET), raw_sender(socket.AF_INET6)]

    def sender(self, hook, p, data):
        if hook == "cgroup_egress":
            to = (p.dst, 0) if p.v == 4 else (p.dst, 0, 0, 0)
            return self.out[p.v == 6].sendto(data, to)
        device = {"xdp": "p0", "tc_egress": "eth0", "tc_ingress": "p1", "cgroup_ingress": "p2"}[hook]
        return self.at[device].send(p.frame(data))

    def arrived(self, hook):
        """Numbers of the packets that came through."""
        sockets = {"xdp": [self.at["eth0"]], "tc_egress": [self.at["p0"]], "tc_ingress": self.raw_tc,
                   "cgroup_ingress": self.raw_cgroup, "cgroup_egress": [self.at["p2"]]}[hook]
        return {struct.unpack("!I", d[-4:])[0] for s in sockets for d in take(s) if d[-8:-4] == MARK}

    def judgeable(self, hook, p):
        """The kernel itself lets no such packet come to the hook."""
        if hook in ("xdp", "tc_egress"):
            return True
        if p.note == "test" and hook.startswith("cgroup"):
            return False  # fragments: defragmented before, made after
        return hook != "cgroup_egress" or not p.mapped()

    def receivable(self, hook, p):
        return hook != "tc_ingress" or not p.note

    def live(self, case, hook, instance, default):
        before, sent, errors = self.lab.count(instance), {}, []
        for p, match in case.expected(hook):
            if self.judgeable(hook, p):
                self.number += 1
                sent[self.number] = (p, match)
                refused = not self.send(hook, p, p.ip(MARK + struct.pack("!I", self.number)))
                denied = match == (default == "allow")
                if refused and not (hook.endswith("egress") and denied):  # TC says ENOBUFS
                    errors.append("not sent: %s" % p)
        malformed = 0
        for p, data, honest in case.cuts():
            icmp_in = hook == "cgroup_ingress" and p.proto in (ICMP, ICMP6)  # raw ICMP sockets don't take it so far
            if (honest and not p.mapped() and not icmp_in) or not hook.startswith("cgroup"):
                malformed += 1
                self.send(hook, p, data)
        total = len(sent) + malformed
        got = wait_until(lambda: (lambda d: d if d.packets() >= total else None)(self.lab.count(instance) - before), 2)
        if not got:
            return errors + ["judged: %s of %d" % ((self.lab.count(instance) - before).verdicts, total)]
        matched = sum(m for _, m in sent.values())
        rule = got.rules["it"]
        for what, value, want in (
                ("by the rule", rule["packets_denied" if default == "allow" else "packets_allowed"], matched),
                ("by default", got.get(default, "default"), len(sent) - matched),
                ("malformed", got.get("deny", "malformed"), malformed), ("in all", got.packets(), total)):
            if value != want:
                errors.append("counted %s: %d, wanted %d" % (what, value, want))
        through = {n for n, (p, match) in sent.items() if (default == "allow") != match and self.receivable(hook, p)}
        seen = set()
        wait_until(lambda: seen.update(self.arrived(hook)) or seen >= through, 1)
        for n, (p, _) in sent.items():
            if (n in seen) != (n in through):
                errors.append("%s: %s" % ("arrived" if n in seen else "did not arrive", p))
        return errors

    def send(self, hook, p, data):
        try:
            self.sender(hook, p, data)
            return True
        except OSError:
            return False


def raw_receivers(device):
    result = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for proto in RAW4:
            s = socket.socket(family, socket.SOCK_RAW, proto)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            s.setblocking(False)
            result.append(s)
    return result


def raw_sender(family):
    s = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth2")
    return s


def make(lab):
    """Every address is the host's own where packets come in, and out through eth2 where they leave; nothing in these
    namespaces speaks by itself (no ARP, no neighbour discovery, no listener reports)."""
    lab.space("host", "peer")
    quiet = ["ipv6/conf/%s/%s" % (d, k) for d in ("default",) for k in ("addr_gen_mode=1", "accept_ra=0", "dad_transmits=0")]
    lab.sysctl("host", *quiet, "ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0")
    lab.sysctl("peer", *quiet)
    lab.ip("host", "link add spare0 type veth peer spare1")
    for n in range(3):
        lab.veth("host", "eth%d" % n, "peer", "p%d" % n)
        lab.ip("host", "link set eth%d arp off address 02:00:00:00:00:02" % n)
        lab.ip("peer", "link set p%d arp off" % n)
    for v in ("-4", "-6"):
        for n in (1, 2):
            lab.ip("host", "%s rule add iif eth%d lookup 100 pref 1" % (v, n))
        lab.ip("host", "%s route add local default dev lo table 100" % v, "%s route add default dev eth2" % v)
    lab.cgroup_path = lab.cgroup()


def test_fields(lab):
    bench = Bench(lab)
    for case in cases():
        errors = {}
        for default in ("allow", "deny"):
            for instance, (device, where, hooks) in SETS.items():
                try:
                    lab.load(case.policy(default, device), *(where or ("-g", lab.cgroup_path)), instance=instance)
                except Refused as e:
                    for hook in hooks:
                        errors.setdefault((hook, "run"), []).append(e)
                    continue
                for hook in hooks:
                    for how, f in (("run", lambda *a: test_run(bench, *a)), ("live", bench.live)):
                        errors.setdefault((hook, how), []).extend("default %s: %s" % (default, e)
                                                                  for e in f(case, hook, instance, default))
        for hook in sum((hooks for _, _, hooks in SETS.values()), ()):
            ok(not any(errors.get((hook, how)) for how in ("run", "live")), "%s at %s" % (case.title, hook),
               *["%s: %s" % (how, e) for how in ("run", "live") for e in errors.get((hook, how), [])[:4]])


# ---- whose socket it is ----


def sends(lab, cgroup, uid=0):
    """What sendto() from a socket made in ${cgroup} by ${uid} says."""
    pid = os.fork()
    if not pid:
        with lab.inside("host", cgroup):
            code = 2
            try:
                if uid:
                    os.setresuid(uid, uid, uid)
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                code = 1
                s.sendto(b"x", ("192.0.2.9", 9))
                code = 0
            finally:
                os._exit(code)
    return {0: "sent", 1: "EPERM"}.get(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "failed")


def test_identity(lab):
    top = lab.cgroup_path
    one, two = lab.cgroup_nested("/one"), lab.cgroup_nested("/two")
    deep = lab.cgroup_nested("/one/deeper", "/one/deeper/still")
    import pwd  # pylint: disable=import-outside-toplevel
    nobody = pwd.getpwnam("nobody").pw_uid

    def load(**match):
        lab.load({"default_action": "allow", "stateful": False,
                  "rules": [dict(match, name="it", priority=1, direction="egress", action="deny")]}, "-g", top, instance="c")

    for what, match, wanted in (
            ("the attached cgroup", top, {top: 1, one: 1, two: 1, deep: 1}), ("a child", one, {top: 0, one: 1, two: 0, deep: 1}),
            ("the other child", two, {top: 0, one: 0, two: 1, deep: 0}), ("a deep one", deep, {top: 0, one: 0, two: 0, deep: 1})):
        load(cgroups=[match])
        for path, hit in wanted.items():
            same(sends(lab, path), "EPERM" if hit else "sent", "a rule on %s and a sender in %s" % (what, path[len(top):] or "/"))
    for value in ("nobody", nobody, str(nobody)):
        load(users=[value])
        same([sends(lab, one, nobody), sends(lab, one)], ["EPERM", "sent"], "a rule on user %r" % (value,))
    load(users=["root"], cgroups=[one])
    same([sends(lab, one), sends(lab, two), sends(lab, one, nobody), sends(lab, deep)], ["EPERM", "sent", "sent", "EPERM"],
         "a rule on both")


def nested(self, *paths):
    """Child cgroups of the first one; the path of the last."""
    for path in paths:
        made = self.cgroups[0] + path
        os.mkdir(made)
        self.cgroups.append(made)
    return made


Lab.cgroup_nested = nested

if __name__ == "__main__":
    main(make, test_fields, test_identity)
