#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The oracle's own tests: a wrong oracle would prove a wrong program right.
exec python3 -B "$(dirname "$0")/oracle/test_oracle.py"
