"""The official devkit, in its own environment, judges a written set: links, counts, velocities, maps, rendered pictures."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from dwm.town import TownOptions, write_nuscenes
from dwm.town.nuscenes.writer import NuScenesOptions

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-devkit/bin/python"
JUDGE = Path(__file__).with_name("devkit_judge.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (ROOT / ".venv-devkit/.ready").exists(), reason="no nuScenes devkit: `make .venv-devkit/.ready` installs it"
    ),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    output = tmp_path_factory.mktemp("devkit") / "set"
    options = NuScenesOptions(seconds=1.0, size=(224, 128), lidar_hz=10)
    return write_nuscenes(output, 2, 3, options=options, town=TownOptions(times=("day",)))


@pytest.mark.parametrize("version", ["v1.0-mini", "interp_12Hz_trainval"])
def test_the_devkit_finds_no_fault(written, version, tmp_path):
    command = [PYTHON, JUDGE, written, version, tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    summary = json.loads(run.stdout.splitlines()[-1])
    assert summary["rows"]["scene"] == 2
    assert summary["rows"]["sample"] == 2 * (3 if version == "v1.0-mini" else 13)
    assert summary["splits"]["mini_train"] == ["scene-0061"] and summary["splits"]["mini_val"] == ["scene-0103"]
    pictures = list(tmp_path.glob("*.png"))
    if version == "v1.0-mini":
        assert summary["points in boxes"] > 1000
        assert len(pictures) == 2 * (7 + 2)
    assert all(Image.open(picture).size[0] > 200 for picture in pictures)
