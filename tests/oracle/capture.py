# SPDX-License-Identifier: GPL-2.0-only
"""Frames of pcap and pcapng files with Ethernet link type; what is broken or of another type gives none."""
import struct

ETHERNET = 1
FRAME_MAX = 3500  # test runs of skb programs take one page


def frames(path):
    with open(path, "rb") as f:
        data = f.read()
    found = pcapng(data) if data[:4] == b"\x0a\x0d\x0d\x0a" else pcap(data)
    return [x for x in found if 14 <= len(x) <= FRAME_MAX]


def pcap(data):
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">"}
    order = order.get(data[:4])
    if order is None or len(data) < 24 or struct.unpack(order + "I", data[20:24])[0] & 0xFFFF != ETHERNET:
        return
    at = 24
    while at + 16 <= len(data):
        size = struct.unpack(order + "I", data[at + 8 : at + 12])[0]
        if at + 16 + size > len(data):
            return
        yield data[at + 16 : at + 16 + size]
        at += 16 + size


def pcapng(data):
    order, links, at = "<", [], 0
    while at + 12 <= len(data):
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order, links = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">", []
        kind, size = struct.unpack(order + "II", data[at : at + 8])
        if size < 12 or size % 4 or at + size > len(data):
            return
        body = data[at + 8 : at + size - 4]
        if kind == 1 and len(body) >= 8:
            links.append(struct.unpack(order + "H", body[:2])[0])
        elif kind == 6 and len(body) >= 20:
            interface, _, _, captured = struct.unpack(order + "IIII", body[:16])
            if interface < len(links) and links[interface] == ETHERNET and captured <= len(body) - 20:
                yield body[20 : 20 + captured]
        elif kind == 3 and len(body) >= 4 and links[:1] == [ETHERNET]:
            yield body[4 : 4 + struct.unpack(order + "I", body[:4])[0]]
        at += size
