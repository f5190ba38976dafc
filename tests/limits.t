#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Rate limits on live traffic: what is admitted, what the tokens are keyed by, and who pays. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/limits.py" "$@"
