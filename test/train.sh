#!/usr/bin/env bash
# OpenDWM's precision run: bash test/train.sh [master address] [KEY=VALUE ...]; NPROC, MESH, DEVICE, TINY=1 (docs/training.md)
cd "$(dirname "$0")/.." || exit 1
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" exec python src/dwm/tools/port_run.py precision "$@"
