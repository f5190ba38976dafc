#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What it all costs, beside its budget: [B=BUILD] tests/bench.sh [SECTION]...
# Sections: rules state ct events worst cidrs load switch fwmon. (SECTIONS="state ct" make bench)
# Verdicts are BPF_PROG_TEST_RUN over the pinned XDP program, less an empty program, in ns: median and quartiles of
# paired differences, and the difference of the two fastest runs ("best": what neighbours on the machine disturb
# least). "ok": the median is within the budget; "noisy": the best is; "over": neither.
# More figures than fit on the screen: BUILD/bench/results.tsv.
set -u
cd "$(dirname "$0")/.." || exit 3
B=${B:-build}
OUT=$B/bench
T=$(mktemp -d) || exit 3
NAME=bench-$$
NS=fwbench$$
CG=
RUN=$B/tests/bench_run
WIRE=$B/tests/bench_wire
TIME=$B/tests/bench_time
GEN=$B/tests/gen_rules
failed=0
PATH=$PATH:/usr/sbin:/sbin

# shellcheck source=tests/kernel.sh
. tests/kernel.sh
lacks=$(kernel_lacks)
[ -z "$lacks" ] || { echo "bench: $lacks" >&2; exit 3; }
make --no-print-directory -s B="$B" "$RUN" "$WIRE" "$TIME" "$GEN" "$B/tests/bench_event" all || exit 3

cleanup() {
	in_ns "$B/bin/fwload" -q -N "$NAME" --unload 2>/dev/null
	in_ns "$B/bin/fwload" -q -N "$NAME-base" --unload 2>/dev/null
	ct_clean
	ip netns del "$NS" 2>/dev/null
	[ -z "$CG" ] || rmdir "$CG" 2>/dev/null
	rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

in_ns() {
	nsenter --net="/run/netns/$NS" "$@"
}

mkdir -p "$OUT"
ip netns add "$NS" && ip -n "$NS" link add v0 type veth peer name v1 && ip -n "$NS" link set v0 up &&
	ip -n "$NS" link set v1 up || exit 3
CG=$(cgroup2)/fwbench$$
mkdir "$CG" || exit 3

# ---- the table ----

# row SECTION WHAT UNIT VALUE BUDGET [Q1 Q3 BEST]; BUDGET may be "-"; for >=N the value is to be at least N
row() {
	local mark=
	case $5 in
	-) ;;
	'>='*) awk -v v="$4" -v b="${5#>=}" 'BEGIN { exit !(v >= b) }' && mark=ok || mark=over ;;
	*) mark=$(awk -v v="$4" -v b="$5" -v best="${8:-$4}" \
		'BEGIN { print v <= b ? "ok" : best <= b ? "noisy" : "over" }') ;;
	esac
	[ "$mark" != over ] || failed=1
	printf '%-7s %-46s %10s %-4s %8s %8s %8s %7s  %s\n' "$1" "$2" "$4" "$3" "${6:-}" "${7:-}" "${8:-}" "$5" "$mark"
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "${6:-}" "${7:-}" "${8:-}" "$5" "$mark" \
		>>"$OUT/results.tsv"
}

header() {
	{
		echo "# $(date -u +%FT%TZ), Linux $(uname -r), $(nproc) CPUs," \
			"$(sed -n 's/^model name[^:]*: //p;T;q' /proc/cpuinfo | head -1)"
		echo "# load $(cut -d' ' -f1 /proc/loadavg), $(git describe --always --dirty 2>/dev/null || echo "no git")"
		echo "# a dependent read of memory: $("$TIME" memory)"
	} | tee "$OUT/results.tsv"
	printf 'section\twhat\tunit\tvalue\tq1\tq3\tbest\tbudget\tmark\n' >>"$OUT/results.tsv"
	printf '%-7s %-46s %10s %-4s %8s %8s %8s %7s\n' section what value '' q1 q3 best budget
}

# ---- verdicts ----

# load SHAPE N [OPTION]...: compile and load such a policy
load() {
	"$GEN" policy "$@" >"$T/p.yaml" && "$B/bin/fwc" -q "$T/p.yaml" >"$T/p.json" &&
		in_ns "$B/bin/fwload" -q -N "$NAME" -i v0 "$T/p.json"
}

