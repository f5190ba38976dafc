# SPDX-License-Identifier: GPL-2.0-only
"""The lockout guard. A shell has a TCP connection as its standard input and output, as inetd would start it, and fwload
is run over it: what it says of the session must come true, so each time it is tried whether the shell still answers and
whether a new connection is let in. Then the other ways to find a session: SSH_CONNECTION, the socket of a parent."""
import json
import os
import socket
import subprocess
import sys

from live import NAME, call, family, main, note, ok, same, wait_until

HOST, PEER = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
PORT = 7022
ADVICE = "; load with --confirm 60s to be safe, or add a rule"
# As sudo does: of the environment and the descriptors nothing is handed on.
HOLDER = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], env={}, stdin=subprocess.DEVNULL).returncode)"


def make(lab):
    for key in ("SSH_CONNECTION", "SSH_CLIENT"):
        os.environ.pop(key, None)
    lab.space("host", "peer")
    lab.veth("host", "eth0", "peer", "p0")
    lab.veth("host", "eth1", "peer", "p1")
    lab.address("host", "eth0", "10.77.0.1/24", "fd77::1/64")
    lab.address("peer", "p0", "10.77.0.2/24", "fd77::2/64")
    lab.group, lab.beside = lab.cgroup(), lab.cgroup("-beside")
    lab.where = {"XDP and TC": ("-i", "eth0", "--xdp", "native"), "TC": ("-i", "eth0", "--xdp", "off"),
                 "cgroup": ("-g", lab.group)}


# ---- policies ----


def rule(name, direction, action, **keys):
    return dict(keys, name=name, direction=direction, action=action)


IN = rule("ssh", "ingress", "allow", destination_ports=[PORT])
BLOCK = rule("block_all", "ingress", "deny", destination_ports=[1, PORT])
BACK = rule("back", "egress", "allow", source_ports=[PORT])
OPEN_OUT = {"ingress": "deny", "egress": "allow"}


def policy(*rules, default="deny", **more):
    rules = rules or (rule("other", "ingress", "allow", destination_ports=[PORT + 1]),)
    return dict({"default_action": default, "rules": [dict(r, priority=n) for n, r in enumerate(rules)]}, **more)


class Loader:
    """fwload's command line for a policy in a file with a rule on each line from the second on."""

    def __init__(self, lab, doc, *options):
        self.yaml, self.ir = (os.path.join(lab.folder, n) for n in ("rules.yaml", "rules.json"))
        rules = ",\n".join(json.dumps(r) for r in doc["rules"])
        rest = json.dumps({k: v for k, v in doc.items() if k != "rules"})[1:-1]
        with open(self.yaml, "w", encoding="ascii") as f:
            f.write("{%s, \"rules\": [\n%s]}\n" % (rest, rules))
        call(lab.program("fwc"), "-q", "-o", self.ir, self.yaml)
        self.argv = (lab.program("fwload"), "-N", NAME + "-a", *options, self.ir)
        if "-n" not in options and NAME + "-a" not in lab.instances:
            lab.instances.append(NAME + "-a")

    def place(self, n):
        return "%s:%d" % (self.yaml, n + 2)


def guard(said):
    """What the guard said; beside the list of a first load."""
    return [line for line in said.splitlines() if "this policy" in line]


def unload(lab):
    if NAME + "-a" in lab.instances:
        lab.unload()


# ---- sessions ----


def listener(lab, address, fam=None, group=None):
    with lab.inside("host", group or lab.group):
        s = socket.socket(fam or family(address))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::" if fam else address, PORT))
    s.listen(8)
    s.settimeout(5)
    return s


def client(lab, address, seconds=5.0, source=None):
    """From the peer; None if it isn't let in."""
    with lab.inside("peer"):
        c = socket.socket(family(address))
    c.settimeout(seconds)
    try:
        if source:
            c.bind((source, 0))
        c.connect((address, PORT))
    except OSError:
        c.close()
        return None
    return c


