#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# fwstat --check notices when protection has silently ended. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/check.py" "$@"
