"""Recomputation is chosen from the memory that a stage needs; a run says which it is, and learns the same either way."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_run
import torch

from dwm.networks import CrossviewTemporalDiT
from dwm.recipes.town import town_network
from dwm.runs import recomputation as module
from dwm.runs.recomputation import largest, recomputation, recomputes
from dwm.training.parallel.ranks import Ranks

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run():
    return tiny_run.options(1)


def test_it_is_chosen_where_memory_is_too_little_and_said(run, monkeypatch, capsys) -> None:
    stage = run.driving_stages()[-1]
    plan = recomputation(run, stage, torch.float32, free=80 * 10**9)
    assert not plan.needful and 1e6 < plan.needed < 1e9
    for free, chosen in ((plan.needed * 2, False), (plan.needed // 2, True)):
        monkeypatch.setattr(module, "memory", lambda device, free=free: type("M", (), {"free": free}))
        assert recomputes(run, stage, torch.float32, CPU, (), Ranks()) is chosen
        said = "computed again" if chosen else "nothing is computed twice"
        assert said in capsys.readouterr().err


def test_what_a_run_asks_for_is_done(run, capsys) -> None:
    stage = run.driving_stages()[-1]
    for asked in (True, False):
        loop = stage.loop.with_(parallel=stage.loop.parallel.with_(recompute=asked))
        assert recomputes(run, stage.with_(loop=loop), torch.float32, CPU, (), Ranks()) is asked
    assert capsys.readouterr().err == ""


def test_shards_and_what_lies_beside_count(run) -> None:
    stage = run.driving_stages()[-1]
    whole, sharded, beside = (
        recomputation(run, stage, torch.float32, 10**9, held, shards).needed
        for held, shards in ((0, 1), (0, 4), (7, 1))
    )
    assert sharded < whole == beside - 7


def test_the_largest_micro_batch_counts(run) -> None:
    stage = run.driving_stages()[-1]
    shape = largest(run, stage)
    pixels = shape.b * shape.t * shape.v
    shapes = [(one.clips, one.frames, one.views or run.data.views) for one in (stage.batch, *stage.batch.mix)]
    assert pixels == max(b * t * v for b, t, v in shapes)


def test_what_options_ask_for_is_left_out_where_memory_allows() -> None:
    options = town_network().with_(temporal_gradient_checkpointing=True)
    with torch.device("meta"):
        network = CrossviewTemporalDiT(options)
    assert network.temporal_checkpointing and not network.gradient_checkpointing
    for enabled in (False, True):
        network.enable_gradient_checkpointing(enabled)
        assert network.gradient_checkpointing == network.temporal_checkpointing == enabled
        assert not network.crossview_checkpointing and not network.condition_image_adapter.gradient_checkpointing


def test_a_run_says_it_in_its_log(tmp_path: Path, capsys) -> None:
    tiny_run.train(tiny_run.options(1), tmp_path / "run")
    assert "nothing is computed twice" in capsys.readouterr().err
