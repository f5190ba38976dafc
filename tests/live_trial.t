#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# fwmon, trials and audits (live_trial.c says what is tested).
B=${B:-build}
exec "$B/tests/live_trial" "$B/bin/fwmon" "$B/tests/ring.bpf.o"
