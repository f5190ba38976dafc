#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What check_boot.sh runs in the machine that has booted: one case, as TAP on standard output, then off with it.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec 2>/dev/console </dev/null
what=$(cat /etc/fw/case)

ok() { echo "ok - $what: $1"; }
not_ok() { echo "not ok - $what: $1"; }
result() { if [ "$1" = 0 ]; then ok "$2"; else not_ok "$2"; fi; }
is() { # GOT WANTED NAME
	result "$([ "$1" = "$2" ] && echo 0)" "$3"
	[ "$1" = "$2" ] || echo "# got '$1', wanted '$2'"
}
like() { # GOT PATTERN NAME
	if [[ $1 =~ $2 ]]; then ok "$3"; else not_ok "$3" && printf '%s\n' "$1" | sed 's/^/# got: /'; fi
}
wait_until() { # SECONDS COMMAND...
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		read -rt 0.2 <>/run/never || :
	done
}
mkfifo /run/never

prop() { systemctl show -P "$2" "$1"; } # UNIT PROPERTY
knocks() { # ssh|web|shut: how many were let in
	local -A n
	read -r 'n[ssh]' 'n[web]' 'n[shut]' </run/doors
	echo "${n[$1]}"
}
above() { [ "$(knocks "$1")" -gt "$2" ]; } # PORT COUNT: so many were let in
# let_in PORT: somebody gets in from now on
let_in() { wait_until 60 above "$1" "$(knocks "$1")"; }
# kept_out PORT: not one connection while two get in at port 22, which takes a while
kept_out() {
	local now
	now=$(knocks "$1")
	let_in ssh && let_in ssh && [ "$(knocks "$1")" = "$now" ]
}
loaded() { fwload --status >/run/status 2>&1; }
generation() { fwload --status 2>&1 | awk '/^generation/ { print $2 }'; }
hooks_on() { fwload --status 2>/dev/null | awk -v name="^$1\$" '$1 == "hook" && $3 ~ name && !/GONE/ { n++ } END { print n + 0 }'; }
journal() { journalctl -b -u "$1" -o cat --no-pager; }

# before UNIT UNIT: it was there first
before() {
	local a b
	a=$(prop "$1" "$3") b=$(prop "$2" "$4")
	echo "# $1 $a us, $2 $b us"
	[ "$a" -gt 0 ] && [ "$b" -gt 0 ] && [ "$a" -le "$b" ]
}

put_rules() { cp "/etc/fw/$1.yaml" /etc/fw/rules.yaml; }

addresses_before() {
	! grep -vE '^lo ' /run/before.addr | grep -q '[0-9]\.[0-9]'
	result $? "no interface had an address then"
}

# ---- the cases ----

test_order() {
	is "$(prop fw.service ActiveState)/$(prop fw.service Result)" active/success "fw.service is active"
	before fw.service network-pre.target ActiveEnterTimestampMonotonic ActiveEnterTimestampMonotonic &&
		before network-pre.target systemd-networkd.service ActiveEnterTimestampMonotonic ExecMainStartTimestampMonotonic &&
		before network-pre.target networking.service ActiveEnterTimestampMonotonic ExecMainStartTimestampMonotonic
	result $? "it was before network-pre.target, and that before networkd and ifupdown"
	like "$(cat /run/before.status)" 'tc_egress' "the policy was in force when the network began"
	addresses_before
	let_in ssh && let_in web
	result $? "ssh and web get in"
	is "$(knocks shut)" 0 "nobody has got in at the closed port since the machine was switched on"
}

test_reload() {
	local n first
	first=$(generation)
	for n in 1 2 3 4 5 6; do
		sed -i "s/rate_limit_pps: .*/rate_limit_pps: $((10 + n))/" /etc/fw/rules.yaml
		systemctl reload fw.service || break
	done
	is "$(generation)" $((first + 6)) "six reloads of changed policies are six generations"
	kept_out shut
	result $? "the closed port stayed closed, ssh open"
	first=$(generation)
	systemctl reload fw.service
	is "$?/$(generation)" "0/$first" "a reload of the same policy changes nothing"
	systemctl restart fw.service
	is "$?/$(generation)/$(prop fw.service ActiveState)" "0/$first/active" "a restart neither: nothing was unloaded"
	is "$(knocks shut)" 0 "and nobody got in meanwhile"

	put_rules broken
	systemctl reload fw.service
	is "$?/$(prop fw.service ActiveState)/$(prop fw.service ReloadResult)" 1/active/exit-code \
		"a reload of a broken policy fails, and the unit stays active"
	is "$(generation)" "$first" "the policy in force stays"
	systemctl restart fw.service
	is "$?/$(prop fw.service ActiveState)" 1/failed "a restart with a broken policy fails"
	is "$(generation)" "$first" "and the policy in force stays, too"
	kept_out shut
	result $? "the closed port stays closed"
	wait_until 20 grep -qs fw.service /run/alerts
	result $? "/etc/fw/alert was called"
	put_rules good
	systemctl start fw-reload.service
	is "$?/$(prop fw.service ActiveState)" 0/active "after the repair, fw-reload.service starts it again"
	sed -i 's/rate_limit_pps: .*/rate_limit_pps: 30/' /etc/fw/rules.yaml
	first=$(generation)
	systemctl start fw-reload.service
	is "$?/$(generation)" "0/$((first + 1))" "fw-reload.service loads what has changed"
}

announced() { [ "$(prop "sys-subsystem-net-devices-$1.device" ActiveState)" = active ]; }

