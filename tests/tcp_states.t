#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every TCP state x every packet x both directions against a model of its own; the timeout of every state; tcp_strict.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/tcp_states.py" "$@"
