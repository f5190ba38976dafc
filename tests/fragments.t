#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Datagrams in pieces follow their first fragment, each byte once: crafted trains against a model of intervals, and 60 kB
# datagrams and large pings between real stacks.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/fragments.py" "$@"
