#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A policy on trial: it decides at once, and ends with no process of ours alive unless it is committed. Arguments: names of
# test functions to run.
exec python3 -B "$(dirname "$0")/live/trial.py" "$@"
