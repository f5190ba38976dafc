# SPDX-License-Identifier: GPL-2.0-only
"""Frames that are cut, tagged, fragmented, full of extension headers or plainly wrong: nothing passes as something
else, and neighbour discovery goes on under every default. By test run at every packet hook; tags, LLC and neighbour
discovery also live."""
import itertools
import socket
import struct

from live import TestRun, main, ok, packet_socket, receives, same, udp_socket, wait_until
from build import eth, extensions, icmp, ipv4, ipv6, sctp, tcp, udp

A4, B4, A6, B6 = "10.9.0.1", "10.9.0.2", "2001:db8:9::1", "2001:db8:9::2"
HOP, ROUTING, FRAGMENT, AH, DESTINATION = 0, 43, 44, 51, 60
KINDS = (HOP, ROUTING, FRAGMENT, AH, DESTINATION)
ATOMIC = (FRAGMENT, 0)
FRAME_HOOKS = (("x", "xdp"), ("x", "tc_egress"), ("t", "tc_ingress"))
HOOKS = FRAME_HOOKS + (("c", "cgroup_ingress"), ("c", "cgroup_egress"))
INGRESS = ("xdp", "tc_ingress", "cgroup_ingress")
RULE, DEFAULT, BAD = "rule", "default", "malformed"


def make(lab):
    lab.space("host", "peer")
    for n in range(2):
        lab.veth("host", "eth%d" % n, "peer", "p%d" % n)
        lab.address("host", "eth%d" % n, "10.%d.0.1/24" % (77 + n), "fd%d::1/64" % (77 + n))
        lab.address("peer", "p%d" % n, "10.%d.0.2/24" % (77 + n), "fd%d::2/64" % (77 + n))
    lab.group = lab.cgroup()
    lab.bench = TestRun(lab)
    with lab.inside("host"):
        lab.index = {"x": socket.if_nametoindex("eth0"), "t": socket.if_nametoindex("eth1")}
    lab.index["c"] = lab.index["x"]


def policy(default, *rules, **more):
    rules = [dict(r, name=r.get("name", "it"), priority=n) for n, r in enumerate(rules)]
    doc = {"default_action": default, "stateful": more.pop("stateful", False), "log_limit": 0, "log_default": {"deny": True, "allow": True}}
    return dict(doc, **({"rules": rules} if rules else {}), **more)


def load(lab, doc):
    lab.load(doc, "-i", "eth0", "--xdp", "native", instance="x")
    lab.load(doc, "-i", "eth1", "--xdp", "off", instance="t")
    lab.load(doc, "-g", lab.group, instance="c")


def check(lab, what, doc, frames, hooks=HOOKS):
    """${frames}: (name, frame, (verdict, reason[, rule]) or None: it passes unseen). One result per hook. The kernel
    refuses to test-run some cut frames: those are counted, and whole ones must never be among them."""
    load(lab, doc)
    for instance, hook in hooks:
        wrong, skipped = [], 0
        answers = lab.bench(hook, [f for _, f, _ in frames], lab.index[instance], instance, lab.group)
        for (name, frame, want), (verdict, events) in zip(frames, answers):
            if verdict == "skip":
                skipped += 1
                if not want or want[1] != BAD:
                    wrong.append("%s: not run" % name)
                continue
            if callable(want):
                want = want(hook)
            seen = [want + ("it" if want[1] == RULE else None,) if len(want) == 2 else want] if want else []
            if verdict != ("drop" if want and want[0] == "deny" else "pass") or events != seen:
                wrong.append("%s: %s %s, wanted %s: %s" % (name, verdict, events, want, frame.hex()))
        ok(not wrong and skipped < len(frames), "%s at %s (%d frames)" % (what, hook, len(frames) - skipped), *wrong[:5])


DENY_443 = {"protocol": "udp", "destination_ports": [443], "action": "deny"}
ALLOW_443 = {"protocol": "udp", "destination_ports": [443], "action": "allow"}


def both_ways(lab, what, frames, hooks=HOOKS):
    """${frames}: (name, frame, answer), answer True: the rule on UDP port 443 matches, False: it doesn't, BAD. Under a
    rule that denies and one that allows."""
    for default, rule in (("allow", DENY_443), ("deny", ALLOW_443)):
        answers = {True: (rule["action"], RULE), False: (default, DEFAULT), BAD: ("deny", BAD), None: None}
        check(lab, "%s, default %s" % (what, default), policy(default, rule), [(n, f, answers[a]) for n, f, a in frames], hooks)


