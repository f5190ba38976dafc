# SPDX-License-Identifier: GPL-2.0-only
"""Reloads under 200 live flows, 100 of TCP and 100 of UDP, half of them opened by the host and half by its peer, with
traffic both ways from two processes. Each other reload denies every second flow: nothing that is allowed is lost, nothing
that is denied passes, and when allowed again it goes on. So it is, too, when the flow table or the tables change their size.
RELOADS: rounds of two reloads for each case (default 6)."""
import mmap
import os
import socket
import struct
import time

import events
from flow_ends import HOST, PEER, Host, Tcp, Udp, make, state_stats
from live import main, note, ok, same, wait_until

FLOWS = 200
ROUNDS = int(os.environ.get("RELOADS", "6"))
ROLES = ("host", "peer")
ALLOWED, DENYING, DENIED, ALLOWING = range(4)  # phases; a record says in which it was sent
RECORD = struct.Struct("QQ")  # sequence number, phases so far


def is_tcp(n):
    return n & 1


def opener(n):
    return ROLES[n >> 1 & 1]


def is_denied(n):
    return n >> 2 & 1


def policy(deny, extra=0, **more):
    """Ports 7000-7099 are always allowed, 7100-7199 not if ${deny}. ${extra}: further rules, before these."""
    rules = [{"name": "x%d" % n, "direction": "ingress", "source_cidrs": ["10.%d.%d.0/24" % divmod(n, 250)], "protocol": "udp",
              "destination_ports": [10000 + n], "action": "deny"} for n in range(extra)]
    for direction in ("ingress", "egress"):
        rules += [{"name": "stay_" + direction, "direction": direction, "destination_ports": ["7000-7099"], "action": "allow"},
                  {"name": "cut_" + direction, "direction": direction, "destination_ports": ["7100-7199"], "action": "deny" if deny else "allow"}]
    return dict({"default_action": "deny", "log_limit": 0, "log_default": {"deny": False, "allow": False},
                 "rules": [dict(r, priority=n) for n, r in enumerate(rules)]}, **more)


