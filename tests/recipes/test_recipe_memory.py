"""The cost that is told beforehand agrees with what is counted when the network really runs."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dwm.config import find
from dwm.config.files import read_json
from dwm.networks import Conditions, CrossviewTemporalDiT, DiTOptions
from dwm.networks.cost import Shape, generation_cost, inputs, parameters, skeleton, training_cost
from dwm.networks.dryrun import Count

SHAPE = Shape(b=1, t=3, v=6, h=6, w=10, text=12)


@pytest.fixture(scope="module")
def options() -> DiTOptions:
    network = find("town").network
    return network.with_(
        num_layers=3, crossview_block_layers=(1,), temporal_block_layers=(0, 2), merge_strategy="learned"
    )


def _real(tensor: torch.Tensor | None) -> torch.Tensor | None:
    if tensor is None:
        return None
    return torch.rand(tensor.shape) if tensor.dtype.is_floating_point else torch.ones(tensor.shape, dtype=tensor.dtype)


def _measured(options: DiTOptions, training: bool, recompute: bool = False) -> tuple[int, int]:
    """(arithmetic of the step, peak of live bytes) of the network with real numbers."""
    network = CrossviewTemporalDiT(options).train(training)
    network.enable_gradient_checkpointing(recompute)
    for parameter in network.parameters() if training else ():
        parameter.grad = torch.zeros_like(parameter)
    sample, times, conditions = (
        _real(item) if isinstance(item, torch.Tensor) else item for item in inputs(skeleton(options), SHAPE)
    )
    conditions = Conditions(**{item.name: _real(getattr(conditions, item.name)) for item in fields(Conditions)})
    counter, live = FlopCounterMode(display=False), Count()
    with torch.set_grad_enabled(training), live, sdpa_kernel(SDPBackend.MATH):
        if training:
            with counter:
                prepared = network.prepare(conditions, tuple(sample.shape))
                network(sample, times, prepared).float().square().mean().backward()
        else:
            prepared = network.prepare(conditions, tuple(sample.shape))
            with counter:
                network(sample, times, prepared)
    return counter.get_total_flops(), live.peak


def test_a_sampling_steps_arithmetic_is_exact(options: DiTOptions) -> None:
    assert generation_cost(options, SHAPE).flops == _measured(options, training=False)[0]


def test_a_training_steps_arithmetic_and_memory_are_within_a_few_percent(options: DiTOptions) -> None:
    told = training_cost(options, SHAPE)
    flops, peak = _measured(options, training=True)
    assert told.flops == pytest.approx(flops, rel=0.05)
    assert told.activations == pytest.approx(peak, rel=0.1)


def test_memory_of_a_step_that_recomputes_is_what_it_holds(options: DiTOptions) -> None:
    told = training_cost(options, SHAPE, recompute=True)
    _, peak = _measured(options, training=True, recompute=True)
    # Plain attention, which is measured, keeps other tensors of a block than fused kernels do.
    assert 0.75 * peak < told.activations < 1.15 * peak


def test_recomputing_trades_memory_for_arithmetic(options: DiTOptions) -> None:
    plain, recomputed = training_cost(options, SHAPE), training_cost(options, SHAPE, recompute=True)
    assert recomputed.activations < 0.9 * plain.activations and recomputed.flops > plain.flops


def test_more_frames_cost_more(options: DiTOptions) -> None:
    longer = generation_cost(options, Shape(b=1, t=6, v=6, h=6, w=10, text=12))
    assert longer.flops == pytest.approx(2 * generation_cost(options, SHAPE).flops, rel=0.05)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("sd35-text-nuscenes", "configs/ctsd/multi_datasets/ctsd_35_tirda_nwao.json"),
        ("sd35-layout-nuscenes", "configs/ctsd/single_dataset/ctsd_35_tirda_bm_nusc_a.json"),
    ],
)
def test_published_networks_have_their_published_parameters(name: str, config: str, shared: Path) -> None:
    reference = read_json(shared / "reference" / "models.json")["configs"][config]
    assert sum(parameters(find(name).network).values()) == reference["models"]["model"]["parameters"]
