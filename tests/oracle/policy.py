# SPDX-License-Identifier: GPL-2.0-only
"""What a policy says about a packet: a linear scan over the IR, written from the semantics of fw-policy(5).

Part of the test oracle: it never optimises. Each field of a rule answers YES, NO or MAYBE (the hook doesn't
know the field); the first rule that may match decides if it certainly matches, otherwise the hook leaves
the packet undecided.
"""
import fnmatch
import ipaddress
import json
import pwd

from packet import ICMP, ICMPV6, NON_IP, Malformed, parse_frame, parse_network, u16

NO, MAYBE, YES = 0, 1, 2


class Unknown:
    """A field that the hook can't see (None: the hook sees that there is none)."""

    def __repr__(self):
        return "UNKNOWN"


UNKNOWN = Unknown()

# Neighbour discovery and MLD whose first fragment is followed by others: the semantics do not speak of them (RFC 6980
# has receivers ignore neighbour discovery with any fragment header); True takes the words as they stand
FAVOUR_FRAGMENTED = False

INGRESS_HOOKS = ("xdp", "tc_ingress", "cgroup_ingress")
EGRESS_HOOKS = ("tc_egress", "cgroup_egress")
CGROUP_HOOKS = ("cgroup_ingress", "cgroup_egress")

PROTOCOL_NAMES = {"tcp": 6, "udp": 17, "sctp": 132, "udplite": 136, "udp-lite": 136}

# IANA registries icmp-parameters and icmpv6-parameters: name -> (ICMP type, ICMPv6 type)
ICMP_NAMES = {
    "echo-reply": (0, 129),
    "destination-unreachable": (3, 1),
    "source-quench": (4, None),
    "redirect": (5, 137),
    "echo-request": (8, 128),
    "router-advertisement": (9, 134),
    "router-solicitation": (10, 133),
    "time-exceeded": (11, 3),
    "parameter-problem": (12, 4),
    "timestamp-request": (13, None),
    "timestamp-reply": (14, None),
    "packet-too-big": (None, 2),
    "multicast-listener-query": (None, 130),
    "multicast-listener-report": (None, 131),
    "multicast-listener-done": (None, 132),
    "neighbor-solicitation": (None, 135),
    "neighbor-advertisement": (None, 136),
    "multicast-listener-report-v2": (None, 143),
}


class Answer:
    def __init__(self, verdict, reason=None, rule=None):
        self.verdict = verdict  # "allow", "deny", or "undecided"
        self.reason = reason  # "rule", "default", "malformed", "neighbour"; None: nobody judged
        self.rule = rule  # name
        self.logged = True  # does it make an event (given that nothing limits them)?

    def passes(self):
        return self.verdict != "deny"

    def __eq__(self, other):
        return (self.verdict, self.reason, self.rule) == (other.verdict, other.reason, other.rule)

    def __repr__(self):
        return " ".join(str(x) for x in (self.verdict, self.reason, self.rule) if x is not None)


def cidr(text):
    """(family, first, last); an IPv4-mapped prefix is the IPv4 prefix, host bits don't matter."""
    address, _, length = text.partition("/")
    a = ipaddress.ip_address(address)
    bits = 32 if a.version == 4 else 128
    n = int(length) if length else bits
    value, version = int(a), a.version
    if version == 6 and value >> 32 == 0xFFFF and n >= 96:
        value, version, n, bits = value & 0xFFFFFFFF, 4, n - 96, 32
    span = 1 << (bits - n)
    first = value // span * span
    return (version, first, first + span - 1)


def inside(address, prefix):
    return address[0] == prefix[0] and prefix[1] <= address[1] <= prefix[2]


class Policy:
    def __init__(self, ir):
        default = ir.get("default_action", "deny")
        self.default = dict(default) if isinstance(default, dict) else {"ingress": default, "egress": default}
        self.on_malformed = ir.get("on_malformed") or "deny"
        self.filter_loopback = bool(ir.get("filter_loopback"))
        self.stateful = ir.get("stateful", True)
        self.sets = {n: [cidr(c) for c in members] for n, members in (ir.get("sets") or {}).items()}
        self.rules = [Rule(r, self.sets) for r in ir.get("rules") or []]

    @staticmethod
    def load(path):
        with open(path, encoding="utf-8") as f:
            return Policy(json.load(f))

    def judge_frame(self, frame, hook, context):
        """What ${hook} does with the frame; for cgroup hooks the Ethernet header is already gone."""
        if context.interface == "lo" and not self.filter_loopback:
            return Answer("allow")
        return self.judge(parse_at(frame, hook), "ingress" if hook in INGRESS_HOOKS else "egress", context)

    def judge(self, packet, direction, context):
        if packet is NON_IP:
            return Answer("allow")
        if isinstance(packet, Malformed):
            verdict = "deny" if self.on_malformed == "deny" else self.default[direction]
            return Answer(verdict, "malformed")
        favoured = is_neighbour(packet)
        for rule in self.rules:
            if favoured and rule.action != "allow" and rule.icmp_types is None:
                continue
            certainty = rule.matches(packet, direction, context)
            if certainty == MAYBE:
                return Answer("undecided")
            if certainty == YES:
                # rate limits of test policies are never reached, and within the limit a packet is allowed
                answer = Answer("deny" if rule.action in ("deny", "reject") else "allow", "rule", rule.name)
                answer.logged = rule.log
                return answer
        if favoured:
            return Answer("allow", "neighbour")
        return Answer(self.default[direction], "default")


