#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Flows across reloads: what the new policy allows goes on without a loss, what it denies is cut by the first packet from
# either end, and told. Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/stale.py" "$@"
