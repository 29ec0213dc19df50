#!/usr/bin/env bash
# OpenDWM's performance run: 500 steps, then the mean time of a step; arguments and environment as of test/train.sh
cd "$(dirname "$0")/.." || exit 1
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" exec python src/dwm/tools/port_run.py performance "$@"
