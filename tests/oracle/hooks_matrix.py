# SPDX-License-Identifier: GPL-2.0-only
"""Every way a program can reach a destination (hooks_matrix.c) against the hook that must see it: with real
sockets in a cgroup and a namespace of the test's own. Prints TAP.

Each way has a destination of its own, so that an event's dst_ip tells which way made it."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from lab import BUILD, TOP, Refused, call, mounted, why_not

NAME = "fwmatrix-%d" % os.getpid()
FIRST = 11  # last byte of the first way's destination
SERVER_PORT = 7778
SERVER = """
import socket
s = socket.create_server(("192.0.2.1", %d))
print("ready", flush=True)
s.accept()
""" % SERVER_PORT

ran = failed = 0


def ok(good, what, *why):
    global ran, failed
    ran += 1
    failed += not good
    print("%s %d - %s" % ("ok" if good else "not ok", ran, what))
    for text in () if good else why:
        print("#   %s" % (text,))
    sys.stdout.flush()


class Way:
    def __init__(self, line, number):
        self.name, self.hook, family = line.split()
        # connecting to oneself takes an address of one's own
        self.number = 1 if self.name == "tcp4-self" else number
        self.address = ("192.0.2.%d" if family == "4" else "2001:db8::%d") % self.number


class Matrix:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="fwmatrix-")
        self.cgroup = os.path.join(mounted("cgroup2")[0], NAME)
        self.outside = self.cgroup + "-out"
        self.program = os.path.join(self.folder, "hooks_matrix")
        call(os.environ.get("CC", "gcc"), "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-o", self.program,
             os.path.join(TOP, "tests/hooks_matrix.c"))
        lines = call(self.program, "-l").decode().splitlines()
        self.ways = [Way(line, FIRST + n) for n, line in enumerate(lines)]

    def make(self):
        if "/sys/fs/bpf" not in mounted("bpf"):
            call("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
        for path in (self.cgroup, self.outside):
            os.mkdir(path)
        call("ip", "netns", "add", NAME)
        for command in ("link set lo up", "link add out0 type veth peer out0p", "addr add 192.0.2.1/24 dev out0",
                        "addr add 2001:db8::1/64 dev out0 nodad", "link set out0 up", "link set out0p up"):
            call("ip", "-n", NAME, *command.split())
        call("ip", "netns", "exec", NAME, "sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")

    def close(self):
        for argv in ((os.path.join(BUILD, "bin/fwload"), "-q", "-N", NAME, "--unload"), ("ip", "netns", "del", NAME)):
            try:
                call(*argv)
            except Refused as e:
                print("# %s" % e)
        for path in (self.cgroup, self.outside):
            if os.path.isdir(path):
                os.rmdir(path)
        shutil.rmtree(self.folder)

    def start(self, *argv, cgroup, **kw):
        """A process in the namespace that is a member of ${cgroup}."""

        def join():
            with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write(str(os.getpid()))

        argv = ("nsenter", "--net=/var/run/netns/" + NAME, "--") + argv
        # pylint: disable=consider-using-with
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=join, **kw)

    def go(self, way):
        """What the way's system call answered; "waits" where nothing refused and nobody replied."""
        argv = ["timeout", "1", self.program]
        if way.name == "passed-socket":
            # made outside the cgroup, used inside: the shell opens no sockets, so python does
            opener = ("import os, socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK);"
                      "s.set_inheritable(True); open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()));"
                      "os.execv(sys.argv[2], [sys.argv[2], '-e', str(s.fileno())] + sys.argv[3:])")
            argv = [sys.executable, "-c", opener, self.cgroup, self.program]
        p = self.start(*argv, way.name, str(way.number), self.outside,
                       cgroup=self.outside if way.name == "passed-socket" else self.cgroup)
        out = p.communicate()[0].decode().strip()
        return "waits" if p.returncode == 124 else out

    def load(self, rules, where=(), **more):
        policy = dict({"version": 1, "default_action": "allow", "stateful": False, "log_limit": 0, "rules": rules}, **more)
        for n, rule in enumerate(rules):
            rule.update(priority=n, direction="egress")
        with open(os.path.join(self.folder, "policy.yaml"), "w", encoding="utf-8") as f:
            json.dump(policy, f)
        ir = os.path.join(self.folder, "ir.json")
        call(os.path.join(BUILD, "bin/fwc"), "-q", "-o", ir, f.name)
        call("nsenter", "--net=/var/run/netns/" + NAME, "--", os.path.join(BUILD, "bin/fwload"), "-q", "-N", NAME,
             *(where or ("-g", self.cgroup)), ir)

    def watched(self, action):
        """(what ${action}() returned, {destination or source port: [(hook, verdict, rule)]}) as fwmon told it."""
        out = os.path.join(self.folder, "events")
        with open(out, "wb") as f, subprocess.Popen([os.path.join(BUILD, "bin/fwmon"), "-N", NAME], stdout=f) as mon:
            time.sleep(0.5)
            result = action()
            time.sleep(0.5)
            mon.send_signal(signal.SIGTERM)
        events = {}
        with open(out, encoding="utf-8") as f:
            for e in map(json.loads, f):
                if e["event_type"] == "verdict" and e["verdict"] != "allow":
                    for key in (e.get("dst_ip"), e.get("src_port")):
                        events.setdefault(key, set()).add((e["hook"], e["verdict"], e.get("rule")))
        return result, events


