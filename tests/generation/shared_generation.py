"""Generates invented clips with the package's weights, by all processes that started it and by each alone; a script for tests.

Prints, in the first process, a line for each way of sharing: its name, how far the pictures are apart, and how much they vary.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from invented_batches import invented_batch

from dwm import DrivingPipeline
from dwm.generation.shortcuts import Shortcuts
from dwm.training.parallel.ranks import current_ranks, group

WAYS = {"halves": (1, 2.0, 0.0), "cache": (1, 2.0, 0.3), "clips": (3, 1.0, 0.0)}
"""Clips, guidance, cache."""


def pictures(pipe: DrivingPipeline, clips: int, guidance: float, cache: float) -> Tensor:
    batch, shortcuts = invented_batch(clips, 1, 3, (160, 96)), Shortcuts(cache=cache)
    return pipe(batch, "rain", "", 3, guidance, seed=2, output_type="pt", shortcuts=shortcuts)


def main() -> None:
    with group("cpu"):
        ranks = current_ranks()
        pipe = DrivingPipeline.from_pretrained("town")
        alone = {name: pictures(pipe, *way) for name, way in WAYS.items()}
        pipe.enable_parallelism()
        for name, way in WAYS.items():
            shared = pictures(pipe, *way)
            apart = max(ranks.gather(float((shared - alone[name]).abs().max())))
            if ranks.first:
                print(name, apart, float(shared.std()), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
