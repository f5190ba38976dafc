# SPDX-License-Identifier: GPL-2.0-only
"""Is the oracle right? Every case is worked out by hand; bytes are given by hand where a builder could share
a misreading with the parser. Prints TAP."""
import os
import random
import sys

import build as b
import capture
import gen
from packet import NON_IP, Malformed, Packet, parse_frame
from policy import ICMP_NAMES, UNKNOWN, Answer, Context, Policy

ran = failed = 0


def same(got, wanted, what):
    global ran, failed
    ran += 1
    if got == wanted:
        print("ok %d - %s" % (ran, what))
    else:
        failed += 1
        print("not ok %d - %s\n#   got %r\n#   not %r" % (ran, what, got, wanted))


def brief(frame):
    """'why malformed', NON_IP or (version, proto, sport, dport, icmp type, fragment)"""
    p = parse_frame(frame)
    if isinstance(p, Malformed):
        return p.why
    return p if p is NON_IP else (p.version, p.proto, p.sport, p.dport, p.icmp_type, p.fragment)


A4, B4, A6, B6 = "10.1.2.3", "192.0.2.1", "2001:db8::1", "2001:db8::2"
TCP = b.tcp(1000, 80)


def v4(proto=6, payload=TCP, tags=(), **kw):
    return b.eth(0x0800, b.ipv4(A4, B4, proto, payload, **kw), tags)


def v6(proto=6, payload=TCP, tags=(), **kw):
    return b.eth(0x86DD, b.ipv6(A6, B6, proto, payload, **kw), tags)


def chain(kinds, last=6, payload=TCP, fragment=1):
    return v6(*b.extensions(kinds, last, payload, fragment))


def test_bytes():
    """Frames typed in by hand, from the header diagrams of the RFCs."""
    eth = bytes.fromhex("ffffffffffff 020000000001".replace(" ", ""))
    syn = bytes.fromhex("0800 4500 0028 0001 4000 40 06 0000 0a010203 c0000201"
                        "03e8 0050 00000001 00000000 50 02 0400 0000 0000".replace(" ", ""))
    p = parse_frame(eth + syn)
    same((p.src, p.dst, p.sport, p.dport, p.tcp_flags, p.hop_limit, p.length, p.vlan, p.fragment),
         ((4, 0x0A010203), (4, 0xC0000201), 1000, 80, 2, 64, 40, None, "no"), "IPv4 TCP SYN by hand")
    p = parse_frame(eth + bytes.fromhex("88a80064 8100e00a".replace(" ", "")) + syn)
    same((p.sport, p.dport, p.vlan), (1000, 80, 100), "802.1ad and 802.1Q tag: the outer VID")
    dns = bytes.fromhex("86dd 60000000 0010 00 ff fe800000000000000000000000000001 ff0200000000000000000000000000fb"
                        "11 00 0104 00000000".replace(" ", "") + "14e9 14e9 0008 0000".replace(" ", ""))
    p = parse_frame(eth + dns)
    same((p.version, p.proto, p.sport, p.dport, p.hop_limit, p.length, p.src[1] >> 112),
         (6, 17, 5353, 5353, 255, 56, 0xFE80), "IPv6 hop-by-hop, UDP by hand")
    mapped = bytes.fromhex("86dd 60000000 0008 3a 40 00000000000000000000ffff0a010203 00000000000000000000ffff0a010204"
                           "80 01 0000 00010001".replace(" ", ""))
    p = parse_frame(eth + mapped)
    same((p.version, p.src, p.dst, p.icmp_type, p.icmp_code), (6, (4, 0x0A010203), (4, 0x0A010204), 128, 1),
         "IPv4-mapped addresses become IPv4, the packet stays IPv6")


