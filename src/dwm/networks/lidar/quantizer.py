"""Latents as the nearest of a table of codes; codes that nothing uses are placed anew by k-means over recent latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwm.errors import DwmError

DEAD_SHARE = 0.03
"""When a greater share of the codes is dead, all are placed anew."""

RENEWED_SHARE = 0.01
"""Of the reservoir's rows this share is replaced at each step of training, the oldest first."""

RESERVOIR_ROWS = 10
"""Rows of the reservoir for each code."""

LLOYD_STEPS = 100
ROWS_AT_ONCE = 4096


class Quantized(NamedTuple):
    """`codes` like the latents with their straight gradient, `indices` (...) and the two losses."""

    codes: Tensor
    indices: Tensor
    commitment_loss: Tensor
    codebook_loss: Tensor


@dataclass(frozen=True)
class Usage:
    """Two tensors (codes): steps since each code was used, and how often it was. Changed in place."""

    age: Tensor
    count: Tensor


class VectorQuantizer(nn.Module):
    """`codes` vectors of `channels`; `beta` weighs the commitment, `cosine` compares angles instead of distances.

    A code is dead that was not used for `dead_limit` steps.
    """

    reservoir: Tensor
    data_initialized: Tensor
    global_iter: Tensor
    num_iter: Tensor

    def __init__(
        self, codes: int, channels: int, beta: float = 0.25, cosine: bool = False, dead_limit: int = 256
    ) -> None:
        super().__init__()
        self.beta, self.cosine, self.dead_limit = beta, cosine, dead_limit
        self.embedding = nn.Embedding(codes, channels)
        nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)
        for name in ("data_initialized", "global_iter", "num_iter"):
            self.register_buffer(name, torch.zeros(1))
        self.register_buffer("reservoir", torch.zeros(codes * RESERVOIR_ROWS, channels))

    def forward(self, z: Tensor, usage: Usage | None = None, generator: torch.Generator | None = None) -> Quantized:
        """Latents (..., channels). With `usage` the codes are kept alive in training, and their use is counted always."""
        unscaled, z = z, self._scaled(z)
        if usage is not None and self.training:
            self.renew(z.detach().flatten(0, -2), usage, generator)
        indices = self.nearest(z)
        codes = self.entries(indices)
        if usage is not None:
            self.count(torch.bincount(indices.flatten(), minlength=len(usage.age)), usage)
        commitment = self._apart(codes.detach(), z)
        return Quantized(
            unscaled + (codes - unscaled).detach(), indices, self.beta * commitment, self._apart(codes, z.detach())
        )

    def nearest(self, z: Tensor) -> Tensor:
        """Of each latent (..., channels) the index of its code (...)."""
        table = self._scaled(self.embedding.weight.detach())
        rows = self._scaled(z.detach()).flatten(0, -2).to(table)
        return torch.cat([_closest(part, table) for part in rows.split(ROWS_AT_ONCE)]).view(z.shape[:-1])

    def scaled(self, latents: Tensor) -> Tensor:
        """Latents as they are compared with codes."""
        return self._scaled(latents)

    def entries(self, indices: Tensor) -> Tensor:
        """Codes (..., channels) of indices (...)."""
        return self._scaled(self.embedding(indices))

    def _scaled(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) if self.cosine else x

    def _apart(self, codes: Tensor, z: Tensor) -> Tensor:
        if self.cosine:
            return (1 - (codes * z).sum(-1)).mean()
        return (codes - z).square().mean()

    @torch.no_grad()
    def renew(self, rows: Tensor, usage: Usage, generator: torch.Generator | None) -> bool:
        """Takes latents (n, channels) into the reservoir, and places the codes anew at the first step and when too many are
        dead; whether it did."""
        self.global_iter += 1
        first = not bool(self.data_initialized)
        fresh = rows[_permutation(len(rows), generator, rows)].to(self.reservoir)
        if first:
            self.reservoir = fresh[: len(usage.age) * RESERVOIR_ROWS].clone()
            self.data_initialized.fill_(1)
        else:
            fresh = fresh[: int(RENEWED_SHARE * len(self.reservoir))]
            self.reservoir = torch.cat([self.reservoir[len(fresh) :], fresh])
        dead = (usage.age >= self.dead_limit).float().mean() > DEAD_SHARE
        if not (first or bool(dead)):
            self.num_iter += 1
            return False
        self._put_codes(generator)
        self.num_iter.zero_()
        usage.age.zero_()
        usage.count.zero_()
        return True

    def _put_codes(self, generator: torch.Generator | None) -> None:
        count = len(self.reservoir)
        data = self.reservoir[_permutation(count, generator, self.reservoir)]
        start = self.reservoir[_permutation(count, generator, self.reservoir)][: self.embedding.num_embeddings]
        centres = torch.from_numpy(_kmeans(data, start)).to(self.embedding.weight)
        # Fewer latents than codes: the codes beyond them stay as they are.
        self.embedding.weight[: len(centres)] = centres

    @torch.no_grad()
    def count(self, used: Tensor, usage: Usage) -> None:
        """One step more, in which each code was used so often (codes)."""
        usage.age.add_(1)
        usage.age[used > 0] = 0
        usage.count.add_(used.to(usage.count))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:  # type: ignore[no-untyped-def]
        """A trained reservoir has as many rows as its first batch had, and may be missing; the codes' table must fit."""
        table = state_dict.get(f"{prefix}embedding.weight")
        if table is not None and table.shape != self.embedding.weight.shape:
            shape, expected = (" x ".join(map(str, t.shape)) for t in (table, self.embedding.weight))
            raise DwmError(
                f"{prefix}embedding.weight: a table of {shape}, the network has {expected}; change its options"
            )
        rows = state_dict.setdefault(f"{prefix}reservoir", self.reservoir)
        if rows.ndim == 2 and rows.shape[1] == self.reservoir.shape[1]:
            self.reservoir = self.reservoir.new_empty(rows.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _closest(rows: Tensor, table: Tensor) -> Tensor:
    return (table.square().sum(1) - 2 * rows @ table.T).argmin(1)


def _permutation(count: int, generator: torch.Generator | None, like: Tensor) -> Tensor:
    return torch.randperm(count, generator=generator).to(like.device)


def _kmeans(data: Tensor, start: Tensor):  # type: ignore[no-untyped-def]
    try:
        from scipy.cluster.vq import kmeans2
    except ModuleNotFoundError:
        raise DwmError("codes are placed by SciPy: pip install 'dwm[lidar]'") from None
    import warnings

    with warnings.catch_warnings():
        # A centre whose cluster is empty stays where it is.
        warnings.simplefilter("ignore", UserWarning)
        return kmeans2(data.cpu().numpy(), start.cpu().numpy(), iter=LLOYD_STEPS, minit="matrix")[0]
