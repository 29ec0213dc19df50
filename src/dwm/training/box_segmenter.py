"""Learns the small segmenter of `box_pixels` from pictures and the boxes in them: minutes of one core, no other labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dwm.clip import Clip
from dwm.data import collate
from dwm.evaluation.box_cells import box_cells
from dwm.evaluation.networks.segmenter import CLASSES, SIZE, Segmenter
from dwm.options import Options
from dwm.progress import track


class SegmenterLearning(Options):
    """How the segmenter is learned."""

    rounds: int = Field(12, ge=1, description="times that every picture is seen")
    batch: int = Field(16, ge=1, description="pictures of a step")
    rate: float = Field(
        3e-3, gt=0, description="largest learning rate; it rises for a tenth of the steps and falls to 0"
    )
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW")
    brightness: float = Field(0.3, ge=0, lt=1, description="how much pictures are made darker or brighter at most")
    seed: int = Field(0, ge=0, description="of the first weights and every draw")


def labelled(clips: Sequence[Clip]) -> tuple[Float[Tensor, "n 3 H W"], Int[Tensor, "n h w"]]:
    """All pictures of clips, and the class of every cell by the boxes."""
    pictures, cells = [], []
    for clip in track(clips, "pictures", unit="clips"):
        batch = collate([clip], size=SIZE, layout=None)
        assert batch.frames is not None
        pictures.append(batch.frames[0].flatten(0, 1))
        t, v = clip.times.shape
        cells += [torch.from_numpy(box_cells(clip, frame, view)) for frame in range(t) for view in range(v)]
    return torch.cat(pictures), torch.stack(cells)


def learn_segmenter(
    pictures: Float[Tensor, "n 3 H W"],
    cells: Int[Tensor, "n h w"],
    learning: SegmenterLearning = SegmenterLearning(),
) -> Segmenter:
    """A network that names the cells of pictures like these. Rare classes weigh more: by the root of how rare they are."""
    generator = torch.Generator().manual_seed(learning.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(learning.seed)
        network = Segmenter()
    optimizer = torch.optim.AdamW(network.parameters(), learning.rate, weight_decay=learning.weight_decay)
    steps = learning.rounds * max(1, len(pictures) // learning.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning.rate, total_steps=steps, pct_start=0.1)
    shares = torch.bincount(cells.flatten(), minlength=len(CLASSES)).double() / cells.numel()
    weights = (1 / shares.clamp(min=1e-6)).sqrt()
    weights = (weights / (weights * shares).sum()).float()
    for rows in track(_batches(len(pictures), steps, learning.batch, generator), "segmenter", steps, unit="steps"):
        changed, targets = _changed(pictures[rows], cells[rows], learning.brightness, generator)
        loss = F.cross_entropy(network(changed), targets, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def overlap(
    network: Segmenter, pictures: Float[Tensor, "n 3 H W"], cells: Int[Tensor, "n h w"]
) -> dict[str, tuple[float, float]]:
    """Of each class the share of its cells that are named so, and the share of the cells named so that are."""
    classes = network.classes(pictures)
    shares = {}
    for kind, name in enumerate(CLASSES):
        both = int(((classes == kind) & (cells == kind)).sum())
        shares[name] = both / max(1, int((cells == kind).sum())), both / max(1, int((classes == kind).sum()))
    return shares


def _batches(count: int, steps: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(count, generator=generator)])
        yield order[:size]
        order = order[size:]


def _changed(
    pictures: Tensor, cells: Tensor, brightness: float, generator: torch.Generator
) -> tuple[Float[Tensor, "n 3 H W"], Int[Tensor, "n h w"]]:
    """Mirrored by chance, darker or brighter, each in its own way."""
    mirrored = torch.rand(len(pictures), generator=generator) < 0.5
    pictures = torch.where(mirrored.view(-1, 1, 1, 1), pictures.flip(3), pictures)
    cells = torch.where(mirrored.view(-1, 1, 1), cells.flip(2), cells)
    light = 1 + brightness * (2 * torch.rand(len(pictures), 1, 1, 1, generator=generator) - 1)
    return (pictures * light).clamp(0, 1), cells
