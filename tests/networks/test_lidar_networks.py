"""Networks of sweeps: published names and sizes, grids that are not square, bad sizes in a line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dwm.errors import DwmError
from dwm.networks.lidar.options import TokenNetworkOptions, VqNetworkOptions
from dwm.networks.lidar.quantizer import VectorQuantizer
from dwm.networks.lidar.tokens import HIDDEN, TokenNetwork
from dwm.networks.lidar.vq import VqAutoencoder, VqDecoder, VqEncoder
from dwm.networks.options import AdapterOptions
from dwm.opendwm.config.lidar_networks import token_options, vae_autoencoder, vq_autoencoder

SMALL = VqNetworkOptions(size=(32, 64), layers=4, width=16, heads=2, depth=6, code_channels=8)


def test_a_grid_that_is_not_square_comes_back_in_its_size() -> None:
    net = VqAutoencoder(VqEncoder(SMALL), VqDecoder(SMALL), VectorQuantizer(12, 8)).eval()
    density, logits = net.decode(net.encode(torch.zeros(2, 4, 32, 64)).codes)
    assert density.shape == (2, 16, 4, 16, 32) and logits.shape == (2, 4, 32, 64)


def test_weights_without_what_is_computed_load_strictly() -> None:
    net = VqEncoder(SMALL)
    state = {k: v for k, v in net.state_dict().items() if not k.endswith(("relative_position_index", "attn_mask"))}
    assert len(state) < len(net.state_dict())
    VqEncoder(SMALL).load_state_dict(state)


def test_an_index_in_a_file_is_not_believed() -> None:
    net = VqEncoder(SMALL)
    state = net.state_dict()
    for name in state:
        if name.endswith("relative_position_index"):
            state[name] = torch.full_like(state[name], 10**6)
    net.load_state_dict(state)
    assert net(torch.zeros(1, 4, 32, 64)).isfinite().all()


def test_cells_that_patches_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="patches of 8 cells do not divide 36 x 64 cells"):
        VqNetworkOptions(size=(36, 64))


def test_tokens_need_the_layout_they_were_made_for() -> None:
    adapter = AdapterOptions(channels=(16,), is_downblocks=(False,), num_res_blocks=1, downscale_factor=2)
    options = TokenNetworkOptions(codes=8, code_channels=4, size=(4, 6), width=16, depth=2, heads=2, adapter=adapter)
    ids = torch.full((1, 24), HIDDEN)
    with pytest.raises(DwmError, match="needs the layout"):
        TokenNetwork(options)(ids)


def shapes(net: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in net.state_dict().items()}


PUBLISHED = (
    Path(os.environ.get("DWM_SHARED", Path(__file__).parents[3] / "shared")) / "reference/state_dict_shapes.json"
)


def published(config: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Of a configuration's LiDAR networks: their section, and the names and shapes of their weights."""
    known = json.loads(PUBLISHED.read_text("utf-8"))
    pipeline = json.loads((PUBLISHED.parent / config).read_text("utf-8"))["pipeline"]
    return {name: (pipeline[name], known["models"][model]) for name, model in known["configs"][config].items()}


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"no published shapes at {PUBLISHED}")
@pytest.mark.parametrize(
    "config",
    [
        "configs/lidar/lidar_vqvae_nwa.json",
        "configs/lidar/lidar_vae_nwak.json",
        "configs/lidar/lidar_maskgit_layout_ns.json",
        "configs/lidar/lidar_maskgit_temporal_vq80k_layout_kt.json",
        "configs/lidar/lidar_diffusion_dit_temporal_ns.json",
    ],
)
def test_published_weights_have_our_names_and_shapes(config: str) -> None:
    builders = {
        "vq_point_cloud": vq_autoencoder,
        "lidar_vae": vae_autoencoder,
        "autoencoder": vae_autoencoder,
        "bi_directional_Transformer": lambda section, where: TokenNetwork(token_options(section, where)),
    }
    for name, (section, model) in published(config).items():
        if name in builders:
            with torch.device("meta"):
                net = builders[name](section, name)
            expected = {
                key: value if isinstance(value, list) else value["shape"] for key, value in model["keys"].items()
            }
            assert shapes(net) == expected
