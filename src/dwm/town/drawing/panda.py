"""Panda3D's core, imported when a picture is drawn: it is an extra, and streets, traffic and captions need none of it."""

from __future__ import annotations

from typing import Any

from dwm.errors import DwmError


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        from panda3d import core
    except ImportError as error:
        raise DwmError("the town is drawn by Panda3D, which is not here: pip install 'dwm[town]'") from error
    globals()[name] = value = getattr(core, name)
    return value
