#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Tags, extension headers, truncation, fragments, malformed headers, neighbour discovery. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/malformed.py" "$@"
