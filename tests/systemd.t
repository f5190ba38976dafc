#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The units, the udev rule and the cron table in examples/, without booting (check_boot.sh does that): systemd's own
# verdict on the units, their shell, and their command lines, which are run here in the order that systemd would, in a
# network namespace and with a bpf file system and cgroup root of their own.
set -u

# ---- inside: systemd.t --inside WORK, in the namespaces ----

# lines UNIT KEY: the commands of that key as systemd runs them, but for "-" before it and "$$", one a line
lines() {
	sed -e ':a' -e '/\\$/{N;s/\\\n[ \t]*/ /;ba' -e '}' "$units/$1" | sed -n "s/^$2=-\{0,1\}//p" | sed "s/%n/$1/g; s/\\$\\$/$/g"
}

# run UNIT KEY...: until one fails; what they print is in out
run() {
	local unit=$1 key line
	shift
	for key; do
		while IFS= read -r line <&3; do
			bash -c "$line" >>out 2>&1 </dev/null || return
		done 3< <(lines "$unit" "$key")
	done
}

# reset OUT: nothing printed yet
reset() { : >out; }
generation() { fwload --status 2>/dev/null | awk '/^generation/ { print $2 }'; }
rules() { fwload --status 2>/dev/null | awk '/^description/' | grep -c "$1"; }
policy() { # DEFAULT PORT
	printf 'default_action: {ingress: %s, egress: allow}\nattach: {interfaces: [eth0]}\nrules:\n' "$1"
	printf '  - {name: one, priority: 1, direction: ingress, protocol: tcp, destination_ports: [%s], action: allow}\n' "$2"
}

# Without systemd there is no job that could be a restart, unless the file "job.list" says so.
shim() {
	mkdir -p shim
	printf '#!/bin/sh\ncat %q/job.list 2>/dev/null\n' "$PWD" >shim/systemctl
	chmod 755 shim/systemctl
	PATH=$PWD/shim:$PATH
}

inside_service() {
	local first
	policy deny 80 >etc/rules.yaml
	reset && run fw.service ExecStart
	result $? "fw.service: what ExecStart says loads the policy"
	first=$(generation)
	reset && run fw.service ExecReload
	is "$?/$(generation)" "0/$first" "the same by ExecReload changes nothing"
	policy deny 81 >etc/rules.yaml
	reset && run fw.service ExecReload
	is "$?/$(generation)" "0/$((first + 1))" "ExecReload loads a changed policy"
	echo 'rules: 1' >etc/rules.yaml
	reset && run fw.service ExecReload
	is "$?/$(generation)" "1/$((first + 1))" "it fails with a broken one, and the policy in force stays"
	grep -q 'rules.yaml:1:' out
	result $? "and it says where"
	echo '12 fw.service restart running' >job.list
	reset && run fw.service ExecStop
	is "$?/$(generation)" "0/$((first + 1))" "ExecStop in a restart unloads nothing"
	echo '12 fw.service stop running' >job.list
	reset && run fw.service ExecStop
	is "$?/$(generation)" "0/" "ExecStop in a stop unloads"
	rm job.list
}

inside_closed() {
	sed 's|"\*"|eth0|' "$top/examples/closed.yaml" >etc/closed.yaml
	reset && run fw-closed.service ExecStart
	is "$?/$(generation)" 0/1 "fw-closed.service: with nothing loaded, the fallback is"
	grep -q '^<2>no policy is in force' out
	result $? "and it says so"
	policy deny 80 >etc/rules.yaml
	run fw.service ExecStart
	reset && run fw-closed.service ExecStart
	is "$?/$(generation)/$(cat out)" 0/2/ "with a policy loaded, it does nothing"
	fwload -q --unload
	echo 'rules: 1' >etc/closed.yaml
	reset && run fw-closed.service ExecStart
	is "$?/$(generation)" 1/ "with a broken fallback it fails"
	grep -q '^<2>that failed, too' out
	result $? "and says so"
}

# cron: what cron would run, as it would
cron() { sh -c "$(sed -n 's/^\*[^a-z]*root //p' cron)" >out 2>&1 </dev/null; }

