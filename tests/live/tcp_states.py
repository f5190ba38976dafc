# SPDX-License-Identifier: GPL-2.0-only
"""TCP flows packet by packet, by test run: XDP sees what the peer sends, TC egress what the host sends. After each round
the states in the table and the verdicts are compared with a model of connections as RFC 9293 has them."""
import itertools
import random
import socket
import struct
import time

from live import TestRun, main, note, ok, same
from build import eth, icmp, ipv4, ipv6, tcp, udp
from table import STATES, Runner, flows

PACKETS = {"SYN": 0x02, "SYN-ACK": 0x12, "FIN": 0x01, "FIN-ACK": 0x11, "ACK": 0x10, "data": 0x18, "RST": 0x04, "RST-ACK": 0x14,
           "null": 0, "SYN+FIN": 0x03, "SYN of ECN": 0xC2, "SYN+PSH": 0x0A, "URG": 0x20, "SYN+FIN+ACK": 0x13, "SYN+RST": 0x06,
           "all": 0x3F}
FIN, SYN, RST, ACK = 1, 2, 4, 16
HOST, PEER = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
KEYS = ("tcp_syn_sent", "tcp_syn_recv", "tcp_established", "tcp_fin_wait", "tcp_close_wait", "tcp_last_ack", "tcp_time_wait",
        "tcp_close")


def make(lab):
    lab.space("host", "peer")
    lab.veth("host", "eth0", "peer", "p0")
    lab.address("host", "eth0", "10.77.0.1/24", "fd77::1/64")
    lab.address("peer", "p0", "10.77.0.2/24", "fd77::2/64")
    with lab.inside("host"):
        lab.eth0 = socket.if_nametoindex("eth0")
    lab.runner, lab.bench = Runner(lab), TestRun(lab)


# ---- the model ----


class Connection:
    """What somebody between the ends can know of a connection without looking at sequence numbers. "O" opened it, "R" is
    the other end."""

    def __init__(self, picked_up):
        self.heard = {"O"} if picked_up else None  # in the middle: from whom, until it is both
        self.syns, self.answered, self.open = {"O"}, False, False
        self.fins, self.after = [], False  # who sent a FIN, in their order; has that end answered from whom it is wanted?
        self.reset = False

    def name(self):
        if self.reset:
            return "CLOSE"
        if self.heard:
            return "PICKED_UP"
        if not self.open:
            return "SYN_RECV" if self.answered else "SYN_BOTH" if len(self.syns) == 2 else "SYN_SENT"
        if not self.fins:
            return "ESTABLISHED"
        if len(self.fins) == 1:
            return ("CLOSE_WAIT_" if self.after else "FIN_WAIT_") + self.fins[0]
        return "TIME_WAIT" if self.after else "LAST_ACK_" + self.fins[1]

    def over(self):
        """Is a SYN the first packet of another connection?"""
        return self.name() in ("TIME_WAIT", "CLOSE", "LAST_ACK_O", "LAST_ACK_R", "PICKED_UP")

    def packet(self, end, flags):
        if flags & RST:
            self.reset = True
        elif self.reset:
            if not flags & (SYN | FIN):  # somebody does not believe in the RST
                self.__init__(True)
                self.heard = {end}
        elif self.heard:
            if end not in self.heard:
                self.heard, self.open = None, True
                self.finish(end, flags)
        elif not self.open:
            self.shake(end, flags)
        elif flags & FIN:
            self.finish(end, flags)
        elif not flags & SYN and self.fins and end != self.fins[-1]:
            self.after = True

    def shake(self, end, flags):
        if flags & FIN:
            if self.answered:
                self.open = True
                self.finish(end, flags)
        elif flags & SYN and not flags & ACK:
            self.syns.add(end)
        elif flags & SYN and not self.answered:
            self.answered = end == "R" or len(self.syns) == 2
        elif self.answered and end == "O":
            self.open = True

    def finish(self, end, flags):
        if flags & FIN and end not in self.fins:
            self.fins.append(end)
            self.after = False


