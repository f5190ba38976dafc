# SPDX-License-Identifier: GPL-2.0-only
"""Would the differential test notice? Each mutant is a mistake a packet filter could make, planted in a copy of
the oracle; the generated policies and packets must tell it from the original. Prints TAP."""
import os
import random
import sys
import types

import gen

HERE = os.path.dirname(os.path.abspath(__file__))
POLICIES, PACKETS = 40, 1200

MUTANTS = (
    ("packet", "MAX_TAGS = 2", "MAX_TAGS = 3", "a third VLAN tag is walked"),
    ("packet", "(0x8100, 0x88A8)", "(0x8100,)", "802.1ad is not known as a tag"),
    ("packet", "MAX_EXTENSIONS = 8", "MAX_EXTENSIONS = 7", "seven extension headers at most"),
    ("packet", "MAX_EXTENSIONS = 8", "MAX_EXTENSIONS = 9", "nine extension headers"),
    ("packet", "(data[at + 1] + 2) * 4", "(data[at + 1] + 1) * 8", "AH length in units of 8"),
    ("packet", "EXTENSIONS = (HOP_BY_HOP,", "EXTENSIONS = (HOP_BY_HOP, 135, 139, 140, 253,", "unknown headers are walked"),
    ("packet", "if offset:", "if False:", "ports read from later IPv4 fragments"),
    ("packet", "            if u16(data, at + 2) >> 3:", "            if False:", "ports read from later IPv6 fragments"),
    ("packet", "u16(data, at + 2) >> 3:", "u16(data, at + 2):", "M flag and reserved bits taken for an offset"),
    ("packet", "u16(data, at + 2) >> 3:", 'u16(data, at + 2) >> 3 and "first" not in p.fragment:',
     "the second fragment header is not believed"),
    ("packet", "header = (data[0] & 15) * 4", "header = 20", "IPv4 options not skipped"),
    ("packet", "data[header:total]", "data[header:]", "IPv4 padding taken for payload"),
    ("packet", "    data = data[:total]\n", "", "IPv6 padding taken for payload"),
    ("packet", "if total > len(data):\n        return Malformed(\"IPv4", "if False:\n        return Malformed(\"IPv4",
     "IPv4 total length not checked"),
    ("packet", "if total < header:", "if False:", "total length below the header not checked"),
    ("packet", "if header < 20:", "if False:", "IHL below 5 not checked"),
    ("packet", "if data[0] >> 4 != 6:", "if False:", "IPv6 version not checked"),
    ("packet", "TCP: 20", "TCP: 4", "TCP header cut after the ports passes"),
    ("packet", "SCTP: 12", "SCTP: 8", "SCTP header cut passes"),
    ("packet", "UDPLITE: 8, ", "", "UDP-Lite has no ports"),
    ("packet", "ICMP_HEADER = 8", "ICMP_HEADER = 4", "ICMP header cut passes"),
    ("packet", "if value >> 32 == 0xFFFF:", "if False:", "mapped addresses stay IPv6"),
    ("packet", "((4, ICMP), (6, ICMPV6))", "((4, ICMP), (6, ICMPV6), (4, ICMPV6), (6, ICMP))", "ICMP of the other family"),
    ("policy", "first + span - 1)", "first + span)", "a prefix ends one late"),
    ("policy", "address[0] == prefix[0] and", "", "families not told apart"),
    ("policy", "return True  # only exclusions", "return False  # only exclusions", "only exclusions: nothing"),
    ("policy", "if negated and any", "if False and any", "exclusions ignored"),
    ("policy", "any(low <= port <= high", "any(low <= port < high or low == port", "a port range ends one early"),
    ("policy", "if port is None:\n        return False", "if port is None:\n        return True", "no ports match any ports"),
    ("policy", "has_port(self.source_ports, p.sport)", "has_port(self.source_ports, p.dport)", "source port confused"),
    ("policy", "return icmpv4 or icmpv6", "return icmpv4", "icmp forgets ICMPv6"),
    ("policy", "if p.icmp_type is None:\n        return False\n    for", "if p.icmp_type is None:\n        return True\n    for",
     "icmp_types match packets without a type"),
    ("policy", "[0 if p.version == 4 else 1]", "[0]", "ICMP names mean IPv4 types"),
    ("policy", "return p.hop_limit == 255", "return True", "neighbour discovery from afar is favoured"),
    ("policy", "133 <= p.icmp_type <= 136", "133 <= p.icmp_type <= 137", "redirects are favoured"),
    ("policy", "(link_local or p.src == (6, 0))", "True", "MLD from any source is favoured"),
    ("policy", "0xFE80 >> 6", "0xFE80 >> 6 and p.src[1] >> 112 == 0xFE80", "link-local taken for fe80::/16"),
    ("policy", "and rule.icmp_types is None:", "and True:", "a rule that lists the type spares neighbours too"),
    ("policy", "if favoured and rule", "if False and rule", "blocklists hit neighbour discovery"),
    ("policy", "if favoured:\n            return", "if False:\n            return", "the default hits neighbour discovery"),
    ("policy", "if certainty == MAYBE:", "if False:", "an unknown field is no match"),
    ("policy", "if certainty == MAYBE:", "if certainty == MAYBE and rule.action == 'allow':", "unknown users still denied"),
    ("policy", "fnmatch.fnmatchcase", "str.__eq__", "interface globs are names"),
    ("policy", "if self.direction not in", "if False and self.direction not in", "direction ignored"),
    ("policy", 'in ("deny", "reject") else', '== "deny" else', "reject allows"),
    ("policy", 'if self.on_malformed == "deny" else', "if False else", "on_malformed ignored"),
    ("policy", "and not self.filter_loopback", "", "filter_loopback ignored"),
)


