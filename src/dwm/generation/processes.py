"""One generation by several processes: the halves of guidance on two, clips on the rest. Starts none; knows no network.

Every process draws the same noise and takes its part of it, so that the result is that of one process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from dwm.clip_batch import ClipBatch
from dwm.errors import DwmError
from dwm.networks.inputs import Conditions

VIEWS = 2
"""The axis of views of (b, t, v, …)."""


@dataclass(frozen=True)
class Processes:
    """This process among those of a generation; as it stands, alone.

    half: of guidance, 0 the unconditional one; None: both. pair: the group of the two processes that have the same clips, and
    first: the rank of the first of them. clips: those of this process, of `total`; ranges: those of each group of processes.
    """

    half: int | None = None
    pair: Any = None
    first: int = 0
    clips: range = range(0)
    total: int = 0
    ranges: tuple[range, ...] = ()

    @property
    def several(self) -> bool:
        return bool(self.ranges)

    def share(self, batch: ClipBatch) -> ClipBatch:
        """This process's clips of a batch."""
        if len(self.ranges) < 2:
            return batch
        start, stop = self.clips.start, self.clips.stop
        captions = None if batch.captions is None else batch.captions[start:stop]
        return replace(batch.map(lambda value: value[start:stop]), captions=captions, scenes=batch.scenes[start:stop])

    def drawn(self, shape: tuple[int, ...], draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """Random numbers of `shape` (b, …) for this process's clips, of those that are drawn for all."""
        if len(self.ranges) < 2:
            return draw(shape)
        return draw((self.total, *shape[1:]))[self.clips.start : self.clips.stop]

    def told(self, conditions: Conditions) -> Conditions:
        """Of doubled conditions the half that this process computes."""
        return conditions if self.half is None else half_of(conditions, self.half)

    def both(self, mine: Float[Tensor, "b t v c h w"]) -> Float[Tensor, "b2 t v c h w"]:
        """Predictions of both halves, of which this process has one."""
        results = [torch.empty_like(mine), torch.empty_like(mine)]
        dist.all_gather(results, mine.contiguous(), group=self.pair)
        return torch.cat(results)

    def summed(self, sums: Tensor) -> Tensor:
        """Numbers of this process added to those of its other half's."""
        if self.half is not None:
            dist.all_reduce(sums, group=self.pair)
        return sums

    def decoded(
        self, latents: Float[Tensor, "b s v c h w"], decode: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "b t v 3 H W"]:
        """Pictures of latents that both processes of a pair have: each decodes half of the views."""
        if self.half is None or latents.shape[VIEWS] < 2:
            return decode(latents)
        parts = latents.tensor_split(2, VIEWS)
        mine = decode(parts[self.half].contiguous()).contiguous()
        results = []
        for half, part in enumerate(parts):
            shape = (*mine.shape[:VIEWS], part.shape[VIEWS], *mine.shape[VIEWS + 1 :])
            pictures = mine if half == self.half else mine.new_empty(shape)
            dist.broadcast(pictures, self.first + half, group=self.pair)
            results.append(pictures)
        return torch.cat(results, VIEWS)

    def whole(self, mine: Float[Tensor, "b *_"]) -> Float[Tensor, "total *_"]:
        """What all processes made of their clips."""
        if len(self.ranges) < 2:
            return mine
        each = dist.get_world_size() // len(self.ranges)
        results = []
        for number, clips in enumerate(self.ranges):
            own = clips == self.clips
            part = mine.contiguous() if own else mine.new_empty((len(clips), *mine.shape[1:]))
            dist.broadcast(part, number * each)
            results.append(part)
        return torch.cat(results)


ALONE = Processes()


def half_of(conditions: Conditions, half: int) -> Conditions:
    """The unconditional (0) or the conditional (1) half of doubled conditions."""
    tensors = {item.name: getattr(conditions, item.name) for item in fields(conditions)}
    halves: dict[str, Any] = {
        name: value.chunk(2)[half] for name, value in tensors.items() if isinstance(value, Tensor)
    }
    return replace(conditions, **halves)


def check_count(processes: int, clips: int, guided: bool) -> None:
    """Raises DwmError for processes that `clips` clips cannot be shared among."""
    halves = 2 if guided and processes > 1 else 1
    if processes % halves or processes // halves > clips:
        most = clips * (2 if guided else 1)
        how = (
            "two for each clip, one for each half of guidance"
            if guided
            else "one for each clip, as there is no guidance"
        )
        raise DwmError(f"{processes} processes for {clips} clip{'s' * (clips != 1)}: start at most {most}, {how}")


class Group:
    """The processes that torch.distributed has started, for generation after generation."""

    def __init__(self) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise DwmError(
                "there are no other processes: start with torchrun, and call torch.distributed.init_process_group"
            )
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._pairs = [dist.new_group([first, first + 1]) for first in range(0, self.count - 1, 2)]

    def processes(self, clips: int, guided: bool) -> Processes:
        """This process's part of `clips` clips. Raises DwmError where they cannot be shared."""
        if self.count == 1:
            return ALONE
        check_count(self.count, clips, guided)
        each = 2 if guided else 1
        groups = self.count // each
        ends = [clips * number // groups for number in range(groups + 1)]
        ranges = tuple(range(start, stop) for start, stop in pairwise(ends))
        number, half = divmod(self.rank, each)
        pair = self._pairs[number] if guided else None
        return Processes(half if guided else None, pair, number * each, ranges[number], clips, ranges)
