"""Tokens of sweeps are drawn until none is hidden, in any window, with or without guidance and a table."""

from __future__ import annotations

import itertools

import pytest
import torch

from dwm.diffusion.options import TokenSampling
from dwm.errors import DwmError
from dwm.generation.tokens import TokenSampler
from dwm.networks.lidar.options import TokenNetworkOptions
from dwm.networks.lidar.quantizer import VectorQuantizer
from dwm.networks.lidar.tokens import HIDDEN, TokenNetwork
from dwm.networks.options import AdapterOptions

ADAPTER = AdapterOptions(in_channels=6, channels=(16,), is_downblocks=(False,), num_res_blocks=1, downscale_factor=2)


def sampler(own_table: bool = True, **options: object) -> TokenSampler:
    torch.manual_seed(0)
    size = TokenNetworkOptions(
        codes=12, code_channels=4, size=(4, 6), width=16, depth=2, heads=2, temporal=True, adapter=ADAPTER, own_table=own_table
    )  # fmt: skip
    return TokenSampler(TokenNetwork(size).eval(), VectorQuantizer(12, 4).eval(), TokenSampling(steps=4, **options))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("options", [{}, {"guidance": 2.0}, {"own_table": False, "noise": False}])
def test_no_token_stays_hidden(options: dict[str, object]) -> None:
    known, layout = torch.full((2, 3, 24), HIDDEN), torch.zeros(2, 3, 6, 8, 12)
    ids = sampler(**options).window(known, layout, generator())
    assert ids.shape == (2, 3, 24) and ids.min() >= 0 and ids.max() < 12


def test_blank_codes_are_shut_out() -> None:
    known, layout = torch.full((1, 2, 24), HIDDEN), torch.zeros(1, 2, 6, 8, 12)
    ids = sampler(blank=tuple(range(11))).window(known, layout, generator())
    assert bool((ids == 11).all())


def test_windows_go_on_from_the_last_frames() -> None:
    known, layout = torch.full((1, 1, 24), 3), torch.zeros(1, 6, 6, 8, 12)
    parts = list(sampler().windows(known, layout, 3, generator()))
    assert len(parts) == 3 and bool((parts[0][:, 0] == 3).all())
    assert all(torch.equal(after[:, 0], before[:, -1]) for before, after in itertools.pairwise(parts))


def test_a_blank_code_that_there_is_not_is_refused() -> None:
    with pytest.raises(DwmError, match="blank code 12: the network knows codes 0 to 11"):
        sampler(blank=(3, 12))
