"""The port's README typed line by line on its own folder made small: from packed tars to scores, on one and two processes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from port_tree import PORT, PortTree
from safetensors.torch import load_file

EXAMPLE = "reference/port/examples/ctsd_35_6views_image_generation.json"
QUICK = ("--log-steps", "1", "--checkpointing-steps", "2", "--preview-steps", "1000")
SMALL = (
    "network.num_layers=2",
    "network.dual_attention_layers=[0]",
    "network.crossview_block_layers=[1]",
    "network.attention_head_dim=8",
    "network.num_attention_heads=4",
    "network.caption_projection_dim=32",
    "network.joint_attention_dim=32",
    "network.pooled_projection_dim=32",
    "network.pos_embed_max_size=32",
    "network.condition_image_adapter_config.channels=[32,32]",
    "network.condition_image_adapter_config.is_downblocks=[true,false]",
)
"""Our recipe of the port's run with nothing but sizes of its network changed."""
pytestmark = pytest.mark.slow


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "driving" / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(port_tree: PortTree) -> Path:
    """A run of `src/dwm/train.py` with the port's own config, of two steps."""
    config = port_tree.small(PORT)
    said = port_tree.run("src/dwm/train.py", "-c", str(config), "-o", "output/train_out", "--steps", "2", *QUICK)
    assert "written: output/train_out/weights" in said
    return port_tree.folder / "output" / "train_out"


def test_the_ports_config_trains_and_goes_on(trained: Path, port_tree: PortTree) -> None:
    before = load_file(trained / "driving" / "weights.safetensors")
    config = str(port_tree.small(PORT))
    again = ("-o", str(trained), "--steps", "3", *QUICK, "--resume-from", "2")
    port_tree.run("src/dwm/train.py", "-c", config, *again)
    assert steps(trained) == [1, 2, 3]
    after = load_file(trained / "driving" / "weights.safetensors")
    assert set(before) == set(after) and any(not before[name].equal(after[name]) for name in before)


def test_without_a_step_the_saved_ones_are_named(trained: Path, port_tree: PortTree) -> None:
    refused = port_tree.run("src/dwm/preview.py", "-c", str(port_tree.small(PORT)), "-o", str(trained), status=1)
    assert "names no weights; with --resume-from those of" in refused and "(saved: 2" in refused


def test_previews_come_from_the_training_runs_folder_and_leave_it_as_it_is(trained: Path, port_tree: PortTree) -> None:
    config, run = str(port_tree.small(PORT)), (trained / "config.json").read_bytes()
    port_tree.run("src/dwm/preview.py", "-c", config, "-o", str(trained), "--resume-from", "2", "--count", "1")
    assert (trained / "preview" / "0.png").stat().st_size > 10_000
    assert (trained / "config.json").read_bytes() == run


def test_scores_come_from_the_training_runs_folder_and_leave_it_as_it_is(trained: Path, port_tree: PortTree) -> None:
    config, run = str(port_tree.small(PORT)), (trained / "config.json").read_bytes()
    said = port_tree.run(
        "src/dwm/evaluate.py", "-c", config, "-o", str(trained), "--resume-from", "2", "--clips", "2", TORCH_HOME="none"
    )
    assert "not computed: " in said and "weights-inception-2015-12-05-6726825d.pth" in said
    assert "town_fid: " in said and json.loads((trained / "evaluation" / "scores.json").read_text())["clips"] == 2
    assert (trained / "config.json").read_bytes() == run


def test_the_ports_example_writes_pictures_and_statistics(port_tree: PortTree) -> None:
    example = str(port_tree.small(EXAMPLE))
    output = port_tree.folder / "output" / "pictures"
    said = port_tree.run("examples/ctsd_generation_example.py", "-c", example, "-o", str(output), "-r", "2")
    told = json.loads((output / "inference_stats.json").read_text())
    assert (told["total_samples"], told["total_runs"]) == (2, 4)
    assert all(sample["original_latent_shape"] == [1, 1, 6, 16, 32, 56] for sample in told["samples"])
    assert said.count(" seconds | Shape: (1, 1, 6, 3, 256, 448)") == 4
    assert all((output / f"{number}.png").stat().st_size > 10_000 for number in range(2))


