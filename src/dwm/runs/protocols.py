"""Protocols by name: which clips an evaluation takes, and what of them is given, so that two papers' numbers mean the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from dwm.errors import DwmError, nearest

ONCE = 1e9
"""A stride beyond every scene's end: of each only the first window."""
LONGEST = 20.0
"""Seconds of nuScenes' scenes: a stride of as many leaves one window in each."""
FIXED = ("frames", "fps", "views", "references")
"""What a protocol may fix of a run."""


@dataclass(frozen=True)
class Protocol:
    """What it is, in words, and what it fixes; None is left to the run.

    stride: seconds between two clips of one scene; with fps 0 both count recorded frames. references: given first frames.
    """

    words: str
    frames: int | None = None
    fps: float | None = None
    stride: float | None = None
    references: int | None = None
    views: tuple[str, ...] | None = None


PROTOCOLS: Mapping[str, Protocol] = {
    **{
        f"opendwm-{count}": Protocol(
            f"OpenDWM's: the first 16 frames of each scene at 12 Hz, {count} of them given", 16, 12.0, ONCE, count
        )
        for count in (0, 1, 3)
    },
    "opendwm-images": Protocol("OpenDWM's: single pictures, every third recorded frame", 1, 0.0, 3, 0),
    "worldlens": Protocol("WorldLens's: the first 16 frames of each scene at 12 Hz, none given", 16, 12.0, ONCE, 0),
    "front": Protocol(
        "DrivingGen's way of looking: the front camera, its first frame given", references=1, views=("CAM_FRONT",)
    ),
}


def protocol_called(name: str) -> Protocol:
    """Raises DwmError, with the nearest name, for one that is not there."""
    if name not in PROTOCOLS:
        raise DwmError(f"--protocol: there is no {name!r}{nearest(name, PROTOCOLS)} ({', '.join(PROTOCOLS)})")
    return PROTOCOLS[name]


def protocol_of(frames: int, fps: float, stride: float, references: int, views: tuple[str, ...]) -> str | None:
    """The name of the protocol that takes just such clips; None where none does. Strides beyond a scene's end are one."""
    taken = {"frames": frames, "fps": fps, "stride": stride, "references": references, "views": views}
    for name, protocol in PROTOCOLS.items():
        wanted = {key: value for key in taken if (value := getattr(protocol, key)) is not None}
        if wanted.get("stride") == ONCE and stride >= LONGEST:
            del wanted["stride"]
        if protocol.frames is not None and all(taken[key] == value for key, value in wanted.items()):
            return name
    return None


def fixed_by(name: str | None) -> dict[str, object]:
    """The fields of a run that a protocol fixes."""
    if name is None:
        return {}
    protocol = protocol_called(name)
    values = {field.name: getattr(protocol, field.name) for field in fields(Protocol)}
    return {key: values[key] for key in FIXED if values[key] is not None}


def check_fixed(name: str | None, given: Mapping[str, object]) -> None:
    """Raises DwmError where a run says otherwise than its protocol."""
    for key, value in fixed_by(name).items():
        if given[key] is not None and given[key] != value:
            raise DwmError(f"--{key} {given[key]}: the protocol {name} has {value}; leave out one of them")
