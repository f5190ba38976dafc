#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Where pins are put and looked for: not where somebody else could have put something, whatever was made there before, and
# however the path changes meanwhile. Modes and owners of all that is made.
. tests/lib.sh
need_kernel
lab_start || exit 1
# bpf file systems of our own: the directory of all instances is squatted, too
export FW_BPFFS=$tmp/bpf
for dir in bpf other; do
	mkdir "$tmp/$dir" && mount -t bpf bpf "$tmp/$dir" && chmod 1777 "$tmp/$dir" || exit 1
done
pins_end() {
	fwload -q -N "$lab" --unload
	umount "$tmp/bind" 2>/dev/null
	umount "$tmp/bpf" "$tmp/other"
	unset FW_BPFFS
	lab_end
}
trap pins_end EXIT
fw=$FW_BPFFS/fw inst=$FW_BPFFS/fw/$lab
chmod 711 "$tmp"

fwc -q - >"$tmp/p.json" <<'Y'
default_action: allow
rules:
  - {name: web, priority: 1, destination_ports: [80], protocol: tcp, action: deny}
Y
fwc -q - >"$tmp/q.json" <<'Y'
default_action: allow
rules:
  - {name: web, priority: 1, destination_ports: [81], protocol: tcp, action: deny}
Y
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"; }
load() { at "$host" fwload -N "$lab" -i eth0 --xdp off "$@"; }
# refused TEXT WHAT [PATH]: by every program, with exit 3 and PATH (default: $inst) in the message; and nothing is made there
refused() {
	local text=$1 what=$2 path=${3:-$inst} program status before after
	before=$(find "$FW_BPFFS" -mindepth 1 ! -name '*.debug' -printf '%P %m %u %i\n' | sort)
	for program in "load $tmp/p.json" "fwload -N $lab --status" "fwload -N $lab --unload" "fwload -N $lab --kill-flows all" \
		"fwstat -N $lab" "fwmon -c 1 -N $lab"; do
		$program >"$tmp/out" 2>"$tmp/err" </dev/null
		status=$?
		[ $status = 3 ] && grep -qE -- "$text" "$tmp/err" && grep -qF -- "$path" "$tmp/err"
		result $? "$what: ${program%% *} $(grep -oE -- '--(status|unload|kill-flows)' <<<"$program") refuses"
		[ $status = 3 ] && grep -qF -- "$path" "$tmp/err" || note "status $status: $(cat "$tmp/err")"
	done
	after=$(find "$FW_BPFFS" -mindepth 1 ! -name '*.debug' -printf '%P %m %u %i\n' | sort)
	is "$after" "$before" "$what: and nothing was changed"
}

# ---- squatted ----

nobody mkdir "$fw"
refused 'refusing .*uid 65534' "another's fw" "$fw"
rmdir "$fw"
nobody ln -s "$tmp/other" "$fw"
refused 'cannot open' "another's link for fw" "$fw"
rm "$fw"
ln -s "$tmp/other" "$fw"
refused 'cannot open' "even root's link" "$fw"
rm "$fw"
bpftool map create "$fw" type array key 4 value 4 entries 1 name x
refused 'cannot open' "a map for fw" "$fw"
rm "$fw"
mkdir -m 700 "$fw"
mkdir "$inst" && chown nobody "$inst"
refused 'refusing .*uid 65534' "another's instance"
rmdir "$inst"
mkdir -m 700 "$fw/real" && ln -s "$fw/real" "$inst"
refused 'cannot open' "a link for an instance"
rm "$inst" && rmdir "$fw/real"
for mode in 770 702 1777; do
	chmod $mode "$fw"
	refused 'refusing .*mode' "fw with mode $mode" "$fw"
done
chmod 700 "$fw"
for mode in 770 702; do
	mkdir "$inst" && chmod $mode "$inst"
	refused 'refusing .*mode' "an instance with mode $mode"
	rmdir "$inst"
done
mkdir -m 700 "$inst" "$inst/maps"
chown nobody "$inst/maps"
refused 'refusing .*uid 65534' "another's maps" "$inst/maps"
chown 0 "$inst/maps" && chmod 720 "$inst/maps"
refused 'refusing .*mode' "maps with mode 720" "$inst/maps"
rmdir "$inst/maps"
mkdir -m 700 "$fw/real" && ln -s "$fw/real" "$inst/maps"
refused 'cannot open' "a link for maps" "$inst/maps"
rm "$inst/maps" && rmdir "$fw/real" "$inst" "$fw"

# ---- modes and owners ----

strange() { find "$fw" \( -type d ! -perm 700 -o ! -type d ! -perm 600 -o ! -user 0 -o ! -group 0 \) -printf '%m %u:%g %P\n'; }
for mask in 000 077 777; do
	(umask $mask && load "$tmp/p.json")
	result $? "umask $mask: a load"
	(umask $mask && load "$tmp/q.json")
	result $? "umask $mask: and another"
	is "$(strange)" "" "umask $mask: directories 0700, pins 0600, all root's"
	[ "$(find "$fw" -type f | wc -l)" -gt 15 ]
	result $? "umask $mask: as many as there should be"
	at "$host" fwload -N "$lab" --unload
	rmdir "$fw"
done

# ---- another way to the same file system ----

mkdir "$tmp/bind" && mount --bind "$tmp/bpf" "$tmp/bind"
ln -s "$tmp/bpf" "$tmp/link"
FW_BPFFS=$tmp/bind load "$tmp/p.json"
result $? "a bind mount"
FW_BPFFS=$tmp/link load "$tmp/q.json"
result $? "a symbolic link to the mount, which the admin has set"
is "$(FW_BPFFS=$tmp/link fwstat -N "$lab" -o json | jq .generation)" 2 "lead to the same instance"
umount "$tmp/bind"
FW_BPFFS=$tmp/bind load "$tmp/p.json" 2>"$tmp/err"
is "$?:$(grep -c 'no bpf file system' "$tmp/err")" 3:1 "where the mount is gone nothing is made"
is "$(ls -A "$tmp/bind")" "" "for sure"
fwload -N "$lab" --unload

# ---- the path changes between check and use ----

# The loader has verified the directory and waits for the lock; when it gets it, its path leads to a directory of nobody's.
[ -e "$fw" ] || mkdir -m 700 "$fw"
mkdir -m 700 "$inst"
nobody mkdir -p "$tmp/other/fw/$lab"/{maps,progs,links}
chmod 1777 "$tmp/other/fw/$lab"/{maps,progs,links}
rm "$tmp/link" && ln -s "$tmp/bpf" "$tmp/link"
exec 8<"$inst"
flock 8
(launch='exec' && FW_BPFFS=$tmp/link && load --wait 20s "$tmp/p.json") 2>"$tmp/err" &
loader=$!
waits() { find "/proc/$loader/fd" -lname "*/fw/$lab" 2>/dev/null | grep -q . && [ -e "$inst/links" ]; }
wait_until 10 waits
result $? "a loader waits with a verified directory"
ln -sfn "$tmp/other" "$tmp/link"
flock -u 8
exec 8<&-
wait $loader
result $? "its path is exchanged, and it loads"
note "$(cat "$tmp/err")"
is "$(find "$tmp/other/fw/$lab" -type f | wc -l)" 0 "nothing of it is where the path leads"
is "$(fwstat -N "$lab" -o json | jq -c '[.generation, .protecting]')" "[1,true]" "all of it is where it was verified"
tap_done
