import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import torch

from dwm.errors import DwmError
from dwm.opendwm.commands import port
from dwm.opendwm.commands.before_start import check_devices, check_memory
from dwm.opendwm.commands.port import PortRun, checked, log_entries, mean_step, summary
from dwm.training.loop.log import line

ROOT = Path(__file__).parents[2]


def told(*given: str, kind: str = "precision", **environment: str) -> PortRun:
    return PortRun.of(kind, given, environment)


def test_the_ports_run_is_eight_processes_in_two_groups_with_a_clip_each(tmp_path: Path):
    run = told("127.0.0.1", "training.seed=3", OUTPUT=str(tmp_path))
    assert run.processes == 8 and run.log == tmp_path / "train.log"
    assert {
        "sd35-crossview-nuscenes",
        "training.steps=5000",
        "training.accumulate=8",
        "training.parallel.mesh=[2,4]",
        "training.seed=3",
    } <= set(run.arguments)
    command = run.command()
    assert "--nproc_per_node=8" in command and "--master_addr=127.0.0.1" in command and "--master_port=23500" in command
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


def test_an_unfinished_run_keeps_its_name_and_a_finished_one_too(tmp_path: Path):
    for kind in ("precision", "performance"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "config.json").touch()
        assert told(kind=kind, OUTPUT=str(tmp_path)).folder == tmp_path / kind
        (tmp_path / kind / "weights").mkdir()
        (tmp_path / kind / "weights" / "dwm.json").touch()
        assert told(kind=kind, OUTPUT=str(tmp_path)).folder == tmp_path / f"{kind}-2"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--resume"], "--resume: no flag is known here; bash test/train.sh [master address] [KEY=VALUE …]"),
        (["--steps=3"], "--steps=3: no flag is known here"),
        (["no.such.host.invalid"], "no.such.host.invalid: is no KEY=VALUE and no host that is known here"),
        (["127.0.0.1", "localhost"], "127.0.0.1 localhost: one word at most may be no KEY=VALUE"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: list[str], sentence: str):
    with pytest.raises(DwmError, match=re.escape(sentence)):
        told(*words)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"NNODES": "2"}, "NNODES=2: give the first machine's address"),
        ({"NODE_RANK": "1"}, "NODE_RANK=1, but NNODES=1"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT=x: expected a whole number"),
    ],
)
def test_machines_that_cannot_be_meant_are_refused(environment: dict[str, str], sentence: str):
    with pytest.raises(DwmError, match=re.escape(sentence)):
        told(**environment)


def test_eight_processes_without_eight_devices_are_refused_with_what_to_type(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DwmError, match=r"8 processes need 8 devices, .*TINY=1 bash test/train.sh"):
        check_devices("cpu", 8, "bash test/train.sh", alone=False)
    with pytest.raises(DwmError, match=r"99 processes need 99 devices, and this machine has \d+ cores: NPROC=\d+ "):
        check_devices("cpu", 99, "bash test/train.sh", alone=True)
    check_devices("cpu", 2, "bash test/train.sh", alone=True)
    check_devices("cpu", 1, "bash test/train.sh", alone=False)


def test_files_are_looked_for_before_anything_is_started(tmp_path: Path):
    environment = {"NPROC": "1", "DEVICE": "cpu", "OUTPUT": str(tmp_path / "out")}
    base = tmp_path / "stable-diffusion-3.5-medium"
    with pytest.raises(DwmError, match=r"base model .*stable-diffusion-3.5-medium is not here; fetch it from"):
        checked(told(f"base_model={base}", **environment))
    (base / "transformer").mkdir(parents=True)
    with pytest.raises(DwmError, match="nuscenes"):
        checked(
            told(
                f"base_model={base}",
                f"weights={base}/transformer",
                f"data.train.0.path={tmp_path}/nuscenes",
                **environment,
            )
        )
    assert not (tmp_path / "out").exists()


def test_more_than_the_memory_is_refused_before_anything_is_started():
    run = told(NPROC="2", TINY="1").recipe
    check_memory(run, torch.device("cpu"), 2, 1)
    with pytest.raises(DwmError, match=r"100000 processes on this machine need .* GB for weights"):
        check_memory(run, torch.device("cpu"), 100_000, 1)


def test_a_log_step_is_also_a_line_of_the_ports(tmp_path: Path):
    values = {"step": 20, "loss": 0.12345, "generation": 0.13, "image": 0.11, "lr": 6e-5, "seconds": 1.26}
    assert list(port._as_the_port(line(values, 60) + "\n")) == [
        "Step 20 (1.3 s/step), loss: 0.1235, generation: 0.1300, image: 0.1100\n"
    ]
    del values["generation"], values["image"]
    assert list(port._as_the_port(line(values, 60))) == ["Step 20 (1.3 s/step), loss: 0.1235\n"]
    assert not list(port._as_the_port("waiting at 127.0.0.1:2 for 2 processes\n"))


def test_where_weights_cannot_be_sharded_each_process_holds_a_copy_and_that_is_said(monkeypatch, capsys):
    run = told(TINY="1", DEVICE="cpu")
    monkeypatch.setattr(torch.cpu, "Stream", type("Stream", (), {}))  # as in PyTorch 2.6
    found = checked(run)
    assert "fsdp on a CPU needs a PyTorch newer than 2.6" in capsys.readouterr().out
    parallel = found.recipe.training.parallel
    assert (parallel.mode, parallel.mesh) == ("ddp", None) and run.recipe.training.parallel.mode == "fsdp"


@pytest.mark.slow
def test_a_failed_run_says_why_once_in_its_last_line_and_leaves_its_name_free(tmp_path: Path):
    environment = {**os.environ, "TINY": "1", "OUTPUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    wrong = ["training.freeze=nothing_of_that_name", "training.steps=2"]
    found = subprocess.run(
        ["bash", str(ROOT / "test" / "train_performance.sh"), *wrong], env=environment, capture_output=True, text=True
    )
    lines = (found.stdout + found.stderr).splitlines()
    assert found.returncode == 1 and found.stderr.splitlines()[-1].startswith("dwm: ")
    assert sum("nothing_of_that_name" in line for line in lines) == 1 and "Traceback" not in found.stdout + found.stderr
    assert (tmp_path / "train_performance.log").read_text("utf-8").splitlines()[-1].startswith("dwm: ")
    assert told(kind="performance", TINY="1", OUTPUT=str(tmp_path)).folder == tmp_path / "performance"
    port._put_aside(tmp_path / "performance")
    assert not (tmp_path / "performance").exists()


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
