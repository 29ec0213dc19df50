"""Runs a network on PyTorch's meta device, where tensors have shapes and no numbers: counts arithmetic and live memory exactly.

It allocates nothing, so a model of any size costs seconds. Knows no recipe.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Four products. Fused kernels compute the scores again for want of memory, a fifth, which is no work that is needed."""
    b, heads, length, width = q
    return 4 * b * heads * length * k[2] * (width + v[3])


NEEDED = {torch.ops.aten._scaled_dot_product_efficient_attention_backward: _attention_backward}


@dataclass(frozen=True)
class Tally:
    """flops: multiplications and additions, each counted; peak: most bytes alive at once beyond what was there before;
    remaining: bytes that are still alive at the end."""

    flops: int
    peak: int
    remaining: int


def tally(work: Callable[[], Any]) -> Tally:
    """What `work` would cost. It must only use meta tensors."""
    counter, live = FlopCounterMode(display=False, custom_mapping=NEEDED), _Live()
    with _random_numbers(), counter, live, _fused_attention():
        work()
    return Tally(counter.get_total_flops(), live.peak, live.now)


class _Live(TorchDispatchMode):
    """Follows the bytes of every storage that operations make, from birth to release."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: weakref.WeakKeyDictionary[Any, None] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {id(_storage(leaf)) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and id(_storage(leaf)) not in inputs:
                self._born(_storage(leaf))
        return result

    def _born(self, storage: Any) -> None:
        if storage in self._alive:
            return
        self._alive[storage] = None
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._died, size)

    def _died(self, size: int) -> None:
        self.now -= size


def _storage(tensor: Tensor) -> Any:
    return tensor.untyped_storage()


@contextmanager
def _random_numbers() -> Iterator[None]:
    """A recomputed block keeps the state of its device's random numbers; PyTorch 2.5 looks for them where there are none."""
    try:
        with torch.random.fork_rng(devices=(), device_type="meta"):
            pass
    except RuntimeError:
        torch.meta = torch.cpu  # type: ignore[attr-defined]
        try:
            yield
        finally:
            del torch.meta  # type: ignore[attr-defined]
    else:
        yield


@contextmanager
def _fused_attention() -> Iterator[None]:
    """For shapes alone PyTorch has no fused attention, and the unfused one keeps tables of scores that no run keeps: the
    operation of CUDA's kernels, which has shapes and a count, stands in for the time of a tally."""
    usual = F.scaled_dot_product_attention

    def fused(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, q.requires_grad)[0]

    F.scaled_dot_product_attention = fused  # type: ignore[assignment]  # our networks ask no more of it
    try:
        yield
    finally:
        F.scaled_dot_product_attention = usual
