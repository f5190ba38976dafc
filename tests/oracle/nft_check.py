# SPDX-License-Identifier: GPL-2.0-only
"""The oracle against a third opinion: the kernel's nftables in a namespace. Prints TAP.

A netdev ingress chain rewrites the destination MAC to the number of the matching rule and forwards to a sink; the
source MAC carries the packet's number. Only what both can say is compared: well-formed IP packets without VLAN
tags (nftables sees one stripped) and neighbour discovery (our own semantics), rules of ingress.

Two guards send later fragments past every rule with ports or ICMP types, because nftables of this age reads ports
in non-first fragments. Environment: SEED, NFT_POLICIES (10), NFT_PACKETS (3000).
"""
import ctypes
import errno
import ipaddress
import os
import random
import select
import shutil
import socket
import subprocess
import sys

import gen
from packet import AUTHENTICATION, EXTENSIONS, FRAGMENT, Packet, parse_frame
from policy import ICMP_NAMES, Context, Policy, cidr, is_neighbour

NAME = "fwnft-%d" % os.getpid()
NO_RULE = 0xFFFF
CLONE_NEWNET, ETH_P_ALL, SO_RCVBUFFORCE = 0x40000000, 3, 33
MAPPED = (0xFFFF << 32, (0xFFFF << 32) + 0xFFFFFFFF)
TOP4, TOP6 = (1 << 32) - 1, (1 << 128) - 1
NAMED = {"tcp": 6, "udp": 17, "sctp": 132}


# ---- interval arithmetic: another way to read an address list than the oracle's membership test ----


def subtract(intervals, cut):
    result = []
    for low, high in intervals:
        if cut[1] < low or cut[0] > high:
            result.append((low, high))
            continue
        if low < cut[0]:
            result.append((low, cut[0] - 1))
        if high > cut[1]:
            result.append((cut[1] + 1, high))
    return result


def merge(intervals):
    result = []
    for low, high in sorted(intervals):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return result


def spans(text, version):
    """The intervals of a prefix among the addresses that packets of ${version} carry."""
    family, first, last = cidr(text)
    if version == 4:
        return [(first, last)] if family == 4 else []
    if family == 4:
        return [(MAPPED[0] + first, MAPPED[0] + last)]
    return subtract([(first, last)], MAPPED)  # mapped addresses are IPv4 and in no IPv6 prefix


def intervals(doc, items, version):
    everything = [(0, TOP4 if version == 4 else TOP6)]
    if items is None:
        return everything
    taken = [i for i in items if not i.startswith("!")]
    result = [s for t in gen.prefixes(doc, taken) for s in spans(t, version)] if taken else everything
    for text in gen.prefixes(doc, [i for i in items if i.startswith("!")]):
        for cut in spans(text, version):
            result = subtract(result, cut)
    return merge(result)


def address_match(doc, items, version, side):
    """An nft expression, "" for any, None for no address at all."""
    found = intervals(doc, items, version)
    if not found:
        return None
    if found == [(0, TOP4 if version == 4 else TOP6)]:
        return ""
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    texts = [str(kind(a)) if a == b else "%s-%s" % (kind(a), kind(b)) for a, b in found]
    return "%s %s { %s } " % ("ip" if version == 4 else "ip6", side, ", ".join(texts))


# ---- rules to nft ----


def port_match(rule):
    text = ""
    for key, side in (("source_ports", "sport"), ("destination_ports", "dport")):
        if key in rule:
            values = merge([(int(str(i).split("-")[0]), int(str(i).split("-")[-1])) for i in rule[key]])
            text += "th %s { %s } " % (side, ", ".join("%d-%d" % v if v[0] != v[1] else "%d" % v[0] for v in values))
    if text:
        text = "meta l4proto { 6, 17, 132, 136 } " + text
    return text


def protocol_match(rule, version):
    protocol = rule.get("protocol", "any")
    own = {"icmp": 1 if version == 4 else 58, "icmpv4": 1 if version == 4 else None,
           "icmpv6": 58 if version == 6 else None}
    number = own.get(protocol, NAMED.get(protocol, protocol))
    if number is None:
        return None
    text = "" if number == "any" else "meta l4proto %d " % number
    if "icmp_types" in rule:
        types = {ICMP_NAMES[t][version == 6] if t in ICMP_NAMES else t for t in rule["icmp_types"]} - {None}
        if not types:
            return None
        text += "%s type { %s } " % ("icmp" if version == 4 else "icmpv6", ", ".join(str(t) for t in sorted(types)))
    return text


def rule_lines(doc, number, rule, later):
    if rule.get("direction") == "egress" or (later and {"source_ports", "destination_ports", "icmp_types"} & set(rule)):
        return
    for version in (4, 6):
        parts = [address_match(doc, rule.get("source_cidrs"), version, "saddr"),
                 address_match(doc, rule.get("destination_cidrs"), version, "daddr"), protocol_match(rule, version)]
        if None not in parts:
            yield "meta protocol %s %s%s%s" % ("ip" if version == 4 else "ip6", "".join(parts), port_match(rule),
                                               answer(number))


