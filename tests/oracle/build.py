# SPDX-License-Identifier: GPL-2.0-only
"""Frames byte by byte, right or deliberately wrong, for the oracle's tests and generators. Checksums are left
0: no hook looks at them."""
import ipaddress
import struct

MAC = bytes.fromhex("020000000002020000000001")


def ip(text):
    return ipaddress.ip_address(text).packed


def eth(ethertype, payload, tags=()):
    """${tags}: (TPID, TCI) from the outermost."""
    return MAC + b"".join(struct.pack("!HH", *t) for t in tags) + struct.pack("!H", ethertype) + payload


def ipv4(src, dst, proto, payload, options=b"", fragment=0, total=None, ihl=None, ttl=64, version=4):
    """${fragment}: the 16 bits of flags and offset."""
    size = 20 + len(options)
    total = size + len(payload) if total is None else total
    ihl = size // 4 if ihl is None else ihl
    first = struct.pack("!BBHHHBBH", version << 4 | ihl, 0, total & 0xFFFF, 0x1234, fragment, ttl, proto, 0)
    return first + ip4(src) + ip4(dst) + options + payload


def ip4(a):
    return a if isinstance(a, bytes) else ip(a)


def ipv6(src, dst, next_header, payload, length=None, hop_limit=64, version=6):
    length = len(payload) if length is None else length
    return (
        struct.pack("!IHBB", version << 28, length & 0xFFFF, next_header, hop_limit) + ip4(src) + ip4(dst) + payload
    )


def extensions(kinds, last, payload, fragment=1):
    """(first next-header value, bytes): a chain of extension headers before ${payload} of protocol ${last}.
    ${kinds}: numbers or (number, length field); ${fragment}: 16 bits of offset and M for fragment headers, which
    have no length field: there the pair's second is the header's own 16 bits."""
    data, following = payload, last
    for kind in reversed(list(kinds)):
        kind, length = kind if isinstance(kind, tuple) else (kind, None)
        if kind == 44:
            header = struct.pack("!BBHI", following, 0, fragment if length is None else length, 0xABCD)
        elif kind == 51:
            length = 4 if length is None else length
            header = bytes([following, length]) + bytes((length + 2) * 4 - 2)
        else:
            length = 0 if length is None else length
            # PadN options so that a kernel that looks inside is content
            header = bytes([following, length, 1, (length + 1) * 8 - 4]) + bytes((length + 1) * 8 - 4)
        data, following = header + data, kind
    return following, data


def tcp(sport, dport, flags=2, payload=b""):
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 5 << 4, flags, 1024, 0, 0) + payload


def udp(sport, dport, payload=b""):
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def sctp(sport, dport, payload=b""):
    return struct.pack("!HHII", sport, dport, 7, 0) + payload


def icmp(kind, code=0, payload=b""):
    return struct.pack("!BBHI", kind, code, 0, 0x00010001) + payload
