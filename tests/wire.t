#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The attached programs on veth devices against the oracle (environment: oracle/wire.py).
exec python3 -B "$(dirname "$0")/oracle/wire.py"
