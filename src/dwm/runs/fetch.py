"""Files that a run needs and others publish: what each is, from where, how large, and where to put it. Fetches nothing."""

from __future__ import annotations

from pathlib import Path

from dwm.base_models.base import KNOWN
from dwm.errors import DwmError

PUBLISHER = "https://huggingface.co/wzhgba/opendwm-models"
PARAMETERS = {
    "ctsd_35_xs": 2.1,
    "ctsd_35_crossview": 3.1,
    "ctsd_35_tirda_nwao": 3.8,
    "ctsd_35": 4.1,
    "ctsd_unimlvg": 3.3,
    "ctsd_21_crossview": 1.4,
    "ctsd_21_tirda_nwao": 1.9,
    "ctsd_21": 2.0,
}
"""Beginnings of the names of OpenDWM's weights, with billions of parameters."""


OTHERWISE = "or try the built-in weights: the same command of OpenDWM's with --tiny, or dwm generate without -c"


def require(path: Path, what: str, source: str) -> Path:
    """`path`, where it is there. Else a DwmError that says what to fetch; `--tiny` works without."""
    if str(path) not in ("", ".") and path.exists():
        return path
    if str(path) in ("", "."):
        raise DwmError(f"{source}: names no {what}; {OTHERWISE}")
    raise DwmError(
        f"{source}: the {what} {path} is not here; fetch it from {_where(path, what)} and put it at {path}; {OTHERWISE}"
    )


def _where(path: Path, what: str) -> str:
    folder = next((name for name in reversed(path.parts) if name in KNOWN), None)
    if folder is not None:
        return KNOWN[folder]
    count = next((count for start, count in PARAMETERS.items() if path.name.startswith(start)), None)
    if count is not None:
        return f"{PUBLISHER} ({path.name}, {2 * count:.1f} GB in float16, twice that in float32)"
    return f"{PUBLISHER} (4 to 17 GB)" if what == "weights" else "its publisher"
