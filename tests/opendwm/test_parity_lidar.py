"""LiDAR's functions give the recorded numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dwm.opendwm.parity.run import HANDLERS, run_parity

SHARED = Path(os.environ.get("DWM_SHARED", Path(__file__).parents[3] / "shared"))
CASES = SHARED / "vectors" / "lidar"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no recorded LiDAR cases at {CASES}")


def ready(folder: Path) -> bool:
    """Whether the case is of a kind that is computed."""
    return json.loads((folder / "case.json").read_text("utf-8"))["kind"] in HANDLERS


RECORDED = (
    [folder.name for folder in sorted(CASES.iterdir()) if folder.is_dir() and ready(folder)] if CASES.is_dir() else []
)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_sweeps(name: str) -> None:
    assert [f"{r.name}: {r.worst or r.note}" for r in run_parity(CASES / name) if not r.passed] == []