class Case:
    """A tuple of ports and addresses, and what should have become of it."""

    def __init__(self, v, host_port, peer_port, steps):
        self.v, self.ports, self.steps = v, {"host": host_port, "peer": peer_port}, steps
        self.connection = self.opener = None
        self.verdict, self.told = None, []

    def frame(self, sender, name):
        other = "peer" if sender == "host" else "host"
        segment = tcp(self.ports[sender], self.ports[other], PACKETS[name], b"data" if name == "data" else b"")
        at = {"host": HOST[self.v], "peer": PEER[self.v]}
        if self.v == 4:
            return eth(0x0800, ipv4(at[sender], at[other], 6, segment))
        return eth(0x86DD, ipv6(at[sender], at[other], 6, segment))

    def step(self, sender, name, policy):
        """The model's turn: verdict and connection after a packet of ${sender}."""
        flags = PACKETS[name]
        syn = flags & (SYN | FIN | RST | ACK) == SYN
        self.told.append("%s %s" % (sender, name))
        if self.connection and not (syn and self.connection.over()):
            self.verdict = policy.opens(self.opener, self.ports)
            if self.verdict:
                self.connection.packet("O" if sender == self.opener else "R", flags)
            else:  # the present policy would not have allowed it
                self.connection = None
            return
        self.verdict = policy.opens(sender, self.ports) and (syn or not policy.strict)
        if self.verdict and (syn or not flags & RST and flags & (SYN | FIN | ACK) != SYN | ACK):
            self.connection, self.opener = Connection(not syn), sender

    def tell(self):
        return "IPv%d, %s" % (self.v, ", ".join(self.told))

    def key(self):
        """As the table has it, from the opener's side."""
        at = {"host": (HOST[self.v], self.ports["host"]), "peer": (PEER[self.v], self.ports["peer"])}
        return at[self.opener] + at["peer" if self.opener == "host" else "host"]


class Policy:
    """Ports below ${limit} of an end can be reached from the other end, others can't."""

    def __init__(self, limit, strict=False, timeouts=3600):
        self.limit, self.strict, self.timeouts = limit, strict, timeouts

    def opens(self, sender, ports):
        return ports["peer" if sender == "host" else "host"] < self.limit

    def document(self):
        to = {"protocol": "tcp", "destination_ports": ["1-%d" % (self.limit - 1)], "action": "allow", "log": False}
        rules = [dict(to, name=d, direction=d, priority=n) for n, d in enumerate(("ingress", "egress"))] if self.limit > 1 else []
        rules = rules or [{"name": "none", "action": "deny", "priority": 1, "log": False}]
        return {"default_action": "deny", "rules": rules, "tcp_strict": self.strict, "log_default": {"deny": False},
                "timeouts": {key: self.timeouts for key in KEYS} if isinstance(self.timeouts, int) else self.timeouts}


OPEN, SHUT = 30000, 60000  # ports from here on


def port(n, reached):
    return (1 if reached else OPEN) + n % (OPEN - 1)


# ---- running ----


def load(lab, policy, fresh=True):
    if fresh and lab.instances:
        lab.unload()
    lab.load(policy.document(), "-i", "eth0", "--xdp", "native")


def play(lab, cases, policy, check_rounds=True):
    """Each case's next step, in rounds, until none is left. Returns what was wrong."""
    wrong = []
    for turn in range(max(len(c.steps) for c in cases)):
        acting = [c for c in cases if turn < len(c.steps)]
        for sender, hook in (("peer", "xdp"), ("host", "tc_egress")):
            mine = [c for c in acting if c.steps[turn][0] == sender]
            for c, got in zip(mine, lab.runner(hook, [c.frame(*c.steps[turn]) for c in mine], lab.eth0) if mine else ()):
                c.step(*c.steps[turn], policy)
                if got != ("pass" if c.verdict else "drop"):
                    wrong.append((c, "%s: %s" % (c.tell(), got)))
        if check_rounds:
            wrong += compare(lab, cases)
    for c in cases:
        c.steps = ()
    return wrong


def compare(lab, cases):
    """The table against the models."""
    found, wrong = flows(lab)
    got = {(f.src, f.sport, f.dst, f.dport): f for f in found}
    wanted = {c.key(): c for c in cases if c.connection}
    for key, c in wanted.items():
        f, name = got.get(key), c.connection.name()
        # by whom a flow was picked up is told apart by what follows
        if not f or f.state.replace("PICKED_UP_R", "PICKED_UP") != name or f.egress != (c.opener == "host"):
            wrong.append((c, "%s: %s, wanted %s" % (c.tell(), f and f.state, name)))
    return wrong + [(None, "nobody knows %s" % (f,)) for key, f in got.items() if key not in wanted]


def texts(wrong, final=None):
    """The first few, of all or of one state."""
    return [text for c, text in wrong if not final or c and c.final == final][:8]


