#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Reloads under 200 live flows of which half become denied, also while the flow table or the tables change their size.
# RELOADS (default 6) can be set. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/reload_flows.py" "$@"
