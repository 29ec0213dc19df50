"""What a LiDAR run costs is counted on shapes, and agrees with networks that have numbers."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dwm.cli.main import app, outcome
from dwm.config.lidar import AUTOENCODER, GENERATOR
from dwm.config.lidar_cost import SweepEstimate, sweep_estimate
from dwm.config.lidar_files import find_lidar
from dwm.config.scale import Machine, scales
from dwm.networks.lidar.build import autoencoder_of
from dwm.networks.lidar.tokens import TokenNetwork


def within(*arguments: str) -> int:
    return outcome(lambda: app(args=list(arguments), prog_name="dwm", standalone_mode=False))


@pytest.fixture(scope="module")
def estimated() -> SweepEstimate:
    return sweep_estimate(find_lidar("tiny-lidar-maskgit"))


def test_both_stages_are_counted_with_their_parameters(estimated: SweepEstimate) -> None:
    run = find_lidar("tiny-lidar-maskgit")
    networks = {AUTOENCODER: autoencoder_of(run.autoencoder), GENERATOR: TokenNetwork(run.generator.network)}  # type: ignore[union-attr]
    assert [stage.name for stage in estimated.stages] == [AUTOENCODER, GENERATOR]
    for stage in estimated.stages:
        assert stage.parameters == sum(parameter.numel() for parameter in networks[stage.name].parameters())
        assert stage.training.gradients == 4 * stage.parameters
    assert estimated.stages[0].rays > 0 and estimated.window == run.sampling.window


def test_a_pass_of_the_generator_costs_what_it_costs_with_numbers(estimated: SweepEstimate) -> None:
    run = find_lidar("tiny-lidar-maskgit")
    network = TokenNetwork(run.generator.network).eval()  # type: ignore[union-attr]
    rows, columns = run.generator.network.size  # type: ignore[union-attr]
    halves = 1 if run.generator.sampling.guidance is None else 2  # type: ignore[union-attr]
    count, (width, height) = halves * run.sampling.window, run.data.birdseye.size
    layout = torch.rand(count, run.data.layout_channels, height, width)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(count, rows * columns, dtype=torch.long), None, layout, run.sampling.window)
    assert estimated.generation.flops == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_half_precision_halves_what_is_held_between_layers() -> None:
    run = find_lidar("tiny-lidar-dit")
    wide, narrow = (sweep_estimate(run, dtype).generation for dtype in (torch.float32, torch.bfloat16))
    assert narrow.activations < 0.7 * wide.activations and narrow.flops == wide.flops


def test_the_commands_tell_of_a_recipe_of_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert within("show", "memory", "tiny-lidar-vae", "training.clips=2") == 0
    said = capsys.readouterr().out
    assert "autoencoder: " in said and "2 clips of 1 sweeps" in said and "80 GB: windows of 1 fit" in said
    assert within("show", "cost", "tiny-lidar-maskgit", "--devices", "2,4", "--json") == 0
    two, four = json.loads(capsys.readouterr().out)["devices"]
    assert two["sent"] < four["sent"] and two["stored"] == 0 and two["memory"] == four["memory"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lidar-vq-nwa", "lidar-vae-nwak", "lidar-maskgit-temporal-kitti360", "lidar-unet-temporal-nuscenes"]
)
def test_published_sizes_are_counted_in_moments(name: str) -> None:
    run = find_lidar(name)
    scale = scales(run, [8], Machine())[0]
    assert 0 < scale.compute < 60 and 1e9 < scale.memory < 1e12
