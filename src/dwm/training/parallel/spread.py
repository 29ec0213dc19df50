"""One device, copies (DDP) or shards (FSDP2, also in groups of copies: HSDP): how a task is computed by several processes.

Decided by options alone. A network knows none of it: its blocks are recomputed, compiled and sharded from outside, and all
that a task computes runs as the forward pass of one module, so that every call inside it finds its weights.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dwm.devices import Compiler
from dwm.errors import DwmError
from dwm.training.loop.task import Losses, Task
from dwm.training.parallel.options import ParallelOptions
from dwm.training.parallel.ranks import Ranks


class Computation(nn.Module):
    """All that a task computes from a batch, as the forward pass of a module that holds the task's own."""

    def __init__(self, task: Task[Any]):
        super().__init__()
        self.module = task.module
        self._losses = task.losses

    def forward(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        losses = self._losses(batch, generator)
        return losses.loss, dict(losses.parts)  # bare tensors: wrappers look for those alone


class Spread:
    """A task spread over processes. Gradients come out as the mean over processes of what each one sent backward."""

    def __init__(self, task: Task[Any], options: ParallelOptions, ranks: Ranks):
        self.ranks = ranks
        self.module = task.module
        self._undo: list[Callable[[], None]] = []
        self._compiler = Compiler()
        self.sharded = options.mode == "fsdp" and ranks.count > 1
        blocks = _distinct(task.blocks())
        for block in blocks:
            self._change(block, options)
        computation = Computation(task)
        if self.sharded:
            self._shard(computation, blocks, options, task)
        else:
            computation.to(task.device)
        self._computation: nn.Module = computation
        if ranks.count > 1 and not self.sharded:
            self._computation = _copies(computation, task.device)

    def backward(self, batch: Any, generator: torch.Generator, weight: float, last: bool) -> Losses:
        """One micro-batch, forward and backward; gradients are shared among processes after the `last` of a step."""
        with self._shared(last):
            loss, parts = self._computation(batch, generator)
            (loss * weight).backward()
        return Losses(loss.detach(), {name: (a.detach(), n.detach()) for name, (a, n) in parts.items()})

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within this block each process holds all weights, so that one of them may use the module alone."""
        shards = [module for module in self._computation.modules() if self.sharded and hasattr(module, "unshard")]
        for module in shards:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        try:
            yield
        finally:
            for module in shards:
                module.reshard()
                module.set_reshard_after_forward(module is not self._computation, recurse=False)

    def close(self) -> None:
        """Leaves the blocks as they were before; a sharded module stays sharded."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _shared(self, last: bool) -> AbstractContextManager[Any]:
        if self.sharded:
            self._computation.set_requires_gradient_sync(last)
        elif self.ranks.count > 1 and not last:
            return self._computation.no_sync()
        return contextlib.nullcontext()

    def _change(self, block: nn.Module, options: ParallelOptions) -> None:
        if not (options.compile or options.recompute):
            return
        forward = block.forward
        if options.compile:
            forward = self._compiler.compiled(forward)
        if options.recompute:
            forward = partial(_recomputed, forward)
        block.forward = forward
        self._undo.append(lambda: block.__dict__.pop("forward", None))

    def _shard(
        self, computation: Computation, blocks: list[nn.Module], options: ParallelOptions, task: Task[Any]
    ) -> None:
        fully_shard, policy = _fsdp(task.device)
        shape = options.shape(self.ranks.count)
        mesh = dist.init_device_mesh(task.device.type, shape, mesh_dim_names=("copies", "shards"))
        if shape[0] == 1:
            mesh = mesh["shards"]
        dtype = task.dtype if options.gather is None else getattr(torch, options.gather)
        # Batches stay as they are: poses in metres, times and clean latents must not be rounded; autocast does the rest.
        low = {"param_dtype": dtype, "reduce_dtype": torch.float32, "cast_forward_inputs": False}
        numbers = policy() if dtype == torch.float32 else policy(**low)
        for tensor in (*computation.parameters(), *computation.buffers()):
            if not tensor.is_contiguous():
                tensor.data = tensor.data.contiguous()
        for buffer in computation.buffers():
            buffer.data = buffer.data.to(task.device)
        for block in blocks:
            fully_shard(block, mesh=mesh, mp_policy=numbers)
        fully_shard(computation, mesh=mesh, mp_policy=numbers, reshard_after_forward=False)
        # Blocks are gathered by all processes together: where the data decides whether one runs, all must decide alike.
        for module in computation.modules():
            if hasattr(module, "agreed"):
                before = module.agreed
                module.agreed = lambda flag: self.ranks.any(flag)[0]  # type: ignore[assignment]
                self._undo.append(partial(setattr, module, "agreed", before))


def _copies(computation: Computation, device: torch.device) -> nn.Module:
    from torch.nn.parallel import DistributedDataParallel

    # Buffers never change, so there is nothing to send each time; PyTorch 2.13 gave the setting another name.
    names = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    quiet: dict[str, Any] = {buffers: False}
    return DistributedDataParallel(
        computation,
        device_ids=None if device.type == "cpu" else [device],
        find_unused_parameters=True,  # which blocks run depends on the tasks that are drawn
        gradient_as_bucket_view=True,
        **quiet,
    )


def without_shards(kind: str) -> str | None:
    """Why this PyTorch cannot shard weights on devices of this kind (`cpu`, …), as one line; None where it can."""
    # FSDP2 asks CUDA's streams in 2.5 whatever the device; in 2.6 it asks a CPU's for what they have not, and its gathered
    # weights count as changed between forward and backward.
    if kind == "cpu" and not hasattr(torch.cpu.Stream, "record_event"):
        release = torch.__version__.split("+")[0]
        return f"fsdp on a CPU needs a PyTorch newer than 2.6 (2.13 is tried), this is {release}; use ddp"
    return None


def _fsdp(device: torch.device) -> tuple[Callable[..., Any], Callable[..., Any]]:
    if why := without_shards(device.type):
        raise DwmError(f"training.parallel.mode: {why}")
    try:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    except ImportError:  # its name in PyTorch 2.5
        from torch.distributed._composable.fsdp import MixedPrecisionPolicy, fully_shard
    return fully_shard, MixedPrecisionPolicy


def _recomputed(forward: Callable[..., Any], *inputs: Any, **keywords: Any) -> Any:
    if torch.is_grad_enabled():
        return checkpoint(forward, *inputs, use_reentrant=False, **keywords)
    return forward(*inputs, **keywords)


def _distinct(blocks: Any) -> list[nn.Module]:
    return list({id(block): block for block in blocks}.values())
