"""The next batch on its way to a device while this one is worked on. Knows no batch but by its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from dwm.devices.copies import FETCHING, send
from dwm.devices.machine import vendor


@runtime_checkable
class Movable(Protocol):
    """What has tensors: `map` gives the same with each of them changed, `to` the same on a device."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Any: ...

    def to(self, device: torch.device) -> Any: ...


Batch = TypeVar("Batch", bound=Movable)


def ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on the device, in their order, each copied on a stream of its own while the one before is worked on.

    Whoever takes a batch waits for its copy in the device's queue, not in this process. To a processor nothing is copied and
    nothing is read ahead.
    """
    return _ahead(batches, device) if device.type in FETCHING else batches


def _ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    module: Any = vendor(device.type)
    copies = module.Stream(device)

    def begun() -> Batch | None:
        batch = next(batches, None)
        if batch is None:
            return None
        with module.stream(copies):
            return batch.map(partial(send, device=device)).to(device)

    coming = begun()
    while (batch := coming) is not None:
        work = module.current_stream(device)
        work.wait_stream(copies)
        batch.map(partial(_used_by, work))
        coming = begun()
        yield batch


def _used_by(stream: Any, tensor: Tensor) -> Tensor:
    """The tensor, whose memory is given to no other copy before `stream` has done with it."""
    tensor.record_stream(stream)
    return tensor
