"""However many processes share a run, and however they share it, it gives the losses and weights of one process."""

import json
import shutil
import socket
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
import processes

from dwm.errors import DwmError
from dwm.training.parallel.options import ParallelOptions
from dwm.training.parallel.spread import Spread, without_shards
from dwm.training.saves import checkpoint

PRELOADED = ["torch.distributed.fsdp", "torch.nn.parallel", "dwm.training.loop.step", "dwm.training.saves.shard_files"]
TWO = ("ddp", "fsdp", "fsdp-muon", "fsdp-recompute", "ddp-half", "fsdp-half")
FOUR = ("fsdp-22", "fsdp-14", "fsdp-41")


def start(ranks: int, folder: Path, *ways: str) -> None:
    """Runs the ways in so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # One server imports PyTorch for all of them.
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    torch.multiprocessing.start_processes(
        processes.start, (ranks, port, folder, ways), nprocs=ranks, start_method="forkserver"
    )


def resumed_from(save: Path, folder: Path) -> None:
    """A run's folder that holds one save of another run."""
    shutil.copytree(save, folder / "checkpoints" / save.name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    if why := without_shards("cpu"):
        pytest.skip(why)
    folder, threads = tmp_path_factory.mktemp("runs"), torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other processes: float16 sums in another order otherwise
    for way in ("plain", "muon", "half"):
        processes.train(folder / "1", way)
    start(4, folder / "4", *FOUR)
    half = Path("checkpoints", "0000002")
    # A save of four processes goes on with two and with one; one of a single process goes on with two.
    resumed_from(folder / "4" / "fsdp-22" / half, folder / "from-4" / "ddp")
    resumed_from(folder / "4" / "fsdp-14" / half, folder / "from-4" / "plain")
    resumed_from(folder / "1" / "plain" / half, folder / "from-4" / "fsdp")
    processes.train(folder / "from-4", "plain")
    start(2, folder / "2", *TWO, "../from-4/ddp", "../from-4/fsdp")
    torch.set_num_threads(threads)
    return folder


def curve(folder: Path) -> dict[int, dict[str, float]]:
    return {entry["step"]: entry for entry in map(json.loads, (folder / "log.jsonl").read_text().splitlines())}


def same(found: Path, wanted: Path, after: int = 0) -> None:
    one, other = curve(wanted), curve(found)
    assert list(other) == list(range(after + 1, processes.STEPS + 1))
    for step, entry in other.items():
        for name in ("loss", "generation", "image", "gradient_norm", "lr"):
            assert entry[name] == pytest.approx(one[step][name], rel=2e-5), (step, name)
    weights, expected = load_file(found / "weights.safetensors"), load_file(wanted / "weights.safetensors")
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, atol=2e-6, rtol=2e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("way", TWO)
def test_two_processes_equal_one(runs, way):
    same(runs / "2" / way, runs / "1" / {"muon": "muon", "half": "half"}.get(way.split("-")[-1], "plain"))


@pytest.mark.slow
@pytest.mark.parametrize("way", FOUR)
def test_four_processes_equal_one_whatever_the_mesh(runs, way):
    same(runs / "4" / way, runs / "1" / "plain")


@pytest.mark.slow
@pytest.mark.parametrize("way", ("ddp", "fsdp", "plain"))
def test_a_save_goes_on_with_another_number_of_processes(runs, way):
    same(runs / "from-4" / way, runs / "1" / "plain", after=2)


@pytest.mark.slow
def test_a_save_of_shards_is_read_whole(runs):
    shards = checkpoint.saves(runs / "4" / "fsdp-14" / "checkpoints")[-1]
    assert len(list(shards.glob("shard_*.safetensors"))) == 4
    assert not [path for path in shards.iterdir() if path.suffix not in (".safetensors", ".json")]
    whole, expected = checkpoint.saved_weights(shards), load_file(runs / "1" / "plain" / "weights.safetensors")
    assert whole.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(whole[name], value, atol=2e-6, rtol=2e-5)


@pytest.mark.slow
def test_only_the_first_process_writes_a_log(runs):
    assert len((runs / "4" / "fsdp-22" / "log.jsonl").read_text().splitlines()) == processes.STEPS


def test_recomputed_blocks_give_the_same_and_are_left_as_they_were(tmp_path):
    processes.train(tmp_path, "plain")
    processes.train(tmp_path, "recompute")
    same(tmp_path / "recompute", tmp_path / "plain")
    task = processes.Stacked()
    spread = Spread(task, ParallelOptions(recompute=True), processes.parallel.current_ranks())
    assert all("forward" in vars(block) for block in task.blocks())
    spread.close()
    assert not any("forward" in vars(block) for block in task.blocks())


def test_compiled_blocks_give_the_same(tmp_path, monkeypatch):
    # Traced and differentiated as with the default back end, whose C++ takes a minute to compile.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    processes.train(tmp_path, "plain", 2)
    processes.train(tmp_path, "compile", 2)
    one, other = curve(tmp_path / "plain"), curve(tmp_path / "compile")
    assert all(other[step]["loss"] == pytest.approx(one[step]["loss"], rel=1e-5) for step in one)


def test_a_mesh_for_another_number_of_processes_is_refused():
    with pytest.raises(DwmError, match=r"mesh: \[2, 4\] is 8 processes, but 6 were started"):
        ParallelOptions(mesh=(2, 4)).shape(6)
    assert ParallelOptions().shape(6) == (1, 6)
