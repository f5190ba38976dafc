#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Does the comparison of differential.t see what is wrong, and nothing else?
exec python3 -B "$(dirname "$0")/oracle/test_compare.py"