def module(name, source, others):
    m = types.ModuleType(name)
    saved = {k: sys.modules.get(k) for k in others}
    sys.modules.update(others)
    try:
        exec(compile(source, name + ".py", "exec"), m.__dict__)  # pylint: disable=exec-used
    finally:
        sys.modules.update({k: v for k, v in saved.items() if v})
    return m


def oracle(sources):
    packet = module("packet", sources["packet"], {})
    return module("policy", sources["policy"], {"packet": packet})


CASES = tuple((hook, interface) for hook in ("xdp", "tc_egress") for interface in ("fwa0", "lo"))


def answers(m, docs):
    for doc, frames in docs:
        policy = m.Policy(doc)
        for n, frame in enumerate(frames):
            hook, interface = CASES[(n & 1) * 2 + (n % 10 == 0)]
            yield repr(policy.judge_frame(frame, hook, m.Context(interface)))


def main():
    sources = {}
    for name in ("packet", "policy"):
        with open(os.path.join(HERE, name + ".py"), encoding="utf-8") as f:
            sources[name] = f.read()
    seed = os.environ.get("SEED") or "1"  # the same every time: a gate must not depend on luck
    print("# SEED=%s" % seed)
    rnd, docs = random.Random(seed), []
    for n in range(POLICIES):
        doc = gen.policy(rnd, ["fwa0", "fw*", "fwb0"], ["root", 1000] if n % 2 else [], rnd.choice([1, 3, 8, 20, 40]))
        packets = gen.Packets(rnd, doc)
        docs.append((doc, [packets.frame() for _ in range(PACKETS)]))
    right = list(answers(oracle(sources), docs))
    failed = 0
    for n, (name, old, new, what) in enumerate(MUTANTS, 1):
        source = sources[name]
        if source.count(old) != 1:
            print("not ok %d - %s\n#   %r stands %d times in %s.py" % (n, what, old, source.count(old), name))
            failed += 1
            continue
        mutant = oracle(dict(sources, **{name: source.replace(old, new)}))
        killed = None
        try:
            for k, answer in enumerate(answers(mutant, docs)):
                if answer != right[k]:
                    killed = k + 1
                    break
        except (IndexError, AttributeError, TypeError):
            killed = -1  # a parser without its check runs off the end
        failed += killed is None
        print("%s %d - %s%s" % ("ok" if killed else "not ok", n, what, ", seen at packet %s" % killed if killed else ""),
              flush=True)
    print("1..%d" % len(MUTANTS))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
