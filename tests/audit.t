#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A candidate beside the policy that decides: each disagreement is told, with both rules, and nothing else changes.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/audit.py" "$@"
