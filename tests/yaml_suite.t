#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Goal: nothing in the YAML test suite crashes fwc, hangs it or makes a sanitizer speak. Each file and each case in
# it (the text below "yaml: |", with its marks for invisible characters undone) is given to fwc -c, which must
# exit with 0 or 1 and say why in the second case. FWC=PROGRAM tests another build, such as one with sanitizers.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
fwc=${FWC:-$here/build/bin/fwc}
suite=${SUITE:-$here/../shared/corpora/yaml-test-suite}
echo "1..1"
if [ ! -d "$suite" ]; then
	echo "ok 1 # SKIP no YAML test suite in $suite"
	exit 0
fi
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
count=0 bad=0

try() {
	count=$((count + 1))
	timeout 20 "$fwc" -c "$1" >"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ $status -gt 1 ] || [ -s "$tmp/out" ] || grep -qE 'Sanitizer|runtime error' "$tmp/err" ||
		{ [ $status -eq 1 ] && ! grep -q ': error: ' "$tmp/err"; }; then
		bad=$((bad + 1))
		echo "# $2: status $status"
		sed 's/^/# /' "$tmp/err" | head -n 20
	fi
}

# split FILE: its cases as $tmp/case.N. The text ends with the first line that is indented less.
split() {
	awk -v to="$tmp/case." '
		/^  yaml: \|/ { n++; on = 1; print "" > (to n); printf "" > (to n); next }
		on && /^ ? ? ?[^ ]/ { on = 0 }
		on {
			line = substr($0, 5)
			gsub(/␣/, " ", line); gsub(/—*»/, "\t", line); gsub(/⇔/, "\357\273\277", line)
			gsub(/←/, "\r", line); gsub(/↵$/, "", line)
			if (sub(/∎$/, "", line)) printf "%s", line > (to n)
			else print line > (to n)
		}' "$1"
}

for file in "$suite"/*.yaml; do
	try "$file" "${file##*/}"
	rm -f "$tmp"/case.*
	split "$file"
	for case in "$tmp"/case.*; do
		[ -f "$case" ] && try "$case" "${file##*/} ${case##*.}"
	done
done
if [ $bad -eq 0 ]; then
	echo "ok 1 - $count texts of the YAML test suite"
else
	echo "not ok 1 - $bad of $count texts of the YAML test suite"
	exit 1
fi
