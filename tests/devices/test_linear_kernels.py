"""A linear layer, with its GELU or without, as one kernel gives what PyTorch gives, and only where nothing is lost by it."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dwm.devices import has_linear_kernel
from dwm.networks.feed_forward import use_our_kernels

KINDS = ("gelu-approximate", "geglu")


def pair(kind: str, dtype: torch.dtype) -> tuple[FeedForward, FeedForward, Tensor]:
    """diffusers' feed-forward, ours of the same weights, and tokens."""
    torch.manual_seed(3)
    theirs = FeedForward(24, activation_fn=kind).to(dtype).requires_grad_(False)
    ours = FeedForward(24, activation_fn=kind)
    use_our_kernels(ours).to(dtype).requires_grad_(False).load_state_dict(theirs.state_dict())
    return theirs, ours, torch.randn(2, 5, 24).to(dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_the_kernel_gives_what_diffusers_gives(kind: str, dtype: torch.dtype, near: float) -> None:
    theirs, ours, x = pair(kind, dtype)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=near, atol=near)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_diffusers(kind: str) -> None:
    theirs, ours, x = pair(kind, torch.float32)
    found = []
    for ff in (theirs, ours):
        tokens = x.clone().requires_grad_()
        ff(tokens).square().sum().backward()
        assert tokens.grad is not None
        found.append(tokens.grad)
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_still_decides_the_precision(kind: str) -> None:
    _, ours, x = pair(kind, torch.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_weights_keep_their_names(kind: str) -> None:
    theirs, ours, _ = pair(kind, torch.float32)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_its_operations_are_counted(kind: str) -> None:
    counts = []
    for ff in pair(kind, torch.float32)[:2]:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            ff(torch.ones(7, 24))
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("bias", [True, False])
def test_a_plain_layer_gives_what_pytorch_gives_of_tokens_that_lie_apart(bias: bool) -> None:
    torch.manual_seed(3)
    theirs = nn.Linear(16, 24, bias=bias).requires_grad_(False)
    ours = use_our_kernels(nn.Sequential(nn.Linear(16, 24, bias=bias))).requires_grad_(False)
    ours[0].load_state_dict(theirs.state_dict())
    x = torch.randn(3, 4, 7, 16)[:, :, 2:5]
    with torch.no_grad():
        assert has_linear_kernel(x, ours[0].weight)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=1e-6)


def test_odd_numbers_keep_to_pytorchs_own() -> None:
    x = torch.ones(2, 4, dtype=torch.float64)
    with torch.no_grad():
        assert not has_linear_kernel(x, x)
        assert not has_linear_kernel(x.float(), x)
