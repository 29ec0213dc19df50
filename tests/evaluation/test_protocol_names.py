"""A run whose clips are just those of a named protocol says its name."""

from __future__ import annotations

import pytest

from dwm.conventions import NUSCENES_VIEWS
from dwm.runs.protocols import PROTOCOLS, protocol_of


@pytest.mark.parametrize(
    ("clips", "name"),
    [
        ((16, 12.0, 20.0, 1, NUSCENES_VIEWS), "opendwm-1"),
        ((16, 12.0, 1e9, 0, NUSCENES_VIEWS), "opendwm-0"),
        ((1, 0.0, 3.0, 0, NUSCENES_VIEWS), "opendwm-images"),
        ((1, 0.0, 14.0, 0, NUSCENES_VIEWS), None),
        ((35, 10.0, 20.0, 3, NUSCENES_VIEWS), None),
        ((16, 12.0, 2.0, 1, NUSCENES_VIEWS), None),
    ],
)
def test_clips_name_their_protocol(clips: tuple, name: str | None) -> None:
    assert protocol_of(*clips) == name
    assert name is None or name in PROTOCOLS