inside_cron() {
	policy deny 80 >etc/rules.yaml
	cron
	is "$(generation)/$(grep -c 'generation 1: 1 rules' out)" 1/1 "cron: the first run loads the policy and mails that"
	cron
	is "$(generation)/$(cat out)" 1/ "the next does nothing and mails nothing"
	policy deny 81 >etc/rules.yaml
	cron
	is "$(generation)/$(grep -c 'generation 2' out)" 2/1 "a change is loaded and mailed"
	echo 'rules: 1' >etc/rules.yaml
	cron
	is "$(generation)/$(grep -c 'rules.yaml:1:' out)/$(grep -c fwload: out)" 2/1/0 \
		"a broken policy is mailed with its place, and the old one stays"
	policy deny 82 >etc/rules.yaml
	cron &
	cron &
	wait
	cron
	is "$(generation)/$(cat out)" 3/ "two at once are one load"
	fwload -q --unload
}

# What is on trial, or was given up, is left alone by what runs unattended.
trial_over() { fwload --status 2>/dev/null | grep -Eq '^(trial .*reverted|given up) '; }
unattended() {
	cron
	cat out
	reset
	echo active >job.list # is fw.service?
	run fw-reload.service ExecCondition && echo "fw-reload.service would run"
	rm job.list
}

inside_trial() {
	policy deny 80 >etc/rules.yaml
	is "$(unattended | tail -n 1)/$(generation)" "fw-reload.service would run/1" "no trial: both load"
	policy deny 81 >etc/rules.yaml
	fwc etc/rules.yaml | fwload -q --confirm 2s
	is "$?/$(unattended)" 0/ "a trial is pending: neither loads, nor says anything"
	wait_until 10 trial_over
	is "$?/$(unattended)" 0/ "it has reverted: they don't load it again"
	fwload --status | grep -E '^(generation|given up|trial)' | sed 's/^/# /'
	reset && run fw.service ExecReload
	is "$?/$(unattended | tail -n 1)" "0/fw-reload.service would run" "loaded by hand, they go on"
	fwload -q --unload
}

# The lines of these with options that are checked elsewhere: here that they succeed on a healthy firewall.
inside_others() {
	policy deny 80 >etc/rules.yaml
	run fw.service ExecStart
	for line in 'fw.service ExecStartPost' 'fw-refresh@.service ExecStart' 'fw-check.service ExecStart'; do
		reset
		# shellcheck disable=SC2086
		run $line
		result $? "${line/ /: }"
		sed 's/^/# /' out
	done
	policy deny 83 >etc/rules.yaml
	reset && run fw-check.service ExecStart
	is "$?/$(grep -c '^FW CRITICAL' out)" 2/1 "fw-check.service: another policy on disk is critical"
	fwload -q --unload
}

if [ "${1-}" = --inside ]; then
	top=$PWD
	. tests/lib.sh
	mount --make-rprivate / && umount -R -l /sys && mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf &&
		mount -t cgroup2 none /sys/fs/cgroup && cd "$2" || exit 1
	units=$PWD/units
	shim
	inside_service
	inside_closed
	inside_cron
	inside_trial
	inside_others
	tap_done
	exit
fi

# ---- outside ----

cd "$(dirname "$0")/.." || exit 1
. tests/lib.sh
work=$tmp/work units=$tmp/work/units
mkdir -p "$work"/{units,etc,run}

# The units with the paths of here: programs as built, /etc/fw and /run/fw in $work.
here() {
	sed "s|/usr/local/s\{0,1\}bin/|$PWD/$B/bin/|g; s|/usr/bin/udevadm|/bin/true|; s|%t/fw|$work/run|g; s|/etc/fw/|$work/etc/|g
		s|/usr/bin/systemctl|systemctl|; s|\$FWLOAD_OPTIONS||" "$1"
}
for unit in examples/systemd/*.service examples/systemd/*.timer; do
	here "$unit" >"$work/units/${unit##*/}"
done
here examples/cron/fw | sed "s|fwc |$PWD/$B/bin/fwc |g; s|fwload |$PWD/$B/bin/fwload |g" >"$work/cron"

# ---- systemd's verdict ----

# verify FILE...: what systemd-analyze has to say; no line if all is well. (Manual pages are looked for below.)
verify() { SYSTEMD_UNIT_PATH=$tmp/verify: systemd-analyze verify --man=no "$@" 2>&1; }

