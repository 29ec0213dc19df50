"""A driving world as gymnasium's environment, judged by gymnasium itself."""

from __future__ import annotations

import numpy as np
import pytest

from dwm.drive import DrivingWorld, town_source
from dwm.generation import DrivingPipeline

gymnasium = pytest.importorskip("gymnasium", reason="dwm[gym] is not installed")
from gymnasium.utils.env_checker import check_env  # noqa: E402

from dwm.drive.environment import DrivingEnvironment  # noqa: E402


@pytest.fixture
def environment(pipe: DrivingPipeline) -> DrivingEnvironment:
    return DrivingEnvironment(DrivingWorld(pipe, town_source(7, 1)), ticks=40)


def test_gymnasium_finds_no_fault(environment: DrivingEnvironment) -> None:
    check_env(environment)


def test_progress_pays_and_a_crash_costs_and_ends(environment: DrivingEnvironment) -> None:
    environment.reset(seed=1)
    seen, reward, ended, cut, info = environment.step(np.array([1.0, 0.0], np.float32))
    assert seen.shape == (6, 16, 32, 3) and not (ended or cut)
    assert reward == info["progress"] > 0
    for _ in range(39):
        seen, reward, ended, cut, info = environment.step(np.array([1.0, -0.6], np.float32))
        if ended:
            break
    assert ended and info["crash"] == -20 and reward < -10


@pytest.mark.slow
def test_an_episode_is_cut(environment: DrivingEnvironment) -> None:
    environment.reset(seed=1)
    steps = [environment.step(np.array([-1.0, 0.0], np.float32)) for _ in range(40)]
    assert [cut for _, _, _, cut, _ in steps] == [False] * 39 + [True]
    assert steps[-1][4]["speed"] == 0
