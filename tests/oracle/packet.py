# SPDX-License-Identifier: GPL-2.0-only
"""What a frame says, read from the RFCs (791, 8200, 4302, 768, 9293, 3828, 9260, 792, 4443; IEEE 802.1Q).

Part of the test oracle: slow on purpose, one plain step after the other, and it shares nothing with the
programs under test. Every outcome is a Packet, NON_IP (passes any policy) or a Malformed that says why.
"""

NON_IP = "non-ip"

ETH_IPV4, ETH_IPV6 = 0x0800, 0x86DD
ETH_TAGS = (0x8100, 0x88A8)
MAX_TAGS = 2
MAX_EXTENSIONS = 8

HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION)

TCP, UDP, SCTP, UDPLITE, ICMP, ICMPV6 = 6, 17, 132, 136, 1, 58
PORT_HEADER = {TCP: 20, UDP: 8, UDPLITE: 8, SCTP: 12}  # protocol with ports -> bytes its header needs
ICMP_HEADER = 8


class Malformed:
    def __init__(self, why):
        self.why = why

    def __repr__(self):
        return "Malformed(%s)" % self.why


class Packet:
    """Addresses are (family, integer). What is None is known to be absent."""

    def __init__(self, version):
        self.version = version
        self.src = self.dst = None
        self.proto = None
        self.sport = self.dport = None
        self.icmp_type = self.icmp_code = None
        self.tcp_flags = None
        self.hop_limit = None
        self.length = None  # IP bytes
        self.vlan = None  # VID of the outer tag
        self.fragment = "no"  # "no", "first" (also the only one), "later"
        self.more = False  # fragments follow
        self.extensions = []  # kinds of the IPv6 extension headers walked

    def __repr__(self):
        return "Packet(%s)" % ", ".join("%s=%s" % (k, v) for k, v in sorted(vars(self).items()) if v is not None)


def u16(data, at):
    return data[at] << 8 | data[at + 1]


def parse_frame(frame):
    """An Ethernet frame as XDP and TC see it."""
    if len(frame) < 14:
        return Malformed("Ethernet header cut")
    ethertype, at, tags, vlan = u16(frame, 12), 14, 0, None
    while ethertype in ETH_TAGS:
        tags += 1
        if tags > MAX_TAGS:
            return Malformed("more than two VLAN tags")
        if len(frame) < at + 4:
            return Malformed("VLAN tag cut")
        if vlan is None:
            vlan = u16(frame, at) & 0xFFF
        ethertype = u16(frame, at + 2)
        at += 4
    return parse_network(ethertype, frame[at:], vlan)


def parse_network(ethertype, data, vlan=None):
    """What follows the link layer, as cgroup programs see it."""
    if ethertype == ETH_IPV4:
        result = parse_ipv4(data)
    elif ethertype == ETH_IPV6:
        result = parse_ipv6(data)
    else:
        return NON_IP
    if isinstance(result, Packet):
        result.vlan = vlan
    return result


def parse_ipv4(data):
    if len(data) < 20:
        return Malformed("IPv4 header cut")
    if data[0] >> 4 != 4:
        return Malformed("not version 4")
    header = (data[0] & 15) * 4
    total = u16(data, 2)
    if header < 20:
        return Malformed("IPv4 header length below 20")
    if total < header:
        return Malformed("IPv4 total length smaller than the header")
    if total > len(data):
        return Malformed("IPv4 total length larger than what is there")
    p = Packet(4)
    p.length = total
    p.hop_limit = data[8]
    p.proto = data[9]
    p.src = (4, int.from_bytes(data[12:16], "big"))
    p.dst = (4, int.from_bytes(data[16:20], "big"))
    flags_offset = u16(data, 6)
    offset, more = flags_offset & 0x1FFF, flags_offset & 0x2000
    if offset:
        p.fragment = "later"
        return p
    p.more = bool(more)
    if more:
        p.fragment = "first"
    return parse_transport(p, data[header:total])


def address6(raw):
    value = int.from_bytes(raw, "big")
    if value >> 32 == 0xFFFF:  # ::ffff:a.b.c.d is judged as a.b.c.d
        return (4, value & 0xFFFFFFFF)
    return (6, value)


def parse_ipv6(data):
    if len(data) < 40:
        return Malformed("IPv6 header cut")
    if data[0] >> 4 != 6:
        return Malformed("not version 6")
    total = 40 + u16(data, 4)
    if total > len(data):
        return Malformed("IPv6 payload length larger than what is there")
    data = data[:total]
    p = Packet(6)
    p.length = total
    p.hop_limit = data[7]
    p.src, p.dst = address6(data[8:24]), address6(data[24:40])
    p.proto = data[6]
    at, walked = 40, 0
    while p.proto in EXTENSIONS:
        walked += 1
        if walked > MAX_EXTENSIONS:
            return Malformed("more than %d extension headers" % MAX_EXTENSIONS)
        if total < at + 8:
            return Malformed("extension header cut")
        kind, following = p.proto, data[at]
        if kind == FRAGMENT:
            size = 8
        elif kind == AUTHENTICATION:
            size = (data[at + 1] + 2) * 4
        else:
            size = (data[at + 1] + 1) * 8
        if total < at + size:
            return Malformed("extension header cut")
        p.proto = following
        p.extensions.append(kind)
        if kind == FRAGMENT:
            if u16(data, at + 2) >> 3:
                p.fragment = "later"
                return p
            p.fragment = "first"
            p.more = p.more or bool(u16(data, at + 2) & 1)
        at += size
    return parse_transport(p, data[at:])


def parse_transport(p, data):
    if p.proto in PORT_HEADER:
        if len(data) < PORT_HEADER[p.proto]:
            return Malformed("transport header cut")
        p.sport, p.dport = u16(data, 0), u16(data, 2)
        if p.proto == TCP:
            p.tcp_flags = data[13]
    # ICMP exists in IPv4 and ICMPv6 in IPv6; the other's number is just a protocol without types
    elif (p.version, p.proto) in ((4, ICMP), (6, ICMPV6)):
        if len(data) < ICMP_HEADER:
            return Malformed("ICMP header cut")
        p.icmp_type, p.icmp_code = data[0], data[1]
    return p
