#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# fwmon against real ring buffers (live_ring.c says what is tested). What fwmon complains of on the way is part of
# the tests, and of interest only if one fails.
B=${B:-build}
err=$(mktemp) || exit 1
trap 'rm -f "$err"' EXIT
"$B/tests/live_ring" "$B/bin/fwmon" "$B/tests/ring.bpf.o" 2>"$err"
status=$?
[ $status = 0 ] || sed 's/^/# /' "$err"
exit $status