# load_base SHAPE N [OPTION]...: such a policy into the instance that -B "$NAME-base" compares with
load_base() {
	"$GEN" policy "$@" >"$T/p.yaml" && "$B/bin/fwc" -q "$T/p.yaml" >"$T/p.json" &&
		in_ns "$B/bin/fwload" -q -N "$NAME-base" -i v1 "$T/p.json"
}

# Flows outlive a reload: what is to miss must not find those of the policy before.
fresh() {
	in_ns "$B/bin/fwload" -q -N "$NAME" --unload 2>/dev/null
}

# verdict SECTION WHAT BUDGET SHAPE N KIND FRAMES [bench_run OPTION]...: of what is loaded; leaves the figures in $v
verdict() {
	local section=$1 what=$2 budget=$3 name
	"$GEN" trace "$4" "$5" "$6" "$7" >"$T/trace" || return
	shift 7
	if ! in_ns "$RUN" verdict -N "$NAME" -t "$T/trace" "$@" >"$T/out" 2>"$T/err"; then
		echo "bench: $what: $(tail -1 "$T/err")" >&2
		failed=1
		v="0 0 0 0"
		return
	fi
	while read -r name v; do
		# shellcheck disable=SC2086  # several words
		set -- $v
		[ "$name" = fw ] || what="$what, LPM_TRIE" budget=-
		row "$section" "$what" ns "$1" "$budget" "$2" "$3" "$4"
		[ "$name" != fw ] || fw=$v
	done <"$T/out"
	v=$fw
}

# less SECTION WHAT BUDGET FIGURES FIGURES: the difference of two verdicts
less() {
	# shellcheck disable=SC2046
	set -- "$1" "$2" "$3" $(echo "$4 $5" | awk '{ printf "%.1f %.1f", $1 - $6, $4 - $9 }')
	row "$1" "$2" ns "$4" "$3" "" "" "$5"
}

rules() {
	local n budget kind k shape
	for shape in net acl; do
		for n in 1 10 64 100 1000 10000; do
			[ $shape$n != acl1 ] && [ $shape$n != acl10 ] && [ $shape$n != acl100 ] || continue
			budget=$((n <= 64 ? 55 : n <= 1000 ? 65 : 85))
			load $shape "$n" nolog || continue
			for kind in hit miss; do
				for k in 1024 65536; do
					set -- -e 0
					[ $kind = miss ] || set -- -e 100
					[ $shape$kind != aclhit ] || set --
					verdict rules "$shape $n, $kind, $k packets" $budget $shape "$n" $kind $k "$@"
				done
			done
		done
	done
}

worst() {
	load worst 10000 nolog && verdict worst "10000 rules that nearly match" 1000 worst 10000 miss 65536 -e 0 -r 21
}

# of the map, for each of the policy's max_flows (65,536)
flow_bytes() {
	local bytes
	bytes=$(bpftool map show pinned "${FW_BPFFS:-/sys/fs/bpf/fw}/$NAME/maps/flows" |
		sed -n 's/.*memlock \([0-9]*\)B.*/\1/p')
	row state "memory for each of max_flows" B "$(awk -v b="${bytes:-0}" 'BEGIN { printf "%.1f", b / 65536 }')" -
}

