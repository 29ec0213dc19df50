"""The example of a policy that is tried in both worlds."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from dwm.generation import DrivingPipeline

EXAMPLE = Path(__file__).parents[2] / "examples" / "drive_policy.py"


@pytest.mark.slow
def test_the_example_scores_both_worlds(
    pipe: DrivingPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe.save_pretrained(tmp_path / "weights")
    scores = runpy.run_path(str(EXAMPLE))["main"](1.5, str(tmp_path / "weights"))
    assert list(scores) == ["in the town's own pictures", "in what the network draws"]
    assert all(score["metres"] > 1 for score in scores.values())
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "score " in line]) == 2


def test_the_policy_keeps_the_line_on_its_left_and_brakes_before_what_stands_ahead() -> None:
    policy = runpy.run_path(str(EXAMPLE))["policy"]

    def road(line: int) -> np.ndarray:
        picture = np.full((96, 160, 3), 90, np.uint8)
        picture[60:, line : line + 6] = (230, 170, 40)
        return picture

    assert abs(policy(road(43), 0.0).steer) < 0.05 and policy(road(43), 0.0).throttle > 0.5
    assert policy(road(70), 3.0).steer > 0.1, "too far to the left: to the right"
    assert policy(road(10), 3.0).steer < -0.1
    bus = road(43)
    bus[40:70, 60:100] = (20, 120, 60)
    assert policy(bus, 4.0).throttle == 0.0 and policy(bus, 4.0).brake > 0
