#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Reading and writing the IR: JSON as RFC 8259 has it and nothing else, exact messages for what is no policy, and
# a canonical form that the schema describes.
B=${B:-build}
suite=../shared/corpora/JSONTestSuite
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0

ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); echo "not ok $n - $1"; }
# result STATUS NAME
result() { if [ "$1" = 0 ]; then ok "$2"; else not_ok "$2"; fi; }

check=$B/tests/ir_check
if [ ! -x "$check" ]; then
	check=$tmp/ir_check
	# shellcheck disable=SC2086
	${CC:-cc} -std=gnu11 -D_GNU_SOURCE $SANITIZE -I. tests/ir_check.c "$B/lib/libfw.a" -o "$check" || {
		echo "Bail out! can't build tests/ir_check.c"
		exit 1
	}
fi

# ---- JSON ----

# A syntax error has line and column; what is JSON gets past it, whatever a policy would say about it.
json_suite() {
	local f name status wrong=0 cases=0
	for f in "$suite"/[niy]_*.json; do
		name=${f##*/}
		"$check" tree <"$f" >/dev/null 2>"$tmp/err"
		status=$?
		cases=$((cases + 1))
		case $status:$name in
		[01]:i_*) continue ;;
		0:y_*) continue ;;
		1:n_*) grep -Eq '^<stdin>:[0-9]+:[0-9]+: error: ' "$tmp/err" && continue ;;
		1:y_object_duplicated_key*) grep -q ' is here twice$' "$tmp/err" && continue ;;
		1:y_*null*) grep -q 'error: NUL character in ' "$tmp/err" && continue ;;
		esac
		echo "# $name: exit $status, $(head -c 200 "$tmp/err")"
		wrong=1
	done
	result $wrong "JSONTestSuite, $cases documents"
}
if [ -d "$suite" ]; then json_suite; else n=$((n + 1)) && echo "ok $n # skip no JSONTestSuite"; fi

deep=$(printf '[%.0s' $(seq 100000))
printf '%s' "$deep" | "$check" tree 2>"$tmp/err"
[ "$(cat "$tmp/err")" = '<stdin>:1:65: error: more than 64 levels' ]
result $? "100,000 open brackets"

# ---- must fail ----

for f in tests/ir/*.json; do
	[ -e "${f%.json}.err" ] || continue
	"$check" <"$f" >"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ $status = 1 ] && [ ! -s "$tmp/out" ] && cmp -s "$tmp/err" "${f%.json}.err"; then
		ok "$f"
	else
		not_ok "$f"
		echo "# exit $status"
		diff "${f%.json}.err" "$tmp/err" | sed 's/^/# /'
	fi
done

# ---- canonical form ----

for f in tests/ir/*.json; do
	[ -e "${f%.json}.err" ] && continue
	name=${f##*/}
	"$check" <"$f" >"$tmp/$name" 2>"$tmp/err" && cmp -s "$f" "$tmp/$name"
	result $? "$f is canonical"
	jq -c . "$f" | "$check" 2>/dev/null | cmp -s "$f" -
	result $? "$f is canonical again after jq"
	jq -S . "$f" | "$check" digest 2>/dev/null >"$tmp/a" && "$check" digest <"$f" 2>/dev/null >"$tmp/b" &&
		cmp -s "$tmp/a" "$tmp/b"
	result $? "$f has one digest whatever the order of keys"
done
"$check" digest <tests/ir/full.json >"$tmp/a" 2>/dev/null
jq '.generated_at = "x" | .description = "y" | .rules[].description = "z"' tests/ir/full.json |
	"$check" digest >"$tmp/b" 2>/dev/null
cmp -s "$tmp/a" "$tmp/b"
result $? "texts are not part of the digest"
jq '.rules[0].log |= not' tests/ir/full.json | "$check" digest >"$tmp/b" 2>/dev/null
! cmp -s "$tmp/a" "$tmp/b" && [ -s "$tmp/b" ]
result $? "the rest is"
jq -n '{ir_version: 1, sets: {s: [range(257) | "10.0.\(. / 256 | floor).\(. % 256)"]}}' |
	"$check" snapshot 2>/dev/null | grep -q '^"s":{"members":257}},$'
result $? "a snapshot has no huge sets"

# ---- schema ----

"$check" schema >"$tmp/schema.json"
jq -e . "$tmp/schema.json" >/dev/null
result $? "the schema is JSON"
for f in tests/ir/*.json; do
	[ -e "${f%.json}.err" ] || valid="$valid $f"
done
# shellcheck disable=SC2086
python3 -B tests/schema_check.py "$tmp/schema.json" $valid | sed 's/^/# /'
result "${PIPESTATUS[0]}" "it describes the canonical IRs"
for f in tests/ir/{version_2,top_unknown_key,rule_cidrs_empty,rule_ports_zero,rule_action,set_text}.json; do
	! python3 -B tests/schema_check.py "$tmp/schema.json" "$f" >/dev/null
	result $? "and refuses $f"
done
echo "1..$n"