class Shell:
    """bash with a connection as its standard input, output and error. (The connection's descriptors of this process are
    closed, as it is the parent of everything here.)"""

    def __init__(self, lab, v=4, fam=None, group=None, keep=True, reverse=False):
        self.lab = lab
        if reverse:
            with lab.inside("peer"):
                self.listening = socket.create_server((PEER[v], PORT))
            with lab.inside("host", group or lab.group):
                inner = socket.create_connection((PEER[v], PORT))
            self.client = self.listening.accept()[0]
        else:
            self.listening = listener(lab, HOST[v], fam, group)
            self.client = client(lab, HOST[v])
            inner = self.listening.accept()[0]
        self.shell = lab.start("host", "bash", "--norc", stdin=inner, stdout=inner, stderr=inner)
        inner.close()
        if not keep:
            self.listening.close()
        self.peer, self.host = self.client.getsockname()[:2], self.client.getpeername()[:2]

    def load(self, loader):
        """(exit status, what it said on standard error)"""
        err, status = (os.path.join(self.lab.folder, n) for n in ("err", "status"))
        if os.path.exists(status):
            os.unlink(status)
        self.client.send(("%s >/dev/null 2>%s; echo $? >%s.new; mv %s.new %s\n" %
                          (" ".join(loader.argv), err, status, status, status)).encode())
        if not wait_until(lambda: os.path.exists(status), 20):
            raise OSError("fwload doesn't end")
        with open(err, encoding="utf-8") as e, open(status, encoding="ascii") as s:
            return int(s.read()), e.read()

    def answers(self):
        word = os.urandom(8).hex()
        self.client.settimeout(0.8)
        try:
            self.client.send(("echo %s\n" % word).encode())
            got = b""
            while word.encode() not in got:
                part = self.client.recv(256)
                if not part:
                    return False
                got += part
            return True
        except OSError:
            return False

    def again(self, v=4):
        c = client(self.lab, HOST[v], 0.8)
        if c:
            c.close()
            self.listening.accept()[0].close()
        return bool(c)

    def close(self):
        self.client.close()
        self.listening.close()
        self.shell.kill()
        self.shell.wait()


def text(end):
    return ("[%s]:%d" if ":" in end[0] else "%s:%d") % end[:2]


def would(s, reason, what="would cut your session", after=""):
    return "fwload: warning: this policy %s from %s to %s%s: %s%s" % (what, text(s.peer), text(s.host), after, reason, ADVICE)


# ---- it comes true ----


def tried(lab, name, doc, reason, options, *, alive, again, v=4, before=None, **how):
    """Loads ${doc} over a shell. ${reason}(loader, shell): the guard's line, or None if it must keep quiet."""
    unload(lab)
    s = Shell(lab, v, **how)
    if before:
        s.load(Loader(lab, before, "-q", *options))
    loader = Loader(lab, doc, *options)
    status, said = s.load(loader)
    want = reason(loader, s) if reason else None
    same((status, guard(said)), (0, [want] if want else []), "%s: what is said" % name, said)
    same((s.answers(), s.again(v)), (alive, again), "%s: and it comes true" % name, said)
    s.close()


def by_rule(n, name="block_all", what="it"):
    return lambda loader, s: would(s, "rule %s (%s) denies %s" % (name, loader.place(n), what))


def by_default(_, s):
    return would(s, "no rule allows it (default_action deny)")


