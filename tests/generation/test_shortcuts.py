"""Shortcuts leave work out where they say so, and what they change is small; without them nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from invented_batches import invented_batch
from torch import Tensor

from dwm.clip_batch import ClipBatch
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.generation.shortcuts import Shortcuts
from dwm.networks import CrossviewTemporalUNet, UNetOptions
from dwm.networks.inputs import Conditions
from dwm.networks.step_cache import FirstBlockCache

STEPS = 8


@pytest.fixture
def rows(pipe: DrivingPipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clips go through the last block in each step, both halves counted."""
    noted: list[int] = []
    block = pipe.network.transformer_blocks[-1]
    forward = block.forward

    def watched(x: Tensor, *inputs: Tensor) -> object:
        noted.append(len(x))
        return forward(x, *inputs)

    monkeypatch.setattr(block, "forward", watched)
    return noted


def pictures(pipe: DrivingPipeline, batch: ClipBatch, **options: object) -> Tensor:
    return pipe(batch, num_inference_steps=STEPS, seed=4, output_type="pt", shortcuts=Shortcuts(**options))


def test_outside_its_interval_guidance_takes_half_the_work(pipe: DrivingPipeline, rows: list[int]) -> None:
    batch = invented_batch(1, 1, 3)
    near = pictures(pipe, batch, guidance_interval=(0.25, 0.75))
    assert rows == [3, 3, 6, 6, 6, 6, 3, 3]
    exact, unguided = (
        pictures(pipe, batch),
        pipe(batch, num_inference_steps=STEPS, guidance_scale=1, seed=4, output_type="pt"),
    )
    error, most = (near - exact).square().mean(), (unguided - exact).square().mean()
    assert 0 < error < most


def test_frames_of_a_queue_have_guidance_where_each_stands(pipe: DrivingPipeline) -> None:
    sampler = pipe.sampler((32, 16), torch.Generator(), STEPS, shortcuts=Shortcuts(guidance_interval=(0.0, 0.5)))
    batch = invented_batch(1, 2, 3)
    shape = sampler.latent_shape(batch)
    prepared, latents = sampler.prepare(batch, shape), sampler.noise(shape)
    time = torch.full(shape[:3], 500.0)
    with torch.no_grad():
        mixed = sampler.predict(latents, time, prepared, [2, 6])
        on, off = (sampler.predict(latents, time, prepared, [index]) for index in (2, 6))
    torch.testing.assert_close(mixed[:, 0], on[:, 0])
    torch.testing.assert_close(mixed[:, 1], off[:, 1])
    assert not torch.allclose(on, off)


def test_the_cache_runs_blocks_only_where_the_first_one_moved(pipe: DrivingPipeline, rows: list[int]) -> None:
    batch = invented_batch(1, 4, 3)
    exact = pictures(pipe, batch)
    assert len(rows) == STEPS
    counts = []
    for threshold in (1e-9, 0.5, 1.0):
        rows.clear()
        near = pictures(pipe, batch, cache=threshold)
        counts.append(len(rows))
        assert torch.allclose(near, exact, atol=1e-5) == (len(rows) == STEPS)
    assert counts[0] == STEPS > counts[1] > counts[2] >= 1


def test_a_u_net_goes_by_its_first_level() -> None:
    torch.manual_seed(0)
    small = {
        "block_out_channels": (32, 32),
        "num_attention_heads": (2, 2),
        "cross_attention_dim": 8,
        "layers_per_block": 1,
    }
    kinds = {
        "down_block_types": ("CrossAttnDownBlockCrossviewTemporal", "DownBlockCrossviewTemporal"),
        "up_block_types": ("UpBlockCrossviewTemporal", "CrossAttnUpBlockCrossviewTemporal"),
    }
    net = CrossviewTemporalUNet(UNetOptions(in_channels=4, out_channels=4, **small, **kinds)).eval()
    shape = (1, 2, 2, 4, 8, 8)
    flag = torch.zeros(1, dtype=torch.bool)
    told = Conditions(text=torch.randn(1, 2, 2, 3, 8), disable_crossview=flag, disable_temporal=flag)
    x, times = torch.randn(shape), torch.full(shape[:3], 500)
    with torch.no_grad():
        prepared = net.prepare(told, shape)
        exact = net(x, times, prepared)
        cache = FirstBlockCache(0.05)
        kept = replace(prepared, cache=cache)
        torch.testing.assert_close(net(x, times, kept), exact)
        near = net(x + 1e-3 * torch.randn(shape), times, kept)
        torch.testing.assert_close(near, exact)
        assert (cache.steps, cache.reused) == (2, 1)
        net(torch.randn(shape), times, kept)
        assert (cache.steps, cache.reused) == (3, 1)


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.6, 0.4), (0.0, 1.2)])
def test_what_is_no_interval_is_refused(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no part of 0:1"):
        Shortcuts(guidance_interval=interval)


def test_a_network_without_a_first_block_is_named(pipe: DrivingPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare: Callable[..., object] = lambda *_: object()  # noqa: E731
    monkeypatch.setattr(pipe.network, "prepare", prepare)
    with pytest.raises(DwmError, match="CrossviewTemporalDiT has no first block"):
        pictures(pipe, invented_batch(1, 1, 3), cache=0.1)


def test_a_single_picture_leaves_the_blocks_across_frames_out(
    pipe: DrivingPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in training, where a frame that is alone never sees them."""

    def fail(*_: object) -> None:
        raise AssertionError("a block across frames ran")

    monkeypatch.setattr(pipe.network.temporal_transformer_blocks[0], "forward", fail)
    pictures(pipe, invented_batch(1, 1, 3))
    with pytest.raises(AssertionError, match="across frames ran"):
        pictures(pipe, invented_batch(1, 4, 3))
