"""OpenDWM's command `python src/dwm/tools/prepare_opendv.py`: OpenDV's annotations as a caption file."""

import sys
from pathlib import Path

# The folder of a script comes first on Python's path; our modules in there must not stand for others of their names.
sys.path[0] = str(Path(__file__).resolve().parents[2])

from dwm.cli.main import outcome  # noqa: E402
from dwm.opendwm.commands.parse import opendv_captions  # noqa: E402

if __name__ == "__main__":
    sys.exit(outcome(opendv_captions))