PATHS = [  # to every state, to some by several ways
    ("SYN_SENT", "O SYN"), ("SYN_BOTH", "O SYN, R SYN"), ("SYN_RECV", "O SYN, R SYN-ACK"),
    ("SYN_RECV", "O SYN, R SYN, O SYN-ACK"), ("SYN_RECV", "O SYN, R SYN, R SYN-ACK"),
    ("ESTABLISHED", "O SYN, R SYN-ACK, O ACK"), ("ESTABLISHED", "O SYN, R SYN, R SYN-ACK, O SYN-ACK, R ACK, O ACK"),
    ("FIN_WAIT_O", "O SYN, R SYN-ACK, O ACK, O FIN-ACK"), ("FIN_WAIT_R", "O SYN, R SYN-ACK, O ACK, R FIN-ACK"),
    ("CLOSE_WAIT_O", "O SYN, R SYN-ACK, O ACK, O FIN-ACK, R ACK"),
    ("CLOSE_WAIT_R", "O SYN, R SYN-ACK, O ACK, R FIN-ACK, O ACK"),
    ("LAST_ACK_R", "O SYN, R SYN-ACK, O ACK, O FIN-ACK, R ACK, R FIN-ACK"),
    ("LAST_ACK_O", "O SYN, R SYN-ACK, O ACK, R FIN-ACK, O ACK, O FIN-ACK"),
    ("LAST_ACK_O", "O SYN, R SYN-ACK, O ACK, R FIN-ACK, O FIN-ACK"),
    ("TIME_WAIT", "O SYN, R SYN-ACK, O ACK, O FIN-ACK, R ACK, R FIN-ACK, O ACK"),
    ("TIME_WAIT", "O SYN, R SYN-ACK, O ACK, R FIN-ACK, O FIN-ACK, R ACK"),
    ("CLOSE", "O SYN, R RST-ACK"), ("CLOSE", "O SYN, R SYN-ACK, O ACK, O RST"),
    ("PICKED_UP", "O ACK"), ("PICKED_UP", "O FIN-ACK"), ("PICKED_UP", "O SYN, R SYN-ACK, O ACK, R RST, O data"),
    ("PICKED_UP", "O SYN, R SYN-ACK, O ACK, R RST, R data"),
]


def steps(path, opener):
    who = {"O": opener, "R": "peer" if opener == "host" else "host"}
    return [(who[s.split()[0]], s.split()[1]) for s in path.split(", ")]


def matrix(lab, policy, reached=(True, False), then=PACKETS):
    """A case for each way to each state, packet and sender; for openers on both sides and both IP versions; ${reached}: may
    the other end open a connection to the opener? They are brought into their states."""
    cases, rows = [], itertools.product(PATHS, then, ("O", "R"), ("peer", "host"), reached, (4, 6))
    load(lab, policy)
    for n, ((state, path), packet, end, opener, back, v) in enumerate(rows):
        ports = {opener: port(n, back), "peer" if opener == "host" else "host": port(n, True)}
        c = Case(v, ports["host"], ports["peer"], steps(path, opener))
        c.final, c.then = state, [(opener if end == "O" else "peer" if opener == "host" else "host", packet)]
        cases.append(c)
    wrong = play(lab, cases, policy, check_rounds=False) + compare(lab, cases)
    wrong += [(c, "%s: %s in the model" % (c.tell(), c.connection.name())) for c in cases if c.connection.name() != c.final]
    ok(not wrong, "%d flows reach their states: %s" % (len(cases), ", ".join(sorted({c.final for c in cases}))), *texts(wrong))
    for c in cases:
        c.steps = c.then
    return cases


def report(cases, wrong, what):
    """One result per state."""
    for state in sorted({c.final for c in cases}, key=STATES.index):
        ok(not texts(wrong, state), "%s, %s" % (state, what), *texts(wrong, state))
    ok(not wrong, "%s: %d flows as in the model" % (what, len(cases)), *texts(wrong))


# ---- tests ----


def test_matrix(lab):
    cases = matrix(lab, Policy(OPEN))
    report(cases, play(lab, cases, Policy(OPEN)), "each packet from each end")


def test_denied(lab):
    """After a reload nothing may open a connection any more. A SYN in a state in which it would open another is dropped and
    the old entry stays as it was; any other packet is one of a flow that is not allowed any more."""
    cases = matrix(lab, Policy(OPEN), (True,))
    load(lab, Policy(1), fresh=False)
    before = {f[1:5]: f for f in flows(lab)[0]}
    report(cases, play(lab, cases, Policy(1)), "denied since a reload")
    changed = [(f, before[f[1:5]]) for f in flows(lab)[0] if f != before[f[1:5]]]
    left = len(flows(lab)[0])
    same((changed, left > 0), ([], True), "%d entries that a denied SYN met are untouched" % left)


