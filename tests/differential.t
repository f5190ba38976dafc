#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The loaded programs against the oracle on random policies and packets (environment: oracle/differential.py).
exec python3 -B "$(dirname "$0")/oracle/differential.py"