def v4(payload, proto=17, **kw):
    return eth(0x0800, ipv4(A4, B4, proto, payload, **kw))


def v6(kinds, payload, last=17, fragment=0, **kw):
    following, data = extensions(kinds, last, payload, fragment)
    return eth(0x86DD, ipv6(A6, B6, following, data, **kw))


HIT, MISS = udp(5, 443, b"payload!"), udp(5, 444, b"payload!")


# ---- below IP ----


def test_vlan(lab):
    frames = []
    for count in range(6):
        for tpids in {(0x8100,) * count, (0x88A8,) * count, (0x88A8,) + (0x8100,) * (count - 1) if count else ()}:
            for vid in (0, 1, 4095):
                tags = [(t, 0x6000 | vid) for t in tpids]
                for ethertype, data in ((0x0800, ipv4(A4, B4, 17, HIT)), (0x86DD, ipv6(A6, B6, 17, HIT)),
                                        (0x0800, ipv4(A4, B4, 17, MISS)), (0x0806, bytes(28))):
                    want = BAD if count > 2 else None if ethertype == 0x0806 else HIT in data
                    frames.append(("%d tags, VID %d, %04x" % (count, vid, ethertype), eth(ethertype, data, tags), want))
    both_ways(lab, "VLAN tags", frames, FRAME_HOOKS)
    whole = eth(0x0800, ipv4(A4, B4, 17, HIT), [(0x88A8, 1), (0x8100, 2)])
    both_ways(lab, "VLAN tags cut", [("cut to %d" % n, whole[:n], BAD) for n in range(14, len(whole))], FRAME_HOOKS)


def test_other_layers(lab):
    """ARP and everything that is no IP pass unseen; what claims to be IP inside LLC is not IP for this kernel either."""
    packet = ipv4(A4, B4, 17, HIT)
    snap = b"\xaa\xaa\x03\0\0\0\x08\0" + packet
    frames = [("ARP", eth(0x0806, bytes(28)), None), ("LLC", eth(len(packet) + 3, b"\x42\x42\x03" + packet), None),
              ("SNAP with IPv4", eth(len(snap), snap), None), ("SNAP behind VLAN 0", eth(len(snap), snap, [(0x8100, 0)]), None),
              ("LLDP", eth(0x88CC, bytes(50)), None), ("PPPoE", eth(0x8864, b"\x11\0\0\1\0\x20\0\x21" + packet), None),
              ("MPLS", eth(0x8847, b"\0\0\x11\x40" + packet), None)]
    both_ways(lab, "not IP", frames, FRAME_HOOKS)


def test_tags_live(lab):
    """On the wire: tagged frames for an untagged socket and for one behind VLAN devices, LLC for nobody."""
    for instance, device, peer in (("x", "eth0", "p0"), ("t", "eth1", "p1")):
        load(lab, policy("deny", ALLOW_443))
        with lab.inside("peer"):
            out = packet_socket(peer, False)
        with lab.inside("host"):
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
                s.bind((device, 0))
                mac = s.getsockname()[4]
            server = udp_socket("", 443)
        net = 77 if device == "eth0" else 78
        packet = ipv4("10.%d.0.2" % net, "10.%d.0.1" % net, 17, HIT)
        packet = packet[:10] + struct.pack("!H", sum16(packet[:20])) + packet[12:]
        before = lab.count(instance)
        snap = b"\xaa\xaa\x03\0\0\0\x08\0" + packet
        frames = [eth(0x0800, packet, [(0x8100, 1)] * n) for n in (3, 2, 1)] + [eth(len(snap), snap), eth(0x0800, packet)]
        for f in frames:
            out.send(mac + f[6:])
        wait_until(lambda: (lab.count(instance) - before).packets() >= 4)
        d = lab.count(instance) - before
        same((d.rules["it"]["packets_allowed"], d.get("deny", BAD)), (3, 1), "live at %s: one, two and three tags" % device, d.verdicts)
        got = receives(server)
        same((got and got[0], receives(server, 0.2)), (HIT[8:], None), "live at %s: LLC/SNAP reaches no socket" % device)
        server.close()


