#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every match field at every packet hook: match, no match, cut headers; by test run and on the wire. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/fields.py" "$@"