state() {
	local plain
	load net 1000 nolog stateful allow && load_base net 1000 nolog allow || return
	flow_bytes
	verdict state "flow hit, 1024 flows" 50 net 1000 hit 1024 -e 0 -F 0
	verdict state "flow hit, 32768 flows" - net 1000 hit 32768 -e 0 -F 0
	verdict state "flow hit less stateless verdict, 1024 flows" 60 net 1000 hit 1024 -e 0 -F 0 -B "$NAME-base"
	verdict state "flow hit less stateless verdict, 32768 flows" - net 1000 hit 32768 -e 0 -F 0 -B "$NAME-base"
	verdict state "new flow, free room" - net 1000 hit 32768 -e 0 -r 31 -n 32768 -Z -F 100
	verdict state "new flow, table full of unanswered ones" - net 1000 hit 262144 -e 0 -r 15 -n 262144 -F 100 -E 100
	in_ns "$B/bin/fwload" -q -N "$NAME-base" --unload
	fresh
	load net 1000 nolog stateful || return
	verdict state "flow miss + classify 1000, 1024 packets" 115 net 1000 hit 1024 -e 100 -F 0
	verdict state "flow miss + classify 1000, 65536 packets" - net 1000 hit 65536 -e 100 -F 0
	load net 1000 nolog allow || return
	verdict state "allow, stateless, 1000 rules" - net 1000 hit 1024 -e 0
	plain=$v
	load net 1000 nolog limit=1000000000 || return
	verdict state "rate_limit, within, 1024 sources" - net 1000 hit 1024 -e 0
	less state "GCRA: rate_limit less allow" 100 "$v" "$plain"
	load net 1000 nolog limit=1 || return
	verdict state "rate_limit, above, 1024 sources" - net 1000 hit 1024
}

# ---- packets of established flows, beside nft on the same work ----

# Namespaces, each with an eth0 to $NS: without firewall, fw at XDP, fw at TC ingress, nft.
ct_sides=(n x t f)

# ct_side LETTER
ct_side() {
	local ns=$NS$1
	ip netns add "$ns" && ip link add "$ns" netns "$NS" type veth peer name eth0 netns "$ns" || return
	nsenter --net="/run/netns/$ns" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	in_ns sysctl -qw "net.ipv6.conf.$ns.disable_ipv6=1"
	ip -n "$NS" link set "$ns" address 02:00:00:00:00:02 up && ip -n "$ns" link set eth0 up &&
		ip -n "$ns" addr add 10.88.0.1/24 dev eth0 &&
		ip -n "$ns" neigh add 10.88.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
}

ct_clean() {
	local side
	for side in "${ct_sides[@]}"; do
		[ -e "/run/netns/$NS$side" ] || continue
		nsenter --net="/run/netns/$NS$side" "$B/bin/fwload" -q -N "$NAME-$side" --unload 2>/dev/null
		ip netns del "$NS$side"
	done
}

# ct_fw SIDE XDP-MODE
ct_fw() {
	nsenter --net="/run/netns/$NS$1" "$B/bin/fwload" -q -N "$NAME-$1" -i eth0 --xdp "$2" "$T/ct.json"
}

ct_lab() {
	local side
	for side in "${ct_sides[@]}"; do
		ct_side "$side" || return
	done
	printf 'version: 1\ndefault_action: {ingress: deny, egress: allow}\n' >"$T/ct.yaml"
	"$B/bin/fwc" -q "$T/ct.yaml" >"$T/ct.json" && ct_fw x native && ct_fw t off &&
		nsenter --net="/run/netns/${NS}f" nft -f - <<-EOF
			table inet bench {
				chain input {
					type filter hook input priority filter; policy drop;
					ct state established accept
				}
			}
		EOF
}

# ratio WHAT BUDGET FIGURES FIGURES
ratio() {
	# shellcheck disable=SC2046
	set -- "$1" "$2" $(echo "$3 $4" | awk '{ printf "%.2f %.2f", ($5 > 0 ? $1 / $5 : 99), ($8 > 0 ? $4 / $8 : 99) }')
	row ct "$1" x "$3" "$2" "" "" "$4"
}

ct() {
	local side v none=- x=- t=- f=-
	if ! command -v nft >/dev/null; then
		echo "bench: ct: skipped, there is no nft (apt-get install nftables)" >&2
		return
	fi
	if ! ct_lab || ! "$WIRE" "$NS" "${ct_sides[@]/#/$NS}" >"$T/out"; then
		echo "bench: ct: not measured" >&2
		failed=1
		ct_clean
		return
	fi
	while read -r side v; do
		case $side in
		*n) none=$v ;;
		*x) x=$v ;;
		*t) t=$v ;;
		*f) f=$v ;;
		esac
	done <"$T/out"
	ct_row "packet from wire to socket, no firewall" "$none"
	ct_row "established flow, 1024: fw, XDP" "$x"
	ct_row "established flow, 1024: fw, TC ingress" "$t"
	ct_row "established flow, 1024: nft, ct state" "$f"
	ratio "established flow: fw, XDP / nft" 0.5 "$x" "$f"
	ratio "established flow: fw, TC ingress / nft" 0.5 "$t" "$f"
	# the object alone, without extensions and its two entries in the hash table
	row ct "memory for a flow: nf_conntrack's object" B "$(awk '$1 == "nf_conntrack" { print $4 }' /proc/slabinfo)" -
	ct_clean
}