class Traffic:
    """Numbers that three processes share: how many records of each flow each role has sent and got, and leaks."""

    def __init__(self, lab):
        self.numbers = memoryview(mmap.mmap(-1, 8 * (8 + FLOWS * 8))).cast("Q")
        self.flows = []
        for n in range(FLOWS):
            kind, port = Tcp if is_tcp(n) else Udp, (7100 if is_denied(n) else 7000) + n // 8
            # each family for every second eight of flows
            self.flows.append(kind(lab, opener(n), 6 if n >> 3 & 1 else 4, port, Host(lab)).open())
        self.pids = [self.process(r) for r in range(2)]

    # phase: 0, stop: 1, seen phase: 2 and 3, leaks: 4 and 5, rounds: 6 and 7
    def cell(self, what, role, n):
        """Of one flow. ${what}: 0 sent, 1 got, 2 opened again: sent by the opener while all were allowed, 3 got of those."""
        return 8 + (what * 2 + role) * FLOWS + n

    def sum(self, what, *flows):
        return [sum(self.numbers[self.cell(what, r, n)] for r in range(2)) for n in flows]

    def process(self, r):
        pid = os.fork()
        if not pid:
            try:
                self.work(r)
                os._exit(0)
            finally:
                os._exit(1)
        return pid

    def work(self, r):
        x, ends = self.numbers, [f.ends[ROLES[r]] for f in self.flows]
        to = [f.ends[ROLES[r ^ 1]].getsockname()[:2] for f in self.flows]
        cut, part, expected = [None] * FLOWS, [b""] * FLOWS, [0] * FLOWS

        def receive(n):
            try:
                data = part[n] + ends[n].recv(65536)
            except OSError:
                return False
            for at in range(0, len(data) - RECORD.size + 1, RECORD.size):
                number, phase = RECORD.unpack_from(data, at)
                x[self.cell(1, r, n)] += 1
                # of UDP: what was denied once is denied from then on, and what was sent after the switch never passes
                if not is_tcp(n) and phase & 3 == DENYING and number != expected[n]:
                    cut[n] = phase
                if not is_tcp(n) and is_denied(n) and (phase & 3 == DENIED or cut[n] == phase):
                    x[4 + r] += 1
                if phase & 3 == ALLOWED:
                    x[self.cell(3, r, n)] += 1
                expected[n] = number + 1
            part[n] = data[len(data) // RECORD.size * RECORD.size:]
            return True

        while not x[1]:
            phase = x[2 + r] = x[0]
            for n in range(FLOWS):
                sent = x[self.cell(0, r, n)]
                if is_tcp(n) and sent - x[self.cell(1, r ^ 1, n)] > 20:
                    continue
                record = RECORD.pack(sent, phase)
                x[self.cell(0, r, n)] += 1
                x[self.cell(2, r, n)] += phase & 3 == ALLOWED
                try:
                    if is_tcp(n):
                        ends[n].send(record)
                    else:
                        ends[n].sendto(record, to[n])
                except OSError:  # a denied datagram
                    pass
            for n in range(FLOWS):
                while receive(n):
                    pass
            x[6 + r] += 1
            time.sleep(0.001)
        while x[1] == 1:
            for n in range(FLOWS):
                receive(n)
            time.sleep(0.001)

    def phase(self, kind, wait=False):
        """The next phase. ${wait}: no more is sent of the last one."""
        while self.numbers[0] & 3 != kind:
            self.numbers[0] += 1
        if wait:
            self.rounds(1)

    def rounds(self, n):
        """Until each process has been through all its flows so many times from now on."""
        goal = [self.numbers[6 + r] + n + 1 for r in range(2)]
        if not wait_until(lambda: all(self.numbers[6 + r] >= goal[r] for r in range(2)), 20):
            raise OSError("traffic stands still")

    def end(self):
        self.numbers[1] = 1
        tcp = [n for n in range(FLOWS) if is_tcp(n)]
        wait_until(lambda: self.sum(0, *tcp) == self.sum(1, *tcp), 20)
        wait_until(lambda: self.sum(0, *STAYS) == self.sum(1, *STAYS), 1)
        self.numbers[1] = 2
        for pid in self.pids:
            os.waitpid(pid, 0)

    def close(self):
        for f in self.flows:
            f.close()

    def segments(self):
        return [f.seen() for n, f in enumerate(self.flows) if is_tcp(n) and is_denied(n)]


STAYS = [n for n in range(FLOWS) if not is_denied(n)]
GOES = [n for n in range(FLOWS) if is_denied(n)]


def cuts(reader, generation):
    """How many flows each rule has cut in this generation, by the events. (Two packets of a flow, one from each end, may
    be the first on their CPUs: then both are told.)"""
    def rules():
        return dict((e["flow_id"], e["rule"]) for e in reader.records() if e["generation"] == generation)
    wait_until(lambda: len(rules()) >= len(GOES), 5)
    by = list(rules().values())
    return {r: by.count(r) for r in set(by)}


def reloads(lab, name, where, first, *docs):
    """${docs}: pairs of policies, the first of which denies."""
    if lab.instances:
        lab.unload()
    lab.load(first, *where)
    reader, t = events.Reader(lab, "--reason", "flow_cut"), Traffic(lab)
    silent, opened, cut, moved, took = [], [], [], [], []
    try:
        for deny, allow in docs:
            before = sum(t.sum(1, *STAYS))
            t.phase(DENYING, True)
            took.append(time.monotonic())
            lab.load(deny, *where)
            took[-1] = time.monotonic() - took[-1]
            generation = lab.stat()["generation"]
            t.phase(DENIED)
            t.rounds(2)  # so that every flow has had its first packet
            segments, count = t.segments(), lab.count()
            t.rounds(3)
            silent.append(segments == t.segments())
            cut.append(cuts(reader, generation))
            moved.append((lab.count() - count).rules["stay_ingress"]["packets_flow"] > 0)
            t.phase(ALLOWING, True)
            lab.load(allow, *where)
            t.phase(ALLOWED)
            there = t.sum(1, *GOES)
            opened.append(wait_until(lambda was=there: all(a > b for a, b in zip(t.sum(1, *GOES), was)), 10))
            t.rounds(3)
            ok(sum(t.sum(1, *STAYS)) > before, "%s: traffic goes on" % name)
    finally:
        t.end()
    rounds = len(docs)
    sent, got = sum(t.sum(0, *STAYS)), sum(t.sum(1, *STAYS))
    note("%s: %d records of flows that stay, %d of others, a reload takes up to %.2f s" % (name, sent, sum(t.sum(0, *GOES)), max(took)))
    same(t.sum(1, *STAYS), t.sum(0, *STAYS), "%s: of what is allowed throughout, everything arrives" % name, "%d of %d" % (got, sent))
    same(sum(f.lost() for n, f in enumerate(t.flows) if is_tcp(n) and not is_denied(n)), 0, "%s: and TCP sends nothing again" % name)
    same(list(t.numbers[4:6]), [0, 0], "%s: not a datagram of a denied flow passes after the switch, nor after the first denied one" % name)
    same(silent, [True] * rounds, "%s: nor any segment" % name)
    same(cut, [{"cut_ingress": len(GOES) // 2, "cut_egress": len(GOES) // 2}] * rounds, "%s: each cut is told, with its rule and the new generation" % name)
    same(state_stats(lab, "flows_cut"), rounds * len(GOES), "%s: and counted" % name)
    same([bool(o) for o in opened], [True] * rounds, "%s: allowed again, every flow goes on" % name)
    # what its opener sends is judged like new; the other end's may come too early
    again = [n for n in GOES if not is_tcp(n)]
    lost = [n for n in again for r in (ROLES.index(opener(n)),) if t.numbers[t.cell(2, r, n)] != t.numbers[t.cell(3, r ^ 1, n)]]
    same(lost, [], "%s: from the opener's first datagram on" % name)
    same(moved, [True] * rounds, "%s: what stays are flows" % name)
    tcp = [n for n in GOES if is_tcp(n)]
    same(t.sum(1, *tcp), t.sum(0, *tcp), "%s: a connection that was cut and allowed again loses nothing in the end" % name)
    same(reader.end(), 0, "%s: the reader ends well" % name)
    t.close()


def test_plain(lab):
    for what in ("XDP and TC", "TC", "cgroup", "all"):
        reloads(lab, what, lab.where[what], policy(False), *[(policy(True), policy(False))] * ROUNDS)


def test_resized(lab):
    """max_flows changes with each reload: programs are loaded anew and flows copied."""
    for what in ("XDP and TC", "all"):
        sizes = [(3000, 1000), (5000, 70000), (500, 65536)]
        docs = [(policy(True, max_flows=a), policy(False, max_flows=b)) for a, b in sizes]
        reloads(lab, "%s, max_flows changes" % what, lab.where[what], policy(False), *docs)


def test_outgrown(lab):
    """The tables outgrow their size class, and max_flows changes at the same time."""
    for what in ("XDP and TC", "all"):
        docs = [(policy(True, 9000), policy(False, 9000)), (policy(True, 9000, max_flows=2000), policy(False, 18000, max_flows=4000))]
        reloads(lab, "%s, larger tables" % what, lab.where[what], policy(False), *docs)
        status = lab.run("host", lab.program("fwload"), "-N", lab.instances[0], "--status").decode()
        size = [float(line.split()[2]) for line in status.splitlines() if line.startswith("slot size")]
        ok(size[0] >= 4, "%s: they have, twice" % what, status)


if __name__ == "__main__":
    main(make, test_plain, test_resized, test_outgrown)
