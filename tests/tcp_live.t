#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Real stacks on both ends under a default deny in both directions: TCP opened, closed, half closed, reset, opened from
# both ends, its ports reused; iperf3, curl, nc; UDP, ping and traceroute with their ICMP errors.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/tcp_live.py" "$@"