# ct_row WHAT FIGURES
ct_row() {
	# shellcheck disable=SC2086  # several words
	set -- "$1" $2
	row ct "$1" ns "$2" - "$3" "$4" "$5"
}

events() {
	local plain
	load net 1000 nologlimit || return
	verdict events "deny, logged, no reader" - net 1000 hit 1024 -e 100
	plain=$v
	verdict events "deny, logged, one reader" - net 1000 hit 1024 -e 100 -R
	less events "event: one reader less none" 50 "$v" "$plain"
	load net 1000 || return
	verdict events "deny, one reader, log limit reached" - net 1000 hit 1024 -e 100 -R
}

cidrs() {
	local n hot cold
	for n in 1000 10000 100000 1000000; do
		"$GEN" cidrs $n >"$T/big"
		load set $n nolog || continue
		hot=- cold=-
		verdict cidrs "set of $n, hit, 64 packets" - set $n hit 64 -e 100
		hot=$v
		verdict cidrs "set of $n, miss, 64 packets" - set $n miss 64 -e 0
		verdict cidrs "set of $n, miss, 65536 packets" - set $n miss 65536 -e 0
		verdict cidrs "set of $n, hit, 65536 packets" - set $n hit 65536 -e 100 -p "$T/big"
		cold=$v
		if [ $n = 1000 ]; then
			base_hot=$hot base_cold=$cold
		elif [ $n = 1000000 ]; then
			less cidrs "address class of 1M over 1k, hot" 25 "$hot" "${base_hot:-0 0 0 0}"
			less cidrs "address class of 1M over 1k, cold" 130 "$cold" "${base_cold:-0 0 0 0}"
			# the fastest runs; of the verdict, what the address adds to one whose tables are small and hot
			row cidrs "1M cold: LPM_TRIE / address class" x "$(awk -v hot="${base_hot:-0 0 0 0}" '
				BEGIN { split(hot, h, " ") } $1 == "fw" { fw = $5 - h[4] } $1 == "lpm" { lpm = $5 }
				END { printf "%.1f", (fw > 0 ? lpm / fw : 0) }' "$T/out")" ">=4"
		fi
	done
}

# ---- loading ----

# timed WHAT BUDGET [-r ROUNDS] [-P PREPARE] COMMAND...: wall time (q3: p99); leaves the peak of memory (kB) in $rss
timed() {
	local what=$1 budget=$2 name p50 q1 p99 best
	shift 2
	rss=0
	if ! read -r name p50 q1 p99 best rss < <(in_ns "$TIME" run "$@" 2>"$T/err"); then
		echo "bench: $what: $(tail -1 "$T/err")" >&2
		failed=1
		return 1
	fi
	row load "$what" ms "$p50" "$budget" "$q1" "$p99" "$best"
}

# compile NAME SHAPE N [OPTION]...
compile() {
	local to=$1
	shift
	"$GEN" policy "$@" >"$T/$to.yaml" && "$B/bin/fwc" -q "$T/$to.yaml" >"$T/$to.json"
}