def test_ipv4():
    ok = (4, 6, 1000, 80, None, "no")
    same(brief(v4()), ok, "IPv4")
    same(brief(v4(options=bytes([1] * 40))), ok, "IPv4 with 40 bytes of options")
    same(brief(v4() + bytes(20)), ok, "Ethernet padding is not part of the packet")
    same(brief(v4(total=39) + bytes(20)), "transport header cut", "padding doesn't complete a TCP header")
    same(brief(v4(total=41)), "IPv4 total length larger than what is there", "total length too large by one")
    same(brief(v4(total=19)), "IPv4 total length smaller than the header", "total length 19")
    same(brief(v4(total=0)), "IPv4 total length smaller than the header", "total length 0")
    same(brief(v4(options=bytes(4), total=23)), "IPv4 total length smaller than the header", "options beyond the total")
    same(brief(v4(ihl=4)), "IPv4 header length below 20", "IHL 4")
    same(brief(v4(version=6)), "not version 4", "version 6 under ethertype IPv4")
    same(brief(v4()[:33]), "IPv4 header cut", "IPv4 header cut")
    for proto, header in ((6, 20), (17, 8), (136, 8), (132, 12)):
        data = bytes([0, 1, 0, 2]) + bytes(header - 4)
        same(brief(v4(proto, data)), (4, proto, 1, 2, None, "no"), "protocol %d: whole header" % proto)
        same(brief(v4(proto, data[:-1])), "transport header cut", "protocol %d: header cut" % proto)
        same(brief(v4(proto, data[:-1], fragment=0x2000)), "transport header cut", "protocol %d: cut in fragment 1" % proto)
        same(brief(v4(proto, b"", fragment=0x2001)), (4, proto, None, None, None, "later"),
             "protocol %d: nothing needed in a later fragment" % proto)
    same(brief(v4(1, b.icmp(8))), (4, 1, None, None, 8, "no"), "ICMP")
    same(brief(v4(1, b.icmp(8)[:7])), "ICMP header cut", "ICMP cut")
    same(brief(v4(1, b.icmp(8), fragment=1)), (4, 1, None, None, None, "later"), "ICMP later fragment has no type")
    same(brief(v4(58, b.icmp(128))), (4, 58, None, None, None, "no"), "protocol 58 in IPv4 is not ICMPv6")
    same(brief(v4(47, b"")), (4, 47, None, None, None, "no"), "other protocol: no header asked for")
    same(brief(v4(fragment=0x2000)), (4, 6, 1000, 80, None, "first"), "first fragment has ports")
    same(brief(v4(fragment=0x4000)), ok, "don't-fragment is no fragment")
    same(brief(v4(fragment=1)), (4, 6, None, None, None, "later"), "last fragment, offset 8")
    same(brief(v4(fragment=0x1FFF)), (4, 6, None, None, None, "later"), "offset 65528")
    same(brief(v4(51, b"\x06\x04" + bytes(22) + TCP)), (4, 51, None, None, None, "no"), "AH in IPv4 is just a protocol")


