# SPDX-License-Identifier: GPL-2.0-only
"""Random policies and the frames that probe their edges, both from one random.Random.

Values come from small pools, so that rules overlap and packets hit them: a uniformly random packet would
only ever test the default.
"""
import ipaddress
import json
import sys

import build

V4 = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "10.1.2.4/31", "10.1.3.0/25", "128.0.0.0/1",
      "127.0.0.0/8", "192.168.0.0/16", "192.168.255.255", "224.0.0.0/4", "255.255.255.255", "0.0.0.0", "172.16.0.0/12",
      "::ffff:10.1.2.0/120", "::ffff:0:0/96", "9.255.255.255", "11.0.0.0/32"]
V6 = ["::/0", "2001:db8::/32", "2001:db8::/33", "2001:db8:1::/48", "2001:db8:1:2::/64", "2001:db8:1:2::/63",
      "2001:db8:1:2:8000::/65", "2001:db8:1:2::5", "2001:db8:1:2::4/127", "fe80::/10", "ff02::/16", "::1", "::",
      "8000::/1", "::/80", "::fffe:0:0/95", "64:ff9b::/96", "2001:db8:1:2:ffff:ffff:ffff:ffff",
      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:0:0:0/96"]
PORTS = [1, 2, 22, 53, 80, 443, 1023, 1024, 8080, 32767, 32768, 65534, 65535]
PORT_PROTOCOLS = ["tcp", "udp", "sctp", "any", 6, 17, 136, 132]
OTHER_PROTOCOLS = ["icmp", "icmpv4", "icmpv6"] * 3 + [0, 1, 4, 47, 50, 51, 58, 59, 89, 253, 255]
ICMP_TYPES = ["echo-request", "echo-reply", "destination-unreachable", "time-exceeded", "redirect", "router-solicitation",
              0, 3, 8, 128, 129, 130, 133, 135, 136, 137, 143, 255]
ICMP_NAMED = {"echo-request": (8, 128), "echo-reply": (0, 129), "destination-unreachable": (3, 1),
              "time-exceeded": (11, 3), "redirect": (5, 137), "packet-too-big": (2,), "router-solicitation": (10, 133),
              "neighbor-solicitation": (135,), "timestamp-request": (13,)}
ONE_FAMILY = ["packet-too-big", "neighbor-solicitation", "timestamp-request"]
HUGE = 10_000_000  # packets per second: more than a test sends, so the limit never bites


def some(rnd, pool, most):
    return rnd.sample(pool, min(len(pool), rnd.randint(1, most)))


# ---- policies ----


def is_narrow(text):
    network = ipaddress.ip_network(text, strict=False)
    bits = network.prefixlen - (96 if ":" in text and text.startswith("::ffff:") else 0)
    return bits >= (20 if network.version == 4 or bits != network.prefixlen else 60)


def random_cidr(rnd, narrow=False):
    if narrow and rnd.random() < 0.7:
        # many small networks side by side: later rules of a large policy must have something left to match
        if rnd.random() < 0.55:
            return "10.%d.%d.%d/%d" % (rnd.randrange(4), rnd.randrange(16), rnd.randrange(256), rnd.randint(24, 32))
        return "2001:db8:%x:%x::%x/%d" % (rnd.randrange(4), rnd.randrange(16), rnd.randrange(65536), rnd.randint(64, 128))
    text = rnd.choice(V4 if rnd.random() < 0.55 else V6)
    while narrow and not is_narrow(text):
        text = rnd.choice(V4 if rnd.random() < 0.55 else V6)
    if rnd.random() < 0.6:
        return text
    network = ipaddress.ip_network(text, strict=False)
    length = rnd.randint(network.prefixlen, network.max_prefixlen)
    if network.version == 6 and ":ffff:" in text:  # below /96 a mapped prefix would be IPv6 again
        length = max(length, 96)
    inside = int(network.network_address) + rnd.randrange(network.num_addresses)
    if rnd.random() < 0.5:
        inside = int(network.broadcast_address if rnd.random() < 0.5 else network.network_address)
    address = (ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address)(inside)
    return "%s/%d" % (address, length)


def random_addresses(rnd, sets, narrow):
    kind = rnd.random() * (0.9 if narrow else 1)
    items = [random_cidr(rnd, narrow) for _ in range(rnd.randint(1, 5))]
    if sets and not narrow and rnd.random() < 0.3:
        items.append("@" + rnd.choice(sets))
    excluded = ["!" + random_cidr(rnd) for _ in range(rnd.randint(1, 3))]
    if sets and rnd.random() < 0.3:
        excluded.append("!@" + rnd.choice(sets))
    if kind < 0.7:
        result = items
    elif kind < 0.9:
        result = items + excluded
    else:
        result = excluded
    rnd.shuffle(result)
    return list(dict.fromkeys(result))


def random_ports(rnd):
    result = []
    for _ in range(rnd.randint(1, 4)):
        low = rnd.choice(PORTS)
        if rnd.random() < 0.5:
            result.append(low)
        else:
            high = max(low, rnd.choice(PORTS))
            result.append("%d-%d" % (low, high))
    return list(dict.fromkeys(result))


def random_rule(rnd, number, sets, interfaces, users, narrow):
    """${narrow}: few addresses on at least one side."""
    rule = {"name": "r%d" % number, "priority": number if rnd.random() < 0.97 else max(0, number - 1)}
    if rnd.random() < 0.5:
        rule["direction"] = rnd.choice(["ingress", "egress", "both"])
    sides = ["source_cidrs", "destination_cidrs"]
    rnd.shuffle(sides)
    if narrow or rnd.random() < 0.55:
        rule[sides[0]] = random_addresses(rnd, sets, narrow)
    if rnd.random() < 0.55:
        rule[sides[1]] = random_addresses(rnd, sets, False)
    kind = rnd.random()
    if kind < 0.55:
        if rnd.random() < 0.9:
            rule["protocol"] = rnd.choice(PORT_PROTOCOLS)
        if rnd.random() < 0.75:
            rule["destination_ports"] = random_ports(rnd)
        if rnd.random() < 0.3:
            rule["source_ports"] = random_ports(rnd)
    elif kind < 0.8:
        rule["protocol"] = rnd.choice(OTHER_PROTOCOLS)
        if rule["protocol"] in ("icmp", "icmpv4", "icmpv6") and rnd.random() < 0.7:
            rule["icmp_types"] = some(rnd, ICMP_TYPES + (ONE_FAMILY if rule["protocol"] == "icmp" else []), 3)
            if rule["protocol"] != "icmpv4" and rnd.random() < 0.3 and not narrow:
                # a rule that may hit neighbour discovery, whose addresses are not the policy's
                rule["icmp_types"] = some(rnd, [130, 133, 134, 135, 136, 143], 4)
                rule.pop("source_cidrs", None)
                rule.pop("destination_cidrs", None)
    if interfaces and rnd.random() < 0.2:
        rule["interfaces"] = some(rnd, interfaces, 2)
    if users and rnd.random() < 0.25:
        # only egress hooks ever know a user
        rule["users"], rule["direction"] = some(rnd, users, 2), "egress"
    rule["action"] = rnd.choice(["allow", "allow", "deny", "deny", "reject", "rate_limit"])
    if rule["action"] == "rate_limit":
        rule["rate_limit_pps"] = HUGE
        rule["rate_limit_by"] = rnd.choice(["source", "destination", "rule"])
    rule["log"] = rnd.random() < 0.9
    return rule


def is_catch_all(rule):
    return not any(k.endswith(("_cidrs", "_ports")) or k in ("icmp_types", "interfaces", "users") for k in rule) and \
        rule.get("protocol", "any") == "any"


def policy(rnd, interfaces=(), users=(), rules=None):
    """A policy as a mapping; json.dumps() of it is YAML."""
    count = rules if rules is not None else rnd.choice([1, 2, 3, 5, 8, 13, 30, 64, 65, 100, 200, 513, 1100])
    sets = {"set%d" % n: list(dict.fromkeys(random_cidr(rnd) for _ in range(rnd.randint(1, 30))))
            for n in range(rnd.randint(0, 3))}
    result = {
        "version": 1,
        "default_action": rnd.choice(["deny", "allow", {"ingress": "deny", "egress": "allow"},
                                      {"ingress": "allow", "egress": "deny"}]),
        "stateful": False,
        "filter_loopback": rnd.random() < 0.2,
        "on_malformed": rnd.choice(["deny", "deny", "default"]),
        "log_default": {"deny": True, "allow": True},
        "log_limit": 0,
    }
    if sets:
        result["sets"] = sets
    made = []
    while len(made) < count:
        # the wider a rule, the later it should come, or it hides all after it
        narrow = count >= 8 and rnd.random() > (len(made) / count) ** 3
        rule = random_rule(rnd, len(made) + 1, sorted(sets), list(interfaces), list(users), narrow)
        # a rule that takes everything hides all after it: only as one of the last
        if is_catch_all(rule) and len(made) < count * 3 // 4:
            continue
        made.append(rule)
    result["rules"] = made
    return result


# ---- packets ----


def edge_addresses(rnd, texts):
    """Per family: first and last address of every prefix, their neighbours, one inside."""
    pools = {4: set(), 6: set()}
    for text in texts:
        network = ipaddress.ip_network(text, strict=False)
        first, last = int(network.network_address), int(network.broadcast_address)
        if network.version == 6 and first >> 32 == 0xFFFF and network.prefixlen >= 96:
            first, last, version = first & 0xFFFFFFFF, last & 0xFFFFFFFF, 4
        else:
            version = network.version
        top = (1 << (32 if version == 4 else 128)) - 1
        for value in (first - 1, first, first + 1, last - 1, last, last + 1, rnd.randint(first, last)):
            if 0 <= value <= top:
                pools[version].add(value)
    return {4: [v.to_bytes(4, "big") for v in sorted(pools[4])], 6: [v.to_bytes(16, "big") for v in sorted(pools[6])]}


def prefixes(doc, items):
    """The CIDR texts of an address list, sets resolved, exclusions included."""
    result = []
    for item in items:
        item = item.lstrip("!")
        result += doc["sets"][item[1:]] if item.startswith("@") else [item]
    return result


def edge_ports(items):
    result = set()
    for item in items:
        low, _, high = str(item).partition("-")
        for port in (int(low), int(high or low)):
            result.update(p for p in (port - 1, port, port + 1) if 0 <= p <= 65535)
    return sorted(result)


class Pools:
    """Where the fields of a packet come from: the edges of the given rules."""

    def __init__(self, rnd, doc, rules, background):
        def values(key):
            return [item for rule in rules for item in rule.get(key, [])]

        self.source = edge_addresses(rnd, prefixes(doc, values("source_cidrs")))
        self.destination = edge_addresses(rnd, prefixes(doc, values("destination_cidrs")))
        self.sport, self.dport = edge_ports(values("source_ports")), edge_ports(values("destination_ports"))
        for family in (4, 6):
            self.source[family] = self.source[family] or background[family]
            self.destination[family] = self.destination[family] or background[family]
        self.sport, self.dport = self.sport or [0, 1, 65535], self.dport or [0, 1, 443, 65535]
        self.icmp_types = [n for item in values("icmp_types") for n in ICMP_NAMED.get(item, (item,))]
        self.icmp_types = self.icmp_types or [0, 3, 8, 11, 1, 128, 129, 130, 133, 135, 136, 137, 143, 255, 127]
        names = {"tcp": [6], "udp": [17], "sctp": [132], "any": [6, 17, 136, 132], "icmp": [1, 58], "icmpv4": [1, 58],
                 "icmpv6": [58, 1]}
        self.protocols = []
        for rule in rules:
            protocol = rule.get("protocol", "any")
            self.protocols += names.get(protocol, [protocol])


class Packets:
    """Frames that probe ${doc}."""

    def __init__(self, rnd, doc):
        self.rnd = rnd
        background = edge_addresses(rnd, ["10.1.2.3", "2001:db8:1:2::5", "8.8.8.8", "2600::1"])
        self.all = Pools(rnd, doc, doc["rules"], background)
        self.each = [Pools(rnd, doc, [rule], background) for rule in doc["rules"]]
        self.pools = self.all

    def chance(self, p):
        return self.rnd.random() < p

    def frame(self):
        rnd = self.rnd
        # half the packets aim at one rule, or few would hit a rule of many fields
        self.pools = rnd.choice(self.each) if self.each and self.chance(0.5) else self.all
        kind = rnd.random()
        if kind < 0.45:
            ethertype, data = 0x0800, self.ipv4()
        elif kind < 0.88:
            ethertype, data = 0x86DD, self.ipv6()
        elif kind < 0.96:
            ethertype, data = 0x86DD, self.neighbour()
        elif kind < 0.98:
            ethertype, data = rnd.choice([0x0806, 0x88CC, 0x05DC, 0x9100, 0x0801, 0x8864]), rnd.randbytes(60)
        else:
            ethertype, data = rnd.choice([0x0800, 0x86DD, 0x8100]), rnd.randbytes(rnd.randint(0, 120))
        if self.chance(0.01):
            ethertype ^= 0x0800 ^ 0x86DD
        tags = [(rnd.choice([0x8100, 0x88A8]), rnd.getrandbits(16)) for _ in range(rnd.choices(
            [0, 1, 2, 3, 4], [86, 6, 5, 2, 1])[0])]
        frame = build.eth(ethertype, data, tags)
        if self.chance(0.1):
            frame += rnd.randbytes(rnd.randint(1, 40))
        if self.chance(0.05):
            frame = frame[: rnd.randint(14, max(14, len(frame)))]
        if self.chance(0.03):
            at = rnd.randrange(12, len(frame))
            frame = frame[:at] + bytes([frame[at] ^ 1 << rnd.randrange(8)]) + frame[at + 1 :]
        return frame if len(frame) >= 34 or self.chance(0.3) else frame + bytes(34 - len(frame))

    def transport(self, version):
        """(protocol, bytes)"""
        rnd = self.rnd
        proto = rnd.choices([6, 17, 136, 132, 1, 58, None], [30, 25, 6, 8, 10, 12, 9])[0]
        if self.pools is not self.all and self.chance(0.8):
            proto = rnd.choice(self.pools.protocols)
        sport, dport = rnd.choice(self.pools.sport), rnd.choice(self.pools.dport)
        filler = rnd.randbytes(rnd.choice([0, 0, 1, 30]))
        if proto == 6:
            data = build.tcp(sport, dport, rnd.choice([2, 2, 16, 18, 4, 1, 0, 255]), filler)
        elif proto in (17, 136):
            data = build.udp(sport, dport, filler)
        elif proto == 132:
            data = build.sctp(sport, dport, filler)
        elif proto in (1, 58):
            data = build.icmp(rnd.choice(self.pools.icmp_types), rnd.randint(0, 3), filler)
        elif proto is None:
            proto = rnd.choice([0, 4, 33, 41, 43, 44, 47, 50, 51, 59, 60, 89, 135, 139, 253, 254, 255, rnd.randrange(140, 256)])
        if proto not in (6, 17, 136, 132, 1, 58):
            # ports of a rule where a careless parser would look for them
            data = build.udp(sport, dport, rnd.randbytes(24))
        if self.chance(0.04):
            data = data[: rnd.randint(0, len(data))]
        return proto, data

    def ipv4(self):
        rnd = self.rnd
        proto, data = self.transport(4)
        options = b"" if self.chance(0.8) else bytes([1]) * (4 * rnd.randint(1, 10))
        fragment = rnd.choices([0, 0x4000, 0x2000, 0x2000 | rnd.randint(1, 8191), 1, 8191, rnd.randint(1, 8191), 0x8000],
                               [60, 12, 8, 5, 5, 2, 6, 2])[0]
        packet = build.ipv4(rnd.choice(self.pools.source[4]), rnd.choice(self.pools.destination[4]), proto, data, options,
                            fragment)
        if self.chance(0.04):
            wrong = rnd.choice([0, 19, 20, len(packet) - 1, len(packet) + 1, 20 + len(options) - 1, 65535, len(packet) - 8])
            packet = packet[:2] + (wrong & 0xFFFF).to_bytes(2, "big") + packet[4:]
        if self.chance(0.03):
            packet = bytes([rnd.choice([0x40, 0x44, 0x45, 0x46, 0x4F, 0x65, 0x05, 0x55])]) + packet[1:]
        return packet

    def address6(self, pool):
        if self.chance(0.12):
            return bytes(10) + b"\xff\xff" + self.rnd.choice(pool[4])
        return self.rnd.choice(pool[6])

    def fragment6(self):
        """Offset and flags of a fragment header: half of them a first fragment's."""
        rnd = self.rnd
        return rnd.choices([0, 1, 8 | 1, 8, rnd.randint(1, 8191) << 3, 0xFFF8, 6], [30, 30, 10, 8, 14, 4, 4])[0]

    def ipv6(self):
        rnd = self.rnd
        last, data = self.transport(6)
        depth = rnd.choices([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [50, 14, 10, 6, 4, 3, 2, 3, 4, 3, 1])[0]
        kinds = [rnd.choice([0, 43, 60, 51, 44] if self.chance(0.97) else [50, 59, 135, 139, 140, 253]) for _ in range(depth)]
        kinds = [(k, self.fragment6() if k == 44 else rnd.choice([0, 0, 1, 2, 4, 5])) for k in kinds]
        first, data = build.extensions(kinds, last, data)
        if self.chance(0.04):
            data = data[: rnd.randint(0, len(data))]
        length = None
        if self.chance(0.04):
            length = rnd.choice([0, len(data) - 1, len(data) + 1, 7, 8, 65535, len(data) - 8]) & 0xFFFF
        packet = build.ipv6(self.address6(self.pools.source), self.address6(self.pools.destination), first, data, length,
                            rnd.choice([64, 255, 1]))
        if self.chance(0.02):
            packet = bytes([rnd.choice([0x40, 0x45, 0x70, 0x00])]) + packet[1:]
        return packet

    def neighbour(self):
        """Neighbour discovery and MLD, as they should be and not quite."""
        rnd = self.rnd
        kind = rnd.choice([130, 131, 132, 133, 134, 135, 136, 137, 143, 129, 138, 142, 144])
        if self.chance(0.3):
            kind = rnd.choice(self.pools.icmp_types)
        source = rnd.choice([build.ip("fe80::1"), build.ip("febf:ffff::9"), build.ip("fec0::1"), build.ip("fe7f::1"),
                             bytes(16), bytes(15) + b"\1", self.address6(self.pools.source)])
        depth = rnd.choices([0, 1, 2], [60, 30, 10])[0]
        kinds = [rnd.choice([0, 0, 0, 60, 44, 51]) for _ in range(depth)]
        offset = rnd.choice([0, 1, 8])
        first, data = build.extensions(kinds, 58, build.icmp(kind, 0, bytes(16)), offset)
        target = rnd.choice([build.ip("ff02::1"), build.ip("ff02::16"), self.address6(self.pools.destination)])
        return build.ipv6(source, target, first, data, None, rnd.choice([255, 255, 1, 1, 64, 254, 2, 0]))


def main():
    """gen.py SEED [RULES]: print one policy."""
    import random

    rules = int(sys.argv[2]) if len(sys.argv) > 2 else None
    print(json.dumps(policy(random.Random(sys.argv[1]), ["fwa0", "fw*"], [], rules), indent=1))


if __name__ == "__main__":
    main()