load_times() {
	local put="$B/bin/fwload -q -N $NAME -i v0 -g $CG" unload="$B/bin/fwload -q -N $NAME --unload 2>/dev/null; true"
	local first
	compile a acl 10000 && compile b acl 10000 allow && compile c net 64 && compile d net 64 stateful || return
	"$GEN" cidrs 1000000 >"$T/big"
	"$GEN" policy set 1000000 >"$T/set.yaml"
	timed "fwc, 10k rules YAML" 150 -r 11 "$B/bin/fwc" -q -o "$T/x.json" "$T/a.yaml"
	# shellcheck disable=SC2086  # several words
	{
		timed "first load, all hooks, 64 rules" 1000 -r 5 -P "$unload" $put "$T/c.json"
		timed "first load, all hooks, 10k rules" - -r 3 -P "$unload" $put "$T/a.json"
		timed "reload, 10k rules, programs resident" 150 -r 11 -P "$put $T/b.json" $put "$T/a.json"
		row load "reload, 10k rules: peak memory" MB $((rss / 1024)) -
		timed "no-op, 10k rules" - -r 11 $put "$T/a.json"
		in_ns sh -c "$unload"
		timed "reload, 64 rules, 200 times (q3: p99)" - -r 200 -P "$put $T/d.json" $put "$T/c.json"
		timed "1M CIDRs, fwc alone" - -r 3 "$B/bin/fwc" -q -o "$T/set.json" "$T/set.yaml"
		first=$rss
		timed "1M CIDRs, fwload, first load" - -r 3 -P "$unload" $put "$T/set.json"
		timed "1M CIDRs, fwload, programs resident" - -r 3 -P "$put $T/c.json" $put "$T/set.json"
		row load "1M CIDRs, fwc and fwload: peak memory" MB $(((first + rss) / 1024)) 300
		timed "1M CIDRs, fwc | fwload, programs resident" 1000 -r 3 -P "$put $T/c.json" \
			sh -c "$B/bin/fwc -q $T/set.yaml | $put"
	}
	fresh
}

switch_time() {
	fresh
	load net 64 nologlimit && load net 64 nologlimit nolog allow || return
	"$GEN" trace net 64 hit 64 >"$T/trace"
	local name p50 p99
	read -r name p50 p99 < <(in_ns "$RUN" switch -N "$NAME" -t "$T/trace" -r 200 2>"$T/err") || {
		echo "bench: switch: $(tail -1 "$T/err")" >&2
		failed=1
		return
	}
	row switch "word written to first other verdict, p50 of 200" ns "$p50" 1000
	row switch "word written to first other verdict, p99" ns "$p99" -
}

# ---- fwmon ----

fwmon_rate() {
	local line pid sent lost cpu
	while read -r line; do
		case $line in
		json*) row fwmon "record to JSON line (bench_event)" M/s "$(echo "$line" | awk '{ print $4 }')" ">=1" ;;
		esac
	done < <("$B/tests/bench_event" 1000000)
	load net 1000 nologlimit || return
	"$GEN" trace net 1000 hit 65536 >"$T/trace"
	nsenter --net="/run/netns/$NS" "$B/bin/fwmon" -N "$NAME" >/dev/null 2>&1 &
	pid=$!
	sleep 0.5
	read -r line sent lost < <(in_ns "$RUN" flood -N "$NAME" -t "$T/trace" -s 3)
	sleep 0.3
	cpu=$(awk '{ print ($14 + $15) * 1000 / 100 }' "/proc/$pid/stat")
	row fwmon "live, flooded: events per second of its CPU" M/s \
		"$(awk -v s="$sent" -v c="$cpu" 'BEGIN { printf "%.2f", (c ? s / c / 1000 : 0) }')" ">=1"
	row fwmon "live, flooded: events lost of all" % \
		"$(awk -v s="$sent" -v l="$lost" 'BEGIN { printf "%.0f", s + l ? 100 * l / (s + l) : 0 }')" -
	row fwmon "live: resident memory" MB "$(awk '/^VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/$pid/status")" 4
	kill "$pid" && wait "$pid" 2>/dev/null
}

fw="0 0 0 0"
v=$fw
rss=0
header
[ $# -gt 0 ] || set -- rules state ct events worst cidrs load switch fwmon
for section; do
	case $section in
	rules | state | ct | events | worst | cidrs) $section ;;
	load) load_times ;;
	switch) switch_time ;;
	fwmon) fwmon_rate ;;
	*)
		echo "usage: bench.sh [rules|state|ct|events|worst|cidrs|load|switch|fwmon]..." >&2
		exit 2
		;;
	esac
done
exit $failed
