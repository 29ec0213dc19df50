"""The mode in which code runs on the pretended device, and which notes whatever would make a real one wait."""

from __future__ import annotations

import traceback
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
ASKING = {aten._local_scalar_dense, aten.is_nonzero, aten.item, aten.equal, aten._linalg_check_errors}
SIZED = {aten.nonzero, aten.masked_select, aten._unique2, aten.unique_consecutive, aten.unique_dim, aten.bincount}
COPIES = {aten._to_copy, aten.copy_, aten._copy_from}
STAGED = 1 << 16
"""Bytes up to which CUDA copies from ordinary memory without waiting: it stages them."""
HERE = Path(__file__).parents[3] / "src" / "dwm"


@dataclass
class Device(TorchDispatchMode):
    """What is known of the run: `waits` (where the processor would wait for the device), copies by kind, bytes that the device
    holds, and at most held."""

    waits: list[str] = field(default_factory=list)
    copies: Counter = field(default_factory=Counter)
    held: int = 0
    peak: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.pinned: set[int] = set()
        self._alive: dict[weakref.ref[Any], int] = {}

    def begin(self) -> None:
        """What came before was loading."""
        self.waits.clear()
        self.copies.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given, _ = tree_flatten((args, kwargs))
        fakes = [value for value in given if isinstance(value, FakeTensor)]
        target = kwargs.get("device")
        there = target is not None and torch.device(target).type == "cuda"
        packet = func.overloadpacket
        if not fakes and not there:
            with unset_fake_temporarily():
                result = func(*args, **kwargs)
            if packet is aten._pin_memory:
                self.pinned.add(result.untyped_storage().data_ptr())
            return result
        if packet in ASKING and fakes:
            self._note(f"{packet.__name__} asks for a number")
            return None if packet is aten._linalg_check_errors else _number(fakes[0])
        if packet in SIZED:
            self._note(f"{packet.__name__} asks for a size")
        if packet in COPIES:
            self._copy(packet, given, fakes, target, kwargs, args)
        result = func(*args, **kwargs)
        for value in tree_flatten(result)[0]:
            if isinstance(value, FakeTensor) and value.device.type == "cuda":
                self._follow(value.untyped_storage())
        return result

    def _follow(self, storage: Any) -> None:
        if (reference := weakref.ref(storage, self._released)) not in self._alive:
            self._alive[reference] = storage.nbytes()
            self.held += storage.nbytes()
            self.peak = max(self.peak, self.held)

    def _released(self, reference: weakref.ref[Any]) -> None:
        self.held -= self._alive.pop(reference)

    def _copy(self, packet: Any, given: list, fakes: list, target: Any, kwargs: dict, args: tuple) -> None:
        if packet is aten._to_copy:
            source, goal = args[0], torch.device(target).type if target is not None else args[0].device.type
        else:
            source, goal = args[1], args[0].device.type
        if source.device.type == goal:
            return
        blocking = not (kwargs.get("non_blocking") or (packet is not aten._to_copy and len(args) > 2 and args[2]))
        if goal == "cpu":
            self._note("a copy back from the device")
        elif blocking and source.ndim:
            self._note("a copy to the device that waits")
        elif source.nbytes > STAGED and source.untyped_storage().data_ptr() not in self.pinned:
            self._note(f"a copy to the device of {source.nbytes} bytes from memory that is not pinned")
        self.copies["to" if goal == "cuda" else "back"] += 1

    def _note(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if str(HERE) in frame.filename]
        place = f"{Path(frames[-1].filename).relative_to(HERE)}:{frames[-1].lineno}" if frames else "a library"
        self.waits.append(f"{place}: {what}")


@contextmanager
def pretended() -> Iterator[Device]:
    """Code in this block may use the device `CUDA`. An operation on tensors of two devices raises, as it would there."""
    fake_tensor.init_gpu_context = lambda device: None
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda *_, **__: True
    torch.utils.swap_tensors = _stay
    torch.cuda.Stream, torch.cuda.current_stream, torch.cuda.stream = Stream, Stream, nullcontext
    Tensor.record_stream = lambda tensor, stream: None
    with FakeTensorMode(allow_non_fake_inputs=True), Device() as device:
        yield device


class Stream:
    """Of a device without a queue."""

    def __init__(self, device: Any = None) -> None:
        self.device = device

    def wait_stream(self, other: Stream) -> None:
        """Nothing is queued."""


def _stay(old: Tensor, new: Tensor) -> None:
    """Modules exchange fake weights where others get other numbers, which fake ones cannot; where they are is where they stay."""
    assert old.device == new.device and old.dtype == new.dtype, (
        f"{old.dtype} on {old.device} to {new.dtype} on {new.device}"
    )


def _number(tensor: Tensor) -> bool | float | int:
    return False if tensor.dtype == torch.bool else 0.0 if tensor.is_floating_point() else 0