def all_ways(matrix):
    return {way: matrix.go(way) for way in matrix.ways}


EVERYTHING = ["192.0.2.0/24", "2001:db8::/64"]


def test_control(matrix):
    for way, answer in all_ways(matrix).items():
        ok(answer in ("ok", "EINPROGRESS", "waits") or answer.startswith("SKIP"), "%s works without a policy" % way.name,
           answer)


def test_denied(matrix, action):
    matrix.load([{"name": "no", "destination_cidrs": EVERYTHING, "action": action}])
    answers, events = matrix.watched(lambda: all_ways(matrix))
    for way, answer in answers.items():
        what = "%s, %s: %s" % (action, way.name, "no hook sees it" if way.hook == "-" else way.hook)
        if answer.startswith("SKIP"):
            ok(True, "%s # %s" % (what, answer))
            continue
        wanted, seen = "EPERM", {(way.hook, "deny", "no")}
        if action == "reject" and way.hook.startswith("connect"):
            wanted = "ECONNREFUSED"
        if way.hook == "-":
            # documented as out of reach: the test is to notice if that changes
            ok(answer in ("ok", "EINPROGRESS") and way.address not in events, what, answer, events.get(way.address))
        else:
            ok(answer == wanted and events.get(way.address) == seen, what, answer, events.get(way.address))


def test_undecided(matrix):
    """A rule about interfaces: connect and sendmsg can't know, so the packet is judged."""
    matrix.load([{"name": "no", "destination_cidrs": EVERYTHING, "interfaces": ["out0"], "action": "deny"}])
    answers, events = matrix.watched(lambda: all_ways(matrix))
    for way, answer in answers.items():
        if way.name in ("tcp4", "tcp6", "tcp-mapped", "udp4-sendto", "udp6-sendto", "udp-mapped-sendto"):
            wanted = "EINPROGRESS" if way.name.startswith("tcp") else "EPERM"
            ok(answer == wanted and events.get(way.address) == {("cgroup_egress", "deny", "no")},
               "interface rule, %s: undecided at the call, denied at cgroup_egress" % way.name, answer,
               events.get(way.address))


def test_identity(matrix):
    """Rules about who sends: the socket's owner and cgroup, known wherever there is a socket."""
    for field, value, hit in (("users", "root", True), ("users", "nobody", False), ("cgroups", matrix.cgroup, True),
                              ("cgroups", matrix.outside, False)):
        matrix.load([{"name": "no", "destination_cidrs": EVERYTHING, field: [value], "action": "deny"}])
        answers, events = matrix.watched(lambda: all_ways(matrix))
        for way, answer in answers.items():
            if way.hook == "-" or answer.startswith("SKIP"):
                continue
            seen = {(way.hook, "deny", "no")} if hit else None
            ok((answer == "EPERM") == hit and events.get(way.address) == seen,
               "%s %s, %s: %s" % (field, "hit" if hit else "missed", way.name, way.hook if hit else "passes"), answer,
               events.get(way.address))


def test_refused(matrix):
    """Where no later hook knows the field, fwload refuses and names rule, field and hook."""
    rule = {"name": "whose", "destination_cidrs": EVERYTHING, "users": ["root"], "action": "deny"}
    try:
        matrix.load([rule], ("-i", "out0", "--xdp", "off", "-N", NAME + "r"))
        ok(False, "a user rule without a cgroup hook is refused", "it was loaded")
    except Refused as e:
        ok("exit 1" in str(e) and all(w in str(e) for w in ("whose", "users", "tc_egress")),
           "a user rule without a cgroup hook is refused, naming rule, field and hook", e)


def test_replies(matrix):
    """What an accepted connection sends passes no connect hook."""
    # both ends are on this host, so the packets take the loopback device
    matrix.load([{"name": "no", "source_ports": [SERVER_PORT], "protocol": "tcp", "action": "deny"}], filter_loopback=True)

    def exchange():
        server = matrix.start(sys.executable, "-c", SERVER, cgroup=matrix.cgroup)
        server.stdout.readline()
        connect = "import socket; socket.create_connection(('192.0.2.1', %d), 1)" % SERVER_PORT
        client = matrix.start(sys.executable, "-c", connect, cgroup=matrix.outside)
        answer = client.communicate()[0].decode().strip().splitlines()[-1:]
        server.kill()
        server.communicate()
        return answer

    answer, events = matrix.watched(exchange)
    ok(answer != [] and events.get(SERVER_PORT) == {("cgroup_egress", "deny", "no")}, "replies of a server: cgroup_egress",
       answer, events.get(SERVER_PORT))


def main():
    reason = why_not()
    if reason:
        print("1..0 # SKIP %s" % reason)
        return 0
    matrix = Matrix()
    try:
        matrix.make()
        test_control(matrix)
        for test in (lambda m: test_denied(m, "deny"), lambda m: test_denied(m, "reject"), test_undecided,
                     test_identity, test_replies, test_refused):
            try:
                test(matrix)
            except Refused as e:
                ok(False, "the policy loads", e)
        print("1..%d" % ran)
    finally:
        matrix.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
