#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# ICMP errors pass only to the host that sent the packet they carry, when that is of a live flow: crafted ones of every
# kind; and path-MTU discovery, traceroute and closed ports between real stacks under a default of deny.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/related.py" "$@"
