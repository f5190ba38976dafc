#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# fwstat --flows and fwload --kill-flows: real flows appear as what they are, filters choose among them, and those that
# are ended are judged as new.
# Arguments: names of test functions to run.
exec python3 -B "$(dirname "$0")/live/flow_list.py" "$@"