def test_ipv6():
    ok = (6, 6, 1000, 80, None, "no")
    same(brief(v6()), ok, "IPv6")
    same(brief(v6() + bytes(9)), ok, "IPv6 and padding")
    same(brief(v6(length=19)), "transport header cut", "payload length one short")
    same(brief(v6(length=21)), "IPv6 payload length larger than what is there", "payload length one too large")
    same(brief(v6(version=4)), "not version 6", "version 4 under ethertype IPv6")
    same(brief(v6()[:53]), "IPv6 header cut", "IPv6 header cut")
    same(brief(v6(58, b.icmp(128))), (6, 58, None, None, 128, "no"), "ICMPv6")
    same(brief(v6(1, b.icmp(8))), (6, 1, None, None, None, "no"), "protocol 1 in IPv6 is not ICMP")
    same(brief(v6(59, b"")), (6, 59, None, None, None, "no"), "no next header")
    for kind in (0, 43, 60, 51):
        same(brief(chain([kind])), ok, "extension header %d" % kind)
        same(brief(chain([(kind, 3)])), ok, "extension header %d of length field 3" % kind)
        whole = b.extensions([(kind, 3)], 6, b"")[1]
        same(brief(v6(kind, whole[:-1])), "extension header cut", "extension header %d cut" % kind)
        same(brief(v6(kind, whole[:1])), "extension header cut", "extension header %d cut to a byte" % kind)
    same(brief(v6(51, bytes([6, 4]) + bytes(22) + TCP)), ok, "AH: length 4 is 24 bytes")
    same(brief(v6(60, bytes([6, 4]) + bytes(38) + TCP)), ok, "destination options: length 4 is 40 bytes")
    same(brief(chain([0, 60, 43, 44, 51, 60])), (6, 6, 1000, 80, None, "first"), "six headers in RFC 8200 order")
    same(brief(chain([0] * 8)), ok, "eight headers")
    same(brief(chain([60] * 9)), "more than 8 extension headers", "nine headers")
    same(brief(chain([60] * 8 + [50])), (6, 50, None, None, None, "no"), "eight headers, then ESP")
    for kind in (50, 59, 135, 139, 253):
        same(brief(chain([60, kind])), (6, kind, None, None, None, "no"), "%d ends the walk without ports" % kind)
    same(brief(chain([44], fragment=0)), (6, 6, 1000, 80, None, "first"), "atomic fragment")
    same(brief(chain([44], fragment=1)), (6, 6, 1000, 80, None, "first"), "first fragment")
    same(brief(chain([44], fragment=6)), (6, 6, 1000, 80, None, "first"), "reserved bits are no offset")
    same(brief(chain([44], fragment=8)), (6, 6, None, None, None, "later"), "later fragment")
    same(brief(chain([44], payload=TCP[:19])), "transport header cut", "TCP cut in the first fragment")
    same(brief(chain([44], payload=b"", fragment=9)), (6, 6, None, None, None, "later"), "empty later fragment")
    same(brief(chain([44, 60], fragment=8)), (6, 60, None, None, None, "later"), "later fragment of an extension header")
    nested = b"\x2c\0\0\1\0\0\0\7" + b"\x06\0\0\x08\0\0\0\7" + TCP
    same(brief(v6(44, nested)), (6, 6, None, None, None, "later"), "fragment in a first fragment: the inner offset counts")
    same(brief(v6(44, b"\x06\0\0\1\0\0\0")), "extension header cut", "fragment header cut")
    same(brief(v6(6, b.tcp(5, 6), length=0)), "transport header cut", "payload length 0")


def test_link():
    ok = (4, 6, 1000, 80, None, "no")
    q, ad = (0x8100, 5), (0x88A8, 6)
    for tags in ([q], [ad], [ad, q], [q, q], [q, ad]):
        same(brief(v4(tags=tags)), ok, "tags %s" % ["%x" % t for t, _ in tags])
    same(brief(v4(tags=[ad, q, q])), "more than two VLAN tags", "three tags")
    same(brief(b.eth(0x9100, bytes(60))), NON_IP, "TPID 0x9100 is no tag")
    same(brief(b.eth(0x0806, bytes(28))), NON_IP, "ARP")
    same(brief(b.eth(0x0806, bytes(28), [q])), NON_IP, "ARP in a VLAN")
    same(brief(b.eth(0x0806, bytes(28), [q, q, q])), "more than two VLAN tags", "ARP in three tags")
    same(brief(b.eth(0x0030, b"\xaa\xaa\3\0\0\0\x08\0" + bytes(40))), NON_IP, "LLC/SNAP")
    same(brief(v4(tags=[q])[:17]), "VLAN tag cut", "tag cut")
    same(brief(v4()[:13]), "Ethernet header cut", "Ethernet header cut")


def verdict(rules, frame, hook="xdp", interface="fwa0", uid=UNKNOWN, **policy):
    for n, rule in enumerate(rules):
        rule.setdefault("name", "r%d" % n)
    answer = Policy(dict(policy, rules=rules)).judge_frame(frame, hook, Context(interface, uid))
    return str(answer)


def hits(frame, hook="xdp", **rule):
    """Does a rule of these fields decide?"""
    return verdict([dict(rule, action="allow")], frame, hook) == "allow rule r0"