def test_verdicts(lab):
    """Everywhere it can be enforced."""
    for where, options in lab.where.items():
        fine = {"alive": True, "again": True}
        lost = {"alive": False, "again": False}
        tried(lab, "%s, allowed by a rule" % where, policy(IN), None, options, **fine)
        tried(lab, "%s, denied by a rule" % where, policy(BLOCK, IN), by_rule(0), options, **lost)
        tried(lab, "%s, denied by the second rule" % where,
              policy(rule("other", "ingress", "allow", destination_ports=[PORT + 1]), BLOCK), by_rule(1), options, **lost)
        tried(lab, "%s, denied by default" % where, policy(), by_default, options, **lost)
        tried(lab, "%s, IPv6, denied by a rule" % where, policy(BLOCK), by_rule(0), options, v=6, **lost)
        tried(lab, "%s, IPv6, denied by default" % where, policy(dict(IN, source_cidrs=[PEER[4]])), by_default, options, v=6,
              **lost)
        tried(lab, "%s, IPv6, allowed" % where, policy(dict(IN, source_cidrs=[PEER[6]])), None, options, v=6, **fine)
        tried(lab, "%s, allowed by a rate limit" % where,
              policy(dict(IN, action="rate_limit", rate_limit_pps=1000)), None, options, **fine)
        tried(lab, "%s, default allow" % where, policy(default="allow"), None, options, **fine)


def test_mapped(lab):
    """An IPv4 connection of an IPv6 socket."""
    for what, doc, want in (("denied", policy(dict(BLOCK, source_cidrs=[PEER[4]]), default="allow"), True),
                            ("allowed", policy(dict(IN, source_cidrs=[PEER[4]])), False)):
        tried(lab, "mapped address, %s" % what, dict(doc, tcp_strict=True), by_rule(0) if want else None, lab.where["TC"],
              fam=socket.AF_INET6, alive=not want, again=not want)


def test_may(lab):
    """Older than the load it has no flow: what this end says may make one."""
    def want(loader, s):
        return would(s, "rule block_all (%s) denies it" % loader.place(0), "may cut your session", ", and would let no new one in")
    tried(lab, "denied, with egress allowed", policy(BLOCK, default=OPEN_OUT), want, lab.where["TC"], alive=False, again=False)
    tried(lab, "the same with tcp_strict", policy(BLOCK, default=OPEN_OUT, tcp_strict=True), by_rule(0), lab.where["TC"],
          alive=False, again=False)
    tried(lab, "the same as a reload", policy(BLOCK, default=OPEN_OUT), by_rule(0), lab.where["TC"], alive=False, again=False,
          before=policy(IN))


def test_stateless(lab):
    """Both directions are for the rules."""
    for where in ("TC", "cgroup"):
        options = lab.where[where]
        tried(lab, "%s, stateless, both allowed" % where, policy(IN, BACK, stateful=False), None, options, alive=True, again=True)
        tried(lab, "%s, stateless, no rule for what is sent back" % where, policy(IN, stateful=False),
              lambda _, s: would(s, "no rule allows what is sent back (default_action deny, stateful: false)"), options,
              alive=False, again=False)
        tried(lab, "%s, stateless, a rule against it" % where,
              policy(IN, dict(BACK, action="deny"), default="allow", stateful=False), by_rule(1, "back", "what is sent back"),
              options, alive=False, again=False)


def test_reload(lab):
    """The flow that a session has doesn't help it, the one that it lacks does."""
    options = lab.where["TC"]
    tried(lab, "reload, still allowed", policy(rule("new", "ingress", "allow", destination_ports=["7000-7100"])), None, options,
          alive=True, again=True, before=policy(IN))
    tried(lab, "reload, denied by a rule", policy(BLOCK), by_rule(0), options, alive=False, again=False, before=policy(IN))
    tried(lab, "reload, denied by default", policy(), by_default, options, alive=False, again=False, before=policy(IN))
    tried(lab, "reload, tcp_strict, with a flow", policy(IN, tcp_strict=True), None, options, alive=True, again=True,
          before=policy(IN))
    tried(lab, "reload, tcp_strict, without a flow", policy(IN, tcp_strict=True),
          lambda _, s: would(s, "tcp_strict denies it, as the policy in force has no flow of it").replace(
              ADVICE, "; load it without tcp_strict first"), options, alive=False, again=True,
          before=policy(IN, BACK, stateful=False))


