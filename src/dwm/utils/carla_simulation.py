"""OpenDWM's command `python src/dwm/utils/carla_simulation.py`: says what does its job here."""

import sys
from pathlib import Path

# The folder of a script comes first on Python's path; our modules in there must not stand for others of their names.
sys.path[0] = str(Path(__file__).resolve().parents[2])

from dwm.cli.main import outcome  # noqa: E402
from dwm.opendwm.commands.elsewhere import answer  # noqa: E402

if __name__ == "__main__":
    sys.exit(outcome(answer))