verify_units() {
	local unit name out
	mkdir "$tmp/verify"
	printf '#!/bin/sh\n' >"$work/etc/alert" && chmod 755 "$work/etc/alert"
	for unit in examples/systemd/*.service examples/systemd/*.timer; do
		here "$unit" | sed "s|=systemctl |=$(type -P systemctl) |" >"$tmp/verify/${unit##*/}"
	done
	for unit in "$tmp"/verify/*; do
		name=${unit##*/}
		out=$(verify "$unit")
		is "$out" "" "systemd-analyze verify $name"
	done
	# Would it say anything?
	sed 's|^ExecReload=.*|ExecReload=/not/there|; s/^RemainAfterExit/RemainAfterexit/' "$tmp/verify/fw.service" \
		>"$tmp/verify/broken.service"
	out=$(verify "$tmp/verify/broken.service")
	is "$(grep -c "RemainAfterexit" <<<"$out")/$(grep -c "/not/there is not executable" <<<"$out")" 1/1 \
		"it complains of an unknown key and of a program that is not there"
}

# links ROOT: what "enable" has made
links() { (cd "$1/etc/systemd/system" && find . -type l -printf '%P\n' | sort | tr '\n' ' '); }

enable_units() {
	local root=$tmp/root
	mkdir -p "$root/usr/local/lib/systemd/system" "$root/etc/systemd/system"
	cp examples/systemd/*.service examples/systemd/*.timer "$root/usr/local/lib/systemd/system/"
	systemctl -q --root="$root" enable fw.service fw-check.timer fw-reload.timer >"$tmp/out" 2>&1
	is "$?/$(links "$root")" \
		"0/sysinit.target.wants/fw.service timers.target.wants/fw-check.timer timers.target.wants/fw-reload.timer " \
		"systemctl enable: an open machine"
	systemctl -q --root="$root" enable fw-closed.service >"$tmp/out" 2>&1
	is "$?/$(links "$root" | tr ' ' '\n' | grep -c '\.requires/fw-closed.service$')" 0/6 \
		"systemctl enable fw-closed.service: what configures the network requires it"
	systemctl -q --root="$root" disable fw-closed.service >"$tmp/out" 2>&1
	is "$?/$(links "$root" | grep -c closed)" 0/0 "and no more when it is disabled"
}

if type -P systemd-analyze >/dev/null; then
	verify_units
	enable_units
else
	skip "no systemd-analyze (package systemd)"
fi

# ---- the shell in them ----

for unit in "$work"/units/* "$work/cron"; do
	case $unit in
	*/cron) sed -n 's/^\*[^a-z]*root //p' "$unit" ;;
	# systemd's quotes around it are the shell's here
	*) lines "${unit##*/}" '[A-Za-z]*' | sed -n "s|^/bin/sh -c '\(.*\)'$|\1|p" ;;
	esac >"$tmp/snippets"
	while IFS= read -r snippet; do
		sh -n -c "$snippet" 2>"$tmp/out"
		result $? "${unit##*/}: sh takes: ${snippet:0:50}..."
		type -P shellcheck >/dev/null || continue
		is "$(shellcheck -s sh - <<<"$snippet")" "" "${unit##*/}: and shellcheck has nothing to say"
	done <"$tmp/snippets"
done

# ---- what they refer to ----

sed -n 's/^Documentation=//p' examples/systemd/* | tr ' ' '\n' | sort -u >"$tmp/pages"
while IFS='():' read -r _ page section; do
	[ -e "man/$page.$section" ]
	result $? "$page($section), which units name, is in man/"
done <"$tmp/pages"
for unit in $(grep -ohE 'fw[a-z-]*@?\.(service|timer)' examples/systemd/* examples/udev/* man/*.[1-8] | sort -u); do
	# fw.service stands for itself in names such as fw-alert@fw.service.service
	[ -e "examples/systemd/$unit" ]
	result $? "$unit, which is spoken of, is in examples/systemd/"
done

# ---- the rule of udev ----

rule=examples/udev/70-fw.rules
if udevadm verify --help >/dev/null 2>&1; then
	udevadm verify --resolve-names=never "$rule" >"$tmp/out" 2>&1
	result $? "udevadm verify"
	sed 's/^/# /' "$tmp/out"
else
	skip "udevadm here has no verify (systemd 254)"
fi
# Comma-separated KEY{attribute} operator "value", and labels that are there.
term='[A-Z]+(\{[^}"]*\})? *(==|!=|=|\+=|-=|:=) *"[^"]*"'
is "$(grep -vE "^(#.*|$term(, *$term)*)?$" "$rule")" "" "each line of it has the form of a rule"
is "$(grep -o 'GOTO="[^"]*"' "$rule" | sort -u | sed 's/GOTO/LABEL/')" "$(grep -o 'LABEL="[^"]*"' "$rule" | sort -u)" \
	"and what it jumps to exists"
while read -r file; do
	[ -e "examples/systemd/$file" ]
	result $? "the unit that it starts exists: $file"
done < <(sed -n 's/.*start \(fw-[a-z]*@\)[^.]*\(\.service\)".*/\1\2/p' "$rule" | sort -u)

