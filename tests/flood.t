#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Floods push no replied flow out, a full table denies (or not: on_full), two CPUs leave a sound table and exact counts.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/flood.py" "$@"