def answer(number):
    return 'ether daddr set 02:00:00:00:%02x:%02x fwd to "out0"' % (number >> 8, number & 255)


def ruleset(doc):
    rules = sorted(enumerate(doc["rules"]), key=lambda r: r[1]["priority"])
    lines = ["table netdev t {", " chain later {"]
    for n, rule in rules:
        lines += ["  " + line for line in rule_lines(doc, n, rule, True)]
    lines += ["  " + answer(NO_RULE), " }", ' chain in { type filter hook ingress device "in1" priority 0;',
              "  ip frag-off & 0x1fff != 0 goto later", "  frag frag-off != 0 goto later"]
    for n, rule in rules:
        lines += ["  " + line for line in rule_lines(doc, n, rule, False)]
    return "\n".join(lines + ["  " + answer(NO_RULE), " }", "}", ""])


# ---- the wire ----


def run(*argv, **kw):
    subprocess.run(argv, check=True, **kw)


def enter(name):
    """Moves this process into the network namespace."""
    with open("/var/run/netns/" + name, "rb") as f:
        if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns " + name)


def make():
    run("ip", "netns", "add", NAME)
    for command in ("link add in0 type veth peer in1", "link add out0 type veth peer out1"):
        run("ip", "-n", NAME, *command.split())
    enter(NAME)
    for interface in ("in0", "in1", "out0", "out1"):
        with open("/proc/sys/net/ipv6/conf/%s/disable_ipv6" % interface, "w", encoding="ascii") as f:
            f.write("1")
        run("ip", "link", "set", interface, "up", "arp", "off")


def packet_socket(device):
    """Sends and receives whole frames."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    s.bind((device, ETH_P_ALL))
    return s


def exchange(sender, receiver, frames):
    """{frame number: destination MAC it arrived with} of what came through."""
    result = {}

    def drain(wait):
        while select.select([receiver], [], [], wait)[0]:
            got = receiver.recv(65536)
            if got[6:8] == b"\x02\x7f":
                result[int.from_bytes(got[8:12], "big")] = got[:6]

    drain(0)
    result.clear()
    for n, frame in enumerate(frames):
        try:
            sender.send(b"\x02\0\0\0\0\0\x02\x7f" + n.to_bytes(4, "big") + frame[12:])
        except OSError as e:
            if e.errno != errno.ENOBUFS:  # which is how a drop at egress looks to the sender
                raise
        if n % 64 == 63:
            drain(0)
    drain(0.3)
    return result


def comparable(frame):
    p = parse_frame(frame)
    if not isinstance(p, Packet) or p.vlan is not None or is_neighbour(p) or len(frame) > 1500:
        return False
    # nftables asks the kernel to stop at AH and takes it for the protocol
    if AUTHENTICATION in p.extensions:
        return False
    # the kernel names no protocol for a later fragment of an extension header, and sees one fragment header
    return not (p.version == 6 and p.fragment == "later" and p.proto in EXTENSIONS) and p.extensions.count(FRAGMENT) < 2


def policy_test(rnd, sender, receiver, number):
    doc = gen.policy(rnd)
    policy, source = Policy(dict(doc, rules=sorted(doc["rules"], key=lambda r: r["priority"]))), gen.Packets(rnd, doc)
    frames = []
    while len(frames) < int(os.environ.get("NFT_PACKETS") or 3000):
        frame = source.frame()
        if comparable(frame):
            frames.append(frame)
    run("nft", "-f", "-", input=("flush ruleset\n" + ruleset(doc)).encode())
    said = {n: int.from_bytes(mac[4:], "big") for n, mac in exchange(sender, receiver, frames).items()}
    wrong, hit = [], 0
    for n, frame in enumerate(frames):
        rule = policy.judge(parse_frame(frame), "ingress", Context("in1")).rule
        mine = NO_RULE if rule is None else int(rule[1:]) - 1
        hit += rule is not None
        if said.get(n) != mine:
            wrong.append((frame, mine, said.get(n)))
    for frame, mine, theirs in wrong[:3]:
        print("# oracle %s, nft %s: %s\n#   %s" % (mine, theirs, parse_frame(frame), frame.hex()))
        for which in (mine, theirs):
            if which not in (None, NO_RULE):
                print("#   %s" % doc["rules"][which])
    print("%s %d - %d rules, %d packets, %d of them hit a rule%s" % (
        "not ok" if wrong else "ok", number, len(doc["rules"]), len(frames), hit,
        ": %d differ" % len(wrong) if wrong else ""), flush=True)
    return not wrong


def main():
    if os.geteuid() or not shutil.which("nft") or not shutil.which("ip"):
        print("1..0 # SKIP needs root, nft and ip")
        return 0
    seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(1 << 32))
    print("# SEED=%s" % seed)
    rnd, count = random.Random(seed), int(os.environ.get("NFT_POLICIES") or 10)
    try:
        make()
        pair = packet_socket("in0"), packet_socket("out1")
        good = [policy_test(rnd, *pair, n + 1) for n in range(count)]
        print("1..%d" % count)
    finally:
        subprocess.run(("ip", "netns", "del", NAME), check=False)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
