"""Which process of a run this one is, and how the processes agree; starts their group. Knows nothing of what they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from dwm.devices import group_backend, pick_device
from dwm.training.parallel.meeting import Meeting

PATIENCE = timedelta(days=1)
"""How long a process waits while the first one alone prepares clips or draws a preview."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run. `control` is a group on the CPU for small agreements; None: alone."""

    rank: int = 0
    count: int = 1
    control: Any = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.count > 1:
            dist.barrier(group=self.control)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag whether it is set in any process."""
        return tuple(bool(flag) for flag in self.ask(*flags)())

    def ask(self, *flags: bool) -> Callable[[], tuple[bool, ...]]:
        """Asks whether each flag is set in any process; the answer is waited for when it is called for."""
        if self.count == 1:
            return lambda: flags
        flags_of_all = torch.tensor(flags, dtype=torch.int32)
        work = dist.all_reduce(flags_of_all, op=dist.ReduceOp.MAX, group=self.control, async_op=True)

        def answer() -> tuple[bool, ...]:
            work.wait()
            return tuple(map(bool, flags_of_all.tolist()))

        return answer

    def gather(self, thing: Any) -> list[Any]:
        """The plain Python values that all processes have, in order of rank."""
        if self.count == 1:
            return [thing]
        things = [None] * self.count
        dist.all_gather_object(things, thing, group=self.control)
        return things

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process does the block before the others do, which then find its files."""
        if not self.first:
            self.barrier()
        yield
        if self.first:
            self.barrier()


_groups: dict[Any, Ranks] = {}


def current_ranks() -> Ranks:
    """Where this process stands: alone without a torch.distributed group."""
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    world = dist.group.WORLD
    if world not in _groups:
        _groups.clear()
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
        _groups[world] = Ranks(dist.get_rank(), dist.get_world_size(), control)
    return _groups[world]


def restarted() -> bool:
    """Whether torchrun started this process again after another one failed."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def group(device: str = "auto") -> Iterator[torch.device]:
    """This process's device, within a process group where torchrun (or another launcher) started several."""
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ or dist.is_initialized():
        yield pick_device(device)
        return
    meeting, mine = Meeting.of(os.environ), pick_device(device)
    if mine.type != "cpu":
        mine = pick_device(f"{mine.type}:{os.environ.get('LOCAL_RANK', '0')}")
        getattr(torch, mine.type).set_device(mine)
    # After a restart torchrun's store still holds the addresses of the processes before: each attempt has names of its own.
    attempt = dist.PrefixStore(f"attempt-{_restarts()}", meeting.meet())
    dist.init_process_group(group_backend(mine), store=attempt, rank=meeting.rank, world_size=meeting.ranks)
    try:
        yield mine
        current_ranks().barrier()
    finally:
        _groups.clear()
        dist.destroy_process_group()