def test_walks(lab):
    """Packets at random, with which the flows go through states in all orders."""
    seed = time.time_ns() & 0xFFFFFF
    rng = random.Random(seed)
    note("seed %d" % seed)
    likely = ["SYN", "SYN-ACK", "ACK", "ACK", "data", "FIN-ACK", "RST"] * 3 + list(PACKETS)
    for policy, what in ((Policy(OPEN), "tcp_strict: false"), (Policy(OPEN, True), "tcp_strict: true")):
        cases = []
        for n in range(1500):
            walk = [(rng.choice(("peer", "host")), rng.choice(likely)) for _ in range(14)]
            if n % 2:
                walk[:3] = steps("O SYN, R SYN-ACK, O ACK", rng.choice(("peer", "host")))
            cases.append(Case(rng.choice((4, 6)), port(n, rng.random() < 0.7), port(n, rng.random() < 0.7), walk))
        load(lab, policy)
        seen, wrong = set(), []
        while any(c.steps for c in cases) and not wrong:
            rest = [(c, c.steps[1:]) for c in cases]
            for c in cases:
                c.steps = c.steps[:1]
            wrong = play(lab, cases, policy)
            for c, r in rest:
                c.steps = r
            seen |= {c.connection.name() for c in cases if c.connection}
        ok(not wrong, "random walks, %s: verdicts and states as in the model" % what, *texts(wrong))
        every = {state for state, _ in PATHS} - ({"PICKED_UP"} if policy.strict else set())
        ok(every <= seen, "random walks, %s: through all states" % what, sorted(every - seen))


def test_strict(lab):
    """Without a flow: by the rules; or with tcp_strict denied for the reason "invalid", unless it is a SYN."""
    load(lab, Policy(OPEN))
    for strict in (False, True):
        policy = Policy(OPEN, strict)
        doc = dict(policy.document(), log_default={"deny": True}, log_limit=0)
        for r in doc["rules"]:
            r["log"] = True
        lab.load(doc, "-i", "eth0", "--xdp", "native")
        for reached, (hook, sender) in itertools.product((True, False), (("xdp", "peer"), ("tc_egress", "host"))):
            cases = [Case(4, port(200 + n, reached), port(200 + n + 50 * strict + 100 * (hook == "xdp"), reached), [(sender, name)])
                     for n, name in enumerate(PACKETS)]
            answers = lab.bench(hook, [c.frame(*c.steps[0]) for c in cases], lab.eth0)
            wrong, rule = [], "ingress" if hook == "xdp" else "egress"
            for c, got in zip(cases, answers):
                name = c.steps[0][1]
                pure = PACKETS[name] & 0x17 == SYN
                want = (("drop", [("deny", "invalid", None)]) if strict and not pure else
                        ("pass", [("allow", "rule", rule)]) if reached else ("drop", [("deny", "default", None)]))
                if got != want:
                    wrong.append("%s: %s, wanted %s" % (name, got, want))
            ok(not wrong, "tcp_strict: %s, without a flow, %s by a rule at %s" % (
                strict, "allowed" if reached else "not allowed", hook), *wrong)


# ---- timeouts ----


TIMEOUT = {"SYN_SENT": "tcp_syn_sent", "SYN_BOTH": "tcp_syn_sent", "SYN_RECV": "tcp_syn_recv", "PICKED_UP": "tcp_syn_sent",
           "ESTABLISHED": "tcp_established", "FIN_WAIT_O": "tcp_fin_wait", "FIN_WAIT_R": "tcp_fin_wait",
           "CLOSE_WAIT_O": "tcp_close_wait", "CLOSE_WAIT_R": "tcp_close_wait", "LAST_ACK_O": "tcp_last_ack",
           "LAST_ACK_R": "tcp_last_ack", "TIME_WAIT": "tcp_time_wait", "CLOSE": "tcp_close", "UDP_NEW": "udp", "UDP_REPLIED": "udp",
           "UDP_STREAM": "udp_stream", "ICMP_NEW": "icmp", "ICMP_REPLIED": "icmp", "NEW": "generic", "REPLIED": "generic",
           "FRAGMENT": "fragment"}
OTHERS = {"UDP_NEW": "O", "UDP_REPLIED": "OR", "UDP_STREAM": "ORO", "ICMP_NEW": "O", "ICMP_REPLIED": "OR", "NEW": "O",
          "REPLIED": "OR", "FRAGMENT": "O"}