def test_fields():
    for cidrs, wanted in (
        (["10.1.2.3"], True), (["10.1.2.4"], False), (["10.1.2.2/31"], True), (["10.1.2.4/31"], False),
        (["0.0.0.0/0"], True), (["::/0"], False), (["::ffff:10.1.2.3"], True), (["::ffff:0:0/96"], True),
        (["::fffe:0:0/95"], False), (["!10.1.2.3"], False), (["!10.1.2.4"], True), (["10.0.0.0/8", "!10.1.2.3"], False),
        (["!10.1.2.3", "10.0.0.0/8"], False), (["11.0.0.0/8", "!10.1.2.4"], False), (["10.1.2.255/24"], True),
    ):
        same(hits(v4(), source_cidrs=cidrs), wanted, "source 10.1.2.3 in %s" % cidrs)
    same(hits(v4(), destination_cidrs=["10.1.2.3"]), False, "the destination is not the source")
    same(hits(v6(), source_cidrs=["2001:db8::/127"]), True, "IPv6 /127")
    same(hits(v6(), source_cidrs=["0.0.0.0/0"]), False, "an IPv6 address is in no IPv4 prefix")
    same(hits(v6(), source_cidrs=["!0.0.0.0/0"]), True, "only exclusions: any but these, of either family")
    half = b.eth(0x86DD, b.ipv6("::ffff:10.1.2.3", B6, 6, TCP))
    same(hits(half, source_cidrs=["10.0.0.0/8"], destination_cidrs=["2001:db8::/32"]), True,
         "each address in its own family")
    sets = {"a": ["10.1.2.0/25", "2001:db8::/32"], "b": ["10.1.2.3"]}
    for cidrs, wanted in ((["@a"], "allow rule r0"), (["!@a"], "deny default"), (["@a", "!@b"], "deny default"),
                          (["@b", "11.0.0.0/8"], "allow rule r0")):
        same(verdict([{"source_cidrs": cidrs, "action": "allow"}], v4(), sets=sets), wanted, "sets %s" % cidrs)

    for listed, wanted in (([80], True), ([79, 81], False), (["80-90"], True), (["70-80"], True), (["81-90"], False),
                           (["1-79"], False), (["1-65535"], True)):
        same(hits(v4(), destination_ports=listed), wanted, "destination port 80 in %s" % listed)
    same(hits(v4(), source_ports=[1000], destination_ports=[80]), True, "both ports")
    same(hits(v4(), source_ports=[80]), False, "the source port is not the destination's")
    for proto, wanted in ((17, True), (136, True), (132, True), (47, False), (33, False)):
        data = b.sctp(1000, 80)
        same(hits(v4(proto, data), destination_ports=[80]), wanted, "ports of protocol %d with any" % proto)
    same(hits(v4(17, b.udp(1, 80)), protocol="tcp", destination_ports=[80]), False, "UDP is not TCP")
    same(hits(v4(fragment=1), destination_ports=["1-65535"]), False, "later fragment: ports are known absent")
    same(hits(v4(fragment=1), protocol="tcp"), True, "later fragment: the protocol is known")
    same(hits(chain([253]), destination_ports=["1-65535"]), False, "unknown extension header: no ports")
    zero = v4(17, b.udp(0, 0))
    same((hits(zero, destination_ports=["1-65535"]), hits(zero)), (False, True), "port 0 is in no range")

    ping4, ping6 = v4(1, b.icmp(8)), v6(58, b.icmp(128))
    odd4, odd6 = v4(58, b.icmp(128)), v6(1, b.icmp(8))
    for protocol, wanted in (("icmp", (1, 1, 0, 0)), ("icmpv4", (1, 0, 0, 0)), ("icmpv6", (0, 1, 0, 0)),
                             (1, (1, 0, 0, 1)), (58, (0, 1, 1, 0)), ("any", (1, 1, 1, 1))):
        same(tuple(int(hits(f, protocol=protocol)) for f in (ping4, ping6, odd4, odd6)), wanted,
             "protocol %s: ping, ping6, 58 in IPv4, 1 in IPv6" % protocol)
    mapped = b.eth(0x86DD, b.ipv6("::ffff:10.1.2.3", "::ffff:10.1.2.4", 58, b.icmp(128)))
    same((hits(mapped, protocol="icmpv6", source_cidrs=["10.1.2.3"]), hits(mapped, protocol="icmpv4")), (True, False),
         "mapped addresses: IPv4 by address, IPv6 by protocol")
    same((hits(ping4, icmp_types=["echo-request"]), hits(ping6, icmp_types=["echo-request"])), (True, True), "echo-request")
    same((hits(ping4, icmp_types=[128]), hits(ping6, icmp_types=[128, 3])), (False, True), "a type number is itself")
    same(hits(v4(1, b.icmp(8), fragment=1), icmp_types=[8]), False, "later fragment: no ICMP type")
    same(hits(v4(), icmp_types=[0]), False, "TCP has no ICMP type")
    same((ICMP_NAMES["redirect"], ICMP_NAMES["time-exceeded"]), ((5, 137), (11, 3)), "names differ by family")

    for globs, wanted in ((["fwa0"], True), (["fw*"], True), (["fw?0"], True), (["eth0"], False), (["fwa"], False)):
        same(hits(v4(), interfaces=globs), wanted, "interface fwa0 in %s" % globs)
    for direction, wanted in (("ingress", (1, 0)), ("egress", (0, 1)), ("both", (1, 1))):
        same(tuple(int(hits(v4(), h, direction=direction)) for h in ("tc_ingress", "tc_egress")), wanted, direction)


