"""Attention and RMS norm agree with PyTorch's own, on the CPU's two paths and through a stand-in for the NPU's library."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from dwm.devices import attention, rms_norm
from dwm.devices.attention import SHORT


class OnNpu(torch.Tensor):
    """A tensor that says it lies on an NPU."""

    @property
    def device(self):
        return SimpleNamespace(type="npu")


def on_npu(x: torch.Tensor) -> torch.Tensor:
    return x.as_subclass(OnNpu)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """A torch_npu that computes with PyTorch and keeps what it was called with."""
    made: list[dict] = []

    def npu_rms_norm(x, gamma, epsilon=1e-6):
        made.append({"dtype": x.dtype, "gamma": gamma.dtype})
        x, gamma = x.as_subclass(torch.Tensor), gamma.as_subclass(torch.Tensor)
        rstd = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + epsilon)
        return (x.float() * rstd * gamma.float()).to(x.dtype), rstd

    def npu_fusion_attention(query, key, value, head_num, input_layout, *, atten_mask=None, scale=1.0):
        q, k, v = (x.as_subclass(torch.Tensor) for x in (query, key, value))
        made.append({"layout": input_layout, "heads": head_num, "shape": q.shape, "mask": atten_mask})
        scores = q @ k.transpose(-1, -2) * scale
        if atten_mask is not None:
            scores = scores.masked_fill(atten_mask.as_subclass(torch.Tensor), float("-inf"))
        return scores.softmax(-1) @ v, None, None, None

    library = ModuleType("torch_npu")
    library.npu_rms_norm = npu_rms_norm
    library.npu_fusion_attention = npu_fusion_attention
    monkeypatch.setitem(sys.modules, "torch_npu", library)
    return made


@pytest.mark.parametrize("length", [3, SHORT, SHORT + 1])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_of_short_and_long_sequences(length: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(length)
    q, k, v = (torch.randn(2, 3, length, 4, generator=generator, requires_grad=True) for _ in range(3))
    mask = (torch.rand(2, 1, length, length, generator=generator) < 0.5) | torch.eye(length, dtype=torch.bool)
    mask = mask if masked else None
    ours, theirs = attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, theirs)
    direction = torch.randn(ours.shape, generator=generator)
    for mine, other in zip(
        torch.autograd.grad(ours, (q, k, v), direction), torch.autograd.grad(theirs, (q, k, v), direction), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_attention_to_other_tokens_than_its_own() -> None:
    q, k, v = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 4)
    torch.testing.assert_close(attention(q, k, v), F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm(dtype: torch.dtype) -> None:
    x, weight = torch.randn(3, 5, 8).to(dtype), torch.rand(8).to(dtype)
    found = rms_norm(x, weight, 1e-6)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), F.rms_norm(x.float(), (8,), weight.float(), 1e-6), rtol=2e-2, atol=1e-2)


def test_npu_attention_is_called_in_its_layout(calls: list[dict]) -> None:
    q, k, v = (torch.randn(2, 3, 6, 4) for _ in range(3))
    mask = (torch.rand(2, 1, 6, 6) < 0.5) | torch.eye(6, dtype=torch.bool)
    found = attention(on_npu(q), on_npu(k), on_npu(v), mask)
    torch.testing.assert_close(found.as_subclass(torch.Tensor), attention(q, k, v, mask))
    (call,) = calls
    assert (call["layout"], call["heads"], tuple(call["shape"])) == ("BNSD", 3, (2, 3, 6, 4))
    assert tuple(call["mask"].shape) == (2, 1, 6, 6)
    assert bool((call["mask"] == ~mask).all()), "the NPU's mask is True where attention is forbidden"


def test_npu_attention_without_a_mask_scales_by_the_head_width(calls: list[dict]) -> None:
    q, k, v = (torch.randn(1, 2, 5, 16) for _ in range(3))
    found = attention(on_npu(q), on_npu(k), on_npu(v))
    torch.testing.assert_close(found.as_subclass(torch.Tensor), F.scaled_dot_product_attention(q, k, v))
    assert calls[0]["mask"] is None


@pytest.mark.parametrize("half", [False, True])
def test_npu_rms_norm_gets_one_dtype(calls: list[dict], half: bool) -> None:
    x, weight = torch.randn(3, 8), torch.rand(8)
    weight = weight.bfloat16() if half else weight
    found = rms_norm(on_npu(x), weight, 1e-5).as_subclass(torch.Tensor)
    assert found.dtype == weight.dtype
    assert calls[0]["dtype"] == calls[0]["gamma"] == weight.dtype
    torch.testing.assert_close(found.float(), rms_norm(x, weight.float(), 1e-5), rtol=2e-2, atol=2e-2)
