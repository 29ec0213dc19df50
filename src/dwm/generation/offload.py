"""Parts of a pipeline on a device only while they work; the others wait in the machine's memory. Knows no part by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from dwm.base_models import BaseModel
from dwm.base_models.absent import Absent, RememberedText
from dwm.base_models.text import TextEncoder, present


class Offload:
    """Brings one of `parts` at a time onto `device`. What waits is not copied back: weights do not change in sampling."""

    def __init__(self, device: torch.device, parts: Sequence[nn.Module]):
        self.device = device
        self._parts = {id(part): part for part in parts}
        self._waiting: list[tuple[nn.Module, str, Tensor]] = []
        self.present: nn.Module | None = None

    @classmethod
    def of(cls, device: torch.device, network: nn.Module, base: BaseModel) -> Offload:
        """Of a network and what stands around it, all moved to the machine's memory."""
        encoder = _encoder(base)
        parts = [part for part in encoder.parts if not isinstance(part, Absent)] if encoder is not None else []
        everything = [part for part in (network, base.autoencoder, *parts) if part is not None]
        for part in everything:
            nn.Module.to(part, "cpu")
        offload = cls(device, everything)
        if encoder is not None and parts:
            encoder.presence = offload.presence
        return offload

    def end(self, base: BaseModel) -> None:
        """Leaves everything in the machine's memory, and text encoders as they were."""
        self.release()
        if (encoder := _encoder(base)) is not None:
            encoder.presence = present

    def bring(self, part: nn.Module) -> None:
        """Has `part` on the device, and no other."""
        if part is self.present or id(part) not in self._parts:
            return
        self.release()
        moved: dict[int, Tensor] = {}  # of tied weights one
        for module in part.modules():
            for name, tensor in chain(module._parameters.items(), module._buffers.items()):
                if tensor is not None:
                    self._waiting.append((module, name, tensor))
                    if id(tensor) not in moved:
                        moved[id(tensor)] = tensor.detach().to(self.device, non_blocking=True)
                    _put(module, name, tensor, moved[id(tensor)])
        self.present = part

    def release(self) -> None:
        """Has none of them on the device."""
        for module, name, tensor in self._waiting:
            _put(module, name, tensor, tensor)
        self._waiting.clear()
        self.present = None

    @contextmanager
    def presence(self, part: nn.Module) -> Iterator[nn.Module]:
        """`part` for as long as it works."""
        self.bring(part)
        yield part


def _encoder(base: BaseModel) -> TextEncoder | None:
    return base.text.encoder if isinstance(base.text, RememberedText) else base.text


def _put(module: nn.Module, name: str, original: Tensor, value: Tensor) -> None:
    if isinstance(original, nn.Parameter):
        module._parameters[name] = (
            value if isinstance(value, nn.Parameter) else nn.Parameter(value, original.requires_grad)
        )
    else:
        module._buffers[name] = value
