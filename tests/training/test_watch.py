"""What is seen of a run: its lines, and where it hung or broke."""

import json
import os
import time

import pytest
import torch
from test_loop import OPTIONS, Regression
from test_parallel import PRELOADED

from dwm.errors import DwmError
from dwm.training.loop.log import Lines, WatchOptions, line
from dwm.training.loop.optimizers import OptimizerOptions
from dwm.training.loop.options import ScheduleOptions
from dwm.training.loop.reduction import SUM
from dwm.training.loop.step import train_task


class Counted(Regression):
    """With tokens and operations."""

    def work(self, batch):
        return super().work(batch).__class__(clips=4, tokens=48, operations=1e6)


def entries(folder):
    return [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines()]


def test_a_line_says_what_a_run_does(tmp_path, capsys):
    train_task(Counted(), OPTIONS.with_(steps=6, log_every=3), tmp_path)
    first, second = entries(tmp_path)
    assert (first["step"], second["step"]) == (3, 6)
    assert first["twice"] == pytest.approx(2 * first["loss"], rel=1e-5)
    assert first["clips_per_second"] == pytest.approx(4 / first["seconds"], rel=1e-5)
    assert first["tokens_per_second"] == pytest.approx(48 / first["seconds"], rel=1e-5)
    assert 0 < first["share_of_peak"] < 1 and 0 <= first["waiting"] < 1 and first["memory_gb"] > 0
    shown = capsys.readouterr().err.splitlines()[1]
    for part in (
        "step 6/6: loss",
        "(twice ",
        "gradient ",
        "lr ",
        "s/step",
        "clips/s",
        "tokens/s",
        "of peak",
        "GB",
        "left",
    ):
        assert part in shown
    assert list((tmp_path / "curves").glob("events*"))


def test_the_log_is_the_mean_since_the_last_line(tmp_path):
    train_task(Regression(), OPTIONS.with_(steps=6), tmp_path / "each")
    train_task(Regression(), OPTIONS.with_(steps=6, log_every=3), tmp_path / "third")
    each, third = entries(tmp_path / "each"), entries(tmp_path / "third")
    for name in ("loss", "twice", "gradient_norm"):
        assert third[0][name] == pytest.approx(sum(entry[name] for entry in each[:3]) / 3, rel=1e-5)


def test_a_part_that_no_clip_had_is_left_out():
    shown = line({"step": 5, "loss": 0.5, "image": 0.25, "gradient_norm": 1.0, "seconds": 0.1, "left": 3}, 10)
    assert shown == "step 5/10: loss 0.5000 (image 0.2500), gradient 1, 0.100 s/step, 3 s left"


@pytest.mark.parametrize("library", ["wandb", "trackio"])
def test_a_missing_tracker_is_named_with_its_install_line(tmp_path, library, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    options = OPTIONS.with_(watch=WatchOptions(trackers=(library,)))
    with pytest.raises(DwmError, match=rf"pip install 'dwm\[{library}\]'"):
        train_task(Regression(), options, tmp_path)


def test_a_torn_last_line_is_dropped(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    Lines(tmp_path, 3).write(2, {"step": 2, "loss": 1.0})
    assert [entry["step"] for entry in entries(tmp_path)] == [1, 2]


def test_not_a_number_names_the_batch_although_it_is_looked_for_later(tmp_path):
    with pytest.raises(DwmError, match=r"step 13: the loss is nan, for batch 12; .*last good save is .*0000010;"):
        train_task(Regression(broken_at=12), OPTIONS.with_(log_every=7), tmp_path)


def _hang(folder: str) -> None:
    class Hanging(Regression):
        def losses(self, batch, generator):
            if batch[0] == 4:
                a_place_to_hang()
            return super().losses(batch, generator)

    handle = os.open(f"{folder}/said.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 2)
    train_task(
        Hanging(), OPTIONS.with_(save_every=2, watch=WatchOptions(stall_after=1, trackers=())), folder_of(folder)
    )


def a_place_to_hang() -> None:
    time.sleep(60)


def folder_of(text: str):
    from pathlib import Path

    return Path(text)


def test_a_run_that_hangs_ends_and_says_where(tmp_path):
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_hang, args=(str(tmp_path),))
    process.start()
    process.join(60)
    assert process.exitcode == 1
    said = (tmp_path / "said.txt").read_text()
    assert "no step for 1 s" in said and "at hand: batch 4;" in said and "0000004" in said
    assert "a_place_to_hang" in (tmp_path / "stalled-00000.txt").read_text()


def test_the_reference_counts_calls_and_sums_gradients(tmp_path):
    # The recorded run: LinearLR from 0.25 over five calls, two calls a step, a rate of 0.002.
    schedule = ScheduleOptions(warmup=5, start=0.25)
    options = OPTIONS.with_(steps=3, accumulate=2, optimizer=OptimizerOptions(lr=0.002), schedule=schedule)
    train_task(Regression(), options, tmp_path / "ours")
    train_task(Regression(), options, tmp_path / "reference", reduction=SUM)
    ours, reference = entries(tmp_path / "ours"), entries(tmp_path / "reference")
    assert [entry["lr"] for entry in reference] == pytest.approx([0.0008, 0.0014, 0.002])
    assert [entry["lr"] for entry in ours] == pytest.approx([0.0005, 0.0008, 0.0011])
    assert reference[0]["gradient_norm"] == pytest.approx(2 * ours[0]["gradient_norm"], rel=1e-4)
