#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The tests of fwc and the IR once more, by programs built with AddressSanitizer and UBSan: what they read is
# whatever someone wrote.
set -u
B=${B:-build}/asan
if [ ! -x "$B/bin/fwc" ]; then
	echo "1..0 # SKIP no sanitized build in $B"
	exit 0
fi
export B FWC=$PWD/$B/bin/fwc SANITIZE="-fsanitize=address,undefined"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0
for t in tests/fwc*.t tests/ir_*.t tests/yaml_suite.t; do
	[ -e "$t" ] || continue
	n=$((n + 1))
	if prove -v "$t" >"$tmp/out" 2>&1 && ! grep -Eq 'Sanitizer|runtime error' "$tmp/out"; then
		echo "ok $n - $t: $(grep -o 'Tests=[0-9]*' "$tmp/out")"
	else
		echo "not ok $n - $t"
		grep -E -A 8 '^not ok|Sanitizer|runtime error' "$tmp/out" | head -n 60 | sed 's/^/# /'
	fi
done
echo "1..$n"
