#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Replies to allowed flows pass and nothing else does: TCP, UDP, ping, idle timeouts, forwarding, several hooks at once.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/flows.py" "$@"
