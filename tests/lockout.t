#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The lockout guard of fwload: what it says of the session that it is run from, and whether that comes true.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/lockout.py" "$@"
