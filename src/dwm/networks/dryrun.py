"""Runs a network on PyTorch's meta device, where tensors have shapes and no numbers: counts arithmetic and live memory exactly.

It allocates nothing, so a model of any size costs seconds. Knows no recipe.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Four products. Fused kernels compute the scores again for want of memory, a fifth, which is no work that is needed."""
    b, heads, length, width = q
    return 4 * b * heads * length * k[2] * (width + v[3])


FORMULAS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_efficient_attention_backward: shape_wrapper(_attention_backward),
}
"""Operations by kind: PyTorch's own count, but for what is not needed."""


@dataclass(frozen=True)
class Tally:
    """flops: multiplications and additions, each counted; peak: most bytes alive at once beyond what was there before;
    remaining: bytes that are still alive at the end."""

    flops: int
    peak: int
    remaining: int


def tally(work: Callable[[], Any]) -> Tally:
    """What `work` would cost. It must only use meta tensors."""
    count = Count()
    with _random_numbers(), count, _fused_attention():
        work()
    return Tally(count.flops, count.peak, count.now)


class Count(TorchDispatchMode):
    """Counts the arithmetic of operations, and follows the bytes of every storage that they make, from birth to release.

    Layers repeat: what an operation makes of such shapes is asked of PyTorch once, whose kernels for shapes alone are Python.
    One mode does it all, as an operation here takes the time to come through modes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.now = self.peak = 0
        self._alive: dict[weakref.ref[Any], int] = {}
        self._outcomes: dict[Any, _Outcome] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _makes_new(func):
            before = {_storage(leaf)._cdata for leaf in _tensors((*args, *kwargs.values()))}
            result = func(*args, **kwargs)
            self._follow(result, before)
            return result
        key = func, _form(args), _form(tuple(kwargs.items()))
        if (outcome := self._outcomes.get(key)) is None:
            result = func(*args, **kwargs)
            formula = FORMULAS.get(func.overloadpacket)
            flops = 0 if formula is None else formula(*args, **kwargs, out_val=result)
            outcome = _Outcome(flops, isinstance(result, (tuple, list)), _form(result))
            if all(leaf.is_meta for leaf in _tensors(result if outcome.several else (result,))):
                self._outcomes[key] = outcome  # whoever has numbers wants them computed each time
        else:
            result = outcome.again()
        self.flops += outcome.flops
        self._follow(result, ())
        return result

    def _follow(self, result: Any, before: Collection[int]) -> None:
        for leaf in _tensors(result if isinstance(result, (tuple, list)) else (result,)):
            if (storage := _storage(leaf))._cdata not in before:
                self._born(storage)

    def _born(self, storage: Any) -> None:
        if (reference := weakref.ref(storage, self._died)) in self._alive:
            return
        self._alive[reference] = size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)

    def _died(self, reference: weakref.ref[Any]) -> None:
        self.now -= self._alive.pop(reference)


@dataclass(frozen=True)
class _Outcome:
    """What an operation makes of given shapes: its arithmetic, and the form of its result or, with `several`, results."""

    flops: int
    several: bool
    form: Any

    def again(self) -> Any:
        """The same for other tensors of these shapes."""
        return tuple(map(_of_form, self.form)) if self.several else _of_form(self.form)


def _of_form(form: Any) -> Tensor | None:
    return None if form is None else torch.empty_strided(form[1], form[2], dtype=form[3], device="meta")


def _form(value: Any) -> Any:
    """What decides the form of a result: of tensors all but their numbers; of a number its kind too."""
    if isinstance(value, Tensor):
        return Tensor, value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, (tuple, list)):
        return tuple(map(_form, value))
    return value if value is None else (type(value), value)


@cache
def _makes_new(func: Any) -> bool:
    """Whether all that an operation gives is new: no view, nothing written to."""
    schema = func._schema
    return not schema.is_mutable and all(one.alias_info is None for one in schema.returns)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among an operation's arguments or results, or in lists of theirs."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


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

    def fused(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
        lead = q.shape[:-3]  # the operation takes one axis before that of heads
        q, k, v = (part.reshape(-1, *part.shape[-3:]) for part in (q, k, v))
        result = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, q.requires_grad)[0]
        return result.reshape(*lead, *result.shape[1:])

    F.scaled_dot_product_attention = fused  # type: ignore[assignment]  # our networks ask no more of it
    try:
        yield
    finally:
        F.scaled_dot_product_attention = usual
