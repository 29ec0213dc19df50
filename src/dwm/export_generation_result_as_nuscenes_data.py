"""OpenDWM's command `python src/dwm/export_generation_result_as_nuscenes_data.py`: pictures by their photographs' names."""

import sys
from pathlib import Path

# The folder of a script comes first on Python's path; our modules in there must not stand for others of their names.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from dwm.cli.main import outcome  # noqa: E402
from dwm.opendwm.commands.parse import export_generated  # noqa: E402

if __name__ == "__main__":
    sys.exit(outcome(export_generated))
