#!/usr/bin/env bash
# OpenDWM's precision run: bash test/train.sh [master address] [KEY=VALUE ...]; NPROC, MESH, DEVICE, TINY=1 (docs/training.md)
cd "$(dirname "$0")/.." || exit 1
[ -z "${VIRTUAL_ENV:-}" ] && [ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" exec "$(command -v python || echo python3)" src/dwm/tools/port_run.py precision "$@"
