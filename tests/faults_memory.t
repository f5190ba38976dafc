#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Memory that runs out: malloc() by a preloaded library, the address space, the kernel's.
# FULL=1: all points of each sweep instead of a sample. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/faults_memory.py" "$@"
