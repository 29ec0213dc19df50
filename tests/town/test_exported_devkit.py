"""The official devkit, in its own environment, judges what `dwm export nuscenes` makes of a town, as it was and edited."""

import json
import subprocess
from pathlib import Path

import pytest

from dwm.cli.main import app, outcome
from dwm.town import TownOptions, write_nuscenes
from dwm.town.nuscenes.writer import NuScenesOptions

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-devkit/bin/python"
JUDGE = Path(__file__).with_name("devkit_judge.py")
EDITED = """
import sys
sys.path.insert(0, {folder!r})
from devkit_judge import *
nusc = NuScenes("v1.0-mini", {root!r}, verbose=False)
tokens_and_foreign_keys(nusc)
chains(nusc)
files(nusc)
kinds = [nusc.get("instance", row["instance_token"])["category_token"] for row in nusc.sample_annotation]
names = {{nusc.get("category", kind)["name"] for kind in kinds}}
boxes = []
for sample in nusc.sample:
    _, seen, _ = nusc.get_sample_data(sample["data"]["CAM_FRONT"], box_vis_level=BoxVisibility.ANY)
    boxes += [box for box in seen if nusc.get("sample_annotation", box.token)["instance_token"] == "added-1"]
maps = [NuScenesMap({root!r}, log["location"]) for log in nusc.log]
print(json.dumps({{
    "names": sorted(names), "samples": len(nusc.sample), "seen": len(boxes), "depth": [float(box.center[2]) for box in boxes],
    "points": [nusc.get("sample_annotation", box.token)["num_lidar_pts"] for box in boxes],
    "crossings": [len(one.ped_crossing) for one in maps], "lanes": [len(one.lane) for one in maps],
}}))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (ROOT / ".venv-devkit/.ready").exists(), reason="no nuScenes devkit: `make .venv-devkit/.ready` installs it"
    ),
]


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "set"
    options = NuScenesOptions(seconds=1.0, size=(224, 128), lidar_hz=10, twelve_hz=False)
    return write_nuscenes(output, 2, 3, options=options, town=TownOptions(times=("day",)))


def exported(town, output, *flags):
    arguments = [
        "export",
        "nuscenes",
        "--data",
        str(town),
        "-o",
        str(output),
        "--steps",
        "1",
        "--force",
    ]
    assert outcome(lambda: app([*arguments, *map(str, flags)], standalone_mode=False)) == 0
    return output


def judged(*command):
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=500, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_the_devkit_finds_no_fault_in_an_export(town, tmp_path):
    output = exported(town, tmp_path / "plain", "--lidar")
    summary = judged(PYTHON, JUDGE, output, "v1.0-mini", tmp_path / "pictures")
    assert summary["rows"]["scene"] == 2 and summary["rows"]["sample"] == 6 and summary["points in boxes"] > 1000


def test_the_devkit_sees_the_edits(town, tmp_path):
    edits = tmp_path / "edits.json"
    new = {"category": "animal", "size": [2, 1, 1.5], "track": [{"x": 14, "y": 0}, {"seconds": 1, "x": 20, "y": 0}]}
    edits.write_text(
        json.dumps({"add": [new], "remove": ["vehicle.car"], "without_map": ["ped_crossing"], "ego_left": 0.5})
    )
    output = exported(town, tmp_path / "edited", "--edits", edits, "--scene", "scene-0061")
    seen = judged(PYTHON, "-c", EDITED.format(folder=str(JUDGE.parent), root=str(output)))
    assert "animal" in seen["names"] and "vehicle.car" not in seen["names"]
    assert seen["samples"] == seen["seen"] == 3 and all(10 < depth < 25 for depth in seen["depth"])
    assert all(seen["points"]) and seen["crossings"] == [0] and seen["lanes"][0] > 0
