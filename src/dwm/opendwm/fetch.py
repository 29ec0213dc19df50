"""Files that OpenDWM's users have and others must fetch: what each is, from where, how large, and where to put it."""

from __future__ import annotations

from pathlib import Path

from dwm.base_models.base import KNOWN
from dwm.errors import DwmError

PUBLISHER = "https://huggingface.co/wzhgba/opendwm-models"
PARAMETERS = {
    "ctsd_35_tirda_nwao": 3.8,
    "ctsd_35": 4.1,
    "ctsd_unimlvg": 3.3,
    "ctsd_21": 2.0,
}
"""Beginnings of file names, with billions of parameters."""


def require(path: Path, what: str, source: str) -> Path:
    """`path`, where it is there. Else a DwmError that says what to fetch; `--tiny` works without."""
    if str(path) not in ("", ".") and path.exists():
        return path
    name = path.name
    if name in KNOWN:
        where = KNOWN[name]
    else:
        count = next((count for start, count in PARAMETERS.items() if name.startswith(start)), 4.0)
        where = f"{PUBLISHER} ({2 * count:.1f} GB in float16)" if what == "weights" else "its publisher"
    raise DwmError(
        f"{source}: the {what} {path} is not here; fetch it from {where} and put it there, or run the same command with "
        "--tiny on the built-in weights"
    )