def parse_at(frame, hook):
    if hook in CGROUP_HOOKS:
        return parse_network(u16(frame, 12), frame[14:])
    return parse_frame(frame)


class Context:
    """What the hook knows beside the packet."""

    def __init__(self, interface=UNKNOWN, uid=UNKNOWN, cgroup=UNKNOWN):
        self.interface, self.uid, self.cgroup = interface, uid, cgroup


def is_neighbour(p):
    """IPv6 neighbour discovery and MLD as their RFCs (4861, 2710, 3810) let them be sent."""
    if p.version != 6 or p.icmp_type is None:
        return False
    if p.more and not FAVOUR_FRAGMENTED:
        return False
    if 133 <= p.icmp_type <= 136:
        return p.hop_limit == 255
    if p.icmp_type in (130, 131, 132, 143):
        link_local = p.src[0] == 6 and p.src[1] >> 118 == 0xFE80 >> 6
        return p.hop_limit == 1 and (link_local or p.src == (6, 0))
    return False


class Rule:
    def __init__(self, r, sets):
        self.name = r["name"]
        self.action = r.get("action") or "deny"
        self.direction = r.get("direction") or "both"
        self.log = r.get("log", True)
        self.source = addresses(r.get("source_cidrs"), sets)
        self.destination = addresses(r.get("destination_cidrs"), sets)
        self.source_ports = ports(r.get("source_ports"))
        self.destination_ports = ports(r.get("destination_ports"))
        self.protocol = r.get("protocol")
        if self.protocol is None:
            self.protocol = "any"
        self.icmp_types = r.get("icmp_types")
        self.interfaces = r.get("interfaces")
        self.users = r.get("users")
        self.cgroups = r.get("cgroups")
        self.remembered = {}

    def matches(self, p, direction, context):
        if self.direction not in ("both", direction):
            return NO
        known = (
            self.has_address("source", self.source, p.src)
            and self.has_address("destination", self.destination, p.dst)
            and has_port(self.source_ports, p.sport)
            and has_port(self.destination_ports, p.dport)
            and has_protocol(self.protocol, p)
            and has_icmp_type(self.icmp_types, p)
        )
        if not known:
            return NO
        return min(
            among(self.interfaces, context.interface, fnmatch.fnmatchcase),
            among(self.users, context.uid, is_user),
            among(self.cgroups, context.cgroup, is_cgroup),
        )

    def has_address(self, which, items, address):
        """The one cache here: the same few addresses meet the same rule thousands of times."""
        key = (which, address)
        if key not in self.remembered:
            self.remembered[key] = has_address(items, address)
        return self.remembered[key]


def addresses(texts, sets):
    """None (any), or [(negated, [prefix...])...]."""
    if texts is None:
        return None
    items = []
    for text in texts:
        negated = text.startswith("!")
        name = text[1:] if negated else text
        items.append((negated, sets[name[1:]] if name.startswith("@") else [cidr(name)]))
    return items


def has_address(items, address):
    if items is None:
        return True
    for negated, prefixes in items:
        if negated and any(inside(address, x) for x in prefixes):
            return False
    wanted = [prefixes for negated, prefixes in items if not negated]
    if not wanted:
        return True  # only exclusions: any but these
    return any(inside(address, x) for prefixes in wanted for x in prefixes)


def ports(items):
    if items is None:
        return None
    result = []
    for item in items:
        low, _, high = str(item).partition("-")
        result.append((int(low), int(high or low)))
    return result


def has_port(ranges, port):
    if ranges is None:
        return True
    if port is None:
        return False
    return any(low <= port <= high for low, high in ranges)


def has_protocol(protocol, p):
    if protocol == "any":
        return True
    icmpv4 = p.version == 4 and p.proto == ICMP
    icmpv6 = p.version == 6 and p.proto == ICMPV6
    if protocol == "icmp":
        return icmpv4 or icmpv6
    if protocol == "icmpv4":
        return icmpv4
    if protocol == "icmpv6":
        return icmpv6
    if protocol in PROTOCOL_NAMES:
        return p.proto == PROTOCOL_NAMES[protocol]
    return p.proto == int(protocol)


def has_icmp_type(types, p):
    if types is None:
        return True
    if p.icmp_type is None:
        return False
    for item in types:
        if item in ICMP_NAMES:
            wanted = ICMP_NAMES[item][0 if p.version == 4 else 1]
        else:
            wanted = int(item)
        if p.icmp_type == wanted:
            return True
    return False


def among(items, value, same):
    if items is None:
        return YES
    if value is UNKNOWN:
        return MAYBE
    if value is None:
        return NO
    return YES if any(same(value, item) for item in items) else NO


def is_user(uid, user):
    if isinstance(user, int) or user.isdigit():
        return uid == int(user)
    return uid == pwd.getpwnam(user).pw_uid


def is_cgroup(path, wanted):
    return path.rstrip("/") == wanted.rstrip("/")
