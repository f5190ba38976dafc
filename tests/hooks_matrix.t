#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every way to reach a destination and the hook that must see it, with real sockets.
exec python3 -B "$(dirname "$0")/oracle/hooks_matrix.py"
