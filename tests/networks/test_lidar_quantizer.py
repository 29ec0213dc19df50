"""Codes: the nearest is found, dead ones come back, a table of another size is refused."""

from __future__ import annotations

import pytest
import torch

from dwm.errors import DwmError
from dwm.networks.lidar.quantizer import Usage, VectorQuantizer


def usage_of(codes: int) -> Usage:
    return Usage(torch.zeros(codes), torch.zeros(codes))


def test_codes_come_to_lie_on_the_latents() -> None:
    torch.manual_seed(0)
    net, usage = VectorQuantizer(4, 3).train(), usage_of(4)
    z = torch.eye(3).mul(9).repeat(40, 1)[None] + 0.01 * torch.randn(1, 120, 3)
    assert (net(z, usage, torch.Generator().manual_seed(0)).codes - z).abs().max() < 0.1


def test_fewer_latents_than_codes_leave_the_table_whole() -> None:
    torch.manual_seed(0)
    net = VectorQuantizer(24, 3).train()
    net(torch.randn(1, 10, 3), usage_of(24), torch.Generator().manual_seed(0))
    assert net.embedding.weight.shape == (24, 3) and net.embedding.weight.isfinite().all()


def test_a_trained_reservoir_loads_strictly() -> None:
    torch.manual_seed(0)
    trained = VectorQuantizer(4, 3).train()
    trained(torch.randn(1, 17, 3), usage_of(4), torch.Generator().manual_seed(0))
    fresh = VectorQuantizer(4, 3)
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.reservoir, trained.reservoir)


def test_a_table_of_another_size_is_refused_in_a_line() -> None:
    with pytest.raises(DwmError, match=r"embedding\.weight: a table of 8 x 3, the network has 4 x 3"):
        VectorQuantizer(4, 3).load_state_dict(VectorQuantizer(8, 3).state_dict())
