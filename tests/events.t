#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Events and their readers: completeness, losses, fields, process names, what is logged. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/events.py" "$@"
