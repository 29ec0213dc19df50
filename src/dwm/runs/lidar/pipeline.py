"""`LidarPipeline`: a clip's boxes and map → sweeps, beside the pictures that `DrivingPipeline` makes of the same clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dwm.checkpoints.locations import TOWN, TOWN_LIDAR
from dwm.clip import Clip, LidarTrack
from dwm.clip_batch import ClipBatch
from dwm.config.lidar import LatentGenerator, LidarRecipe
from dwm.config.lidar_files import load_any
from dwm.data.points import moved
from dwm.data.rays import RayOptions
from dwm.data.sweep_places import HeldSweeps, sweep_places
from dwm.data.sweeps import prepare_sweeps
from dwm.errors import DwmError
from dwm.generation.sweep_rays import RayPipeline
from dwm.generation.sweeps import SweepPipeline
from dwm.geometry import inverse
from dwm.networks.lidar.options import RayCodecOptions
from dwm.runs.lidar.generate import loaded
from dwm.runs.lidar.parts import used_points


class LidarPipeline:
    """Makes sweeps of a clip, whether it has a LiDAR or not. The same seed gives the same sweeps on one machine."""

    def __init__(self, run: LidarRecipe, pipe: SweepPipeline | RayPipeline):
        self.run, self.pipe = run, pipe

    @classmethod
    def from_pretrained(
        cls, path: str | Path = TOWN_LIDAR, device: torch.device | str = "cpu", num_inference_steps: int | None = None
    ) -> LidarPipeline:
        """Loads the folder of weights that a LiDAR run left, or the package's own by the name "town_lidar".

        Raises DwmError for a folder without such weights, and for weights that only encode and decode sweeps.
        """
        folder = weights_folder(path)
        run = load_any(folder / "config.json")
        if not isinstance(run, LidarRecipe) or run.generator is None:
            raise DwmError(f"{folder}: its config.json is of no run that generates sweeps; give weights of such a run")
        has_weights = not isinstance(run.autoencoder, RayCodecOptions)
        run = run.with_(
            device=str(device),
            weights=str(folder),
            autoencoder_weights=str(folder) if has_weights else None,
            sampling=run.sampling.with_(known=0),
        )
        if num_inference_steps is not None and isinstance(run.generator, LatentGenerator):
            how = run.generator.sampling.with_(steps=num_inference_steps)
            run = run.with_(generator=run.generator.with_(sampling=how))
        return cls(run, loaded(run))

    @property
    def rays(self) -> RayOptions:
        """The LiDAR; where weights are of another kind, one of 32 beams."""
        options = self.run.autoencoder
        return options.rays if isinstance(options, RayCodecOptions) else RayOptions()

    def __call__(self, clip: Clip, recorded: Clip | None = None, seed: int = 0) -> LidarTrack:
        """The sweeps of every frame of `clip`: x, y, z in metres in the LiDAR's frame, intensity (0 … 255), ring.

        recorded: the clip before it was edited, whose LiDAR says when and from where sweeps are taken. Without a LiDAR they are
        taken from the roof, at the time of each frame's first picture. Raises DwmError for a clip without boxes or map where the
        weights know these.
        """
        for name, is_told in (("boxes", self.run.data.boxes), ("map", self.run.data.map)):
            if is_told and getattr(clip, name) is None:
                raise DwmError(
                    f"{clip.scene or 'the clip'}: has no {name}, which sweeps are made of; take a clip with {name}"
                )
        track = sweep_places(clip, recorded)
        batch = self.conditions(replace(clip, lidar=track))
        generated = self.pipe(batch, torch.Generator().manual_seed(seed))
        points = []
        for frame, cloud in enumerate(generated.points[0]):
            cloud = cloud.float().cpu()
            in_lidar = moved(cloud[:, :3], torch.from_numpy(inverse(track.mounting(frame))).float()).numpy()
            rest = cloud[:, 3:].numpy() if cloud.shape[1] > 3 else np.zeros((len(cloud), 2), np.float32)
            points.append(np.column_stack([in_lidar, rest]).astype(np.float64))
        return replace(track, points=HeldSweeps(tuple(points)))

    def conditions(self, clip: Clip) -> ClipBatch:
        """What the weights are told of a clip with a LiDAR."""
        return prepare_sweeps(clip, used_points(self.run, self.run.data.held_out_points))


def weights_folder(path: str | Path) -> Path:
    """The folder of that name. Raises DwmError where there is none."""
    embedded = str(path) == TOWN_LIDAR and not (Path(TOWN_LIDAR) / "config.json").is_file()
    folder = TOWN.parent / TOWN_LIDAR if embedded else Path(path)
    if not (folder / "config.json").is_file():
        known = (
            "no LiDAR weights come with this installation" if embedded else "give the folder weights/ of a LiDAR run"
        )
        raise DwmError(f"{folder}: holds no config.json of a LiDAR run; {known}")
    return folder