class Idle:
    """A flow that the peer opens, which is brought into a state and then left alone."""

    def __init__(self, state, path, number):
        self.state, self.path, self.number = state, path.split(", "), number

    def frame(self, step):
        host, peer, n, back = HOST[4], PEER[4], self.number, step[0] == "R"
        if self.state == "FRAGMENT":  # of what the peer sends, in both steps: the first, and one that follows
            whole = udp(n, 9, bytes(64))
            packet = ipv4(peer, host, 17, whole[32:] if back else whole[:32], fragment=4 if back else 0x2000)
            return eth(0x0800, packet[:4] + struct.pack("!H", n) + packet[6:])
        ports = (9, n) if back else (n, 9)
        if self.state.startswith("UDP"):
            proto, data = 17, udp(*ports)
        elif self.state.startswith("ICMP"):
            proto, data = 1, icmp(0 if back else 8)[:4] + struct.pack("!HH", n, 1)
        elif self.state in ("NEW", "REPLIED"):  # no ports: their addresses tell them apart
            proto, data, peer = 47, bytes(8), "10.78.%d.%d" % (n >> 8, n & 0xFF)
        else:
            proto, data = 6, tcp(*ports, PACKETS[step.split()[1]])
        return eth(0x0800, ipv4(*((host, peer) if back else (peer, host)), proto, data))

    def hook(self, step):
        return "tc_egress" if step[0] == "R" and self.state != "FRAGMENT" else "xdp"


def send(lab, idle, turn):
    """The packet number ${turn} of each; or if it is a string, this one. {flow: its answer}"""
    answers = {}
    for hook in ("xdp", "tc_egress"):
        acting = [(i, i.path[turn] if isinstance(turn, int) else turn) for i in idle if isinstance(turn, str) or turn < len(i.path)]
        acting = [(i, step) for i, step in acting if i.hook(step) == hook]
        if acting:
            answers.update(zip([i for i, _ in acting], lab.runner(hook, [i.frame(step) for i, step in acting], lab.eth0)))
    return answers


def test_timeouts(lab):
    """Each state by its own key. The keys have numbers; in round N those whose number has bit N expire after a second, the
    others don't, so that four rounds tell all keys apart."""
    load(lab, Policy(OPEN))
    keys = sorted(set(TIMEOUT.values()))
    paths = dict(PATHS[::-1], **{state: ", ".join(path) for state, path in OTHERS.items()})
    got, early, again = {state: [] for state in TIMEOUT}, [], []
    for bit in range(4):
        short = {key: n + 1 >> bit & 1 for n, key in enumerate(keys)}
        rule = {"name": "in", "priority": 1, "direction": "ingress", "protocol": "any", "action": "allow", "log": False}
        lab.unload()
        lab.load({"default_action": "deny", "rules": [rule], "log_default": {"deny": False},
                  "timeouts": {key: 1 if short[key] else 3600 for key in keys}}, "-i", "eth0", "--xdp", "native")
        soon, late = ([Idle(state, paths[state], 100 * k + n + 1000) for n, state in enumerate(TIMEOUT)] for k in range(2))
        start = time.monotonic()
        for turn in range(8):
            send(lab, soon + late, turn)
        end = time.monotonic()
        answers = send(lab, soon, "R ACK")
        # the clock of flows may be an eighth of a second behind
        if time.monotonic() - start < 0.8:
            early += ["%s, with %s" % (i.state, [k for k in keys if short[k]]) for i in soon if answers[i] != "pass"]
        time.sleep(max(0, end + 1.05 - time.monotonic()))
        answers = send(lab, late, "R ACK")
        for i in late:
            got[i.state].append(int(answers[i] != "pass"))
        mine = [i for i in late if i.state not in OTHERS]
        passed = send(lab, mine, "O data")
        found, wrong = flows(lab)
        states = {f.sport: f.state for f in found if f.proto == 6}
        again += wrong + [(i.state, states.get(i.number)) for i in mine if passed[i] != "pass" or
                          (short[TIMEOUT[i.state]] and states.get(i.number) != "PICKED_UP")]
    for state, key in TIMEOUT.items():
        same(got[state], [keys.index(key) + 1 >> bit & 1 for bit in range(4)], "%s, idle for more than %s: judged by the rules again" % (
            state, key))
    same(early, [], "none before its time")
    same(again, [], "after that the opener's packet makes a new flow in the place of the old")


if __name__ == "__main__":
    main(make, test_matrix, test_denied, test_walks, test_strict, test_timeouts)
