"""OpenDWM's commands that are not here: one line each that says what does their job, for scripts that still call them."""

from __future__ import annotations

import sys
from pathlib import Path

import dwm
from dwm.errors import DwmError

NOT_YET = f"is not in dwm {dwm.__version__}"
ELSEWHERE = {
    "carla_simulation": f"driving in CARLA {NOT_YET}; its layouts as a package (data.json) are read by python src/dwm/preview.py",
    "carla_control": f"driving in CARLA {NOT_YET}; a world without a simulator: dwm town",
    "make_carla_cameras": f"driving in CARLA {NOT_YET}; any rig of cameras is read from a layout package (data.json)",
}
"""Name of a script → what to do instead, as of this release."""


def answer() -> None:
    """Raises DwmError with the line for the script that was called, whatever its flags."""
    name = Path(sys.argv[0]).stem
    raise DwmError(f"{name}: {ELSEWHERE[name]}")
