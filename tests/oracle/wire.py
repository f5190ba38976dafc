# SPDX-License-Identifier: GPL-2.0-only
"""Random policies and packets on real veth devices against the oracle: a test run is not the wire (there TC sees a
VLAN tag stripped, and skbs have other shapes). Prints TAP.

Ingress: frames enter through the device's peer; what passes XDP is seen by a packet socket, what passes TC is
forwarded to a sink by an nftables chain behind it. Egress: frames leave through the device and are caught at its peer. The source MAC numbers the frames.

Environment: SEED, WIRE_POLICIES (12), WIRE_PACKETS (3000 per policy).
"""
import json
import os
import random
import shutil
import sys

import gen
from differential import context
from lab import MODES, Lab, Refused, call, why_not
from nft_check import enter, exchange, packet_socket
from packet import ETH_TAGS, u16
from policy import Policy

FRAME_MAX = 1514
WIRE_MODES = {"native": (["--xdp", "native"], "xdp"), "generic": (["--xdp", "generic"], "xdp"),
              "tc": (["--xdp", "off"], "tc_ingress")}
SINK = 'table netdev t { chain in { type filter hook ingress device "fwa0" priority 0; fwd to "out0"\n }\n}\n'


class Wire(Lab):
    def __init__(self, mode):
        MODES.setdefault(mode, (WIRE_MODES[mode][0], (WIRE_MODES[mode][1], "tc_egress")))
        super().__init__(mode)
        self.device = self.peer = self.sink = None

    def make(self):
        if self.made:
            return
        super().make()
        call("ip", "-n", self.name, "link", "add", "out0", "type", "veth", "peer", "out1")
        enter(self.name)
        for device in ("fwa0", "fwa0p", "out0", "out1"):
            with open("/proc/sys/net/ipv6/conf/%s/disable_ipv6" % device, "w", encoding="ascii") as f:
                f.write("1")
            call("ip", "link", "set", device, "up", "arp", "off")
        call("nft", "-f", "-", input=SINK.encode())
        self.device, self.peer, self.sink = (packet_socket(d) for d in ("fwa0", "fwa0p", "out1"))

    def passed(self, hook, frames):
        """The numbers of the frames that came through."""
        if hook == "tc_egress":
            return set(exchange(self.device, self.peer, frames))
        if hook == "xdp":  # taps come after XDP; forwarding loses what a generic multi-buffer program passed
            return set(exchange(self.peer, self.device, frames))
        return set(exchange(self.peer, self.sink, frames))

    def close(self):
        for s in (self.device, self.peer, self.sink):
            if s:
                s.close()
        super().close()


def sendable(frame):
    """The kernel itself drops frames that end within their first VLAN tag."""
    return len(frame) <= FRAME_MAX and (u16(frame, 12) not in ETH_TAGS or len(frame) >= 20)


def policy_test(number, seed, wires):
    rnd = random.Random("%s-%d" % (seed, number))
    wire = wires[list(WIRE_MODES)[number % len(WIRE_MODES)]]
    doc = gen.policy(rnd, ["fwa0", "fw*", "fwb0"])
    source = gen.Packets(rnd, doc)
    frames = [f for f in (source.frame() for _ in range(int(os.environ.get("WIRE_PACKETS") or 3000))) if sendable(f)]
    title = "policy %d: %d rules, %s, %d packets in and out" % (number, len(doc["rules"]), wire.mode, len(frames))
    texts = []
    try:
        policy = Policy.load(wire.load(json.dumps(doc)))
        for hook in wire.hooks:
            passed, wrong = wire.passed(hook, frames), []
            for n, frame in enumerate(frames):
                answer = policy.judge_frame(frame, hook, context(hook, "fwa0"))
                if (n in passed) != answer.passes():
                    wrong.append("%s: %s, but the oracle says %s: %s" % (
                        hook, "passed" if n in passed else "lost", answer, frame.hex()))
            texts += wrong[:3] + (["%s: %d wrong" % (hook, len(wrong))] if wrong else [])
    except Refused as e:
        texts.append(str(e))
    return texts, title


def main():
    reason = why_not() or (None if shutil.which("nft") else "needs nft")
    if reason:
        print("1..0 # SKIP %s" % reason)
        return 0
    seed, count = os.environ.get("SEED") or str(random.SystemRandom().randrange(1 << 32)), int(
        os.environ.get("WIRE_POLICIES") or 12)
    print("# SEED=%s" % seed, flush=True)
    wires, failed = {mode: Wire(mode) for mode in WIRE_MODES}, 0
    try:
        for number in range(count):
            texts, title = policy_test(number, seed, wires)
            failed += bool(texts)
            for text in texts:
                print("# %s" % text)
            print("%s %d - %s" % ("not ok" if texts else "ok", number + 1, title), flush=True)
        print("1..%d" % count)
    finally:
        for wire in wires.values():
            wire.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
