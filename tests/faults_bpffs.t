#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The bpf file system absent, read-only, squatted, and with pins that are not ours.
# FULL=1: all points of each sweep instead of a sample. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/faults_bpffs.py" "$@"
