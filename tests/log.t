#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The log under floods: for each rule and reader, shown + suppressed + lost = counted. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/log.py" "$@"
