"""Generates invented clips with the package's weights, in as many processes as started it; a script for tests.

Usage: shared_generation.py FOLDER CLIPS GUIDANCE CACHE: the first process writes FOLDER/pictures.safetensors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))

from dwm import DrivingPipeline
from dwm.errors import DwmError
from dwm.generation.shortcuts import Shortcuts
from dwm.training.parallel.ranks import current_ranks, group
from invented_batches import invented_batch


def main(folder: Path, clips: int, guidance: float, cache: float) -> None:
    with group("cpu"):
        ranks = current_ranks()
        pipe = DrivingPipeline.from_pretrained("town")
        if ranks.count > 1:
            pipe.enable_parallelism()
        batch = invented_batch(clips, 1, 3, (160, 96))
        try:
            pictures = pipe(
                batch,
                num_inference_steps=3,
                guidance_scale=guidance,
                seed=2,
                output_type="pt",
                shortcuts=Shortcuts(cache=cache),
            )
        except DwmError as error:
            sys.exit(f"refused: {error}")
        everyones = ranks.gather(float(pictures.sum()))
        assert len(set(everyones)) == 1, everyones  # all have the whole result
        if ranks.first:
            save_file({"pictures": pictures.contiguous()}, folder / "pictures.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
