#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The policy language. tests/fwc/NAME.yaml is accepted with exactly NAME.json (and NAME.warn on standard error), or
# refused with exactly NAME.err and status 1 ("# exit: N" in the first line says otherwise). Then the command line.
B=${B:-build}
fwc=$B/bin/fwc
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0

# result STATUS NAME [FILE...]: what is in the files explains a failure
result() {
	local status=$1 name=$2

	n=$((n + 1))
	shift 2
	if [ "$status" = 0 ]; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		head -qn 20 "$@" 2>/dev/null | sed 's/^/# /'
	fi
}

# run STATUS COMMAND...: did it exit with this status; standard output and error are in $tmp/out and $tmp/err
run() {
	local want=$1

	shift
	timeout 5 "$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
	[ $status = "$want" ] || { echo "# exit $status, not $want" >>"$tmp/err"; return 1; }
}

# says TEXT...: each is on standard error, and standard output is empty
says() {
	local text

	[ ! -s "$tmp/out" ] || return 1
	for text; do
		grep -qF -- "$text" "$tmp/err" || return 1
	done
}

# ---- goldens ----

accepted=() refused=0
for f in tests/fwc/*.yaml; do
	name=${f%.yaml}
	if [ -e "$name.err" ]; then
		refused=$((refused + 1))
		exit=$(sed -n '1s/^# exit: //p' "$f" 2>/dev/null | tr -d '\0')
		run "${exit:-1}" "$fwc" "$f" && [ ! -s "$tmp/out" ] && cmp "$name.err" "$tmp/err" >"$tmp/diff"
		result $? "refused: ${name##*/}" "$tmp/diff" "$tmp/err"
		continue
	fi
	accepted+=("$f")
	warn=$name.warn
	[ -e "$warn" ] || warn=/dev/null
	run 0 "$fwc" "$f" && cmp "$name.json" "$tmp/out" >"$tmp/diff" && cmp "$warn" "$tmp/err" >"$tmp/diff"
	result $? "accepted: ${name##*/}" "$tmp/diff" "$tmp/err"
	# the IR is YAML too; it has no warnings about what compiling changed
	run 0 "$fwc" -q "$name.json" && cmp "$name.json" "$tmp/out" >"$tmp/diff"
	result $? "fixed point: ${name##*/}" "$tmp/diff" "$tmp/err"