def test_again(lab):
    """The session lives, but nobody gets in any more."""
    unload(lab)
    s = Shell(lab)
    loader = Loader(lab, policy(dict(IN, source_ports=[s.peer[1]])), *lab.where["TC"])
    status, said = s.load(loader)
    same((status, guard(said)), (0, ["fwload: warning: this policy would let no new session in from %s to %s: no rule allows it "
                                     "(default_action deny)%s" % (s.peer[0], text(s.host), ADVICE)]),
         "a rule for the port of this session: what is said", said)
    same((s.answers(), s.again()), (True, False), "a rule for the port of this session: and it comes true")
    s.close()
    tried(lab, "a rule for half of the ports", policy(dict(IN, source_ports=["1024-65535"])), None, lab.where["TC"], alive=True,
          again=True)


def test_elsewhere(lab):
    """No hook sees it."""
    fine = {"alive": True, "again": True}
    tried(lab, "attached to another interface", policy(), None, ("-i", "eth1"), **fine)
    tried(lab, "attached to another cgroup", policy(), None, ("-g", lab.beside), **fine)
    tried(lab, "the socket in another cgroup", policy(), None, lab.where["cgroup"], group=lab.beside, **fine)
    tried(lab, "there and here", policy(), by_default, ("-g", lab.beside, "-i", "eth0"), alive=False, again=False)
    tried(lab, "a rule for another interface", policy(dict(IN, interfaces=["eth1"])), by_default, ("-i", "eth*"), alive=False,
          again=False)
    tried(lab, "a rule for this interface", policy(dict(IN, interfaces=["eth0"])), None, ("-i", "eth*"), **fine)


def test_loopback(lab):
    """Is skipped, unless the policy filters it."""
    unload(lab)
    listening = listener(lab, "127.0.0.1")
    with lab.inside("host"):
        c = socket.create_connection(("127.0.0.1", PORT))
    inner = listening.accept()[0]
    for filtered in (False, True):
        loader = Loader(lab, policy(filter_loopback=filtered), "-n", *lab.where["cgroup"])
        done = over(lab, loader, stdin=inner)
        same(len(guard(done[1])), filtered, "a session over loopback, filter_loopback: %s" % filtered, done[1])
    for s in (listening, c, inner):
        s.close()


# ---- -W, -n, -q ----


def test_options(lab):
    unload(lab)
    s = Shell(lab)
    bad, good = policy(BLOCK), policy(IN)
    pinned = "/sys/fs/bpf/fw/%s-a" % NAME
    where = lab.where["TC"]

    def line(loader, level="warning"):
        return would(s, "rule block_all (%s) denies it" % loader.place(0)).replace("warning", level)

    loader = Loader(lab, bad, "-n", *where)
    same(s.load(loader)[0], 0, "-n: the exit status is 0")
    same(guard(s.load(loader)[1]), [line(loader)], "-n: it is said")
    loader = Loader(lab, bad, "-nq", *where)
    same(s.load(loader), (0, ""), "-n -q: it is not said")
    for options in (("-nW",), ("-W",), ("-W", "-q")):
        loader = Loader(lab, bad, *options, *where)
        status, said = s.load(loader)
        same((status, said.splitlines()), (1, [line(loader), "fwload: warnings are errors here (-W)"]),
             "%s: it is an error, and the only thing said" % " ".join(options), said)
    ok(not os.path.exists(pinned), "-W: and nothing is left behind")
    lab.instances.remove(NAME + "-a")
    same(s.load(Loader(lab, good, "-W", *where)), (0, ""), "-W: a policy that allows the session is loaded")
    before = lab.stat()["generation"]
    same((s.load(Loader(lab, bad, "-W", *where))[0], lab.stat()["generation"]), (1, before), "-W: the policy in force stays")
    same((s.answers(), s.again()), (True, True), "-W: and the session lives")
    s.close()


# ---- ways to find it ----


