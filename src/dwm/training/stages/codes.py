"""Keeps a table of codes alive while it is trained: what all micro-batches and processes of a step saw decides, once a step.

Thus any number of processes places the codes alike. OpenDWM does so within each step of each process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from dwm.networks.lidar.quantizer import RESERVOIR_ROWS
from dwm.networks.lidar.vq import VqAutoencoder
from dwm.training.loop.step import step_generator
from dwm.training.parallel.ranks import Ranks

TABLE = "vector_quantizer.embedding.weight"


@dataclass(frozen=True)
class StepOfCodes:
    """How much a step sees: micro-batches over all processes, and sweeps in each."""

    accumulate: int
    sweeps: int


class CodeKeeper:
    """Collects latents and used codes of the micro-batches of a step; `settle` then counts, and places codes anew."""

    def __init__(self, network: VqAutoencoder, seed: int, of_step: StepOfCodes) -> None:
        self.network, self.seed, self.of_step = network, seed, of_step
        quantizer, (rows, columns) = network.vector_quantizer, network.lidar_decoder.options.coarse
        codes, channels = quantizer.embedding.weight.shape
        self.at_first = min(-(-codes * RESERVOIR_ROWS // of_step.accumulate), of_step.sweeps * rows * columns)
        # As many rows as the first step will give, so that a save of a later step fits.
        count = min(codes * RESERVOIR_ROWS, self.at_first * of_step.accumulate)
        quantizer.reservoir = quantizer.reservoir.new_zeros(count, channels)
        self._rows: list[Tensor] = []
        self._counts: list[Tensor] = []

    def begin(self, features: Iterable[Tensor], ranks: Ranks) -> Sequence[str]:
        """Places the codes of an untrained table among the latents (n, channels) of the first step's micro-batches."""
        if bool(self.network.vector_quantizer.data_initialized):
            return ()
        numbers = range(ranks.rank, self.of_step.accumulate, ranks.count)
        for number, rows in zip(numbers, features, strict=False):
            self._take(rows, self.at_first, step_generator(self.seed + 2, number))
        return self._renew(-1, ranks)

    @torch.no_grad()
    def saw(self, features: Tensor, indices: Tensor, generator: torch.Generator) -> None:
        """Of a micro-batch the latents (…, channels) and their codes (…)."""
        quantizer = self.network.vector_quantizer
        # The reservoir takes one in a hundred of its rows a step; a few of each micro-batch are enough.
        most = -(-len(quantizer.reservoir) // (50 * self.of_step.accumulate))
        self._take(features.detach().flatten(0, -2), most, generator)
        self._counts.append(torch.bincount(indices.flatten(), minlength=len(self.network.code_age)).cpu())

    @torch.no_grad()
    def settle(self, step: int, ranks: Ranks) -> Sequence[str]:
        usage = self.network.usage
        counts = _in_order(torch.stack(self._counts), ranks).sum(0)
        self._counts.clear()
        self.network.vector_quantizer.count(counts.to(usage.count.device), usage)
        return self._renew(step, ranks)

    @torch.no_grad()
    def _renew(self, step: int, ranks: Ranks) -> Sequence[str]:
        quantizer = self.network.vector_quantizer
        rows = _in_order(torch.stack(self._rows), ranks).flatten(0, 1).to(quantizer.reservoir)
        self._rows.clear()
        placed = quantizer.renew(rows, self.network.usage, step_generator(self.seed + 3, step))
        if not placed:
            return ()
        if ranks.count > 1:  # machines may round otherwise
            table = quantizer.embedding.weight.detach().cpu()
            dist.broadcast(table, 0, group=ranks.control)
            quantizer.embedding.weight.copy_(table)
        return (TABLE,)

    def _take(self, rows: Tensor, most: int, generator: torch.Generator) -> None:
        rows = self.network.vector_quantizer.scaled(rows.float())
        order = torch.randperm(len(rows), generator=generator)[:most]
        self._rows.append(rows[order.to(rows.device)].cpu())


def _in_order(mine: Tensor, ranks: Ranks) -> Tensor:
    """(micro-batches of this process, …) → those of all, in the order of their numbers: processes take them in turn."""
    if ranks.count == 1:
        return mine
    of_all = [torch.empty_like(mine) for _ in range(ranks.count)]
    dist.all_gather(of_all, mine.contiguous(), group=ranks.control)
    return torch.stack(of_all, dim=1).flatten(0, 1)