def test_validation_clips_become_layout_packages(port_tree: PortTree) -> None:
    config, output = str(port_tree.small(PORT)), port_tree.folder / "packages"
    port_tree.run("src/dwm/tools/export_nusc_2_preview_format.py", "-c", config, "-o", str(output), "--count", "1")
    (package,) = output.glob("*/data.json")
    camera = json.loads(package.read_text())["0"]["camera_infos"]["CAM_FRONT"]
    assert (package.parent / camera["3dbox"]).is_file() and len(camera["image_description"]) > 20


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_precision_script_runs_the_ports_config_and_goes_on(
    processes: str, port_tree: PortTree, tmp_path: Path
) -> None:
    """It goes on with two processes; one does so in `src/dwm/train.py`, to which the script leads."""
    told = {"CONFIG": str(port_tree.small(PORT)), "ROOT": str(port_tree.folder), "NPROC": processes}
    told |= {"DEVICE": "cpu", "OUTPUT": str(tmp_path)}
    changed = ("training.log_every=1", "preview.every=0")
    said = port_tree.run("bash", "test/train.sh", "training.steps=2", *changed, **told)
    assert "s/step, " in said and f"on {processes} processes" in said
    finished, last = tmp_path / "precision" / "weights", 2
    if processes == "2":
        shutil.rmtree(finished)  # as a run that was cut before its last line: the folder comes whole or not at all
        port_tree.run("bash", "test/train.sh", "training.steps=3", *changed, **told)
        last = 3
    assert steps(tmp_path / "precision") == list(range(1, last + 1))
    assert f"Step {last} (" in (tmp_path / "train.log").read_text() and (finished / "dwm.json").is_file()


@pytest.mark.parametrize("named", ["config", "recipe"])
def test_the_performance_script_says_the_time_of_a_step(named: str, port_tree: PortTree, tmp_path: Path) -> None:
    told = {"ROOT": str(port_tree.folder), "NPROC": "1", "DEVICE": "cpu", "OUTPUT": str(tmp_path)}
    changed = ["training.steps=3", "training.log_every=1"]
    if named == "config":
        told["CONFIG"] = str(port_tree.small(PORT))
    else:
        changed += [*SMALL, "weights=null"]
    said = port_tree.run("bash", "test/train_performance.sh", *changed, **told)
    assert "mean time of a step, steps 2 to 3: " in said and (tmp_path / "train_performance.log").is_file()


def test_two_processes_train_the_ports_config(port_tree: PortTree) -> None:
    output = port_tree.folder / "output" / "two"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    script = Path(__file__).parents[2] / "src" / "dwm" / "train.py"
    config = str(port_tree.small(PORT))
    port_tree.run(sys.executable, *launcher, str(script), "-c", config, "-o", str(output), "--steps", "1", *QUICK)
    assert steps(output) == [1] and (output / "weights" / "dwm.json").is_file()


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("base_model/stable-diffusion-3.5-medium", "the base model {} is not here; fetch it from https://"),
        ("data/nuscenes/nuscenes_v1.0-trainval_caption_v2_val.json", "the caption file {} is not here (seen from "),
    ],
)
def test_what_is_missing_is_one_line_and_leaves_no_run_behind(missing: str, line: str, port_tree: PortTree) -> None:
    config, place = str(port_tree.small(PORT)), port_tree.folder / missing
    aside = place.rename(place.with_name("aside"))
    try:
        said = port_tree.run("src/dwm/train.py", "-c", config, "-o", "output/none", "--steps", "1", status=1)
    finally:
        aside.rename(place)
    assert line.format(missing) in said and "Traceback" not in said
    assert not (port_tree.folder / "output" / "none").exists()
