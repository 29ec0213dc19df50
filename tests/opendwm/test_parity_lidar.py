"""LiDAR's functions give the recorded numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dwm.opendwm.parity.run import run_parity

SHARED = Path(os.environ.get("DWM_SHARED", Path(__file__).parents[3] / "shared"))
CASES = SHARED / "vectors" / "lidar"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no recorded LiDAR cases at {CASES}")


@pytest.mark.parametrize(
    "name",
    [
        "voxelizer",
        "voxelizer_not_square",
        "point_transforms",
        "occupancy_sampling",
        "computed_buffers",
        "maskgit_schedule",
        "layout_conditions",
        "preview_single_frame",
    ],
)
def test_recorded_sweep_functions(name: str) -> None:
    assert [f"{r.name}: {r.worst or r.note}" for r in run_parity(CASES / name) if not r.passed] == []
