"""OpenDWM's commands that are not here: one line each that says what does their job, for scripts that still call them."""

from __future__ import annotations

import sys
from pathlib import Path

from dwm.errors import DwmError

ELSEWHERE = {
    "carla_simulation": "dwm drive --carla HOST:PORT drives the vehicle with the role name hero, or spawns one among traffic; "
    "scenarios of your own are spawned by CARLA's tools; layouts as a package (data.json) are read by python src/dwm/preview.py",
    "carla_control": "dwm drive --carla HOST:PORT opens a page that takes the keys; programs steer by its WebSocket "
    "(docs/drive.md)",
    "make_carla_cameras": "dwm drive --carla HOST:PORT has six cameras as nuScenes has them; any rig is given in Python "
    "(dwm.drive.sources.carla.CarlaSource)",
}
"""Name of a script → what to do instead."""


def answer() -> None:
    """Raises DwmError with the line for the script that was called, whatever its flags."""
    name = Path(sys.argv[0]).stem
    raise DwmError(f"{name}: {ELSEWHERE[name]}")
