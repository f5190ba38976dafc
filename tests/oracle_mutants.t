#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Are the generated policies and packets sharp enough to notice the mistakes packet filters make?
exec python3 -B "$(dirname "$0")/oracle/mutants.py"
