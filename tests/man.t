#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs the EXAMPLES of every manual page: each line that starts with "$ " or "# " in a literal block or a .Dl is a
# command, with the lines that complete it; other lines are what a command prints, or files.
#
# They run as root, but in a network namespace whose eth0 leads to a client that keeps knocking, with a /sys of its
# own (so "the cgroup root" is a cgroup made here, and /sys/fs/bpf is empty) and a /var/lib of its own.
set -u

# ---- inside: man.t --inside PAGE, in the namespaces, in the scratch directory ----

# commands: mdoc on standard input; commands on standard output, each ended by NUL
commands() {
	awk '/^\.Sh / { on = /EXAMPLES/ } on' | awk '
		/^\.Bd -literal/ { literal = 1; next }
		/^\.Ed/ { literal = 0; next }
		/^\.Dl / { sub(/^\.Dl /, ""); print; next }
		literal' | sed 's/\\&//g; s/\\(dq/"/g; s/\\(aq/'\''/g; s/\\e/\\/g' |
		(
			part=
			while IFS= read -r line; do
				if [ -n "$part" ]; then
					part+=$'\n'$line
				elif [[ $line == [\$#]\ * ]]; then
					part=${line:2}
				else
					continue
				fi
				[[ $part != *\\ ]] && bash -n <<<"$part" 2>/dev/null || continue
				printf '%s\0' "$part"
				part=
			done
			[ -z "$part" ] || printf 'false # does not end: %s\0' "$part"
		)
}

# Some commands run until they are interrupted: that they still run, and have printed something, is what can be
# asked of them.
endless() { [[ $1 =~ ^fwmon ]] && [[ ! $1 =~ ' -c ' ]] && [[ ! $1 =~ \.json$ ]] || [[ $1 =~ --watch ]]; }

inside() {
	local command status n=0
	# A page starts with a policy loaded, but for the one on loading.
	[[ $1 == */fw.7 || $1 == */fwload.8 ]] || fwc -q rules.yaml | fwload -q -i eth0 || echo "# can't load rules.yaml"
	while IFS= read -rd '' command <&3; do
		timeout 5 bash -o pipefail -c "$command" >out 2>err </dev/null
		status=$?
		n=$((n + 1))
		if [ $status = 0 ] || { endless "$command" && [ $status = 124 ] && [ -s out ]; } ||
			{ [[ $command =~ ^diff\  ]] && [ $status = 1 ]; }; then
			echo "ok $n - ${command//$'\n'/ }"
		else
			echo "not ok $n - ${command//$'\n'/ }"
			echo "# exit $status"
			head -n 5 err out | sed 's/^/# /'
		fi
	done 3< <(commands <"$1")
	fwload -q --unload
	echo "1..$n"
}

# A sysfs of our own for /sys/class/net; what is mounted below it comes again.
own_mounts() {
	mount --make-rprivate / && umount -R -l /sys && mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf &&
		mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs none /var/lib &&
		mkdir -p /var/lib/prometheus/node-exporter /sys/fs/cgroup/web.slice
}

if [ "${1-}" = --inside ]; then
	own_mounts || exit 1
	cd "$3" || exit 1
	inside "$2"
	rmdir /sys/fs/cgroup/web.slice
	exit
fi

# ---- outside ----

cd "$(dirname "$0")/.." || exit 1
. tests/lib.sh
need_kernel
lab_start || skip_all "can't make network namespaces"
lab_cgroup_start || skip_all "can't make a cgroup"

work=$tmp/work
mkdir "$work" && cp -r examples "$work"
# What the examples call their files. rules.yaml lets little in, so that there is something to see.
cat >"$work/rules.yaml" <<'END'
default_action: {ingress: deny, egress: allow}
log_limit: 0
rules:
  - name: ping
    priority: 10
    direction: ingress
    protocol: icmp
    action: allow
  - name: staging_web
    priority: 20
    direction: ingress
    destination_ports: [80]
    protocol: tcp
    action: allow
END
cp "$work/rules.yaml" "$work/old.yaml"
sed 's/80/8080/' "$work/rules.yaml" >"$work/new.yaml"
printf 'default_action: allow\nrules:\n  - {name: no_smtp, priority: 1, direction: egress, protocol: tcp, destination_ports: [25]}\n' \
	>"$work/service.yaml"
echo '{"event_type":"lost","timestamp":"2026-11-22T13:18:47Z","count":3}' >"$work/events.json"
awk '/^\$ cat web.yaml/ { on = 1; next } /^\.Ed/ { on = 0 } on' man/fw.7 >"$work/web.yaml"

# UDP to a port that is closed: denied packets, as fast as they are judged, and now and then a ping
keep at "$peer" python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    for _ in range(20):
        try:
            s.sendto(b"", ("10.77.0.1", 9999))
        except OSError:
            pass
    time.sleep(0.005)'
awk '/^```yaml/ { on = 1; next } /^```/ { on = 0 } on' README.md >"$work/readme.yaml"
(cd "$work" && fwc -W -c readme.yaml) >"$tmp/out" 2>&1
result $? "the policy of README.md compiles"
sed 's/^/# /' "$tmp/out"
for page in man/*.[1-8]; do
	grep -q '^\.Sh EXAMPLES' "$page" || continue
	in_cgroup nsenter --net="/run/netns/$host" unshare -m -C "$PWD/tests/man.t" --inside "$PWD/$page" "$work" >"$tmp/page" 2>&1
	while IFS= read -r line; do
		case $line in
		"ok "*) ok "${page##*/}: ${line#* - }" ;;
		"not ok "*) not_ok "${page##*/}: ${line#* - }" ;;
		1..0) not_ok "${page##*/} has examples" ;;
		1..*) ;;
		*) echo "$line" ;;
		esac
	done <"$tmp/page"
	grep -q '^1\.\.' "$tmp/page" || not_ok "$page: could not be run"
done
tap_done
