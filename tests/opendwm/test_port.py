import json
import re
import subprocess
from pathlib import Path

import pytest

from dwm.errors import DwmError
from dwm.opendwm.commands.port import PortRun, log_entries, mean_step, summary

ROOT = Path(__file__).parents[2]


def told(*given: str, kind: str = "precision", **environment: str) -> PortRun:
    return PortRun.of(kind, given, environment)


def test_the_ports_run_is_eight_processes_in_two_groups_with_a_clip_each(tmp_path: Path):
    run = told("10.0.0.7", "training.seed=3", OUTPUT=str(tmp_path))
    assert run.processes == 8 and run.log == tmp_path / "train.log"
    assert {
        "sd35-crossview-nuscenes",
        "training.steps=5000",
        "training.accumulate=8",
        "training.parallel.mesh=[2,4]",
        "training.seed=3",
    } <= set(run.arguments)
    command = run.command()
    assert "--nproc_per_node=8" in command and "--master_addr=10.0.0.7" in command and "--master_port=23500" in command
    assert "training.steps=500" in told(kind="performance").arguments


def test_the_environment_says_how_many_processes_where_and_how_large(tmp_path: Path):
    run = told(NPROC="4", MESH="1,4", DEVICE="cpu", TINY="1", OUTPUT=str(tmp_path))
    assert run.processes == 4 and run.arguments[0] == "sd35-crossview-nuscenes-tiny"
    assert {"training.parallel.mesh=[1,4]", "device=cpu"} <= set(run.arguments)
    alone = told(NPROC="1", TINY="1").command()
    assert "torch.distributed.run" not in alone


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"NPROC": "two"}, "NPROC=two: expected a whole number"),
        ({"MESH": "3,2"}, "MESH=3,2 is 6 processes, but NPROC"),
        ({"MESH": "eight"}, "MESH=eight: expected copies and shards"),
    ],
)
def test_a_wrong_environment_is_one_line(environment: dict[str, str], sentence: str):
    with pytest.raises(DwmError, match=re.escape(sentence)):
        told(**environment)


def test_a_precision_run_goes_on_and_a_performance_run_is_always_new(tmp_path: Path):
    for kind in ("precision", "performance"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "config.json").touch()
    assert told(OUTPUT=str(tmp_path)).folder == tmp_path / "precision"
    assert told(kind="performance", OUTPUT=str(tmp_path)).folder == tmp_path / "performance-2"
    (tmp_path / "precision" / "weights").mkdir()
    (tmp_path / "precision" / "weights" / "dwm.json").touch()
    assert told(OUTPUT=str(tmp_path)).folder == tmp_path / "precision-2"


def test_the_mean_leaves_out_the_first_interval_and_weighs_the_others_by_their_steps(tmp_path: Path):
    run = told(kind="performance", NPROC="2", OUTPUT=str(tmp_path))
    stage = run.folder / "driving"
    stage.mkdir(parents=True)
    lines = [(100, 9.0), (200, 1.0), (300, 2.0), (350, 5.0), (350, 4.0)]
    entries = [{"step": step, "seconds": s, "loss": 0.5, "clips_per_second": 2 / s} for step, s in lines]
    (stage / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert mean_step(log_entries(run.folder)) == pytest.approx(((100 + 200 + 200) / 250, 100, 350))
    assert summary(run) == [
        "step 350: loss 0.5000 (mean since step 300)",
        "mean time of a step, steps 101 to 350: 2.000 s/step, 1.00 clips/s on 2 processes",
    ]
    with pytest.raises(DwmError, match="one log interval only"):
        mean_step(entries[:1])


@pytest.mark.parametrize("script", ["train", "train_performance"])
def test_a_script_says_in_one_line_what_is_wrong(script: str):
    found = subprocess.run(
        ["bash", str(ROOT / "test" / f"{script}.sh")],
        env={"PATH": "/usr/bin:/bin", "NPROC": "none"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1 and found.stderr == "dwm: NPROC=none: expected a whole number from 1 on\n"