def over(lab, loader, *, wrap=(), env=None, **kw):
    """fwload as our child, in ${wrap}: (exit status, what it said on standard error)."""
    done = subprocess.run(lab.command("host", (*wrap, *loader.argv)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          env=dict(os.environ, **env or {}), **kw)
    return done.returncode, done.stderr.decode()


def test_holder(lab):
    """The socket is a parent's, and nothing else is handed on."""
    unload(lab)
    for v in (4, 6):
        listening = listener(lab, HOST[v])
        c = client(lab, HOST[v])
        inner = listening.accept()[0]
        fd = inner.fileno()
        loader = Loader(lab, policy(), "-n", *lab.where["TC"])
        want = ["fwload: warning: this policy would cut your session from %s to %s: no rule allows it (default_action deny)%s" %
                (text(c.getsockname()), text(c.getpeername()), ADVICE)]
        wrap = (sys.executable, "-c", HOLDER)
        os.set_inheritable(fd, True)
        for depth in (1, 3):
            status, said = over(lab, loader, wrap=wrap * depth, pass_fds=(fd,))
            same((status, guard(said)), (0, want), "IPv%d: the socket is that of a parent, %d up" % (v, depth), said)
        d = client(lab, HOST[v])
        second = listening.accept()[0]
        status, said = over(lab, loader, wrap=wrap, pass_fds=(fd, second.fileno()))
        same((status, guard(said)), (0, []), "IPv%d: a server with several connections is no session" % v, said)
        d.close()
        second.close()
        listening.close()
        status, said = over(lab, loader, wrap=wrap, pass_fds=(fd,))
        same((status, guard(said)), (0, want), "IPv%d: and its listener is gone" % v, said)
        inner.close()
        c.close()


def test_reverse(lab):
    """A shell that this host has connected."""
    unload(lab)
    for options in (lab.where["TC"], lab.where["cgroup"]):
        s = Shell(lab, reverse=True)
        loader = Loader(lab, policy(rule("out", "egress", "deny"), default="allow"), "-n", *options)
        _, said = s.load(loader)
        # what the other end says could make a flow
        same(guard(said), ["fwload: warning: this policy may cut your session from %s to %s, and would let no new one in: rule out "
                           "(%s) denies it%s" % (text(s.host), text(s.peer), loader.place(0), ADVICE)],
             "opened from here: egress is judged", said)
        loader = Loader(lab, policy(rule("out", "egress", "allow")), "-n", *options)
        same(guard(s.load(loader)[1]), [], "opened from here: and allowed", said)
        s.close()


def test_environment(lab):
    """SSH_CONNECTION, of no socket that is there: somebody may want to come again."""
    unload(lab)
    lab.ip("host", "addr add 10.77.0.9/24 dev eth0", "addr add fd77::9/64 dev eth0 nodad", "addr add fe80::9/64 dev eth1 nodad",
           "route add default via 10.77.0.2", "route add default via fd77::2")

    def said(value, doc, *options):
        status, out = over(lab, Loader(lab, doc, "-n", *options), env={"SSH_CONNECTION": value} if value else {})
        if status:
            note(out)
        return guard(out) if not status else status

    def want(client_ip, server):
        return ["fwload: warning: this policy would let no new session in from %s to %s: no rule allows it (default_action deny)%s" %
                (client_ip, server, ADVICE)]

    where = lab.where["TC"]
    same(said("203.0.113.9 51000 10.77.0.9 22", policy(), *where), want("203.0.113.9", "10.77.0.9:22"), "SSH_CONNECTION, IPv4")
    same(said("2001:db8::9 51000 fd77::9 22", policy(), *where), want("2001:db8::9", "[fd77::9]:22"), "SSH_CONNECTION, IPv6")
    same(said("::ffff:203.0.113.9 51000 ::ffff:10.77.0.9 22", policy(), *where), want("203.0.113.9", "10.77.0.9:22"),
         "SSH_CONNECTION, mapped addresses")
    same(said("fe80::1%eth1 51000 fe80::9%eth1 22", policy(), "-i", "eth1"), want("fe80::1", "[fe80::9]:22"),
         "SSH_CONNECTION with zones")
    same(said("fe80::1%eth1 51000 fe80::9%eth1 22", policy(), *where), [], "SSH_CONNECTION with the zone of another interface")
    ssh = rule("ssh", "ingress", "allow", destination_ports=[22], source_cidrs=["203.0.113.0/24", "2001:db8::/32"])
    for value in ("203.0.113.9 51000 10.77.0.9 22", "2001:db8::9 51000 fd77::9 22"):
        same(said(value, policy(ssh), *where), [], "SSH_CONNECTION=%s, allowed" % value)
    same(len(said("203.0.113.9 51000 10.77.0.9 23", policy(ssh), *where)), 1, "SSH_CONNECTION, another port")
    same(len(said("203.0.114.9 51000 10.77.0.9 22", policy(ssh), *where)), 1, "SSH_CONNECTION, another address")
    for value in ("UNKNOWN 65535 UNKNOWN 65535", "", " ", "10.77.0.2", "10.77.0.2 1 10.77.0.9 22 7", "10.77.0.2 0 10.77.0.9 22",
                  "10.77.0.2 1 10.77.0.9 65536", "010.77.0.2 1 10.77.0.9 22", "10.77.0.2%eth0 1 10.77.0.9 22", "9" * 5000,
                  "10.77.0.2 -1 10.77.0.9 22"):
        same(said(value, policy(), *where), [], "SSH_CONNECTION=%s is none" % value[:40])
    # a session of another network namespace: of its packets an interface here sees none, but the cgroup root all
    same(said("203.0.113.9 51000 198.51.100.1 22", policy(), *where), [], "SSH_CONNECTION of an address that is not here")
    same(said("203.0.113.9 51000 198.51.100.1 22", policy(), "-g", "/"), want("203.0.113.9", "198.51.100.1:22"),
         "SSH_CONNECTION of an address that is not here, and the cgroup root")


def test_connection(lab):
    """SSH_CONNECTION of a connection that is there."""
    unload(lab)
    listening = listener(lab, HOST[4])
    c = client(lab, HOST[4])
    inner = listening.accept()[0]
    os.set_inheritable(inner.fileno(), False)
    # whoever has it is none of fwload's parents
    other = lab.start("host", "sleep", "1000", stdin=inner)
    inner.close()
    value = {"SSH_CONNECTION": "%s %d %s %d" % (*c.getsockname(), *c.getpeername())}
    dead = {"SSH_CONNECTION": "%s %d %s %d" % (PEER[4], 1, *c.getpeername())}
    want = ["fwload: warning: this policy would cut your session from %s to %s: no rule allows it (default_action deny)%s" %
            (text(c.getsockname()), text(c.getpeername()), ADVICE)]
    for where in ("TC", "cgroup"):
        loader = Loader(lab, policy(), "-n", *lab.where[where])
        for wrap, env, lines, name in (((), value, want, "SSH_CONNECTION of a session"),
                                       ((sys.executable, "-c", HOLDER), value, want, "SSH_CONNECTION of a parent"),
                                       ((sys.executable, "-c", HOLDER), dead, [], "SSH_CONNECTION of a parent, and it is over"),
                                       ((), {}, [], "no session")):
            status, said = over(lab, loader, wrap=wrap, env=env)
            same((status, guard(said)), (0, lines), "%s: %s" % (where, name), said)
    listening.close()
    status, said = over(lab, loader, env=value)
    same((status, guard(said)), (0, want), "SSH_CONNECTION of a session, and its listener is gone", said)
    other.kill()
    c.close()
    s = Shell(lab)
    value = "SSH_CONNECTION='%s %d %s %d'" % (*s.peer, *s.host)
    loader.argv = ("env", value, *loader.argv)
    same(guard(s.load(loader)[1]), [would(s, "no rule allows it (default_action deny)")],
         "SSH_CONNECTION and a socket of the same session: it is said once")
    s.close()


if __name__ == "__main__":
    main(make, test_verdicts, test_mapped, test_may, test_stateless, test_reload, test_again, test_elsewhere, test_loopback,
         test_options, test_holder, test_reverse, test_environment, test_connection)
