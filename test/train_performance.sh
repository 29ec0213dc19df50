#!/usr/bin/env bash
# OpenDWM's performance run: 500 steps, then the mean time of a step; arguments and environment as of test/train.sh
cd "$(dirname "$0")/.." || exit 1
[ -z "${VIRTUAL_ENV:-}" ] && [ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" exec "$(command -v python || echo python3)" src/dwm/tools/port_run.py performance "$@"