test_udev() {
	ip link add veth1 type veth peer name other
	wait_until 60 announced veth1
	is "$?/$(hooks_on veth1)" 0/2 "a new veth1 has its two hooks when udev announces it"
	udevadm settle
	ip link set veth1 name plain
	udevadm settle
	is "$(hooks_on veth1)/$(hooks_on plain)" 0/0 "renamed to what the glob does not match, it has none"
	ip link set plain name veth7
	udevadm settle
	is "$(hooks_on veth7)" 2 "renamed back, it has two"
	ip link del veth7
	udevadm settle
	is "$(fwload --status | grep -c -e veth7 -e GONE)" 0 "gone, it is not missed"
	for n in 1 2 3 4 5 6 7 8; do ip link add "veth$n" type veth peer name "peer$n"; done
	udevadm settle --timeout=120
	is "$(hooks_on 'veth[1-8]')" 16 "eight at once have theirs"
	is "$(systemctl list-units --no-legend --failed 'fw-refresh@*' | wc -l)" 0 "no refresh failed"
	for n in 1 2 3 4 5 6 7 8; do ip link del "veth$n"; done
	udevadm settle --timeout=120
}

test_check() {
	systemctl start fw-check.service
	is "$?" 0 "fw-check.service finds nothing wrong"
	like "$(journal fw-check.service)" 'FW OK' "its line is in the journal"
	sed -i 's/rate_limit_pps: .*/rate_limit_pps: 31/' /etc/fw/rules.yaml
	systemctl start fw-check.service
	is "$?/$(prop fw-check.service ExecMainStatus)" 1/2 "a changed policy on disk is critical"
	systemctl reload fw.service
	systemctl start fw-check.service
	is "$?" 0 "loaded, all is well again"
	is "$(prop fw-check.timer ActiveState)/$(prop fw-reload.timer ActiveState)" active/active "both timers run"
	wait_until 90 eval '[ "$(prop fw-check.timer LastTriggerUSec)" != n/a ]'
	result $? "the check's has elapsed by itself"
}

test_events() {
	is "$(prop fwmon.service ActiveState)" active "fwmon.service runs"
	is "$(ps -o user= -p "$(prop fwmon.service MainPID)")" fw "as user fw"
	wait_until 30 eval 'journal fwmon.service | jq -Rc "fromjson? | select(.verdict == \"deny\" and .dst_port == 7)" | grep -q .'
	result $? "the journal has a JSON line of somebody who was denied"
}

test_stop() {
	! prop fw.service Conflicts | grep -q shutdown
	result $? "a shutdown does not stop fw.service"
	systemctl stop fw.service
	is "$?/$(loaded && echo loaded)" 0/ "stopped by the admin, it is unloaded"
	let_in shut
	result $? "and the closed port is open: there was something to be seen"
	systemctl start fw-reload.service
	is "$(loaded && echo loaded)" "" "fw-reload.service does not load what the admin has stopped"
	systemctl start fw.service
	is "$?/$(loaded && echo loaded)" 0/loaded "started again, it is loaded"
}

case_good() {
	test_order
	test_reload
	test_udev
	test_check
	test_events
	test_stop
}

case_open() {
	is "$(prop fw.service ActiveState)/$(prop fw.service Result)" failed/exit-code "fw.service has failed"
	like "$(journal fw.service)" 'rules.yaml:2:' "the journal has the compiler's message"
	wait_until 20 grep -qs fw.service /run/alerts
	result $? "/etc/fw/alert was called"
	is "$(loaded && echo loaded)" "" "nothing is loaded"
	let_in shut
	result $? "the network is up, and whoever knocks gets in"
}

case_closed() {
	is "$(prop fw.service ActiveState)" failed "fw.service has failed"
	is "$(prop fw-closed.service Result)" success "fw-closed.service has not"
	like "$(journalctl -b -p crit -o cat --no-pager)" 'no policy is in force' "the journal says so, as critical"
	like "$(cat /run/before.status)" 'tc_egress' "the fallback was in force when the network began"
	addresses_before
	let_in ssh
	result $? "ssh gets in"
	kept_out web
	is "$?/$(knocks web)/$(knocks shut)" 0/0/0 "nobody else has since the machine was switched on"
	put_rules good
	systemctl start fw.service
	result $? "repaired, fw.service can be started"
	let_in web
	is "$?/$(knocks shut)" 0/0 "and the policy replaces the fallback"
}

case_down() {
	is "$(prop fw.service ActiveState)/$(prop fw-closed.service ActiveState)" failed/failed "both have failed"
	is "$(prop systemd-networkd.service ActiveState)/$(prop networking.service ActiveState)" inactive/inactive \
		"neither networkd nor ifupdown was started"
	! ip -o addr show scope global | grep -q .
	result $? "no interface has an address"
	is "$(knocks ssh)/$(knocks shut)" 0/0 "nobody has got in"
	put_rules good
	systemctl start fw.service && systemctl start systemd-networkd.service networking.service
	result $? "repaired on the console, the network can be started"
	let_in ssh
	is "$?/$(knocks shut)" 0/0 "and the policy decides"
}

echo "# $what: $(uname -r), $(systemctl --version | head -n 1), up after $(cut -d' ' -f1 /proc/uptime) s"
case_"$what"
systemctl list-units --no-legend --plain --failed | sed 's/^/# failed: /'
journalctl -b -o short-monotonic --no-pager -n 2000 >/dev/console
echo "# end of $what"
sleep 5 # the serial line is slower than the machine is off
systemctl poweroff -ff
