"""Autoencoders of sweeps learn from whatever sweeps there are; tokens and latents are hidden as asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dwm.networks.lidar.options import VaeDecoderOptions, VaeEncoderOptions, VqNetworkOptions
from dwm.networks.lidar.quantizer import VectorQuantizer
from dwm.networks.lidar.rendering import Box
from dwm.networks.lidar.tokens import HIDDEN
from dwm.networks.lidar.vae import VaeAutoencoder, VaeDecoder, VaeEncoder
from dwm.networks.lidar.voxels import VoxelGrid
from dwm.networks.lidar.vq import VqAutoencoder, VqDecoder, VqEncoder
from dwm.training.objectives.options import SweepObjective
from dwm.training.objectives.sweep_tokens import draw_hidden, draw_task, latent_loss
from dwm.training.objectives.sweeps import corners, vae_losses, vq_losses

GRID = VoxelGrid(-4.0, 4.0, -4.0, 4.0, 0.25, -1.0, 1.0, 0.5)
CENTRE = (0.1, 0.0, 0.1)

SWEEPS = {
    "ordinary": torch.randn(40, 3, generator=torch.Generator().manual_seed(0)),
    "with intensity and ring": torch.randn(40, 5, generator=torch.Generator().manual_seed(1)),
    "empty": torch.zeros(0, 3),
    "not finite": torch.tensor([[1.0, 0.0, 0.0], [float("nan"), 0.0, 0.0], [0.0, float("inf"), 0.0]]),
    "on the sensor": torch.tensor([CENTRE]).repeat(5, 1),
    "far outside": torch.full((6, 3), 1e6),
}


def vq() -> VqAutoencoder:
    options = VqNetworkOptions(size=(32, 32), layers=4, width=16, heads=2, depth=5, code_channels=8)
    return VqAutoencoder(VqEncoder(options), VqDecoder(options), VectorQuantizer(6, 8)).train()


@pytest.mark.parametrize("name", SWEEPS)
def test_any_sweep_gives_finite_losses_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    net, sweep = vq(), SWEEPS[name]
    losses = vq_losses(
        net, GRID, GRID.occupancy(sweep)[None], [sweep], CENTRE, generator=torch.Generator().manual_seed(0)
    )
    losses.total.backward()
    assert losses.total.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def step(net: VqAutoencoder, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> float:
    sweep = SWEEPS["ordinary"]
    optimizer.zero_grad()
    loss = vq_losses(net, GRID, GRID.occupancy(sweep)[None], [sweep], CENTRE, generator=generator).total
    loss.backward()
    optimizer.step()
    return loss.item()


def test_the_autoencoder_with_codes_learns_a_sweep() -> None:
    torch.manual_seed(0)
    net, generator = vq(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    losses = [step(net, optimizer, generator) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_autoencoder_with_a_distribution_renders_beyond_the_cells() -> None:
    torch.manual_seed(0)
    encoder = VaeEncoderOptions(size=(32, 32), layers=4, depths=(1, 1), heads=(2, 2), window=4, patch=2, width=16)
    decoder = VaeDecoderOptions(
        size=(32, 32), layers=4, patch=2, width=32, heads=4, depth=(1, 1), latent_channels=4, rendered=True,
        feature_layers=3, feature_channels=8,
    )  # fmt: skip
    net = VaeAutoencoder(VaeEncoder(encoder), VaeDecoder(decoder))
    lower, upper = corners(GRID)
    sweep = SWEEPS["ordinary"]
    box = Box(lower, (*upper[:2], upper[2] + 1), 0.15)
    losses = vae_losses(net, GRID, GRID.occupancy(sweep)[None], [sweep], CENTRE, box)
    losses.total.backward()
    assert set(losses.raw) == {"kl_loss", "pred_voxel_loss", "depth_loss", "sdf_loss"} and losses.total.isfinite()


def ids(b: int, t: int, n: int) -> Tensor:
    return torch.arange(b * t * n).view(b, t, n)


def test_known_frames_of_each_clip_stay_visible() -> None:
    objective = SweepObjective(prediction=1.0, most_known=3)
    drawn = draw_hidden(ids(8, 5, 50), objective, *(torch.Generator().manual_seed(seed) for seed in (0, 1)))
    frames = drawn.hidden.view(8, 5, 50)
    counts = (~frames.any(2)).sum(1)
    assert counts.min() >= 1 and counts.max() <= 3 and len(set(counts.tolist())) > 1
    assert bool((drawn.ids == HIDDEN).eq(drawn.hidden).all())


def test_frames_that_are_known_do_not_count() -> None:
    predicted, target = torch.zeros(1, 2, 1, 2, 2), torch.ones(1, 2, 1, 2, 2)
    target[:, 0] = 100
    assert latent_loss(predicted, target, torch.tensor([[True, False]])).item() == pytest.approx(1.0)


def test_single_pictures_know_no_frame() -> None:
    task = draw_task(50, 4, SweepObjective(generation=0.8, single=0.5), torch.Generator().manual_seed(0))
    assert task.single.any() and not task.single.all()
    assert bool(((task.known == 0) == task.single[:, 0]).all())
