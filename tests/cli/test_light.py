"""What a question or a refusal imports: seconds of libraries stand between a typing slip and its answer otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "diffusers", "transformers", "panda3d", "tensorboard")
"""What takes a second or more to import, or is an extra."""
NETWORKS = ("diffusers", "transformers", "panda3d", "tensorboard")


def imported(code: str, cwd: Path, *heavy: str) -> tuple[str, str, int]:
    """Runs Python in a new process: which of these libraries it has imported at its end, what it said, its status."""
    watch = f"import atexit, sys; atexit.register(lambda: print(*sorted(set({heavy!r}) & set(sys.modules))))\n"
    environment = {key: value for key, value in os.environ.items() if key != "EAGER_IMPORT"}
    result = subprocess.run(
        [sys.executable, "-c", watch + code], capture_output=True, text=True, cwd=cwd, env=environment, timeout=120
    )
    return result.stdout.splitlines()[-1], result.stdout + result.stderr, result.returncode


def command(*arguments: str) -> str:
    return f"import dwm.cli.main; dwm.cli.main.run({list(arguments)!r})"


@pytest.mark.parametrize(
    ("arguments", "status", "answer"),
    [
        (("show", "recipes"), 0, "sd35-layout-nuscenes"),
        (("show", "config", "town"), 0, "training.optimizer.lr"),
        (("show", "config", "sd21-layout-nwa", "--json"), 0, '"network"'),
        (("show", "config", "sd35-layout-nuscenes-tiny"), 0, "network."),
        (("show", "config", "twon"), 1, "no recipe is named 'twon'; nearest: town"),
        (("show", "memory", "twon"), 1, "no recipe is named 'twon'"),
        (("show", "clip", "absent"), 1, "absent: does not exist"),
        (("train", "twon"), 1, "no recipe is named 'twon'"),
        (("train", "town", "training.stepz=3"), 1, "training.stepz is not known; nearest: training.steps"),
        (("train", "town", "--data", "absent"), 1, "absent: does not exist"),
        (("train", "-c", "absent.json"), 1, "absent.json: no such file"),
        (("generate", "--data", "absent"), 1, "absent: does not exist"),
        (("generate", "--weights", "absent"), 1, "absent: holds no dwm.json"),
        (("generate", "--sise", "3"), 2, "--size"),
        (("evaluate", "--weights", "absent"), 1, "absent: holds no dwm.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_questions_and_refusals_need_no_heavy_library(
    tmp_path: Path, arguments: tuple[str, ...], status: int, answer: str
) -> None:
    heavy, said, code = imported(command(*arguments), tmp_path, *HEAVY)
    assert answer in said and code == status
    assert heavy == ""


def test_a_config_that_is_refused_needs_no_library_of_networks(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['train.py', '-c', 'absent.json', '-o', 'out']\n"
    code += "from dwm.opendwm.commands.parse import train; from dwm.cli.main import outcome; sys.exit(outcome(train))"
    heavy, said, status = imported(code, tmp_path, *NETWORKS)
    assert "absent.json: no such file" in said and (heavy, status) == ("", 1)


def test_the_pipeline_is_imported_without_the_networks_libraries(tmp_path: Path) -> None:
    heavy, said, code = imported(
        "from dwm import DrivingPipeline; DrivingPipeline.from_pretrained", tmp_path, *NETWORKS
    )
    assert (heavy, code) == ("", 0), said


def test_memory_is_counted_without_text_encoders_town_and_curves(tmp_path: Path) -> None:
    heavy, said, code = imported(command("show", "memory", "town"), tmp_path, "panda3d", "tensorboard")
    assert "parameters" in said and (heavy, code) == ("", 0)


@pytest.mark.parametrize("room", ["base_models", "conditions", "data", "diffusion", "evaluation", "networks"])
def test_every_name_that_a_room_gives_when_asked_is_there(room: str) -> None:
    code = f"import dwm.{room} as room; [getattr(room, name) for name in room.__all__]; assert room.__all__"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("library", "code", "line"),
    [
        (
            "panda3d",
            "from dwm.town.drawing.renderer import Renderer; Renderer.get()",
            "Panda3D, which is not here: pip install 'dwm[town]'",
        ),
        (
            "tensorboard",
            "from pathlib import Path; from dwm.training.loop.log import TensorBoard; TensorBoard(Path('run'), 0)",
            "tensorboard is not installed; pip install 'dwm[tensorboard]'",
        ),
    ],
)
def test_an_extra_that_is_not_installed_is_missed_with_its_install_line(
    tmp_path: Path, library: str, code: str, line: str
) -> None:
    hide = f"import sys; sys.modules[{library!r}] = None\n"
    _, said, status = imported(hide + code, tmp_path)
    assert status == 1 and line in said