# ---- cron ----

for file in examples/cron/*; do
	[[ ${file##*/} =~ ^[A-Za-z0-9_-]+$ ]]
	result $? "cron does not skip a file with the name ${file##*/}"
	is "$(grep -cvE '^(#.*|[A-Z]+=.*|([0-9*/,-]+ ){5}root [^%]*)?$' "$file")/$(grep -cE '^[0-9*].* root ' "$file")" 0/1 \
		"$file: comments, variables, and one line of five times, user and command, without %"
	is "$(tail -c 1 "$file" | od -An -c | tr -d ' ')" '\n' "$file ends in a newline, without which cron refuses it"
done

# ---- what fw(7) says to do ----

# The commands of its three sections, on a root of their own: where systemd would have to run, that the unit has what
# it is asked for.
systemctl_there() {
	case $1 in
	enable) systemctl -q --root="$there" "$@" ;;
	start) [ -e "$there/usr/local/lib/systemd/system/$2" ] ;;
	reload) grep -q ^ExecReload= "$there/usr/local/lib/systemd/system/$2" ;;
	*) return 1 ;;
	esac
}

there=$tmp/there
mkdir -p "$there"/etc/{fw,default,cron.d,udev/rules.d,sysusers.d,systemd/system} "$there/usr/local/lib/systemd/system"
cp examples/systemd/*.service examples/systemd/*.timer "$there/usr/local/lib/systemd/system/"
awk '/^\$ cat web.yaml/ { on = 1; next } /^\.Ed/ { on = 0 } on' man/fw.7 >"$tmp/web.yaml"
awk '/^\.S/ { on = /Boots|Loading again|Interfaces that appear/ } on && /^# /' man/fw.7 | cut -c3- >"$tmp/commands"
while IFS= read -r command; do
	here=${command//" /etc/"/" $there/etc/"}
	here=${here//">/etc/"/">$there/etc/"}
	here=${here/cp web.yaml/cp $tmp/web.yaml}
	if [[ $command == systemctl* ]] && ! type -P systemctl >/dev/null; then
		skip "no systemctl: $command"
	else
		eval "${here/#systemctl /systemctl_there }" >"$tmp/out" 2>&1
		result $? "fw(7): $command"
		sed 's/^/# /' "$tmp/out"
	fi
done <"$tmp/commands"
result "$([ -s "$tmp/commands" ] && echo 0)" "fw(7) has such commands"
for file in "$there"/etc/fw/*.yaml; do
	fwc -q -c "$file"
	result $? "fw(7): ${file##*/} compiles then"
done

# ---- run ----

lacks=$(kernel_lacks | head -n 1)
if [ -z "$lacks" ] && [ -x "$B/bin/fwload" ] && lab_start && lab_cgroup_start; then
	in_cgroup nsenter --net="/run/netns/$host" unshare -m -C "$PWD/tests/systemd.t" --inside "$work" >"$tmp/inside" 2>&1
	while IFS= read -r line; do
		case $line in
		"ok "*) ok "${line#* - }" ;;
		"not ok "*) not_ok "${line#* - }" ;;
		1..*) finished=1 ;;
		*) echo "$line" ;;
		esac
	done <"$tmp/inside"
	[ -n "${finished-}" ] || not_ok "the command lines could not be run to the end"
else
	skip "${lacks:-no laboratory}: the command lines are not run"
fi
tap_done