def sum16(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


# ---- IPv6 extension headers ----


def test_extensions(lab):
    frames = []
    for depth in range(6):
        for order in itertools.permutations(KINDS, depth):
            frames.append(("order %s" % (order,), v6(order, HIT), True))
            frames.append(("order %s, 444" % (order,), v6(order, MISS), False))
    for kind in KINDS:
        for depth in range(10):
            frames.append(("%d of %d" % (depth, kind), v6((kind,) * depth, HIT), True if depth <= 8 else BAD))
    for depth in range(10):
        mixed = tuple(itertools.islice(itertools.cycle((DESTINATION, AH, HOP, ROUTING)), depth))
        frames.append(("%d mixed" % depth, v6(mixed, HIT), True if depth <= 8 else BAD))
        frames.append(("%d mixed, TCP" % depth, v6(mixed, tcp(5, 443), 6), False if depth <= 8 else BAD))
    both_ways(lab, "extension headers in every order", frames)


def test_extension_sizes(lab):
    frames = []
    for kind in (HOP, ROUTING, DESTINATION, AH):
        for size in (0, 1, 2, 7, 30):
            frames.append(("%d of length %d" % (kind, size), v6([(kind, size)], HIT), True))
        # it claims more than there is: beyond the packet, and into the transport header
        following, data = extensions([kind], 17, HIT)
        for size in (2, 3, 4, 100, 255):
            bad = data[:1] + bytes([size]) + data[2:]
            inside = (size + 2) * 4 if kind == AH else (size + 1) * 8
            if inside + 8 > len(bad):
                frames.append(("%d claims length %d" % (kind, size), eth(0x86DD, ipv6(A6, B6, following, bad)), BAD))
    for kind in (135, 139, 140, 253, 59, 50):
        # unknown: it is the protocol, and what follows is not looked at
        frames.append(("protocol %d before UDP" % kind, v6([(kind, 0)], HIT), False))
        frames.append(("protocol %d behind others" % kind, v6([HOP, (kind, 0)], HIT), False))
    both_ways(lab, "sizes of extension headers", frames)


# ---- truncation ----


def cuts(whole, ip_header, rebuild, headers_end, want):
    """Every cut of the frame ${whole}: as it stands, and with IP lengths that admit it (${rebuild}(bytes of payload))."""
    frames = [("whole", whole, want)]
    frames += [("cut to %d" % n, whole[:n], BAD) for n in range(14, len(whole))]
    for n in range(len(whole) - 14 - ip_header + 1):
        frames.append(("%d bytes of payload" % n, rebuild(n), want if n >= headers_end else BAD))
    return frames


def test_truncated(lab):
    for payload, proto, want, least in ((HIT, 17, True, 8), (MISS, 17, False, 8), (tcp(5, 443), 6, False, 20),
                                        (sctp(5, 443), 132, False, 12), (icmp(8, payload=b"x" * 8), 1, False, 8)):
        kinds = (HOP, DESTINATION, ROUTING)
        last = 58 if proto == 1 else proto
        following, data = extensions(kinds, last, payload)
        frames = cuts(v6(kinds, payload, last), 40, lambda n, f=following, d=data: eth(0x86DD, ipv6(A6, B6, f, d[:n])),
                      len(data) - len(payload) + least, want)
        options = b"\x94\x04\0\0" + b"\x01" * 8
        frames += cuts(v4(payload, proto, options=options), 32,
                       lambda n, p=proto, d=payload: v4(d[:n], p, options=options), least, want)
        both_ways(lab, "protocol %d cut at every byte" % proto if proto != 17 else
                  "UDP to %d cut at every byte" % (443 if want else 444), frames)


# ---- fragments ----


def test_fragments(lab):
    far = (FRAGMENT, 8 << 3)
    first = (FRAGMENT, 1)
    frames = [("first of IPv4", v4(HIT, fragment=0x2000), True), ("don't fragment", v4(HIT, fragment=0x4000), True),
              ("reserved bit", v4(HIT, fragment=0x8000), True), ("first of IPv6", v6([first], HIT), True),
              ("atomic", v6([ATOMIC], HIT), True), ("two atomic", v6([ATOMIC, ATOMIC], HIT), True),
              ("first, then atomic", v6([first, ATOMIC], HIT), True)]
    for offset in (1, 2, 0x1FFF, 0x2001, 0x3FFF):
        frames.append(("later of IPv4, %04x" % offset, v4(HIT, fragment=offset), False))
    for bits in (8, 9, 0xFFF8, 0xFFF9):
        frames.append(("later of IPv6, %04x" % bits, v6([(FRAGMENT, bits)], HIT), False))
    frames += [("later in first", v6([first, far], HIT), False), ("first in later", v6([far, first], HIT), False),
               ("later behind others", v6([HOP, DESTINATION, far], HIT), False),
               ("others behind later", v6([far, HOP], HIT), False), ("atomic, then later", v6([ATOMIC, far], HIT), False),
               ("first cut in UDP, IPv4", v4(HIT[:7], fragment=0x2000), BAD), ("first cut in UDP", v6([first], HIT[:4]), BAD),
               ("first cut in TCP", v4(tcp(5, 443)[:19], 6, fragment=0x2000), BAD),
               ("later with one byte", v4(b"x", fragment=3), False), ("later with nothing", v4(b"", fragment=3), False)]
    both_ways(lab, "fragments", frames)
    # what a later fragment does have: addresses and the protocol
    later = [("IPv4", v4(HIT, fragment=5)), ("IPv6", v6([far], HIT)), ("nested", v6([first, far], HIT))]
    check(lab, "later fragments have a protocol", policy("allow", {"protocol": "udp", "action": "deny"}),
          [(n, f, ("deny", RULE)) for n, f in later])
    check(lab, "later fragments have no ICMP type", policy("deny", {"protocol": "icmp", "icmp_types": [8, 128], "action": "allow"}),
          [("IPv4", v4(icmp(8), 1, fragment=5), ("deny", DEFAULT)), ("IPv6", v6([far], icmp(128), 58), ("deny", DEFAULT)),
           ("whole", v4(icmp(8), 1), ("allow", RULE))])


# ---- plainly wrong ----


def wrong_frames():
    return [("total 0", v4(HIT, total=0)), ("total 19", v4(HIT, total=19)), ("total 20 of IHL 24", v4(HIT, total=20, options=bytes(4))),
            ("total one too long", v4(HIT, total=20 + len(HIT) + 1)), ("total 65535", v4(HIT, total=65535)),
            ("total within UDP", v4(HIT, total=27)), ("IHL 0", v4(HIT, ihl=0)), ("IHL 4", v4(HIT, ihl=4)),
            ("IHL 15 of 20 bytes", v4(HIT, ihl=15, total=36)), ("IPv6 length one too long", v6([], HIT, length=len(HIT) + 1)),
            ("IPv6 length 65535", v6([], HIT, length=65535)), ("IPv6 length 0", v6([], HIT, length=0)),
            ("IPv6 length within UDP", v6([], HIT, length=7)), ("IPv6 in 0x0800", eth(0x0800, ipv6(A6, B6, 17, HIT))),
            ("IPv4 in 0x86dd", eth(0x86DD, ipv4(A4, B4, 17, HIT) + bytes(40))), ("version 0", v4(HIT, version=0)),
            ("version 5", v4(HIT, version=5)), ("version 15", v6([], HIT, version=15)), ("version 4 in IPv6", v6([], HIT, version=4))]


def test_wrong(lab):
    frames = wrong_frames()
    both_ways(lab, "plainly wrong", [(n, f, BAD) for n, f in frames])
    padded = [("padding", v4(HIT) + bytes(20), True), ("padding, IPv6", v6([], HIT) + bytes(20), True),
              ("padding is not read", v4(b"", 47) + HIT, False), ("nothing but a header", v4(b"", 47), False),
              ("options", v4(HIT, options=b"\1" * 40), True)]
    both_ways(lab, "odd and yet right", padded)
    for default in ("allow", "deny"):
        doc = policy(default, ALLOW_443, on_malformed="default")
        check(lab, "on_malformed: default, default %s" % default, doc, [(n, f, (default, BAD)) for n, f in frames])
    doc = policy({"ingress": "deny", "egress": "allow"}, ALLOW_443, on_malformed="default")
    load(lab, doc)
    for instance, hook in HOOKS:
        verdicts = {a[0] for a in lab.bench(hook, [f for _, f in frames], lab.index[instance], instance, lab.group)} - {"skip"}
        same(verdicts, {"drop" if hook in INGRESS else "pass"}, "on_malformed: default follows the direction at %s" % hook)


# ---- neighbour discovery and listener discovery ----

LOCAL, GROUP = "fe80::1", "ff02::1"


def icmp6(kind, hop, src=LOCAL, dst=GROUP, kinds=(), data=bytes(20)):
    following, payload = extensions(kinds, 58, icmp(kind, payload=data), 1)
    return eth(0x86DD, ipv6(src, dst, following, payload, hop_limit=hop))


def neighbour_frames():
    """(name, frame, favoured)"""
    for kind in (133, 134, 135, 136):
        for hop in (255, 254, 64, 1, 0):
            yield "type %d, hop limit %d" % (kind, hop), icmp6(kind, hop), hop == 255
        yield "type %d from a global address" % kind, icmp6(kind, 255, A6, B6), True
        yield "type %d, fragmented" % kind, icmp6(kind, 255, kinds=[(FRAGMENT, 1)]), False
    for kind in (130, 131, 132, 143):
        for hop in (1, 255, 2, 0):
            yield "type %d, hop limit %d" % (kind, hop), icmp6(kind, hop), hop == 1
            yield "type %d, hop limit %d, unspecified source" % (kind, hop), icmp6(kind, hop, "::"), hop == 1
        yield "type %d with router alert" % kind, icmp6(kind, 1, kinds=[HOP]), True
        yield "type %d, fragmented" % kind, icmp6(kind, 1, kinds=[HOP, (FRAGMENT, 1)]), False
        for src in (A6, "febf:ffff::1", "fec0::1", "fe7f::1", "::1"):
            yield "type %d from %s" % (kind, src), icmp6(kind, 1, src), src == "febf:ffff::1"
    for kind in (1, 128, 129, 137, 138, 142, 144):
        for hop in (1, 255):
            yield "type %d, hop limit %d" % (kind, hop), icmp6(kind, hop), False


def test_neighbours(lab):
    frames = list(neighbour_frames())
    passed = ("allow", "neighbour")
    for what, doc, other in (
            ("default deny", policy("deny"), ("deny", DEFAULT)),
            ("a blocklist", policy("allow", {"source_cidrs": ["::/0"], "action": "deny"}), ("deny", RULE)),
            ("protocol: icmpv6", policy("allow", {"protocol": "icmpv6", "action": "deny"}), ("deny", RULE)),
            ("protocol: icmp", policy("deny", {"protocol": "icmp", "action": "deny"}), ("deny", RULE)),
            ("a rate limit of nothing else", policy("deny", {"protocol": "udp", "action": "deny"}), ("deny", DEFAULT))):
        check(lab, "neighbour discovery under %s" % what, doc, [(n, f, passed if good else other) for n, f, good in frames])
    listed = [133, 134, 135, 136, 130, 131, 132, 143]
    check(lab, "neighbour discovery under icmp_types that list it",
          policy("allow", {"protocol": "icmpv6", "icmp_types": listed, "action": "deny"}),
          [(n, f, ("deny", RULE)) for n, f, good in frames if good])
    check(lab, "neighbour discovery under icmp_types that list one of it",
          policy("deny", {"protocol": "icmpv6", "icmp_types": ["neighbor-solicitation"], "action": "deny"}),
          [("135", icmp6(135, 255), ("deny", RULE)), ("136", icmp6(136, 255), passed), ("131", icmp6(131, 1), passed)])
    check(lab, "icmp_types that list it, behind a rule that allows",
          policy("deny", {"protocol": "icmpv6", "action": "allow", "name": "first"},
                 {"protocol": "icmpv6", "icmp_types": [135], "action": "deny"}),
          [("135", icmp6(135, 255), lambda hook: ("allow", RULE, "first")), ("128", icmp6(128, 64), ("allow", RULE, "first"))])


def pings(lab, role, address):
    for who, device in (("host", "eth0"), ("peer", "p0"), ("host", "eth1"), ("peer", "p1")):
        lab.ip(who, "-6 neigh flush dev %s nud all" % device)
    p = lab.start(role, "ping", "-6", "-q", "-c", "1", "-W", "2", address, stdout=-3, stderr=-3)
    return p.wait() == 0


def test_neighbours_live(lab):
    echo = {"protocol": "icmpv6", "icmp_types": ["echo-request"], "action": "allow"}
    for how, n, where in (("XDP", 0, ("-i", "eth0", "--xdp", "native")), ("TC", 1, ("-i", "eth1", "--xdp", "off"))):
        load(lab, policy("deny", echo, stateful=True))
        same((pings(lab, "peer", "fd%d::1" % (77 + n)), pings(lab, "host", "fd%d::2" % (77 + n))), (True, True),
             "live, %s: ping in both directions finds its neighbour under default deny" % how)
        instance = "xt"[n]
        ok((lab.count(instance)).get("allow", "neighbour") > 0, "live, %s: counted under reason neighbour" % how)
        for kind in ("neighbor-solicitation", "neighbor-advertisement"):
            load(lab, policy("allow", {"protocol": "icmpv6", "icmp_types": [kind], "action": "deny"}, stateful=True))
            same(pings(lab, "peer", "fd%d::1" % (77 + n)), False, "live, %s: a rule that lists %s denies it" % (how, kind))


if __name__ == "__main__":
    main(make, test_vlan, test_other_layers, test_tags_live, test_extensions, test_extension_sizes, test_truncated,
         test_fragments, test_wrong, test_neighbours, test_neighbours_live)