done
[ ${#accepted[@]} -ge 65 ] && [ $refused -ge 85 ]
result $? "${#accepted[@]} accepted, $refused refused"

"$fwc" --schema >"$tmp/schema.json" && jq -e . "$tmp/schema.json" >/dev/null
result $? "--schema is JSON"
python3 -B tests/schema_check.py "$tmp/schema.json" tests/fwc/*.json >"$tmp/out" 2>&1
result $? "and describes every IR here" "$tmp/out"

# ---- sizes and times ----

# big COUNT LINE: the policy $tmp/big.yaml has COUNT such lines, after the head on standard input
big() { { cat; yes -- "$2" | head -n "$1"; } >"$tmp/big.yaml"; }

yes '# a line of a comment that is repeated until the file is too large to be read' |
	head -c $((64 * 1048576 + 1)) >"$tmp/big.yaml"
run 1 "$fwc" "$tmp/big.yaml" && says "larger than 64 MiB: put big lists of addresses into set files"
result $? "64 MiB and a byte" "$tmp/err"
{ echo 'default_action: allow'; yes '#'; } | head -c $((64 * 1048576)) >"$tmp/big.yaml"
run 0 "$fwc" "$tmp/big.yaml"
result $? "64 MiB" "$tmp/err"
printf 'rules:\n' | big 200000 '- {}'
run 1 "$fwc" "$tmp/big.yaml" && says "more messages not shown (400000 errors, 0 warnings in all)"
result $? "400,000 errors" "$tmp/err"
printf 'sets:\n' >"$tmp/big.yaml" && seq -f '  s%.0f: [10.0.0.1]' 100000 >>"$tmp/big.yaml"
run 0 "$fwc" -c "$tmp/big.yaml"
result $? "100,000 sets" "$tmp/err"
printf 'sets: {s: [10.0.0.1]}\nrules:\n- name: r\n  priority: 1\n  source_cidrs:\n' >"$tmp/big.yaml"
seq -f '  - "@n%.0f"' 100000 >>"$tmp/big.yaml"
run 1 "$fwc" "$tmp/big.yaml"
result $? "100,000 undefined sets" "$tmp/err"
printf '' >"$tmp/big.yaml" && seq -f 'k%.0f: 1' 100000 >>"$tmp/big.yaml"
run 1 "$fwc" "$tmp/big.yaml"
result $? "100,000 unknown keys" "$tmp/err"
printf '' | big 100000 'stateful: true'
run 1 "$fwc" "$tmp/big.yaml"
result $? "a key 100,000 times" "$tmp/err"
{ printf 'description: x\nsets:\n'; seq 50000 | sed 's/.*/  s&: \&a& [10.0.0.1]/'; } >"$tmp/big.yaml"
run 0 "$fwc" -c "$tmp/big.yaml"
result $? "50,000 anchors" "$tmp/err"
{ printf 'rules:\n'; seq -f '- {name: r%.0f, priority: 5}' 10000; } >"$tmp/big.yaml"
run 0 "$fwc" -c "$tmp/big.yaml" && [ "$(grep -c 'warning: priority 5' "$tmp/err")" = 1000 ]
result $? "10,000 rules of one priority" "$tmp/err"
{ printf 'rules:\n'; seq -f '- {name: r%.0f, priority: 1, action: allow}' 262145; } >"$tmp/big.yaml"
run 1 "$fwc" -q "$tmp/big.yaml" && says "more than 262144 rules"
result $? "262,145 rules" "$tmp/err"
sed -i '$d' "$tmp/big.yaml"
run 0 "$fwc" -qc "$tmp/big.yaml"
result $? "262,144 rules" "$tmp/err"
printf 'description: "%s"\n' "$(head -c 1000000 /dev/zero | tr '\0' x)" >"$tmp/big.yaml"
run 0 "$fwc" "$tmp/big.yaml"
result $? "a description of 1 MB" "$tmp/err"
printf 'default_action: %s\n' "$(head -c 1000000 /dev/zero | tr '\0' x)" >"$tmp/big.yaml"
run 1 "$fwc" "$tmp/big.yaml" && [ "$(wc -c <"$tmp/err")" -lt 2000 ]
result $? "a wrong value of 1 MB makes a short message"
for text in '{' '[' '- ' '? ' '{a: ' '&a [' '!x ' '"' '*' '|' "'" '[[],' '{},' '"a": ' '>+' '%'; do
	yes -- "$text" | tr -d '\n' | head -c 100000 >"$tmp/big.yaml"
	run 1 "$fwc" "$tmp/big.yaml" && grep -q 'big.yaml:1:[0-9]*: error: ' "$tmp/err"
	result $? "100 kB of $text" "$tmp/err"
done
{ echo 'sets: {s: {file: big.txt}}'; cat tests/fwc/rule_minimal.yaml; } >"$tmp/big.yaml"
awk 'BEGIN { for (i = 0; i < 300000; i++) printf "%d.%d.%d.0/24\n", 1 + i / 65536, i / 256 % 256, i % 256 }' \
	>"$tmp/big.txt"
run 0 "$fwc" "$tmp/big.yaml" && [ "$(jq '.sets.s | length' "$tmp/out")" = 300000 ]
result $? "a set file of 300,000 lines" "$tmp/err"

# ---- options ----

good=tests/fwc/article.yaml bad=tests/fwc/name_twice.yaml warned=tests/fwc/host_bits.yaml
run 0 "$fwc" -c $good && says && [ ! -s "$tmp/err" ]
result $? "-c of a good policy is silent" "$tmp/err"
run 1 "$fwc" -c $bad && cmp -s "$tmp/err" "${bad%.yaml}.err"
result $? "-c of a bad one says the same as without" "$tmp/err"
run 1 "$fwc" -W $warned && says "warning: " "fwc: warnings are errors here (-W)"
result $? "-W: warnings are errors" "$tmp/err"
run 1 "$fwc" -cqW $warned && says "warning: "
result $? "-q does not hide what -W fails for" "$tmp/err"
run 0 "$fwc" -W $good && cmp -s "$tmp/out" tests/fwc/article.json
result $? "-W of a policy without warnings" "$tmp/err"
run 0 "$fwc" -q $warned && [ ! -s "$tmp/err" ] && cmp -s "$tmp/out" "${warned%.yaml}.json"
result $? "-q: no warnings"
run 0 "$fwc" -v $good && grep -q '^fwc: 3 rules, 0 sets, 0 warnings$' "$tmp/err"
result $? "-v" "$tmp/err"
run 0 "$fwc" --stats -c tests/fwc/rule_every_key.yaml && says "rules in all" "distinct destination ports" "set office" &&
	grep -q '^rules in all  *1$' "$tmp/err"
result $? "--stats" "$tmp/err"
run 0 "$fwc" --help && grep -q '^usage: fwc ' "$tmp/out" && [ ! -s "$tmp/err" ]
result $? "--help"
run 0 "$fwc" -V && grep -Eq '^fwc [0-9.]+$' "$tmp/out"
result $? "-V"
for args in --nonsense -Z -o --output --stats=1 -O; do
	run 2 "$fwc" $args && says "fwc: "
	result $? "usage: $args" "$tmp/err"
done

# ---- inputs ----

run 0 "$fwc" <$good && sed 's/"<stdin>"/"tests\/fwc\/article.yaml"/' "$tmp/out" | cmp -s - tests/fwc/article.json
result $? "standard input" "$tmp/err"
run 0 "$fwc" - <$good && grep -q '"<stdin>"' "$tmp/out"
result $? "standard input as -" "$tmp/err"
run 1 "$fwc" <$bad && says '<stdin>:3:6: error: '
result $? "messages about standard input" "$tmp/err"
run 0 "$fwc" -q tests/fwc/priority_zero.yaml tests/fwc/files/common.yaml tests/fwc/files/second.yaml &&
	[ "$(jq -r '[.rules[].name] | join(" ")' "$tmp/out")" = "r inc second" ] &&
	[ "$(jq -r '.rules[2].source.file' "$tmp/out")" = tests/fwc/files/second.yaml ]
result $? "several files" "$tmp/err"
run 1 "$fwc" tests/fwc/priority_zero.yaml tests/fwc/stateful_no.yaml &&
	says "stateful_no.yaml:1:1: error: \"stateful\" can't stand in an included file"
result $? "only the first may have settings" "$tmp/err"
run 1 "$fwc" $good $good && says "article.yaml" "includes itself"
result $? "the same file twice" "$tmp/err"
cp tests/fwc/priority_zero.yaml ./-"$$".yaml
run 0 "$fwc" -- -"$$".yaml
result $? "-- ends the options" "$tmp/err"
rm -f ./-"$$".yaml
run 3 "$fwc" "$tmp/none.yaml" && says "can't read \"$tmp/none.yaml\": No such file or directory"
result $? "a missing file" "$tmp/err"
run 3 "$fwc" "$tmp" && says "Is a directory"
result $? "a directory" "$tmp/err"
run 3 "$fwc" $good "$tmp/none.yaml" && says "none.yaml"
result $? "a missing second file" "$tmp/err"
cp -r tests/fwc "$tmp/elsewhere"
abs=$(realpath "$fwc")
(cd "$tmp/elsewhere" && cp set_file.yaml a.yaml && "$abs" -q a.yaml) >"$tmp/a" 2>"$tmp/err"
(cd / && "$abs" -q "$tmp/elsewhere/a.yaml") >"$tmp/b" 2>>"$tmp/err"
[ "$(jq -c .sets "$tmp/a")" = "$(jq -c .sets tests/fwc/set_file.json)" ] &&
	[ "$(jq -c .sets "$tmp/b")" = "$(jq -c .sets tests/fwc/set_file.json)" ]
result $? "set files are relative to the policy" "$tmp/err"

# ---- outputs ----

for f in $good tests/fwc/rule_every_key.yaml tests/fwc/include_nested_paths_are_relative_to_each_file.yaml; do
	"$fwc" "$f" >"$tmp/a" 2>/dev/null && env -i TZ=Asia/Tokyo LANG=tr_TR.UTF-8 "$fwc" "$f" >"$tmp/b" 2>/dev/null
	cmp -s "$tmp/a" "$tmp/b" && [ -s "$tmp/a" ]
	result $? "the same bytes again: ${f##*/}"
done
run 0 "$fwc" -o "$tmp/new.json" $good && says && cmp -s "$tmp/new.json" tests/fwc/article.json
result $? "-o makes a file" "$tmp/err"
chmod 600 "$tmp/new.json" && ln "$tmp/new.json" "$tmp/link.json"
run 0 "$fwc" -o "$tmp/new.json" tests/fwc/priority_zero.yaml && cmp -s "$tmp/new.json" tests/fwc/priority_zero.json &&
	cmp -s "$tmp/link.json" tests/fwc/article.json && [ "$(stat -c %a "$tmp/new.json")" = 600 ]
result $? "-o replaces it by rename and keeps its mode" "$tmp/err"
run 1 "$fwc" -o "$tmp/new.json" $bad && cmp -s "$tmp/new.json" tests/fwc/priority_zero.json
result $? "-o of a bad policy keeps the old file" "$tmp/err"
run 0 "$fwc" -c -o "$tmp/none.json" $good && [ ! -e "$tmp/none.json" ]
result $? "-c -o writes nothing" "$tmp/err"
run 3 "$fwc" -o "$tmp/none/x.json" $good && says "can't write \"$tmp/none/x.json\": No such file"
result $? "-o into a folder that is not there" "$tmp/err"
{ echo 'rules:'; seq -f '- {name: r%.0f, priority: 1}' 1000; } >"$tmp/big.yaml"
run 3 bash -c "ulimit -f 4; trap '' XFSZ; exec $fwc -q -o $tmp/new.json $tmp/big.yaml" &&
	says "can't write" && cmp -s "$tmp/new.json" tests/fwc/priority_zero.json &&
	[ "$(find "$tmp" -name 'new.json.*' | wc -l)" = 0 ]
result $? "-o on a full disk keeps the old file and leaves no other" "$tmp/err"
run 3 "$fwc" -o /dev/full $good && says "can't write \"/dev/full\": No space left on device"
result $? "-o /dev/full" "$tmp/err"
timeout 5 "$fwc" $good >/dev/full 2>"$tmp/err"
[ $? = 3 ] && grep -q "can't write to standard output: No space left" "$tmp/err"
result $? "a full standard output" "$tmp/err"
timeout 5 "$fwc" --schema >/dev/full 2>"$tmp/err"
[ $? = 3 ]
result $? "--schema to a full standard output" "$tmp/err"
timeout 5 "$fwc" -q "$tmp/big.yaml" 2>"$tmp/err" | head -c 10 >/dev/null
[ "${PIPESTATUS[0]}" = 141 ] && [ ! -s "$tmp/err" ]
result $? "SIGPIPE ends quietly" "$tmp/err"
ldd "$fwc" | grep -q libbpf
[ $? = 1 ]
result $? "no libbpf in fwc"

# ---- examples ----

for f in examples/*.yaml; do
	run 0 "$fwc" -cW "$f" && says && [ ! -s "$tmp/err" ]
	result $? "$f compiles without warnings" "$tmp/err"
done

# Policies shown in fw-policy(5): literal blocks of its EXAMPLES that are no commands
awk -v to="$tmp/shown" '/^\.Sh / { on = /EXAMPLES/ } !on { next }
	/^\.Bd -literal/ { n++; block = 1; next } /^\.Ed/ { block = 0; next }
	block && !/^\$ / { gsub(/\\\(dq/, "\""); gsub(/\\&/, ""); print > (to n ".yaml") }' man/fw-policy.5
for f in "$tmp"/shown*.yaml; do
	run 0 "$fwc" -cW "$f" && says && [ ! -s "$tmp/err" ]
	result $? "fw-policy(5): ${f##*/} compiles without warnings" "$tmp/err"
done
[ -e "$tmp/shown4.yaml" ]
result $? "fw-policy(5) shows policies"
# but "source" and "ir_version", which are the IR's
for key in include file $(jq -r '[., (."$defs" | .rule, .timeouts, .attach, .log_limit, .log_default)] |
	[.[].properties | keys[]] - ["ir_version", "source"] | .[]' "$tmp/schema.json"); do
	grep -Eqw "^\.(It )?Cm .*$key|^\.Cm $key|^\.It Cm $key" man/fw-policy.5 || echo "not documented: $key"
done >"$tmp/out"
[ ! -s "$tmp/out" ]
result $? "fw-policy(5) has every key" "$tmp/out"
echo "1..$n"
