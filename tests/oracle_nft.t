#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The oracle against the kernel's nftables (environment: oracle/nft_check.py).
exec python3 -B "$(dirname "$0")/oracle/nft_check.py"
