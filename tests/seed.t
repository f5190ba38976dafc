#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Connections that are older than the first load: what the policy allows their openers goes on, the rest is listed and cut.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/seed.py" "$@"