def test_judgement():
    allow, deny = {"action": "allow", "name": "yes"}, {"action": "deny", "name": "no"}
    same(verdict([dict(deny), dict(allow)], v4()), "deny rule no", "the first match wins")
    same(verdict([dict(deny, destination_ports=[81]), dict(allow)], v4()), "allow rule yes", "no match: the next")
    same(verdict([{}], v4()), "deny rule r0", "deny is the default of action")
    same(verdict([{"action": "reject"}], v4()), "deny rule r0", "reject denies")
    same(verdict([{"action": "rate_limit"}], v4()), "allow rule r0", "within the limit")
    same(verdict([], v4()), "deny default", "default deny")
    same(verdict([], v4(), default_action="allow"), "allow default", "default allow")
    both = {"ingress": "allow", "egress": "deny"}
    same((verdict([], v4(), default_action=both), verdict([], v4(), "tc_egress", default_action=both)),
         ("allow default", "deny default"), "default by direction")
    same(verdict([], b.eth(0x0806, bytes(28))), "allow", "ARP passes")
    same(verdict([], v4(), interface="lo"), "allow", "loopback passes")
    same(verdict([], v4(), interface="lo", filter_loopback=True), "deny default", "filter_loopback")
    bad = v4(total=15)
    same(verdict([dict(allow)], bad, default_action="allow"), "deny malformed", "malformed is denied under any policy")
    same(verdict([dict(deny)], bad, default_action="allow", on_malformed="default"), "allow malformed",
         "on_malformed: default")

    user = dict(deny, users=[1000], direction="egress")
    same(verdict([dict(user), dict(allow)], v4(), "tc_egress"), "undecided", "unknown user: undecided")
    same(verdict([dict(allow), dict(user)], v4(), "tc_egress"), "allow rule yes", "a certain match before it decides")
    same(verdict([dict(user, destination_ports=[81]), dict(allow)], v4(), "tc_egress"), "allow rule yes",
         "another field says no: the unknown one doesn't matter")
    same(verdict([dict(user), dict(allow)], v4(), "tc_ingress"), "allow rule yes", "not of this direction")
    same(verdict([dict(user)], v4(), "cgroup_egress", uid=1000), "deny rule no", "known user")
    same(verdict([dict(user, action="allow")], v4(), "cgroup_egress", uid=0), "deny default", "another user")
    same(verdict([dict(user)], v4(), "cgroup_egress", uid=None, default_action="allow"), "allow default",
         "known to have no user")


