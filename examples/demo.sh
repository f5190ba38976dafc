#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# make demo: a policy, real packets, verdicts. Everything happens in two network namespaces and one cgroup of its
# own, which are gone afterwards; no interface of this machine is touched.
set -u
cd "$(dirname "$0")/.." || exit
. tests/lib.sh

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	bold=$(printf '\033[1m') plain=$(printf '\033[m')
fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; }
give_up() {
	echo "demo: $*" >&2
	exit 1
}

# expect yes|no WHAT COMMAND...: a line about what came of it; the demo fails if it isn't what the policy says
expect() {
	local want=$1 what=$2 got=no
	shift 2
	"$@" >"$tmp/out" 2>&1 && got=yes
	printf '  %-52s %s\n' "$what" "$([ $got = yes ] && echo 'got through' || echo 'did not')"
	[ $got = "$want" ] || give_up "'$what' was to be the other way round: $(tail -n 3 "$tmp/out")"
}
fetch() { at "$peer" curl -sS --noproxy '*' -o /dev/null --connect-timeout 0.7 "$1"; }
knock() { at "$peer" nc -z -w 1 "$1" "$2"; }
# verdicts PATTERN: wait for the event that ends the act, then show the new lines: the time of day, and no more of
# one kind than needed
seen=0
news() { sed -n "$((seen + 1)),\$p" "$tmp/text"; }
news_has() { news | grep -q -- "$1"; }
verdicts() {
	wait_until 5 news_has "$1" || give_up "no event of '$1' arrived"
	news | cut -c 12-19,28- | sed 's/ *if=.*//; s/^/  /' | head -n 6
	seen=$(wc -l <"$tmp/text")
}

say "a server and a client: two network namespaces, joined by a cable"
lab_start || give_up "can't make network namespaces"
lab_cgroup_start || give_up "can't make a cgroup below $(cgroup2)"
use_instance "$lab"
mkdir "$tmp/www" && echo hello >"$tmp/www/index.html"
keep at "$host" python3 -m http.server --bind :: --directory "$tmp/www" 80 >/dev/null 2>&1
for port in 22 5432; do
	keep at "$host" nc -lk "$port" >/dev/null
done
for port in 80 22 5432; do
	wait_until 5 listens "$host" "$port" || give_up "nothing listens on port $port"
done
echo "  the server has a web server on port 80, something on 22 and a database on 5432"
expect yes "curl http://10.77.0.1/, no firewall yet" fetch http://10.77.0.1/
expect yes "nc 10.77.0.1 5432, no firewall yet" knock 10.77.0.1 5432

say "load a policy: examples/demo.yaml"
sed -n '/^rules/,$p' examples/demo.yaml | sed '/^$/d; s/^/  /' | head -n 18
echo "  ..."
show "fwc examples/demo.yaml | fwload -v -i eth0 -g $lab_cgroup_path"
fwc examples/demo.yaml | at "$host" fwload -v -N "$lab" -i eth0 -g "$lab_cgroup_path" || give_up "fwload failed"
keep at "$host" fwmon -q -N "$lab" -o text >"$tmp/text"
keep at "$host" fwmon -q -N "$lab" >"$tmp/json"
wait_text "$tmp/json" meta || give_up "fwmon does not start"
wait_text "$tmp/text" meta || give_up "fwmon -o text does not start"
seen=$(wc -l <"$tmp/text")

say "traffic, and what fwmon -o text says about it"
expect yes "curl http://10.77.0.1/" fetch http://10.77.0.1/
expect yes "curl http://[fd77::1]/" fetch 'http://[fd77::1]/'
expect yes "nc 10.77.0.1 22, from the office" knock 10.77.0.1 22
expect no "nc 10.77.0.1 5432, the database" knock 10.77.0.1 5432
expect no "nc fd77::1 5432" knock fd77::1 5432
verdicts 'fd77::1.*5432'

say "20 pings in 0.2 s where the policy allows 5 a second"
at "$peer" ping -q -i 0.01 -c 20 -W 1 10.77.0.1 | sed -n 's/^[0-9]* packets/  &/p'
verdicts rate_limited

say "the server itself asks for cloud credentials: refused at connect()"
expect no "curl http://169.254.169.254/" \
	in_cgroup at "$host" curl -sS --noproxy '*' --connect-timeout 2 http://169.254.169.254/
verdicts no_metadata
show "fwmon | jq 'select(.rule == \"no_metadata\")'"
wait_text "$tmp/json" no_metadata || give_up "the event is not in the JSON lines"
jq -c 'select(.rule == "no_metadata")' "$tmp/json" | head -n 1 | fold -w 110 | sed 's/^/  /'

say "a new policy while traffic flows: the web server is closed"
show "fwc examples/demo.yaml | jq '(.rules[] | select(.name == \"web\")).action = \"deny\"' | fwload ..."
fwc examples/demo.yaml | jq '(.rules[] | select(.name == "web")).action = "deny"' >"$tmp/closed.json"
at "$host" fwload -v -N "$lab" -i eth0 -g "$lab_cgroup_path" "$tmp/closed.json" || give_up "the reload failed"
expect no "curl http://10.77.0.1/" fetch http://10.77.0.1/
expect yes "nc 10.77.0.1 22" knock 10.77.0.1 22
verdicts 'ssh.*22'

say "pressure and counters: fwstat"
at "$host" fwstat -N "$lab" | cut -c 1-130 | sed 's/^/  /'

say "unload"
show "fwload --unload"
end "${lab_pids[@]: -2}"
at "$host" fwload -N "$lab" --unload || give_up "fwload --unload failed"
lab_instances=()
expect yes "nc 10.77.0.1 5432, no firewall any more" knock 10.77.0.1 5432
echo
echo "That was all; nothing is left behind. Next: README.md, examples/, man ./man/fw.7"