def test_neighbour():
    def nd(kind, hop_limit, source="fe80::1", kinds=()):
        first, data = b.extensions(kinds, 58, b.icmp(kind, 0, bytes(16)))
        return b.eth(0x86DD, b.ipv6(source, "ff02::1", first, data, None, hop_limit))

    for kind, hop_limit, source, wanted in (
        (133, 255, A6, 1), (134, 255, A6, 1), (135, 255, A6, 1), (136, 255, A6, 1), (135, 254, A6, 0), (135, 1, A6, 0),
        (137, 255, A6, 0), (132, 255, "fe80::1", 0), (130, 1, "fe80::1", 1), (131, 1, "febf::1", 1),
        (132, 1, "::", 1), (143, 1, "fe80::1", 1), (143, 1, "::1", 0), (143, 1, A6, 0), (143, 1, "fec0::1", 0),
        (130, 64, "fe80::1", 0), (129, 1, "fe80::1", 0), (142, 1, "::", 0),
    ):
        same(verdict([], nd(kind, hop_limit, source)), "allow neighbour" if wanted else "deny default",
             "type %d, hop limit %d, from %s" % (kind, hop_limit, source))
    solicit = nd(135, 255)
    same(verdict([], nd(143, 1, kinds=[0])), "allow neighbour", "MLD behind its router alert")
    same(verdict([{"source_cidrs": ["fe80::/10"]}], solicit), "allow neighbour", "a blocklist doesn't hit it")
    same(verdict([{"protocol": "icmpv6"}], solicit), "allow neighbour", "nor a plain protocol: icmpv6")
    same(verdict([{"action": "rate_limit"}], solicit), "allow neighbour", "nor a rate limit")
    same(verdict([{"icmp_types": [135]}], solicit), "deny rule r0", "a rule that lists the type does")
    same(verdict([{"icmp_types": [136]}], solicit), "allow neighbour", "a rule that lists another doesn't")
    same(verdict([{}, {"action": "allow"}], solicit), "allow rule r1", "an allowing rule after a skipped one")
    same(verdict([], b.eth(0x86DD, b.ipv6("fe80::1", A6, 44, b"\x3a\0\0\x08\0\0\0\0" + b.icmp(135), None, 255))),
         "deny default", "a later fragment has no type, so no favour")


def test_generators():
    one, two = (gen.policy(random.Random(7), ["fwa0"], [0]) for _ in range(2))
    same(one, two, "the same seed gives the same policy")
    packets = [gen.Packets(random.Random(7), one) for _ in range(2)]
    same([packets[0].frame() for _ in range(50)], [packets[1].frame() for _ in range(50)], "and the same frames")
    seen = set()
    rnd = random.Random(1)
    for _ in range(20):
        doc = gen.policy(rnd, ["fwa0"], [0])
        policy, source = Policy(doc), gen.Packets(rnd, doc)
        for _ in range(300):
            frame = source.frame()
            p = parse_frame(frame)
            seen.add(p.why if isinstance(p, Malformed) else p.fragment if isinstance(p, Packet) else p)
            answer = policy.judge(p, "egress", Context("fwa0"))
            seen.add((answer.verdict, answer.reason))
    missing = {"no", "first", "later", NON_IP, "more than two VLAN tags", "IPv4 header cut", "not version 4", "not version 6",
               "IPv4 total length smaller than the header", "IPv4 total length larger than what is there",
               "IPv6 header cut", "IPv6 payload length larger than what is there", "extension header cut",
               "more than 8 extension headers", "transport header cut", "ICMP header cut", ("allow", "rule"),
               ("deny", "rule"), ("allow", "default"), ("deny", "default"), ("allow", "neighbour"),
               ("undecided", None), ("deny", "malformed"), ("allow", "malformed"), ("allow", None)} - seen
    same(missing, set(), "6,000 generated packets reach every outcome")
    doc = gen.policy(rnd, ["fwa0"], [0], 200)
    policy, source = Policy(doc), gen.Packets(rnd, doc)
    hit = [policy.judge_frame(source.frame(), "xdp", Context("fwa0")).rule for _ in range(4000)]
    late = [rule for rule in hit if rule and int(rule[1:]) > 100]
    same((len(set(hit)) > 50, len(late) > 40), (True, True), "of 200 rules many are hit, late ones too")
    cut = set()
    for size in range(14, 14 + 40 + 24 + 20):
        # properties: a truncated packet never parses to more than the whole one said
        cut.add(isinstance(parse_frame(chain([0, 51])[:size]), Packet))
    same(cut, {False}, "no proper prefix of a frame parses")


def test_captures():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../shared/corpora/tcpdump")
    global ran
    if not os.path.isdir(folder):
        ran += 1
        print("ok %d - captures # SKIP no corpus" % ran)
        return
    frames = [f for name in sorted(os.listdir(folder)) if "pcap" in name for f in capture.frames(os.path.join(folder, name))]
    kinds = {type(parse_frame(f)).__name__ for f in frames}
    same((len(frames) > 5000, kinds), (True, {"Packet", "Malformed", "str"}), "%d captured frames parse" % len(frames))


def main():
    for test in (test_bytes, test_link, test_ipv4, test_ipv6, test_fields, test_judgement, test_neighbour,
                 test_generators, test_captures):
        test()
    print("1..%d" % ran)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
